"""Layouts of compressed-tensors: words as its own library packs them, scales by its rules, quantizers that do not lose."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from hub import decoding, reference
from hub.api import Calibration, HubError, UsageError
from hub_compressed_tensors.layouts import make
from hub_compressed_tensors.quantizers import make as quantizer
from hub_compressed_tensors.quantizers import nearest_e2m1
from hub_safetensors.nearest import asymmetric, symmetric

PACKED = np.load(Path(__file__).parents[1] / "data" / "golden" / "compressed_tensors" / "packed.npz")
F16 = make("ct.pack/4bit-g32-f16").form.scale


@pytest.mark.parametrize("bits", range(2, 9))
def test_words_are_the_librarys(bits: int) -> None:
    layout = make(f"ct.pack/{bits}bit-g32-f16-asym")
    codes = PACKED[f"{bits}_v"].astype(int) + (1 << (bits - 1))
    words, zeros = PACKED[f"{bits}_w"], PACKED[f"{bits}_z"]
    parts = layout.parts((64, 96))
    assert parts["packed"].shape == words.shape
    assert parts["zero"].nbytes == zeros.nbytes
    np.testing.assert_array_equal(layout.read_codes(words, (64, 96)), codes)
    np.testing.assert_array_equal(layout.write_codes(codes), words)
    np.testing.assert_array_equal(layout.read_zeros(zeros.reshape(parts["zero"].shape), (64, 3)), codes[:, :3])
    np.testing.assert_array_equal(layout.write_zeros(codes[:, :3]).reshape(zeros.shape), zeros)


RAGGED = {
    2: ("00E4E4E4", "000001B1 000006C6"),
    3: ("8CEA878C 00000007", ""),
    4: ("72D83E94 0000B61C", "000DA741 0052FC96"),
    5: ("BB89B924 0DDA2C38 00000000", ""),
    6: ("584CE244 6C6C9E27 000000EF", ""),
    7: ("82638484 AC4E88E9 04076D98", ""),
    8: ("130E0904 27221D18 3B36312C 00000040", "0A070401 0F0C0906 0000100D 00001512"),
}
"""Of codes 3n + 5k + 1 modulo 2**bits, 6 rows of 13: row 1, and the first two columns packed along rows; made by
`pack_to_int32` of compressed-tensors 0.20.0."""


@pytest.mark.parametrize("bits", RAGGED)
def test_the_last_word_of_a_row_may_be_part_empty(bits: int) -> None:
    n, k = np.mgrid[:6, :13]
    codes = ((3 * n + 5 * k + 1) % (1 << bits)).astype(np.uint8)
    words, zeros = (np.array([int(word, 16) for word in text.split()], np.uint32) for text in RAGGED[bits])
    layout = make(f"ct.pack/{bits}bit-channel-f16")
    assert layout.fits(codes.shape) is None
    packed = layout.write_codes(codes)
    np.testing.assert_array_equal(packed[1].view(np.uint32), words)
    assert layout.parts(codes.shape)["packed"].shape == packed.shape
    np.testing.assert_array_equal(layout.read_codes(packed, codes.shape), codes)
    asymmetric = make(f"ct.pack/{bits}bit-g7-f16-asym")
    if not zeros.size:
        assert "do not fill whole words" in asymmetric.fits(codes.shape)
        return
    assert asymmetric.parts(codes.shape)["zero"].nbytes == zeros.nbytes
    np.testing.assert_array_equal(asymmetric.write_zeros(codes[:, :2]).view(np.uint32).reshape(-1), zeros)
    np.testing.assert_array_equal(asymmetric.read_zeros(zeros.reshape(-1, 2), (6, 13)), codes[:, :2])


@pytest.mark.parametrize(("bits", "columns", "count"), [(3, 128, 13), (5, 128, 22), (6, 128, 26), (7, 128, 32)])
def test_older_packing_lets_no_code_straddle(bits: int, columns: int, count: int) -> None:
    layout = make(f"ct.pack/{bits}bit-channel-f16-padded")
    assert layout.parts((4, columns))["packed"].shape == (4, count)
    codes = np.random.default_rng(1).integers(0, 1 << bits, (4, columns)).astype(np.uint8)
    words = layout.write_codes(codes)
    per = 32 // bits
    assert [int(np.uint32(words[0, 0])) >> bits * i & (1 << bits) - 1 for i in range(per)] == codes[0, :per].tolist()
    np.testing.assert_array_equal(layout.read_codes(words, (4, columns)), codes)


def test_eight_by_eight() -> None:
    """Codes (3n + k) mod 16 and zero points 8 - n, which GPTQModel packs to the same words."""
    n, k = np.mgrid[:8, :8]
    layout = make("ct.pack/4bit-g8-f16-asym")
    words = "76543210 A9876543 DCBA9876 0FEDCBA9 3210FEDC 6543210F 98765432 CBA98765"
    arrays = {
        "packed": np.array([int(word, 16) for word in words.split()], np.uint32).view(np.int32).reshape(8, 1),
        "zero": np.array([[0x12345678]], np.int32),
        "scale": np.full((8, 1), 0.5, np.float16),
    }
    body = layout.unpack(arrays, (8, 8))
    np.testing.assert_array_equal(reference.decode(body), 0.5 * ((3 * n + k) % 16 - (8 - n)))
    for name, array in layout.pack(body).items():
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize(
    "name",
    [
        "ct.pack/3bit-g32-bf16-asym", "ct.pack/4bit-channel-f16", "ct.pack/4bit-tensor-f32", "ct.int/8bit-g32-f16-asym",
        "ct.float/f8_e4m3-block128x128-bf16", "ct.float/f8_e4m3-tensor-f32", "ct.nvfp4", "ct.mxfp4",
    ],
)  # fmt: skip
def test_codes_come_back_and_decode_alike(name: str) -> None:
    layout = make(name)
    rows = np.random.default_rng(2).normal(size=(96, 160)).astype(np.float32)
    arrays = quantizer(name).quantize(rows, Calibration())
    for part, spec in layout.parts(rows.shape).items():
        assert arrays[part].nbytes == spec.nbytes, part
        arrays = {**arrays, part: arrays[part].reshape(spec.shape)}
    body = layout.unpack(arrays, rows.shape)
    weights = decoding.decode(body)
    np.testing.assert_array_equal(weights, reference.decode(body))
    assert np.mean((weights - rows) ** 2) < 0.1 * np.mean(rows**2)
    for part, array in layout.pack(body).items():
        assert array.tobytes() == arrays[part].tobytes(), part


def test_nvfp4_divides() -> None:
    arrays = {
        "packed": np.arange(8, dtype=np.uint8).reshape(1, 8) * 17,
        "scale": np.array([[2.5]], ml_dtypes.float8_e4m3fn),
        "global": np.array([4.0], np.float32),
    }
    table = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    found = reference.decode(make("ct.nvfp4").unpack(arrays, (1, 16)))
    np.testing.assert_array_equal(found[0], np.repeat(np.array(table, np.float32) * 2.5 / 4, 2))


@pytest.mark.parametrize(("part", "value"), [("scale", 0x7F), ("scale", 0x81), ("global", 0.0), ("global", np.nan)])
def test_scales_that_are_none_are_refused(part: str, value: float) -> None:
    arrays = {
        "packed": np.zeros((1, 8), np.uint8),
        "scale": np.zeros((1, 1), np.uint8),
        "global": np.ones(1, np.float32),
    }
    arrays[part][...] = value
    arrays["scale"] = arrays["scale"].view(ml_dtypes.float8_e4m3fn)
    with pytest.raises(HubError, match="weight_"):
        make("ct.nvfp4").unpack(arrays, (1, 16))


@pytest.mark.parametrize(
    "name", ["ct.pack/9bit-g32-f16", "ct.pack/4bit", "ct.pack/4bit-g0-f16", "ct.float/f8-channel-f16"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError):
        make(name)


def test_ties_go_to_the_even_code() -> None:
    values = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, -0.2, -0.3], np.float32)
    assert nearest_e2m1(values).tolist() == [0, 2, 2, 4, 4, 6, 6, 7, 0, 9]
    wide = np.linspace(-8, 8, 4001, dtype=np.float32)
    table = np.concatenate([np.arange(8), np.arange(8) + 8])
    sizes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6] * 2, np.float32) * np.where(table < 8, 1, -1)
    found = sizes[nearest_e2m1(wide)]
    np.testing.assert_array_equal(found, wide.astype(ml_dtypes.float4_e2m1fn).astype(np.float32))


KINDS = {
    "normal": lambda w: w,
    "positive": np.abs,
    "negative": lambda w: -np.abs(w) - 1,
    "constant": lambda w: np.full_like(w, 0.37),
    "zero": np.zeros_like,
    "tiny": lambda w: w * np.float32(1e-7),
}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_no_group_loses_to_the_reference(bits: int, kind: str) -> None:
    rows = KINDS[kind](np.random.default_rng(4).normal(size=(64, 256)).astype(np.float32))
    groups = rows.reshape(64, 4, 64)
    codes, scales = symmetric(rows, bits, 64, F16)
    ours = _error(groups, codes, scales, np.full(scales.shape, 1 << (bits - 1)))
    most = np.abs(groups).max(axis=2)
    scale = np.where(most == 0, 1, 2 * most / ((1 << bits) - 1))
    assert np.all(ours <= _reference(groups, bits, scale, np.full(scale.shape, 1 << (bits - 1))) * 1.0001 + 1e-30)
    codes, scales, zeros = asymmetric(rows, bits, 64, F16)
    assert np.all(scales > 0)
    ours = _error(groups, codes, scales, zeros)
    for low, high in (
        (np.minimum(groups.min(axis=2), 0), np.maximum(groups.max(axis=2), 0)),  # GPTQ
        (groups.min(axis=2), groups.max(axis=2)),  # AutoAWQ
    ):
        scale = np.maximum(high - low, 1e-5) / ((1 << bits) - 1)
        zero = np.clip(np.rint(-low / scale), 0, (1 << bits) - 1)
        assert np.all(ours <= _reference(groups, bits, scale, zero) * 1.0001 + 1e-30)


def _error(groups, codes, scales, zeros):
    made = scales[..., None] * (codes.reshape(groups.shape).astype(np.float32) - zeros[..., None])
    return ((made - groups) ** 2).sum(axis=2)


def _reference(groups, bits, scale, zero):
    """Codes by the scale in f32, which is rounded to f16 afterwards."""
    codes = np.clip(np.rint(groups / scale[..., None]) + zero[..., None], 0, (1 << bits) - 1)
    return _error(groups, codes, scale.astype(np.float16).astype(np.float32), zero)
