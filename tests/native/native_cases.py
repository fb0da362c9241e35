"""What the tests of the kernels share: buffers of the right size, ggml's own library, edge-case weights."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

import hub_native

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "ggml"

LEGACY = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
K = ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k")
PLAIN = ("f32", "f16", "bf16")
DECODED = (
    *("iq4_nl", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"),
    *("mxfp4", "nvfp4", "tq1_0", "tq2_0", "q1_0", "q2_0"),
)  # there is no quantizer for these


def quantize(kind, x, importance=None):
    weights, size = hub_native.block(kind)
    out = np.full((x.shape[0], x.shape[1] // weights * size), 0xA5, np.uint8)  # a byte left alone shows
    hub_native.quantize(kind, x, out.reshape(-1), importance)
    return out


def dequantize(kind, data, cols):
    out = np.full((data.shape[0], cols), np.nan, np.float32)
    hub_native.dequantize(kind, data.reshape(-1), out)
    return out


def assert_same_blocks(kind, ours, theirs, x=None, where=""):
    """Byte equality, and on failure the first differing block in full."""
    _, size = hub_native.block(kind)
    ours, theirs = ours.reshape(-1, size), theirs.reshape(-1, size)
    bad = np.flatnonzero((ours != theirs).any(axis=1))
    if bad.size == 0:
        return
    weights, _ = hub_native.block(kind)
    first = bad[0]
    lines = [
        f"{kind} {where}: {bad.size} of {len(ours)} blocks differ, the first is {first}",
        f"  hub  {ours[first].tobytes().hex()}",
        f"  want {theirs[first].tobytes().hex()}",
    ]
    if x is not None:
        lines.append(f"  x    {x.reshape(-1, weights)[first].tolist()}")
    pytest.fail("\n".join(lines))


# ------------------------------------------------------------------------------------------------- ggml

_GGML_ID = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "q2_k": 10,
    "q3_k": 11,
    "q4_k": 12,
    "q5_k": 13,
    "q6_k": 14,
    "bf16": 30,
}


class Ggml:
    """ggml's reference quantizers through ctypes."""

    def __init__(self, path):
        self._lib = ctypes.CDLL(str(path))
        self._quantize = self._lib.ggml_quantize_chunk
        self._quantize.restype = ctypes.c_size_t
        self._quantize.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]

    def quantize(self, kind, x, importance=None):
        weights, size = hub_native.block(kind)
        out = np.zeros((x.shape[0], x.shape[1] // weights * size), np.uint8)
        done = self._quantize(
            _GGML_ID[kind],
            x.ctypes.data,
            out.ctypes.data,
            0,
            x.shape[0],
            x.shape[1],
            None if importance is None else importance.ctypes.data,
        )
        assert done == out.size
        return out

    def dequantize(self, kind, data, cols):
        name = {"f16": "ggml_fp16_to_fp32_row", "bf16": "ggml_bf16_to_fp32_row"}.get(kind)
        function = getattr(self._lib, name or f"dequantize_row_{kind.replace('_k', '_K')}")
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        out = np.zeros((data.shape[0], cols), np.float32)
        data = np.ascontiguousarray(data)
        function(data.ctypes.data, out.ctypes.data, out.size)
        return out


# ------------------------------------------------------------------------------------------------- weights


def below_powers_of_two(rng, n):
    return np.nextafter(np.float32(2.0) ** rng.integers(-14, 15, n).astype(np.float32), np.float32(0))


def distributions(cols, seed):
    """(name, row) of everything that has ever made two quantizers disagree; rows are float32 [cols]."""
    rng = np.random.default_rng(seed)
    gauss = rng.standard_normal(cols)
    below = below_powers_of_two(rng, cols)
    zeros = gauss.copy()
    for start in range(0, cols, 64):
        zeros[start : start + 32] = 0
    spread = np.repeat(np.exp(3 * rng.standard_normal(cols // 32)), 32)
    rows = {
        "gauss": gauss,
        "lognormal": gauss * np.exp(rng.standard_normal()),
        "spread": gauss * spread,
        "student_t2": rng.standard_t(2, cols),
        "laplace": rng.laplace(size=cols),
        "uniform": rng.uniform(-1, 1, cols),
        "positive": np.abs(gauss),
        "negative": -np.abs(gauss),
        "zero": np.zeros(cols),
        "constant": np.full(cols, 0.37),
        "constant_negative": np.full(cols, -2.5),
        "zero_sub_blocks": zeros,
        "outlier": np.where(rng.random(cols) < 1 / 256, 1000, 1) * gauss,
        "1e-9": gauss * 1e-9,
        "1e-15": gauss * 1e-15,
        "1e-20": gauss * 1e-20,
        "denormal": gauss * 1e-41,
        "few_denormals": gauss * 5e-45,
        "1e5": gauss * 1e5,
        "1e10": gauss * 1e10,
        "1e15": gauss * 1e15,
        "1e19": gauss * 1e19,
        "1e30": gauss * 1e30,
        "largest": gauss * 3e38 / np.abs(gauss).max(),
        "pow2_minus_ulp": below * np.sign(gauss),
        "ties": rng.integers(-8, 9, cols) / 2.0,
        "two_values": np.where(gauss > 0, 0.75, -0.5),
        "sparse": np.where(rng.random(cols) < 0.05, gauss, 0),
        "ramp": np.linspace(-1, 1, cols),
        "cosine": 0.1 + 2 * np.cos(np.arange(cols)),
        "shifted": gauss * 0.01 + 5,
        "negative_zero": np.where(rng.random(cols) < 0.5, -0.0, gauss),
    }
    with np.errstate(over="ignore"):
        return [(name, row.astype(np.float32)) for name, row in rows.items()]


def importances(cols, seed):
    """Importance rows float32 [cols]: like real ones, and those at the edge of sense."""
    rng = np.random.default_rng(seed)
    square = rng.chisquare(1, cols)
    return [
        row.astype(np.float32)
        for row in (
            square,
            np.ones(cols),
            square * 1e-12,
            square * 1e12,
            np.where(rng.random(cols) < 0.5, 0, square),
            np.zeros(cols),
            rng.standard_normal(cols),
        )
    ]  # a negative one makes scales below zero, whose codes wrap


def mixed_rows(rng, rows, cols):
    """float32 [rows, cols], each 16 or 32 weights of another kind and size: neighbours take different branches."""
    x = rng.standard_normal((rows, cols))
    for start in range(0, cols, 16):
        part = x[:, start : start + 16]
        size = 10.0 ** rng.choice([0, 0, 0, -3, 3, 5, -9, -15, -20, -38, -42, 10, 15, 19, 30], (rows, 1))
        kinds = [
            part,
            np.abs(part),
            -np.abs(part),
            np.zeros_like(part),
            np.ones_like(part),
            -np.ones_like(part),
            np.where(part > 1.5, part, 0),
            np.round(part * 2),
            np.where(part > 0, 0.0, -0.0),
            part * 1e-3 + 1,
            np.where(np.arange(16) == 3, 1, part * 1e-4),
            np.sign(part),
        ]
        x[:, start : start + 16] = np.choose(rng.integers(0, len(kinds), (rows, 1)), kinds) * size
    halves = x.reshape(-1, 2, 16)
    same = rng.random(len(halves)) < 0.5
    halves[same, 1] = halves[same, 0]
    return x.astype(np.float32)


@st.composite
def edge_rows(draw, cols):
    """float32 [1, cols], each 16 weights of another kind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = []
    for _ in range(cols // 16):
        scale = draw(st.sampled_from([1.0, 1e-3, 1e-9, 1e-15, 1e-20, 1e-38, 1e-42, 1e3, 6e4]))
        base = rng.standard_normal(16)
        parts.append(
            draw(
                st.sampled_from(
                    [
                        np.zeros(16),
                        np.full(16, scale),
                        np.full(16, -scale),
                        np.abs(base) * scale,
                        -np.abs(base) * scale,
                        base * scale,
                        below_powers_of_two(rng, 16) * np.sign(base),
                        np.where(np.arange(16) == 3, scale, 0.0),
                        np.where(base > 0, scale, -scale),
                        np.where(base > 0, 0.0, -0.0),
                    ]
                )
            )
        )
    return np.concatenate(parts).astype(np.float32).reshape(1, cols)
