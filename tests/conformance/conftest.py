"""Models for formats that nothing writes, made by plain code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hub.testing import models


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Sequence[Path]]:
    """Small models by format; a plugin that only reads a format needs one here."""
    root = tmp_path_factory.mktemp("samples")
    return {"safetensors": [hugging_face_folder(root / "llama"), one_file(root / "llama.safetensors")]}


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
    header, at = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, data in tensors.values())
