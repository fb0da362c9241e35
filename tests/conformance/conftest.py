"""Models for formats that nothing writes, made by plain code."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from hub.testing import models

Stored = tuple[str, Sequence[int], bytes]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Sequence[Path]]:
    """Small models by format; a plugin that only reads a format needs one here."""
    root = tmp_path_factory.mktemp("samples")
    return {
        "safetensors": [hugging_face_folder(root / "llama"), one_file(root / "llama.safetensors")],
        "mxfp4": [quantized_folder(root / "mxfp4", "mxfp4", mxfp4)],
        "bitsandbytes": [quantized_folder(root / "bitsandbytes", "bitsandbytes", int8)],
    }


def quantized_folder(folder: Path, method: str, change: Callable[[str, int, int], Mapping[str, Stored]]) -> Path:
    """A folder whose projections are quantized, for formats that hub only reads."""
    folder.mkdir()
    settings = models.config(hidden=32, layers=1, intermediate=32)
    tensors: dict[str, Stored] = {}
    for name, array in models.arrays(settings, "bf16").items():
        if name.endswith("proj.weight"):
            tensors |= change(name, *array.shape)
        else:
            tensors[name] = ("BF16", array.shape, array.tobytes())
    (folder / "config.json").write_text(json.dumps({**settings, "quantization_config": {"quant_method": method}}))
    (folder / "model.safetensors").write_bytes(stored(tensors))
    return folder


def mxfp4(name: str, rows: int, columns: int) -> Mapping[str, Stored]:
    """Codes of every kind with scales of about 1/64."""
    count = rows * columns // 32
    codes = bytes(i * 37 % 256 for i in range(16 * count))
    return {
        f"{name}_blocks": ("U8", (rows, columns // 32, 16), codes),
        f"{name}_scales": ("U8", (rows, columns // 32), bytes(120 + i % 3 for i in range(count))),
    }


def int8(name: str, rows: int, columns: int) -> Mapping[str, Stored]:
    """Codes of every kind, the largest of each row standing for 0.25."""
    codes = bytes(i * 37 % 256 for i in range(rows * columns))
    return {
        name: ("I8", (rows, columns), codes),
        name.replace("weight", "SCB"): ("F32", (rows,), struct.pack("<f", 0.25) * rows),
        name.replace("weight", "weight_format"): ("U8", (), bytes(1)),
    }


def hugging_face_folder(folder: Path) -> Path:
    """config.json and weights in two shards with an index."""
    folder.mkdir()
    settings = models.config(hidden=32, layers=1, intermediate=32)
    (folder / "config.json").write_text(json.dumps(settings))
    weights = {name: array.tobytes() for name, array in models.arrays(settings, "bf16").items()}
    shapes = {name: array.shape for name, array in models.arrays(settings, "bf16").items()}
    names = sorted(weights)
    placed = {}
    for i, part in enumerate((names[:5], names[5:])):
        shard = f"model-{i + 1:05}-of-00002.safetensors"
        (folder / shard).write_bytes(safetensors({name: (shapes[name], weights[name]) for name in part}))
        placed |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


def one_file(path: Path) -> Path:
    """Two tensors without configuration."""
    path.write_bytes(safetensors({"a": ((4, 8), bytes(range(64))), "b": ((8,), bytes(range(16)))}))
    return path


def safetensors(tensors: Mapping[str, tuple[Sequence[int], bytes]]) -> bytes:
    """A safetensors file of bf16 tensors."""
    return stored({name: ("BF16", shape, data) for name, (shape, data) in tensors.items()})


def stored(tensors: Mapping[str, Stored]) -> bytes:
    """A safetensors file of (type, shape, bytes)."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for *_, data in tensors.values())
