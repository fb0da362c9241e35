"""Byte for byte against ggml's own library."""

import numpy as np
import pytest
from hypothesis import given, settings
from native_cases import (
    DECODED,
    LEGACY,
    PLAIN,
    K,
    assert_same_blocks,
    dequantize,
    distributions,
    edge_rows,
    importances,
    quantize,
)

from hub_native import block

pytestmark = pytest.mark.peers

COLS = 2048
ALL = [*PLAIN, *LEGACY, *K]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ALL)
def test_quantize(ggml, kind, seed):
    for name, row in distributions(COLS, seed):
        x = np.ascontiguousarray(row.reshape(1, COLS))
        for i, importance in enumerate([None, *importances(COLS, seed)]):
            ours, theirs = quantize(kind, x, importance), ggml.quantize(kind, x, importance)
            assert_same_blocks(kind, ours, theirs, x, f"{name}, importance {i}")


@pytest.mark.parametrize("kind", ALL)
def test_many_rows(ggml, kind):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((64, COLS)) * np.exp(rng.standard_normal((64, 1)))).astype(np.float32)
    for importance in (None, importances(COLS, 9)[0]):
        assert_same_blocks(kind, quantize(kind, x, importance), ggml.quantize(kind, x, importance), x)


@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_not_finite(ggml, kind):
    """Nobody should quantize these, but hub and ggml do the same with them."""
    rng = np.random.default_rng(6)
    for seed in range(20):
        x = rng.standard_normal((6, 512)).astype(np.float32)
        for row, value in zip(x, [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20], strict=True):
            row[rng.integers(0, 512, rng.integers(1, 30))] = value
        for importance in (None, importances(512, seed)[0]):
            assert_same_blocks(kind, quantize(kind, x, importance), ggml.quantize(kind, x, importance), x)


@pytest.mark.parametrize("kind", [*LEGACY, *K])
@settings(max_examples=60)
@given(x=edge_rows(256))
def test_edge_rows(ggml, kind, x):
    for importance in (None, importances(256, 3)[0]):
        assert_same_blocks(kind, quantize(kind, x, importance), ggml.quantize(kind, x, importance), x)


@pytest.mark.parametrize("kind", [*LEGACY, *K, *DECODED])
def test_dequantize(ggml, kind):
    weights, size = block(kind)
    data = np.random.default_rng(8).integers(0, 256, (400, 2 * size), np.uint8)
    ours, theirs = dequantize(kind, data, 2 * weights), ggml.dequantize(kind, data, 2 * weights)
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), nan)
    np.testing.assert_array_equal(ours.view(np.uint32)[~nan], theirs.view(np.uint32)[~nan])
