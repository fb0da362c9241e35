"""Compares two GGUF files to the byte, with the `gguf` package's reader and not hub's.

    python gguf_compare.py A B [--allow KEY ...] [--any-order]

`compare` returns one sentence per difference, and nothing when the files say the same. Keys on the allow-list may differ in
value or be absent on one side; their presence never excuses another difference. Offsets are counted from the start of the
data section, because a longer allowed value moves that start.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def compare(a: Path | str, b: Path | str, *, allow: Collection[str] = (), order: bool = True) -> list[str]:
    """Differences between two GGUF files. `order=False` compares keys and tensors by name, and leaves their order and offsets out."""
    left, right = gguf.GGUFReader(a), gguf.GGUFReader(b)
    found = [*_header(left, right, allow), *_keys(left, right, set(allow), order), *_tensors(left, right, order)]
    if not found and not allow and order and Path(a).read_bytes() != Path(b).read_bytes():
        found.append("files differ in padding or length only")
    return found


def _header(left: gguf.GGUFReader, right: gguf.GGUFReader, allow: Collection[str]) -> Iterator[str]:
    if left.alignment != right.alignment:
        yield f"alignment: {left.alignment} against {right.alignment}"
    names = ["GGUF.version", "GGUF.tensor_count"] + ([] if allow else ["GGUF.kv_count"])
    for name in names:
        if (x := left.fields[name].contents()) != (y := right.fields[name].contents()):
            yield f"{name}: {x} against {y}"


def _keys(left: gguf.GGUFReader, right: gguf.GGUFReader, allow: set[str], order: bool) -> Iterator[str]:
    ours, theirs = ({k: f for k, f in r.fields.items() if not k.startswith("GGUF.")} for r in (left, right))
    for key in ours.keys() - theirs.keys() - allow:
        yield f"key {key}: only in the first file, {_show(ours[key])}"
    for key in theirs.keys() - ours.keys() - allow:
        yield f"key {key}: only in the second file, {_show(theirs[key])}"
    shared = ours.keys() & theirs.keys()
    here, there = [k for k in ours if k in shared], [k for k in theirs if k in shared]
    if order and here != there:
        at = next(i for i, (x, y) in enumerate(zip(here, there, strict=True)) if x != y)
        yield f"key order: {here[at]} against {there[at]} at place {at}"
    for key in here:
        x, y = ours[key], theirs[key]
        if x.types != y.types:
            yield f"key {key}: type {_types(x)} against {_types(y)}"
        elif key not in allow and _raw(x) != _raw(y):
            yield f"key {key}: {_difference(x, y)}"


def _tensors(left: gguf.GGUFReader, right: gguf.GGUFReader, order: bool) -> Iterator[str]:
    ours, theirs = ({t.name: t for t in r.tensors} for r in (left, right))
    if missing := sorted(ours.keys() ^ theirs.keys()):
        yield f"tensors in one file only: {', '.join(missing)}"
    here, there = ([n for n in names if n in ours.keys() & theirs.keys()] for names in (ours, theirs))
    if order and here != there:
        at = next(i for i, (x, y) in enumerate(zip(here, there, strict=True)) if x != y)
        yield f"tensor order: {here[at]} against {there[at]} at place {at}"
    for name in here:
        x, y = ours[name], theirs[name]
        if x.tensor_type != y.tensor_type:
            yield f"tensor {name}: type {x.tensor_type.name} against {y.tensor_type.name}"
            continue
        if x.shape.tolist() != y.shape.tolist():
            yield f"tensor {name}: shape {x.shape.tolist()} against {y.shape.tolist()}"
            continue
        if order and (p := x.data_offset - left.data_offset) != (q := y.data_offset - right.data_offset):
            yield f"tensor {name}: offset {p} against {q}"
        one, two = (t.data.reshape(-1).view(np.uint8) for t in (x, y))
        if not np.array_equal(one, two):
            size = gguf.GGML_QUANT_SIZES[x.tensor_type][1]
            places = np.flatnonzero(one != two)
            block = int(places[0]) // size
            hexes = " against ".join(v[block * size : (block + 1) * size].tobytes().hex() for v in (one, two))
            blocks = len(np.unique(places // size))
            yield f"tensor {name}: {blocks} of {len(one) // size} {x.tensor_type.name} blocks differ, first {block}: {hexes}"


def _raw(field: gguf.ReaderField) -> bytes:
    return b"".join(part.tobytes() for part in field.parts)


def _types(field: gguf.ReaderField) -> str:
    return " of ".join(t.name for t in field.types)


def _show(field: gguf.ReaderField) -> str:
    return f"{_types(field)} {_short(field.contents())}"


def _difference(x: gguf.ReaderField, y: gguf.ReaderField) -> str:
    one, two = x.contents(), y.contents()
    if isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            return f"{len(one)} elements against {len(two)}"
        at = next((i for i, (p, q) in enumerate(zip(one, two, strict=True)) if p != q), None)
        return "bit patterns differ" if at is None else f"element {at}: {_short(one[at])} against {_short(two[at])}"
    return f"{_short(one)} against {_short(two)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare two GGUF files to the byte.")
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--allow", nargs="*", default=[], help="keys that may differ")
    parser.add_argument(
        "--any-order", action="store_true", help="compare keys and tensors by name, leave order and offsets out"
    )
    args = parser.parse_args()
    found = compare(args.a, args.b, allow=args.allow, order=not args.any_order)
    print("\n".join(found) or "identical")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
