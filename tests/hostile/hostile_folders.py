"""Folders with one file of weights, taken apart and put together again with something wrong in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Tensors = dict[str, tuple[str, list[int], bytes]]
"""Type, shape and bytes of tensors by name."""


def read(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """Settings, and tensors."""
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    data = raw[8 + length :]
    tensors = {n: (i["dtype"], i["shape"], data[slice(*i["data_offsets"])]) for n, i in header.items()}
    return json.loads((folder / "config.json").read_text()), tensors


def write(folder: Path, config: dict[str, Any], tensors: Tensors) -> Path:
    """The same in the place of what is there; what tells about the tensors elsewhere is taken away."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())
    )
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("quantize_config.json", "model.safetensors.index.json"):
        (folder / name).unlink(missing_ok=True)
    return folder
