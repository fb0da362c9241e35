"""Importance matrices: the GGUF files that llama-imatrix writes and llama-quantize reads.

Keys, names, types and order: tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp of llama.cpp 0c1e570.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from hub.api import CalibrationText, Cursor, FileSource, FormatError, Importance, ImportanceFile, Model, Tensor, padded
from hub_gguf import kv
from hub_gguf.kvtypes import KvType
from hub_gguf.reader import MAX_NAME, GgufArray, GgufReader
from hub_gguf.types import BY_LAYOUT
from hub_gguf.writer import ALIGNMENT

_SUMS: Final = ".in_sum2"
_COUNTS: Final = ".counts"
_MOST_ENTRIES: Final = 1 << 20
_MOST_NUMBERS: Final = 1 << 30


class Imatrix(ImportanceFile):
    """For each tensor N: ``N.in_sum2``, the sums, and ``N.counts``, the rows, both f32."""

    convention = "gguf"

    def covers(self, name: str, *, output: bool) -> bool:
        # What is multiplied inside blocks. Vectors are never met by a product, so they need no rule.
        return (name.startswith("blk.") and name.endswith(".weight")) or (output and name == "output.weight")

    def encode(self, found: Sequence[Importance], text: CalibrationText) -> Sequence[bytes]:
        kvs = [
            kv.text("general.type", "imatrix"),
            kv.texts("imatrix.datasets", [text.name]),
            kv.Kv("imatrix.chunk_count", KvType.U32, text.chunks),
            kv.Kv("imatrix.chunk_size", KvType.U32, text.context),
        ]
        arrays = list(_arrays(found))
        infos, position = bytearray(), 0
        for name, array in arrays:
            raw, dims = name.encode(), [array.shape[1], array.shape[0]][: 1 if len(array) == 1 else 2]
            if len(raw) > MAX_NAME:
                raise FormatError(f"a name of more than {MAX_NAME} bytes, which GGUF does not allow", tensor=name)
            infos += len(raw).to_bytes(8, "little") + raw + len(dims).to_bytes(4, "little")
            for dim in dims:
                infos += dim.to_bytes(8, "little")
            infos += BY_LAYOUT["f32"].id.to_bytes(4, "little") + position.to_bytes(8, "little")
            position = padded(position + array.nbytes, ALIGNMENT)
        head = b"GGUF" + (3).to_bytes(4, "little") + len(arrays).to_bytes(8, "little")
        head += len(kvs).to_bytes(8, "little") + kv.encode(kvs) + infos
        pieces = [head, bytes(-len(head) % ALIGNMENT)]
        for _, array in arrays:
            pieces += [array.tobytes(), bytes(-array.nbytes % ALIGNMENT)]
        return pieces

    def decode(self, path: str) -> tuple[Sequence[Importance], CalibrationText | None]:
        with FileSource(path) as source:
            head = source.read(0, min(4, source.size))
        return _of_gguf(path) if head == b"GGUF" else _of_legacy(path)


def _of_gguf(path: str) -> tuple[Sequence[Importance], CalibrationText | None]:
    with GgufReader().open(path) as model:
        if model.config.get("general.type") != "imatrix":
            raise FormatError("a GGUF file, but no importance matrix: general.type is not imatrix", path=path)
        found = []
        for name, tensor in model.tensors.items():
            stem = name.removesuffix(_SUMS)
            if stem == name:
                if name.removesuffix(_COUNTS) + _SUMS not in model.tensors:
                    raise FormatError(f"its {_SUMS} is missing", path=path, tensor=name)
                continue
            counts = model.tensors.get(stem + _COUNTS)
            if counts is None:
                raise FormatError(f"{stem}{_COUNTS}, which belongs to it, is missing", path=path, tensor=name)
            found.append(Importance(stem, *_matched(tensor, counts, path)))
        return sorted(found, key=lambda item: item.name), _text(model)


def _matched(sums: Tensor, counts: Tensor, path: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    arrays = []
    for tensor in (sums, counts):
        if tensor.layout != "f32" or not 1 <= len(tensor.shape) <= 2 or 0 in tensor.shape:
            raise FormatError(
                f"shape {list(tensor.shape)} of {tensor.layout}, it must be numbers of f32",
                path=path,
                tensor=tensor.name,
            )
        (part,) = tensor.parts.values()
        arrays.append(part.load(0, tensor.rows).reshape(-1))
    told, met = arrays
    if len(told) % len(met) or not np.isfinite(met).all() or (met < 0).any() or (met >= 1 << 53).any():
        raise FormatError(f"{len(told)} sums and counts of {len(met)} matrices", path=path, tensor=sums.name)
    return told.reshape(len(met), -1).astype(np.float64), np.rint(met).astype(np.int64)


def _text(model: Model) -> CalibrationText | None:
    names = model.config.get("imatrix.datasets")
    first = names.first(1) if isinstance(names, GgufArray) else []
    name = first[0].decode("utf-8", "surrogateescape") if first and isinstance(first[0], bytes) else ""
    chunks, context = (model.config.get(key) for key in ("imatrix.chunk_count", "imatrix.chunk_size"))
    if not isinstance(chunks, int) or not isinstance(context, int):
        return None
    return CalibrationText(name, chunks, context)


def _of_legacy(path: str) -> tuple[Sequence[Importance], CalibrationText | None]:
    """The file that llama-imatrix wrote before it wrote GGUF: sums that are means times the number of chunks."""
    with FileSource(path) as source:
        cursor = Cursor(source)
        found: dict[str, Importance] = {}
        for _ in range(cursor.count("i", "entries", item_bytes=12, limit=_MOST_ENTRIES)):
            size = cursor.count("i", "bytes of a name", item_bytes=1, limit=MAX_NAME)
            name = cursor.take(size, "a name").decode("utf-8", "replace")
            calls = cursor.integer("i", "chunks")
            numbers = cursor.count("i", "numbers", item_bytes=4, limit=_MOST_NUMBERS)
            sums = np.frombuffer(cursor.take(4 * numbers, "numbers"), "<f4").astype(np.float64)
            if name in found or not numbers:
                raise FormatError("it stands there twice, or has no numbers", path=path, tensor=name)
            found[name] = Importance(name, sums.reshape(1, -1), np.array([max(1, calls)]))
        chunks, dataset = 0, ""
        if cursor.offset + 8 <= source.size:
            chunks = cursor.integer("i", "chunks")
            dataset = cursor.take(cursor.count("i", "bytes of a name", item_bytes=1, limit=1 << 16), "a name").decode(
                "utf-8", "replace"
            )
    return sorted(found.values(), key=lambda item: item.name), CalibrationText(dataset, max(0, chunks), 0)


def _arrays(found: Sequence[Importance]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for item in found:
        with np.errstate(over="ignore"):
            sums = item.sums.astype("<f4")
        if not np.isfinite(sums).all():
            raise FormatError("squared activations beyond the range of f32", tensor=item.name)
        yield f"{item.name}.in_sum2", sums
        yield f"{item.name}.counts", item.counts.astype("<f4")[:, None]
