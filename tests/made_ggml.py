"""Makes GGUF files with tensor types that hub has no quantizer for, of blocks that ggml made (tests/data/golden/ggml)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_models import DATA, GGUF_TYPES, read_gguf, write_gguf

FTYPES = {
    "iq4_nl": 25, "iq4_xs": 30, "mxfp4": 38, "nvfp4": 39, "iq3_s": 26, "iq3_xxs": 23, "iq2_s": 28, "iq2_xs": 20,
    "iq2_xxs": 19, "tq1_0": 36, "tq2_0": 37, "iq1_m": 31, "iq1_s": 24, "q1_0": 40, "q2_0": 41,
}  # fmt: skip
"""The types and their `general.file_type`."""

WORDS = {number: word for word, (number, _, _) in GGUF_TYPES.items()}
LARGEST = 8.0


def golden(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of a type that decode to ordinary weights, and these weights as ggml reads them."""
    _, block, size = GGUF_TYPES[kind]
    with np.load(DATA / "golden" / "ggml" / f"{kind.upper()}.npz") as file:
        blocks, weights = file["imatrix"].reshape(-1, size), file["imatrix_f32"].reshape(-1, block)
    fine = (np.isfinite(weights) & (np.abs(weights) < LARGEST)).all(axis=1)
    return blocks[fine], weights[fine]


def as_type(source: Path, path: Path, kind: str) -> dict[str, np.ndarray]:
    """Write a GGUF file of f32 with matrices of blocks of that type; the weights, by name."""
    kvs, tensors = read_gguf(source)
    kvs = [(key, word, FTYPES[kind] if key == "general.file_type" else value) for key, word, value in kvs]
    blocks, weights = golden(kind)
    random, out, made = np.random.default_rng(3), {}, {}
    for name, (number, shape, raw) in tensors.items():
        count = int(np.prod(shape))
        if len(shape) < 2:
            made[name] = WORDS[number], shape, raw[: 4 * count]
            out[name] = np.frombuffer(raw, "<f4", count)
            continue
        chosen = random.integers(0, len(blocks), count // weights.shape[1])
        made[name] = kind, shape, blocks[chosen].tobytes()
        out[name] = weights[chosen].reshape(shape)
    write_gguf(path, kvs, made)
    return out
