"""Dequantizing any bytes equals the `gguf` package."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from native_cases import DECODED, LEGACY, K, dequantize

from hub_native import block, grid

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
    **{kind: [0] for kind in DECODED if kind.startswith("iq")},
    "iq1_m": [],
    "mxfp4": [],
    "nvfp4": [],
    "tq1_0": [52],
    "tq2_0": [64],
    "q1_0": [0],
    "q2_0": [0],
}
WITHOUT_NAN = ("mxfp4", "nvfp4")  # their scales are bytes, of which none means NaN to ggml
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


@pytest.mark.parametrize("kind", [*LEGACY, *K, *DECODED])
def test_random_bytes(kind):
    weights, size = block(kind)
    rng = np.random.default_rng(7)
    rows, cols = 400, 2 * weights
    data = rng.integers(0, 256, (rows, 2 * size), np.uint8)
    blocks = data.reshape(-1, size)
    for at in HALVES[kind]:
        odd = np.array(ODD, "<u2")[rng.integers(0, len(ODD), len(blocks) // 2)]
        blocks[: len(odd), at : at + 2] = odd.view(np.uint8).reshape(-1, 2)
    theirs = package_weights(kind, data)
    ours = dequantize(kind, data, cols)
    nan = np.isnan(theirs)
    assert nan.any() == (kind not in WITHOUT_NAN) and not nan.all()
    np.testing.assert_array_equal(np.isnan(ours), nan)
    # A NaN is a NaN; every other number must have the same 32 bits.
    np.testing.assert_array_equal(ours.view(np.uint32)[~nan], theirs.view(np.uint32)[~nan])


def package_weights(kind, data):
    """What the package makes of the blocks; of types that it does not know yet, what their formula says."""
    with np.errstate(all="ignore"):
        if kind == "q1_0":
            values = 2.0 * np.unpackbits(data.reshape(-1, 18)[:, 2:], axis=1, bitorder="little") - 1
        elif kind == "q2_0":
            crumbs = data.reshape(-1, 18)[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
            values = crumbs.reshape(-1, 64) - 1.0
        else:
            return gguf.quants.dequantize(data, GGMLQuantizationType[kind.upper()])
        d = np.ascontiguousarray(data.reshape(-1, 18)[:, :2]).view("<f2").astype(np.float32)
        return (d * values.astype(np.float32)).reshape(len(data), -1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("iq2_xxs", "IQ2_XXS"), ("iq2_xs", "IQ2_XS"), ("iq2_s", "IQ2_S"), ("iq3_xxs", "IQ3_XXS"), ("iq3_s", "IQ3_S"),
        ("iq1_s", "IQ1_S"), ("iq1_m", "IQ1_S"),
    ],
)  # fmt: skip
def test_grids(kind, name):
    """Every vector, also those that no quantizer likes."""
    package = getattr(gguf.quants, name)
    package.init_grid()
    assert grid(kind) == tuple(package.grid.reshape(-1).tolist())


def test_only_lattices_have_grids():
    for kind in ("iq4_nl", "q4_k", "f32", "mxfp4"):
        with pytest.raises(ValueError, match=f"{kind}: its codes do not name vectors"):
            grid(kind)
    with pytest.raises(ValueError, match="unknown type"):
        grid("iq5")


@pytest.mark.parametrize("kind", [*LEGACY, *K, *DECODED])
def test_any_address(kind):
    """Blocks lie at odd offsets of files."""
    weights, size = block(kind)
    data = np.random.default_rng(3).integers(0, 100, 4 * size, np.uint8)
    want = dequantize(kind, data.reshape(1, -1), 4 * weights)
    for shift in (1, 2, 3):
        moved = np.zeros(shift + data.size, np.uint8)
        moved[shift:] = data
        np.testing.assert_array_equal(dequantize(kind, moved[shift:].reshape(1, -1), 4 * weights), want)
