"""Mutants of model files, and what hub may do with them: take them, or say no with a `HubError`, soon and in little
memory.

As a program: ``hostile_fuzz.py TARGET SECONDS SEED`` runs one target in a process whose memory is limited.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile_build import (
    ARR,
    CONFIG,
    STR,
    U8,
    U16,
    U32,
    array,
    folder,
    gguf,
    kv,
    llama_gguf,
    llama_infos,
    llama_kvs,
    packed,
    sharded,
    tensors,
)

import hub
from hub import report
from hub.errors import HubError

SLOWEST = 5.0
"""Seconds for one mutant, on a machine that others use too; usual is a millisecond."""
MEMORY = 512 << 20
"""Bytes of address space that the limited process may take beyond what it has when it starts."""

NUMBERS = [
    0, 1, 2, 3, 4, 5, 7, 8, 12, 13, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 4095, 65535, 65536, 10**6, 10**9,
    *(sign * (1 << bits) + delta for bits in (15, 16, 20, 30, 31, 32, 40, 61, 62, 63, 64) for sign in (1, -1)
      for delta in (-1, 0, 1)),
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, [], {}, "", "x", [0], [[]], {"a": 1}, -1, 0, 1.5, 1e300, "F32", "../x.safetensors", "\ud800",
    "\0", "\x1b[2J", "model.safetensors", "LlamaForCausalLM", *NUMBERS,
]  # fmt: skip


# --- mutations ------------------------------------------------------------------------------------------------------


def _overwrite(rng: random.Random, data: bytearray) -> None:
    form = rng.choice(["<B", "<H", "<I", "<Q", ">I", ">Q"])
    value = rng.choice(NUMBERS) & (1 << 8 * struct.calcsize(form)) - 1
    at = rng.randrange(len(data) + 1)
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice([rng.randbytes(rng.randrange(1, 9)), bytes(8), b"\xff" * 8, b'"', b"{", b"[" * 80, b"\\u"])


def _delete(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice([1, 2, 4, 8, 64])]


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _repeat(rng: random.Random, data: bytearray) -> None:
    at, size = rng.randrange(len(data) + 1), rng.choice([8, 16, 64, 256])
    data[at:at] = data[at : at + size]


def _move(rng: random.Random, data: bytearray) -> None:
    at, to, size = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1), rng.choice([1, 4, 8, 64])
    data[to : to + size] = data[at : at + size]


_MUTATIONS = (_overwrite, _overwrite, _overwrite, _flip, _flip, _insert, _delete, _cut, _repeat, _move)


def mutated(rng: random.Random, data: bytes, reach: int) -> bytes:
    """`data` with some changes in its first `reach` bytes, and seldom elsewhere."""
    head, tail = bytearray(data[:reach]), data[reach:]
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        rng.choice(_MUTATIONS)(rng, head)
    if rng.random() < 0.1:
        changed = bytearray(tail)
        rng.choice(_MUTATIONS)(rng, changed)
        tail = bytes(changed)
    return bytes(head) + tail


def mutated_json(rng: random.Random, value: Any) -> bytes:
    """JSON text of `value` with some member replaced, renamed, doubled or removed, or some bytes changed."""
    text = json.dumps(value)
    tree = json.loads(text)
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        _change(rng, tree)
    data = json.dumps(tree, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    return data if rng.random() < 0.7 else mutated(rng, data, len(data))


def _change(rng: random.Random, tree: Any) -> None:
    place = tree
    while isinstance(place, dict | list) and len(place):
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        below = place[key]
        if isinstance(below, dict | list) and below and rng.random() < 0.8:
            place = below
            continue
        action = rng.randrange(4)
        if action == 0:
            del place[key]
        elif action == 1 and isinstance(place, dict):
            place[rng.choice([str(key) + "x", "", "a" * 300, "\x1b", "dtype", "shape", "__metadata__"])] = below
        else:
            place[key] = copy.deepcopy(rng.choice(VALUES))
        return


# --- targets --------------------------------------------------------------------------------------------------------


def _gguf(rng: random.Random, root: Path) -> tuple[Path, bytes]:
    data = rng.choice(_GGUF)
    if rng.random() < 0.5:
        data = mutated(rng, data, 1600)
    else:
        infos, kvs = llama_infos(), llama_kvs()
        for _ in range(rng.choice([1, 2])):
            info = rng.choice(infos)
            match rng.randrange(6):
                case 0:
                    info.dims = [rng.choice(NUMBERS) % (1 << 63) for _ in range(rng.randrange(6))]
                    info.data = b""
                case 1:
                    info.type = rng.randrange(-2, 50)
                case 2:
                    info.offset = rng.choice(NUMBERS)
                case 3:
                    info.name_length = rng.choice(NUMBERS)
                case 4:
                    info.n_dims = rng.choice(NUMBERS) & 0xFFFFFFFF
                case 5:
                    kvs.insert(0, kv("x", ARR, array(rng.randrange(-1, 15) if rng.random() < 0.2 else U8, [],
                                                     count=rng.choice(NUMBERS) & (1 << 64) - 1)))  # fmt: skip
        with contextlib.suppress(struct.error, KeyError):
            data = gguf(kvs, infos, alignment=rng.choice([32, 32, 32, 1, 8, 13]))
    path = root / "m.gguf"
    path.write_bytes(data)
    return path, data


_GGUF = [
    llama_gguf(),
    gguf([*llama_kvs(), kv("general.alignment", U32, 32), kv("tokenizer.ggml.model", STR, "llama"),
          kv("tokenizer.ggml.tokens", ARR, array(STR, [f"t{i}" for i in range(64)])),
          kv("tokenizer.ggml.token_type", ARR, array(5, [1] * 64)), kv("a", ARR, array(U8, []))], llama_infos()),
    gguf([*llama_kvs(), kv("split.count", U16, 0)], llama_infos(), version=2),
]  # fmt: skip
_PACKED = packed(tensors())
_HEADER = json.loads(_PACKED[8 : 8 + int.from_bytes(_PACKED[:8], "little")])
_DATA = _PACKED[8 + int.from_bytes(_PACKED[:8], "little") :]


def _safetensors(rng: random.Random, root: Path) -> tuple[Path, bytes]:
    if rng.random() < 0.5:
        data = mutated(rng, _PACKED, 8 + 1400)
    else:
        header = mutated_json(rng, _HEADER)
        data = struct.pack("<Q", len(header)) + header + _DATA
    (root / "model.safetensors").write_bytes(data)
    return root, data


def _config(rng: random.Random, root: Path) -> tuple[Path, bytes]:
    data = mutated_json(rng, CONFIG | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}})
    (root / "config.json").write_bytes(data)
    return root, data


def _index(rng: random.Random, root: Path) -> tuple[Path, bytes]:
    original = root / "index.original"
    if not original.exists():
        original.write_bytes((root / "model.safetensors.index.json").read_bytes())
    data = mutated_json(rng, json.loads(original.read_bytes()))
    (root / "model.safetensors.index.json").write_bytes(data)
    return root, data


_ONNX = Path(__file__).parents[1] / "data" / "golden" / "onnx"
_GRAPHS = [
    (name, (_ONNX / name / "model.onnx").read_bytes())
    for name in ("genai-int4", "olive-qdq", "dynamic-gpt2", "genai-tied")
]


def _onnx_folder(root: Path) -> None:
    for name, _ in _GRAPHS:
        shutil.copytree(_ONNX / name, root / name)


def _onnx(rng: random.Random, root: Path) -> tuple[Path, bytes]:
    """Graphs with some bytes changed: where messages begin, where shapes and places stand, or in the names."""
    name, data = rng.choice(_GRAPHS)
    if rng.random() < 0.3:
        word = rng.choice(
            [b"location", b"offset", b"length", b"MatMul", b"weight", b"onnx::", b"DequantizeLinear", b"block"]
        )
        found = [match.start() for match in re.finditer(word, data)]
        at = rng.choice(found) if found else 0
        low = max(0, at - 64)
        data = data[:low] + mutated(rng, data[low : at + 64], 128) + data[at + 64 :]
    else:
        data = mutated(rng, data, rng.choice([64, 1024, len(data)]))
    (root / name / "model.onnx").write_bytes(data)
    return root / name, data


TARGETS: dict[str, tuple[Callable[[random.Random, Path], tuple[Path, bytes]], Callable[[Path], object]]] = {
    "gguf": (_gguf, lambda root: root.mkdir(exist_ok=True)),
    "safetensors": (_safetensors, lambda root: folder(root)),
    "config": (_config, lambda root: folder(root)),
    "index": (_index, lambda root: sharded(root)),
    "onnx": (_onnx, _onnx_folder),
}
"""How a target's mutants are made, and the folder they are made in."""


