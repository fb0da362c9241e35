"""Plants mistakes in finished GGUF files and safetensors folders: bytes and metadata are changed here, not by hub."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_models import Kv, _kv, _string, read_gguf, read_safetensors, safetensors_bytes

BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
}  # fmt: skip
"""ggml type -> weights and bytes of a block."""
F32, F16, Q4_0, Q8_0, Q4_K = 0, 1, 2, 8, 12


@dataclass
class Stored:
    """A tensor of a GGUF file: ggml type, logical shape, and bytes as (rows, bytes per row)."""

    kind: int
    shape: tuple[int, ...]
    raw: np.ndarray

    @property
    def f32(self) -> np.ndarray:
        """The numbers of an F32 tensor."""
        assert self.kind == F32
        return self.raw.view(np.float32).reshape(self.shape)


class Gguf:
    """A GGUF file taken apart, to be changed and written again."""

    def __init__(self, path: Path) -> None:
        self.kvs, tensors = read_gguf(path)
        self.tensors: dict[str, Stored] = {}
        for name, (kind, shape, raw) in tensors.items():
            weights, size = BLOCKS[kind]
            row = shape[-1] // weights * size
            count = int(np.prod(shape[:-1]))
            data = np.frombuffer(raw[: count * row], np.uint8).reshape(count, row).copy()
            self.tensors[name] = Stored(kind, shape, data)

    def write(self, path: Path) -> Path:
        """The file."""
        head = b"GGUF" + struct.pack("<Iqq", 3, len(self.tensors), len(self.kvs))
        head += b"".join(_kv(*kv) for kv in self.kvs)
        data = b""
        for name, tensor in self.tensors.items():
            dims = tuple(reversed(tensor.shape))
            head += _string(name) + struct.pack(f"<I{len(dims)}qiQ", len(dims), *dims, tensor.kind, len(data))
            raw = tensor.raw.tobytes()
            data += raw + bytes(-len(raw) % 32)
        path.write_bytes(head + bytes(-len(head) % 32) + data)
        return path

    def key(self, name: str) -> Any:
        """The value of a key."""
        return next(value for key, _, value in self.kvs if key == name)

    def set(self, name: str, value: Any) -> None:
        """Change the value of a key that is there."""
        assert any(key == name for key, _, _ in self.kvs), name
        self.kvs: list[Kv] = [(key, kind, value if key == name else old) for key, kind, old in self.kvs]

    @property
    def word(self) -> str:
        """general.architecture."""
        return self.key("general.architecture").decode()

    def rows(self, name: str, order: np.ndarray) -> None:
        """Put the rows of a tensor in another order."""
        self.tensors[name].raw = self.tensors[name].raw[order]

    def swap(self, one: str, other: str) -> None:
        """Exchange the bytes of two tensors."""
        a, b = self.tensors[one], self.tensors[other]
        a.kind, a.raw, b.kind, b.raw = b.kind, b.raw, a.kind, a.raw


class Folder:
    """A safetensors folder taken apart, to be changed and written again."""

    def __init__(self, path: Path) -> None:
        self.config = json.loads((path / "config.json").read_text())
        self.arrays = dict(read_safetensors(path / "model.safetensors"))

    def write(self, path: Path) -> Path:
        """The folder."""
        path.mkdir()
        (path / "config.json").write_text(json.dumps(self.config))
        (path / "model.safetensors").write_bytes(safetensors_bytes(self.arrays))
        return path


def paired(rows: int, heads: int) -> np.ndarray:
    """For each row in neighbouring pairs, the row in halves that stands there."""
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def halved(rows: int, heads: int) -> np.ndarray:
    """The inverse of `paired`."""
    return np.argsort(paired(rows, heads))


Plant = Callable[[Gguf], None]
