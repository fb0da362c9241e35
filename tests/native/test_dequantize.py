"""Dequantizing any bytes equals the `gguf` package."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from native_cases import LEGACY, K, dequantize

from hub_native import block

# Offsets of the f16 fields in a block: where random bytes should be more than random.
HALVES = {
    "q8_0": [0],
    "q4_0": [0],
    "q4_1": [0, 2],
    "q5_0": [0],
    "q5_1": [0, 2],
    "q2_k": [80, 82],
    "q3_k": [108],
    "q4_k": [0, 2],
    "q5_k": [0, 2],
    "q6_k": [208],
}
ODD = [
    0x0000,
    0x8000,
    0x0001,
    0x8001,
    0x03FF,
    0x0400,
    0x7BFF,
    0xFBFF,
    0x7C00,
    0xFC00,
    0x7E00,
    0xFE00,
    0x7C01,
    0xFDFF,
    0x3C00,
    0xBC00,
]


@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_random_bytes(kind):
    weights, size = block(kind)
    rng = np.random.default_rng(7)
    rows, cols = 400, 2 * weights
    data = rng.integers(0, 256, (rows, 2 * size), np.uint8)
    blocks = data.reshape(-1, size)
    for at in HALVES[kind]:
        odd = np.array(ODD, "<u2")[rng.integers(0, len(ODD), len(blocks) // 2)]
        blocks[: len(odd), at : at + 2] = odd.view(np.uint8).reshape(-1, 2)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(data, GGMLQuantizationType[kind.upper()])
    ours = dequantize(kind, data, cols)
    nan = np.isnan(theirs)
    assert nan.any() and not nan.all()
    np.testing.assert_array_equal(np.isnan(ours), nan)
    # A NaN is a NaN; every other number must have the same 32 bits.
    np.testing.assert_array_equal(ours.view(np.uint32)[~nan], theirs.view(np.uint32)[~nan])


@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_any_address(kind):
    """Blocks lie at odd offsets of files."""
    weights, size = block(kind)
    data = np.random.default_rng(3).integers(0, 100, 4 * size, np.uint8)
    want = dequantize(kind, data.reshape(1, -1), 4 * weights)
    for shift in (1, 2, 3):
        moved = np.zeros(shift + data.size, np.uint8)
        moved[shift:] = data
        np.testing.assert_array_equal(dequantize(kind, moved[shift:].reshape(1, -1), 4 * weights), want)
