"""Quantized initializers of ONNX, against the operators' own definition and by the examples of onnxruntime's docs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hub.api import (
    F32,
    I8,
    I32,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Const,
    Dense,
    HubError,
    Index,
    PartSpec,
    Quantized,
    UsageError,
    rows_spec,
)
from hub.plugins import registry
from hub_onnx.told import Told
from hub_onnx.vectors import AlignedRows

RANDOM = np.random.default_rng(3)


def part(array, dtype=U8):
    return ArrayPart(array, rows_spec(dtype, array.shape))


def body(codes, scale, group, *, bits=4, zero=None, offset=None, signed=False):
    dtype = I8 if signed else U8
    return Quantized(
        codes.shape, part(codes, dtype), Affine(bits, signed), Dense(part(scale, F32)), Blocks((1, group)),
        Const(0.0) if zero is None else Dense(part(zero, dtype)),
        Const(0.0) if offset is None else Dense(part(offset, F32)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["4bit-g32", "2bit-g16-offset", "8bit-channel-zero-signed", "8bit-tensor", "f8_e4m3-g32", "4bit-g32-floatzero-f16"],
)
def test_parameters_are_spelled_as_they_are_read(text):
    assert str(Told.parse(text)) == text


@pytest.mark.parametrize(
    "name",
    ["onnx.dq/3bit-g32", "onnx.dq/4bit-g32-sym", "onnx.dq/f8_e4m3-g32-zero", "onnx.rows/4bit-g32-floatzero", "onnx.dq/4bit-g32-floatzero",
     "ort.MatMulNBits/4bit-g48", "ort.MatMulNBits/4bit-g32-signed", "ort.MatMulNBits/8bit-g32-floatzero", "ort.MatMulNBits/4bit-channel"],
)  # fmt: skip
def test_what_the_operators_do_not_have_is_refused(name):
    with pytest.raises(UsageError):
        registry().layout(name)


def test_codes_of_a_column_matrix_lie_as_onnx_packs_them():
    """[K, N] row-major, the first of two codes in the low bits: 1 2 / 8 15 is 21 F8."""
    codes = np.array([[1, 8], [2, 15]], np.uint8)  # (out, in)
    layout = registry().layout("onnx.dq/4bit-g2-zero")
    made = layout.pack(body(codes, np.array([[0.5], [2]], np.float32), 2, zero=np.array([[3], [9]], np.uint8)))
    assert made["codes"].tolist() == [[0x21], [0xF8]]
    assert made["scale"].tolist() == [[0.5, 2]]
    assert made["zero"].tolist() == [[0x93]]
    np.testing.assert_array_equal(layout.decode(made, (2, 2)), [[-1, 2.5], [-14, 12]])


def test_signed_codes_are_twos_complement():
    codes = np.array([[-8, 7], [-1, 0]], np.int8)
    layout = registry().layout("onnx.dq/4bit-channel-signed")
    made = layout.pack(body(codes, np.ones((2, 1), np.float32), 0, signed=True))
    assert made["codes"].tolist() == [[0xF8], [0x07]]
    assert made["scale"].shape == (2,)
    np.testing.assert_array_equal(layout.decode(made, (2, 2)), codes)


def test_blocks_of_matmulnbits_lie_as_onnxruntime_reads_them():
    """The example of one row: codes 0 to 15 twice, zero point 8."""
    codes = np.tile(np.arange(16, dtype=np.uint8), 2)[None]
    layout = registry().layout("ort.MatMulNBits/4bit-g32-zero")
    made = layout.pack(body(codes, np.ones((1, 1), np.float32), 32, zero=np.array([[8]], np.uint8)))
    assert made["codes"].tobytes().hex(" ") == " ".join(["10 32 54 76 98 ba dc fe"] * 2)
    assert made["codes"].shape == (1, 1, 16) and made["zero"].tolist() == [[8]]
    np.testing.assert_array_equal(layout.decode(made, (1, 32)), codes.astype(np.float32) - 8)


def test_absent_zero_points_are_what_each_operator_takes():
    assert registry().layout("ort.MatMulNBits/4bit-g32").scheme((2, 32)).zero == Const(8.0)
    assert registry().layout("ort.MatMulNBits/2bit-g32").scheme((2, 32)).zero == Const(2.0)
    assert registry().layout("ort.MatMulNBits/4bit-g32-offset").scheme((2, 32)).zero == Const(0.0)
    assert registry().layout("onnx.dq/4bit-g32").scheme((2, 32)).zero == Const(0.0)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_short_last_blocks(bits):
    """A row of 80 in blocks of 32: two whole ones and 16, and padding that means nothing."""
    codes = RANDOM.integers(0, 1 << bits, (4, 80), np.uint8)
    scale = RANDOM.normal(0, 1, (4, 3)).astype(np.float32)
    zero = RANDOM.integers(0, 1 << bits, (4, 3), np.uint8)
    meant = (codes.astype(np.float32) - np.repeat(zero, 32, 1)[:, :80]) * np.repeat(scale, 32, 1)[:, :80]
    for family in ("onnx.dq", "ort.MatMulNBits"):
        layout = registry().layout(f"{family}/{bits}bit-g32-zero")
        made = layout.pack(body(codes, scale, 32, bits=bits, zero=zero))
        assert {name: array.shape for name, array in made.items()} == {
            name: spec.shape for name, spec in layout.parts((4, 80)).items()
        }
        np.testing.assert_array_equal(layout.decode(made, (4, 80)), meant)


def test_rows_that_do_not_fill_bytes_are_refused():
    assert "no multiple" in registry().layout("onnx.dq/4bit-g32-zero").fits((3, 32))
    assert registry().layout("onnx.dq/8bit-g32-zero").fits((3, 32)) is None


@pytest.mark.parametrize("family", ["onnx.dq", "ort.MatMulNBits"])
def test_columns_by_group_and_their_order(family):
    """Act-order: column 0 belongs to the second group; codes are stored by group, the order beside them."""
    layout = registry().layout(f"{family}/4bit-g16-zero-order")
    g_idx = RANDOM.permutation(np.repeat(np.arange(2, dtype=np.int32), 16))
    codes, zero = RANDOM.integers(0, 16, (4, 32), np.uint8), RANDOM.integers(0, 16, (4, 2), np.uint8)
    scale = RANDOM.normal(0, 1, (4, 2)).astype(np.float32)
    plain = body(codes, scale, 16, zero=zero)
    index = Index(ArrayPart(g_idx, PartSpec(I32, (32,), None)), 2)
    made = layout.pack(replace(plain, groups=index))
    np.testing.assert_array_equal(g_idx[made["order"]], np.repeat([0, 1], 16))
    np.testing.assert_array_equal(
        layout.decode(made, (4, 32)), scale[:, g_idx] * (codes.astype(np.float32) - zero[:, g_idx])
    )
    again = layout.pack(layout.unpack(made, (4, 32)))
    assert {name: array.tobytes() for name, array in again.items()} == {n: a.tobytes() for n, a in made.items()}
    scheme = layout.scheme((4, 32))
    assert layout.can_hold(scheme, (4, 32)).by_value
    assert layout.can_hold(scheme, (4, 32), layout.unpack(made, (4, 32))).fidelity == "exact"
    uneven = Index(ArrayPart(np.where(np.arange(32) < 5, 0, g_idx).astype(np.int32), index.g_idx.spec), 2)
    assert layout.can_hold(scheme, (4, 32), replace(plain, groups=uneven)).fidelity == "lossy"
    with pytest.raises(HubError, match="order of columns"):
        layout.unpack(dict(made, order=np.zeros(32, np.int32)), (4, 32))
    assert registry().quantizer(f"{family}/4bit-g16-zero") is not None
    with pytest.raises(UsageError, match="only carried over"):
        registry().quantizer(f"{family}/4bit-g16-zero-order")


def test_zero_points_that_are_packed_on_over_the_end_of_a_row_are_told_row_by_row():
    """Three of 4 bits for each row: 321 654 987 in five bytes, the last half empty."""
    stored = np.array([0x21, 0x43, 0x65, 0x87, 0x09], np.uint8)
    flat = AlignedRows(rows_spec(U8, (3, 2)), ArrayPart(stored, rows_spec(U8, (5,))), 4, 3)
    assert flat.load(0, 3).tolist() == [[0x21, 0x03], [0x54, 0x06], [0x87, 0x09]]
    assert flat.load(1, 2).tolist() == [[0x54, 0x06]]
    layout = registry().layout("onnx.rows/4bit-g2-zero")
    codes = np.zeros((3, 6), np.uint8)
    made = layout.pack(body(codes, np.ones((3, 3), np.float32), 2, zero=np.arange(1, 10, dtype=np.uint8).reshape(3, 3)))
    assert made["zero"].tolist() == flat.load(0, 3).tolist()
    np.testing.assert_array_equal(layout.decode(made, (3, 6)), -np.arange(1, 10).reshape(3, 3).repeat(2, axis=1))
