"""What ggml's layouts say their bytes mean, on any bytes, and what their decoding makes of them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import reference
from hub.api import TWICE_E2M1, Codebook, HubError, Quantized
from hub_gguf import layouts_table
from hub_gguf.layouts import GgmlLayout, ScaledLayout, make
from hub_gguf.types import BY_NAME, DECODED, QUANTIZED

PACKAGE = [kind for kind in (*QUANTIZED, *DECODED) if kind.name not in ("Q1_0", "Q2_0")]


def bits(array) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def assert_same(ours, theirs) -> None:
    """Bit for bit, any NaN for any other."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    number = ~np.isnan(theirs)
    np.testing.assert_array_equal(bits(ours)[number], bits(theirs)[number])


@pytest.mark.parametrize("kind", [*QUANTIZED, *DECODED], ids=lambda kind: kind.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_bytes(kind, data) -> None:
    """Uniform bytes, and the runs of one byte and single bits that uniform ones never are."""
    layout, rows = GgmlLayout(kind), 2
    width = kind.block * data.draw(st.integers(1, 3))
    size = rows * kind.row_bytes(width)
    seed = data.draw(st.integers(0, 2**32 - 1))
    raw = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, size - 1))
        raw[start : start + data.draw(st.integers(1, size))] = data.draw(st.sampled_from([0, 255, 1, 128, 0x7F]))
    arrays = {"blocks": raw.reshape(rows, -1)}
    ours = layout.decode(arrays, (rows, width))
    assert_same(ours, reference.decode(layout.unpack(arrays, (rows, width))))
    if kind in PACKAGE:
        with np.errstate(all="ignore"):
            assert_same(ours, quants.dequantize(arrays["blocks"], GGMLQuantizationType[kind.name]))


@pytest.mark.parametrize("kind", DECODED, ids=lambda kind: kind.name)
def test_the_meaning_is_within_its_bounds(kind) -> None:
    """Codes that name an entry that the codebook has, signs that are signs: what generic kernels count on."""
    layout = GgmlLayout(kind)
    raw = np.random.default_rng(4).integers(0, 256, (64, kind.row_bytes(2 * kind.block)), np.uint8)
    body = layout.unpack({"blocks": raw}, (64, 2 * kind.block))
    if body.signs is not None:
        assert set(np.unique(body.signs.load(0, 64))) == {-1, 1}
    for one in (body, body.scale):
        if isinstance(one, Quantized) and isinstance(one.values, Codebook):
            codes = one.codes.load(0, 64)
            assert codes.min() >= 0 and codes.max() < len(one.values.table) // one.values.width


@pytest.mark.parametrize("kind", [t for t in DECODED if t.name not in ("MXFP4", "NVFP4")], ids=lambda kind: kind.name)
def test_what_has_no_quantizer_is_not_packed(kind) -> None:
    layout = GgmlLayout(kind)
    shape = (1, kind.block)
    holding = layout.can_hold(layout.scheme(shape), shape)
    assert (holding.fidelity, holding.reason) == ("lossy", f"only a quantizer makes {kind.name}")
    with pytest.raises(NotImplementedError, match=f"{layout.name} cannot be packed"):
        layout.pack(layout.unpack({"blocks": np.zeros((1, kind.bytes), np.uint8)}, shape))


def test_every_scale_of_mxfp4() -> None:
    """Those of E8M0 times E2M1, but for the one that is NaN there: ggml goes on counting."""
    blocks = np.zeros((256, 17), np.uint8)
    blocks[:, 0] = np.arange(256)
    blocks[:, 1:] = np.arange(16) * 0x11
    ours = make("ggml.MXFP4").decode({"blocks": blocks}, (256, 32))
    with np.errstate(over="ignore"):
        scales = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
        values = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
        want = scales[:255, None] * np.tile(values, 2)
    np.testing.assert_array_equal(ours[:255], want)  # as numbers: ggml knows no minus zero
    assert not np.signbit(ours[ours == 0]).any()
    assert ours[255, 1] == 2.0**127 and ours[255, 2] == np.inf


def test_every_scale_of_nvfp4() -> None:
    """Those of E4M3 without sign, but for its NaN."""
    codes = np.arange(256, dtype=np.uint8)
    blocks = np.full((64, 36), 0x22, np.uint8)  # all codes 1.0
    blocks[:, :4] = codes.reshape(64, 4)
    ours = make("ggml.NVFP4").decode({"blocks": blocks}, (64, 64)).reshape(256, 16)[:, 0]
    want = (codes & 0x7F).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    want[[0x7F, 0xFF]] = 0, 480
    np.testing.assert_array_equal(ours, want)


def test_ternary_digits_of_every_byte() -> None:
    """Five digits of a byte are the base-3 digits of what quantizers store in it, ``ceil(n * 256 / 243)``."""
    blocks = np.zeros((243, 54), np.uint8)
    numbers = np.arange(243)
    blocks[:, 0] = -(-numbers * 256 // 243)
    blocks[:, 52:] = np.frombuffer(np.float16(1).tobytes(), np.uint8)
    ours = make("ggml.TQ1_0").decode({"blocks": blocks}, (243, 256))[:, 0:160:32]
    np.testing.assert_array_equal(ours, numbers[:, None] // np.array([81, 27, 9, 3, 1]) % 3 - 1)


def test_the_scaled_layout_is_its_definition() -> None:
    layout, kind = make("ggml.NVFP4/scaled"), BY_NAME["NVFP4"]
    assert isinstance(layout, ScaledLayout)
    assert layout.kernel is None  # its rows do not lie in one piece
    raw = np.random.default_rng(6).integers(0, 256, (7, kind.row_bytes(128)), np.uint8)
    for factor in (1.0, 0.1, 3e38, 1e-42, np.nan):
        arrays = {"blocks": raw, "scale": np.array([factor], np.float32)}
        ours = layout.decode(arrays, (7, 128))
        assert_same(ours, reference.decode(layout.unpack(arrays, (7, 128))))
        if factor == 1.0:
            assert_same(ours, make("ggml.NVFP4").decode({"blocks": raw}, (7, 128)))
    assert layout.nbytes((7, 128)) == 7 * 72 + 4
    assert layout.nbytes((3, 7, 128)) == 3 * 7 * 72 + 12
    with pytest.raises(HubError, match="not a multiple of 64"):
        layout.parts((7, 100))


@pytest.mark.parametrize("name", ["ggml.MXFP4", "ggml.NVFP4", "ggml.NVFP4/scaled"])
def test_four_bit_floats_are_packed_as_they_were(name: str) -> None:
    layout, random = make(name), np.random.default_rng(3)
    arrays = {"blocks": random.integers(0, 256, (5, layout.kind.row_bytes(128)), np.uint8)}
    if "scale" in layout.parts((5, 128)):
        arrays["scale"] = np.array([0.37], np.float32)
    again = layout.pack(layout.unpack(arrays, (5, 128)))
    assert set(again) == set(arrays)
    for part in arrays:
        np.testing.assert_array_equal(again[part], arrays[part])


def test_codebooks_are_ggmls() -> None:
    assert layouts_table.IQ4.table == tuple(map(float, quants.IQ4_NL.kvalues))
    assert TWICE_E2M1.table == tuple(map(float, quants.MXFP4.kvalues))
