"""What the tests of the fast products share: weights of every kind, activations as they are prepared, the product in f64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from native_cases import PLAIN, dequantize

import hub_native

KINDS = hub_native.fast_kinds()
INTEGER = tuple(kind for kind in KINDS if kind not in PLAIN)

# (columns, rows, tokens): tiles have 8 or 32 rows and 512 columns, tokens are taken 12, 6, 4, 2 and 1 at a time.
SHAPES = [(256, 1, 1), (256, 17, 3), (768, 33, 17), (512, 8, 12), (1280, 40, 25), (256, 2, 256)]
SMALL = [(32, 5, 3), (96, 3, 7), (544, 9, 13)]  # blocks of 32 only
ODD = [(1, 3, 2), (7, 5, 13), (1031, 4, 5)]  # floats only


# Where a block keeps its f16 numbers.
F16 = {
    "q8_0": (0,),
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
}


def shapes(kind):
    block, _ = hub_native.block(kind)
    return SHAPES + (SMALL if block <= 32 else []) + (ODD if block == 1 else [])


def weights(kind, rows, cols, seed=0):
    """Weights [rows, bytes] of a kind: blocks of any codes at all, with scales of sensible size."""
    rng = np.random.default_rng([seed, rows, cols])
    block, size = hub_native.block(kind)
    if block == 1:
        x = rng.standard_normal((rows, cols)).astype(np.float32)
        out = np.empty(rows * cols * size, np.uint8)
        hub_native.quantize(kind, x, out)
        return out.reshape(rows, -1)
    out = rng.integers(0, 256, (rows * cols // block, size), np.uint8)
    halves = rng.uniform(0.001, 0.02, (len(out), 2)).astype(np.float16).view(np.uint8)
    for i, at in enumerate(F16[kind]):
        out[:, at : at + 2] = halves[:, 2 * i : 2 * i + 2]
    return out.reshape(rows, -1)


def activations(tokens, cols, seed=0):
    rng = np.random.default_rng([seed, tokens, cols])
    return (rng.standard_normal((tokens, cols)) * np.exp(rng.standard_normal((tokens, 1)))).astype(np.float32)


def as_prepared(kind, x):
    """What a kernel knows of x, in f64: native/src/fast.h in NumPy."""
    family = hub_native.fast_family(kind)
    if family == "f32":
        return x.astype(np.float64)
    if family == "bf16":
        return x.astype(ml_dtypes.bfloat16).astype(np.float64)
    blocks = x.reshape(len(x), -1, int(family.split("/")[1]))
    peak = np.abs(blocks).max(axis=-1, keepdims=True)
    codes = np.rint(blocks * (np.float32(127) / peak))
    return (codes.astype(np.float64) * (peak / np.float32(127)).astype(np.float64)).reshape(x.shape)


def product(kind, data, x):
    out = np.full((len(x), len(data)), np.nan, np.float32)
    hub_native.linear_fast(kind, data.reshape(-1), len(data), hub_native.fast_input(kind, x), out, 0)
    return out


def reference(kind, data, x):
    """(the product, the sum of the magnitudes of its terms), f64 [tokens, rows]"""
    w = dequantize(kind, data, x.shape[1]).astype(np.float64)
    x = as_prepared(kind, x)
    return x @ w.T, np.abs(x) @ np.abs(w.T)