def run(target: str, seconds: float, seed: int, accepted: Callable[[bytes], object] = bytes) -> tuple[int, int]:
    """Try mutants for some time.

    Args:
        accepted: told about every file that hub opens.

    Returns:
        How many there were, and how many hub opened.
    """
    make, prepare = TARGETS[target]
    count = opened = 0
    with _work() as root:
        prepare(root)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            mutant_seed = f"{target} {seed} {count}"
            path, data = make(random.Random(mutant_seed), root)
            started = time.monotonic()
            try:
                taken = _try(path, target if target in ("gguf", "onnx") else "safetensors")
            except Exception as error:
                raise AssertionError(f"mutant {mutant_seed!r}: {type(error).__name__}: {error}") from error
            took = time.monotonic() - started
            assert took < SLOWEST, f"mutant {mutant_seed!r}: {took:.1f} s"
            count += 1
            if taken:
                opened += 1
                accepted(data)
    return count, opened


def _try(path: Path, format: str) -> bool:
    try:
        with hub.open(path, format=format) as model:
            try:
                json.dumps(report.describe(model))
                hub.plan(model, to="gguf:q8_0")
            except HubError as error:
                _check(error)
            return True
    except HubError as error:
        _check(error)
        return False


def _check(error: HubError) -> None:
    line = str(error)
    assert line.isascii(), repr(line)
    assert line.isprintable(), repr(line)
    assert len(line) <= 700, line
    assert error.path is not None, line


@contextlib.contextmanager
def _work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hub-fuzz-") as made:
        yield Path(made) / "m"


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


if __name__ == "__main__":
    name, duration, start = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    run(name, 0.2, -1)  # everything that is loaded on first use is loaded
    _limit_memory()
    print(*run(name, duration, start))
