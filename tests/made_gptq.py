"""GPTQ checkpoints with act-order, made of the bundled models without any quantizer's help."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import hub

GROUP = 32
_LINEAR = re.compile(r"\.(\w+_proj|w[123])\.weight$")


def write(source: Path, folder: Path, *, ordered: str = "", seed: int = 1, still: str = "(?!)") -> Path:
    """`source` with its layers' matrices as symmetric 4-bit codes, version 1, in groups of 32.

    Args:
        ordered: which modules have columns in groups by a permuted index, an expression; all when empty.
        still: modules that have not, though `ordered` says so.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "golden.npz"))
    random = np.random.default_rng(seed)
    out: dict[str, np.ndarray[Any, Any]] = {}
    with hub.open(source) as model:
        for name, tensor in model.tensors.items():
            (part,) = tensor.parts.values()
            weight = part.load(0, tensor.rows).astype(np.float32)
            if not _LINEAR.search(name):
                out[name] = weight
                continue
            module = name.removesuffix(".weight")
            g_idx = np.arange(weight.shape[1], dtype=np.int32) // GROUP
            if re.search(ordered, module) and not re.search(still, module):
                g_idx = random.permutation(g_idx)
            for role, array in _quantized(weight, g_idx).items():
                out[f"{module}.{role}"] = array
    save_file(out, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": True,
        "checkpoint_format": "gptq",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _quantized(weight: np.ndarray[Any, Any], g_idx: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    rows, columns = weight.shape
    groups = columns // GROUP
    largest = np.stack([np.abs(weight[:, g_idx == group]).max(axis=1) for group in range(groups)])
    scales = np.maximum(largest / 7.5, 1e-4).astype(np.float16)
    codes = np.clip(np.rint(weight.T / scales.astype(np.float32)[g_idx]) + 8, 0, 15).astype(np.uint32)
    shifts = np.arange(8, dtype=np.uint32)[None, :, None] * 4
    words = np.bitwise_or.reduce(codes.reshape(columns // 8, 8, rows) << shifts, axis=1)
    return {
        "qweight": words.view(np.int32),
        "qzeros": np.full((groups, rows // 8), 0x77777777, np.int32),
        "scales": scales,
        "g_idx": g_idx,
    }
