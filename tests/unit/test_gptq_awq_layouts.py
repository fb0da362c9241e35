"""GPTQ's and AWQ's words, by examples worked out with the tools' own packers and by the formulas of their formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hub.api import F16, U8, Affine, ArrayPart, Blocks, Const, Dense, Quantized, UsageError, rows_spec
from hub.plugins import registry
from hub_awq.layouts import whole_zeros
from hub_safetensors.parameters import Parameters
from hub_safetensors.words import codes_of, words_of

N = np.arange(8).reshape(-1, 1)
CODES = ((3 * N + np.arange(8)) % 16).astype(np.uint8)
ZEROS = (8 - N).astype(np.uint8)


def part(array, dtype=U8):
    return ArrayPart(array, rows_spec(dtype, array.shape))


def body(codes, zeros, group):
    scales = np.full(zeros.shape, 0.5, np.float16)
    return Quantized(
        codes.shape, part(codes), Affine(4), Dense(part(scales, F16)), Blocks((1, group)), Dense(part(zeros))
    )


def hexes(array):
    return " ".join(f"{word:08X}" for word in np.ascontiguousarray(array).view(np.uint32).reshape(-1))


def test_gptq_as_gptqmodel_packs():
    """GPTQModel 7.7.0 `TorchLinear.pack_original` of q[n][k] = (3n + k) mod 16, z[n] = 8 - n."""
    packed = registry().layout("gptq.v2/4bit-g8").pack(body(CODES, ZEROS, 8))
    assert hexes(packed["qweight"]) == "76543210 A9876543 DCBA9876 0FEDCBA9 3210FEDC 6543210F 98765432 CBA98765"
    assert packed["qweight"].shape == (1, 8)
    assert hexes(packed["qzeros"]) == "12345678"
    assert hexes(registry().layout("gptq.v1/4bit-g8").pack(body(CODES, ZEROS, 8))["qzeros"]) == "01234567"


def test_awq_as_autoawq_packs():
    packed = registry().layout("awq.gemm/4bit-g8").pack(body(CODES, ZEROS, 8))
    assert hexes(packed["qweight"]) == "5F932C60 60A43D71 71B54E82 82C65F93 93D760A4 A4E871B5 B5F982C6 C60A93D7"
    assert packed["qweight"].shape == (8, 1)
    assert hexes(packed["qzeros"]) == "13572468"


@pytest.mark.parametrize(("bits", "words"), [
    (2, "B1B1B1B1 B1B1B1B1"),
    (3, "E1CC55E1 55E1CC55 CC55E1CC"),
    (5, "E0D51C81 517F99B4 5E9172D0 8930C1DD F6F1593D"),
    (6, "0D287101 F7195934 BABA2589 3DEB7D31 F3091830 79B61548"),
    (7, "D141C201 192C4C80 425447CE DA315CAD 0E03D74D 53E6498D BD6EC55A"),
    (8, "0A070401 1613100D 221F1C19 2E2B2825 3A373431 4643403D 524F4C49 5E5B5855"),
])  # fmt: skip
def test_awq_of_other_widths_as_gptqmodel_packs(bits, words):
    """GPTQModel 7.7.0 `pack_awq`, the words of column 1 of q[n][k] = 3n + k modulo 2**bits."""
    rows = np.arange(32).reshape(-1, 1)
    codes = ((3 * rows + np.arange(2)) % (1 << bits)).astype(np.uint8)
    zeros = (rows % (1 << bits)).astype(np.uint8)
    layout = registry().layout(f"awq.gemm/{bits}bit-g2")
    told = body(codes, zeros, 2)
    packed = layout.pack(replace(told, values=Affine(bits)))
    assert hexes(packed["qweight"][1]) == words
    found = layout.unpack(packed, codes.shape)
    np.testing.assert_array_equal(found.codes.whole(), codes)
    np.testing.assert_array_equal(found.zero.part.whole(), zeros)


@pytest.mark.parametrize(
    ("bits", "v1", "v2"),
    [(2, "55555555", "AAAAAAAA"), (4, "77777777", "88888888"), (8, "7F7F7F7F", "80808080"),
     (3, "DB6DB6DB B6DB6DB6 6DB6DB6D", "24924924 49249249 92492492")],
)  # fmt: skip
def test_symmetric_zero_points(bits, v1, v2):
    shape = (32, 32)
    codes = np.zeros(shape, np.uint8)
    for version, words in (("v1", v1), ("v2", v2)):
        layout = registry().layout(f"gptq.{version}/{bits}bit-channel-sym")
        scales = Dense(part(np.ones((32, 1), np.float16), F16))
        made = layout.pack(
            Quantized(shape, part(codes), Affine(bits), scales, Blocks((1, 0)), Const(2.0 ** (bits - 1)))
        )
        assert hexes(made["qzeros"]).startswith(words)


def test_zero_point_of_zero_in_version_1():
    """z = 0 5 0 7 1 2 3 4: by fields as AutoAWQ writes it, by words as GPTQModel does."""
    zeros = np.array([[0, 5, 0, 7, 1, 2, 3, 4]], np.uint8).T
    per_field, by_words = registry().layout("gptq.v1/4bit-g8"), registry().layout("gptq.v1words/4bit-g8")
    assert hexes(per_field.stored_zeros(zeros)) == "32106F4F"
    assert hexes(by_words.stored_zeros(zeros)) == "32105F3F"
    for layout in (per_field, by_words):
        np.testing.assert_array_equal(layout.zeros(layout.stored_zeros(zeros), 8), zeros)


def test_version_1_does_not_promise_what_tools_read_differently():
    v1, v2 = registry().layout("gptq.v1/4bit-g8"), registry().layout("gptq.v2/4bit-g8")
    source = body(CODES, ZEROS, 8)
    scheme = v2.scheme((8, 8))
    assert v1.can_hold(scheme, (8, 8)).by_value
    assert v1.can_hold(scheme, (8, 8), source).fidelity == "exact"
    with_zero = body(CODES, np.where(ZEROS == 3, 0, ZEROS).astype(np.uint8), 8)
    assert v1.can_hold(scheme, (8, 8), with_zero).fidelity == "lossy"
    assert v2.can_hold(v1.scheme((8, 8)), (8, 8), with_zero).fidelity == "exact"


def test_three_bits_cross_words():
    codes = (np.arange(32) % 8).astype(np.uint8).reshape(1, -1)
    assert hexes(words_of(codes, 3)) == "88FAC688 C688FAC6 FAC688FA"
    only = np.zeros((1, 32), np.uint8)
    only[0, 10], only[0, 21] = 5, 6
    assert hexes(words_of(only, 3)) == "40000000 00000001 00000003"


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 32, 101])
def test_words_hold_every_code(bits, count):
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (3, count), np.uint8)
    np.testing.assert_array_equal(codes_of(words_of(codes, bits), bits, count), codes)


def test_gemv_is_natural_and_padded():
    """AutoAWQ 88e4c76: zeros and scales of a row are padded to `calculate_zeros_width` words of eight groups."""
    layout = registry().layout("awq.gemv/4bit-g64")
    shape = (4, 256)
    assert layout.parts(shape)["qzeros"].shape == (4, 2)
    assert layout.parts(shape)["scales"].shape == (4, 16)
    random = np.random.default_rng(3)
    codes, zeros = random.integers(0, 16, shape, np.uint8), random.integers(0, 16, (4, 4), np.uint8)
    qzeros = np.zeros((4, 2), np.uint32)
    for n in range(4):
        for g in range(4):
            qzeros[n, g // 8] |= np.uint32(int(zeros[n, g]) << 4 * (g % 8))
    scales = np.zeros((4, 16), np.float16)
    scales[:, :4] = 0.25
    weights = layout.decode(
        {"qweight": words_of(codes, 4).view(np.int32), "qzeros": qzeros.view(np.int32), "scales": scales}, shape
    )
    np.testing.assert_array_equal(weights, 0.25 * (codes.astype(np.float32) - np.repeat(zeros, 64, 1)))


def test_gemv_fast_lies_in_squares():
    """Element (n, k) is nibble (k % 32) // 8 of word[n // 4, k // 64 * 64 + n % 4 * 16 + k % 64 // 32 * 8 + k % 8]."""
    shape = (8, 128)
    random = np.random.default_rng(4)
    codes, zeros = random.integers(0, 16, shape, np.uint8), random.integers(0, 16, (8, 1), np.uint8)
    words = np.zeros((2, 128), np.uint16)
    for n in range(8):
        for k in range(128):
            at = k // 64 * 64 + n % 4 * 16 + k % 64 // 32 * 8 + k % 8
            words[n // 4, at] |= np.uint16(int(codes[n, k]) << 4 * ((k % 32) // 8))
    scales = np.zeros((8, 8), np.float16)
    scales[0] = (0.01 + random.random(8)).astype(np.float16)
    scaled = np.zeros((8, 8), np.float16)
    scaled[0] = (-scales[0].astype(np.float32) * zeros[:, 0]).astype(np.float16)
    arrays = {"qweight": words.view(np.int16), "scales": scales, "qzeros": scaled}
    weights = registry().layout("awq.gemv_fast/4bit-g128").decode(arrays, shape)
    np.testing.assert_array_equal(weights, scales[0][:, None].astype(np.float32) * (codes.astype(np.float32) - zeros))
    assert whole_zeros(scales[:1], scaled[:1])[1]
    scaled[0, 3] += np.float16(0.3) * scales[0, 3]
    assert not whole_zeros(scales[:1], scaled[:1])[1]
    offsets = registry().layout("awq.gemv_fast_offset/4bit-g128").decode(arrays, shape)
    wide = scales[0][:, None].astype(np.float32) * codes.astype(np.float32) + scaled[0][:, None].astype(np.float32)
    np.testing.assert_array_equal(offsets, wide)


@pytest.mark.parametrize("text", ["4bit-g128", "4bit-channel-sym", "3bit-g32-sym-order-bf16", "8bit-g64-f32"])
def test_parameters_are_spelled_one_way(text):
    assert str(Parameters.parse(text)) == text


@pytest.mark.parametrize("text", ["", "4bit", "9bit-g32", "4bit-g0", "4bit-g-1", "4bit-g128-symm", "4bit-g9999999999"])
def test_other_parameters_are_refused(text):
    with pytest.raises(UsageError):
        Parameters.parse(text)
