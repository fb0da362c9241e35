"""gpt-oss with experts in MXFP4, made of the small dense one byte by byte and not through hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from made_models import DATA, read_safetensors, safetensors_bytes

DENSE = DATA / "arch" / "gpt_oss"
EXPERTS = ("experts.gate_up_proj", "experts.down_proj")
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
CONFIG = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
    ],
}  # fmt: skip


def packed(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (experts, out, in/32, 16) and scales (experts, out, in/32), u8, of weights (experts, out, in)."""
    experts, rows, columns = weights.shape
    blocks = weights.astype(np.float32).reshape(experts, rows, columns // 32, 32)
    _, exponent = np.frexp(np.abs(blocks).max(-1))
    power = exponent - 1 - 2
    size = np.abs(blocks) / np.exp2(power.astype(np.float32))[..., None]
    codes = np.abs(size[..., None] - E2M1).argmin(-1).astype(np.uint8) | (blocks < 0).astype(np.uint8) << 3
    return codes[..., ::2] | codes[..., 1::2] << 4, (power + 127).astype(np.uint8)


def unpacked(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The weights, (experts, out, in)."""
    codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:-1], 32)
    values = E2M1[codes & 7] * np.where(codes & 8, np.float32(-1), np.float32(1))
    return (values * np.exp2(scales.astype(np.float32) - 127)[..., None]).reshape(*blocks.shape[:2], -1)


def arrays() -> dict[str, np.ndarray]:
    """The tensors of the folder."""
    out: dict[str, np.ndarray] = {}
    for name, array in read_safetensors(DENSE / "model.safetensors").items():
        if name.endswith(EXPERTS):
            out[f"{name}_blocks"], out[f"{name}_scales"] = packed(array.transpose(0, 2, 1))
        else:
            out[name] = array
    return out


def decoded() -> dict[str, np.ndarray]:
    """The tensors as transformers has them in memory: dense, (experts, in, out)."""
    made = arrays()
    for name in [name.removesuffix("_blocks") for name in made if name.endswith("_blocks")]:
        weights = unpacked(made.pop(f"{name}_blocks"), made.pop(f"{name}_scales"))
        made[name] = np.ascontiguousarray(weights.transpose(0, 2, 1)).astype(ml_dtypes.bfloat16)
    return made


def folder(path: Path, tensors: Mapping[str, np.ndarray] | None = None, **changes: Any) -> Path:
    """The folder, with other tensors or another quantization_config."""
    path.mkdir(parents=True)
    config = json.loads((DENSE / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "quantization_config": {**CONFIG, **changes}}))
    (path / "model.safetensors").write_bytes(safetensors_bytes(arrays() if tensors is None else tensors))
    return path
