"""Blocks at the edge: zero, constant, one-sided, tiny, huge, just below a power of two. Values come from hypothesis."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from hypothesis import given, settings
from native_cases import LEGACY, K, assert_same_blocks, dequantize, edge_rows, importances, quantize

# Largest error in units of the largest weight of the block: half a step with room for an extreme that is clipped, and
# for sub-blocks whose 4- or 6-bit scale rounds to 0. Not tight: a wrong shift or sign is far outside.
TOLERANCE = {
    "q8_0": 0.005,
    "q4_0": 0.13,
    "q4_1": 0.07,
    "q5_0": 0.07,
    "q5_1": 0.04,
    "q2_k": 0.6,
    "q3_k": 0.35,
    "q4_k": 0.2,
    "q5_k": 0.12,
    "q6_k": 0.06,
}


@pytest.mark.parametrize("kind", LEGACY)
@settings(max_examples=60)
@given(x=edge_rows(64))
def test_legacy_equal_gguf(kind, x):
    x = x + np.float32(0)  # no -0.0: of 0.0 and -0.0 NumPy and ggml call different ones the smaller, or the larger
    with np.errstate(all="ignore"):
        theirs = gguf.quants.quantize(x, GGMLQuantizationType[kind.upper()])
    assert_same_blocks(kind, quantize(kind, x), theirs, x)


@pytest.mark.parametrize("kind", K)
@settings(max_examples=40)
@given(x=edge_rows(256))
def test_k_error_is_bounded(kind, x):
    y = dequantize(kind, quantize(kind, x), 256)
    largest = float(np.abs(x).max())
    # d is an f16: below its least step (2^-24 per code of a scale code) everything is 0.
    assert np.abs(y - x).max() <= TOLERANCE[kind] * largest + 2.0**-24 * 128 * 32


@pytest.mark.parametrize("kind", [*LEGACY, *K])
@pytest.mark.parametrize("which", range(3))
def test_weighted_error_is_bounded(kind, which):
    x = np.random.default_rng(0).standard_normal((4, 512)).astype(np.float32)
    y = dequantize(kind, quantize(kind, x, importances(512, 1)[which]), 512)
    assert np.sqrt(np.mean((y - x) ** 2)) < 0.4


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_zero_stays_zero(kind, weighted):
    x = np.zeros((2, 512), np.float32)
    y = dequantize(kind, quantize(kind, x, np.ones(512, np.float32) if weighted else None), 512)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_not_finite_is_defined(kind, weighted):
    """NaN and infinity are the caller's mistake, but must neither crash nor depend on anything but the input."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, 512)).astype(np.float32)
    for row, value in zip(x, [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, np.nan, np.inf], strict=True):
        row[rng.integers(0, 512, 20)] = value
    importance = np.ones(512, np.float32) if weighted else None
    np.testing.assert_array_equal(quantize(kind, x, importance), quantize(kind, x.copy(), importance))


@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_other_rows_do_not_matter(kind):
    """A row of NaN beside good rows changes none of their bytes."""
    x = np.random.default_rng(2).standard_normal((3, 512)).astype(np.float32)
    alone = quantize(kind, x)
    x[1] = np.nan
    np.testing.assert_array_equal(quantize(kind, x)[[0, 2]], alone[[0, 2]])
