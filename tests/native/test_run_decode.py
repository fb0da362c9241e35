"""The IR's affine and codebook layouts, compared with hub.reference, which is their meaning."""

import numpy as np
import pytest
from run_cases import same_bits

import hub_native
from hub import reference
from hub.api import (
    F32,
    I8,
    I32,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Codebook,
    Const,
    Dense,
    Index,
    PartSpec,
    Quantized,
)

ROWS, COLUMNS = 12, 1100
_OF = {"uint8": U8, "int8": I8, "int32": I32, "float32": F32}


def part(array, shared=False):
    return ArrayPart(array, PartSpec(_OF[array.dtype.name], array.shape, axis=None if shared else 0))


def dense(array):
    return Dense(part(array))


def gauss(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def codes_of(dtype, low, high, columns=COLUMNS):
    return np.random.default_rng(7).integers(low, high, (ROWS, columns)).astype(dtype)


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 256), ("int8", -128, 128), ("int32", -(2**31), 2**31)])
@pytest.mark.parametrize(("zero", "offset"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("size", [32, 100])
def test_affine(dtype, low, high, zero, offset, size):
    codes = codes_of(dtype, low, high)
    groups = -(-COLUMNS // size)
    scale, zeros, offsets = (gauss(ROWS, groups, seed=s) for s in (1, 2, 3))
    body = Quantized(
        (ROWS, COLUMNS), part(codes), Affine(8), dense(scale), Blocks((1, size)),
        zero=dense(zeros) if zero else Const(0.0), offset=dense(offsets) if offset else Const(0.0),
    )  # fmt: skip
    out = np.full((ROWS, COLUMNS), np.nan, np.float32)
    hub_native.decode_affine(codes, scale, zeros if zero else None, offsets if offset else None, size, out)
    same_bits(out, reference.decode(body))


def test_numbers_for_all_weights():
    codes, scale = codes_of("uint8", 0, 16), gauss(ROWS, 1)
    body = Quantized((ROWS, COLUMNS), part(codes), Affine(4), dense(scale), Blocks((1, 0)), Const(8.0), Const(0.25))
    out = np.empty((ROWS, COLUMNS), np.float32)
    hub_native.decode_affine(codes, scale, 8.0, 0.25, 0, out)
    same_bits(out, reference.decode(body))
    hub_native.decode_affine(codes, 0.5, 8, None, 64, out)
    same_bits(out, np.float32(0.5) * (codes.astype(np.float32) - 8))


def test_squares():
    codes, scale = codes_of("int8", -128, 128), gauss(3, 5)
    body = Quantized((ROWS, COLUMNS), part(codes), Affine(8, signed=True), dense(scale), Blocks((5, 256)))
    out = np.empty((ROWS, COLUMNS), np.float32)
    hub_native.decode_affine(codes, scale, None, None, 256, out, block_rows=5)
    same_bits(out, reference.decode(body))
    hub_native.decode_affine(codes, scale[:1], None, None, 256, out, block_rows=0)
    same_bits(out, np.repeat(scale[:1], 256, 1)[:, :COLUMNS] * codes)


def test_columns_in_any_order():
    codes, scale, zeros = codes_of("uint8", 0, 16), gauss(ROWS, 9, seed=1), gauss(ROWS, 9, seed=2)
    index = np.random.default_rng(5).integers(0, 9, COLUMNS).astype(np.int32)
    body = Quantized(
        (ROWS, COLUMNS), part(codes), Affine(4), dense(scale), Index(part(index, shared=True), 9), dense(zeros)
    )
    out = np.empty((ROWS, COLUMNS), np.float32)
    hub_native.decode_affine(codes, scale, zeros, None, index, out)
    same_bits(out, reference.decode(body))


@pytest.mark.parametrize("width", [1, 4])
def test_codebook(width):
    table, codes = gauss(256 * width), codes_of("uint8", 0, 256, COLUMNS // width)
    scale, signs = gauss(ROWS, 35), np.random.default_rng(3).choice(np.array([-1, 1], np.int8), (ROWS, COLUMNS))
    body = Quantized(
        (ROWS, COLUMNS),
        part(codes),
        Codebook(tuple(table.tolist()), width),
        dense(scale),
        Blocks((1, 32)),
        signs=part(signs),
    )
    out = np.empty((ROWS, COLUMNS), np.float32)
    hub_native.decode_codebook(codes, table, scale, None, None, 32, out, signs=signs, width=width)
    same_bits(out, reference.decode(body))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
def test_code_types(dtype):
    codes = codes_of(dtype, 0, 100)
    out = np.empty((ROWS, COLUMNS), np.float32)
    hub_native.decode_affine(codes, 0.5, None, None, 0, out)
    same_bits(out, codes.astype(np.float32) * np.float32(0.5))
    if dtype != "float32":
        table = gauss(100)
        hub_native.decode_codebook(codes, table, 2.0, None, None, 0, out)
        same_bits(out, np.float32(2) * table[codes.astype(int)])


def test_no_rounding_is_joined():
    """scale * code - zero in one step would be another number."""
    codes, out = np.array([[3]], np.uint8), np.empty((1, 1), np.float32)
    scale = np.array([[1 / 3]], np.float32)
    hub_native.decode_affine(codes, scale, None, np.array([[-1]], np.float32), 1, out)
    assert out[0, 0] == scale[0, 0] * np.float32(3) - np.float32(1) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.zeros((2, 31), np.uint8)}, "codes is 2 x 31, 2 x 32 is needed"),
        ({"codes": np.zeros((2, 32), np.int64)}, "codes have format"),
        ({"codes": np.zeros(64, np.uint8)}, "codes have 1 dimensions"),
        ({"scale": np.zeros((2, 5), np.float32)}, "scale is 2 x 5, 2 x 4 is needed"),
        ({"zero": np.zeros((3, 4), np.float32)}, "zero is 3 x 4"),
        ({"scale": None}, "scale must be given"),
        ({"groups": -8}, "a group of -8 columns"),
        ({"groups": np.zeros(31, np.int32)}, "groups has 31 indices, out has 32"),
        ({"groups": np.full(32, 4, np.int32)}, "groups has indices 0 to 4, there are 4 groups"),
        ({"groups": np.full(32, -1, np.int32)}, "groups has indices -1"),
        ({"block_rows": -1}, "block_rows -1"),
        ({"signs": np.ones((2, 31), np.int8)}, "signs is 2 x 31"),
    ],
)
def test_refused(change, message):
    given = {
        "codes": np.zeros((2, 32), np.uint8), "scale": np.zeros((2, 4), np.float32), "zero": None, "offset": None,
        "groups": 8, "out": np.zeros((2, 32), np.float32),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        hub_native.decode_affine(**(given | change))


def test_refused_codebooks():
    codes, out = np.zeros((2, 32), np.uint8), np.zeros((2, 32), np.float32)
    codes[1, 2] = 16
    with pytest.raises(ValueError, match="code 34 of the matrix is not in the codebook of 16 entries"):
        hub_native.decode_codebook(codes, np.zeros(16, np.float32), 1.0, None, None, 8, out)
    with pytest.raises(ValueError, match="code 34"):
        hub_native.decode_codebook(-codes.astype(np.int32), np.zeros(16, np.float32), 1.0, None, None, 8, out)
    with pytest.raises(ValueError, match="15 values with 2 per code"):
        hub_native.decode_codebook(codes, np.zeros(15, np.float32), 1.0, None, None, 8, out, width=2)
    with pytest.raises(ValueError, match="codes have format 'f'"):
        hub_native.decode_codebook(codes.astype(np.float32), np.zeros(16, np.float32), 1.0, None, None, 8, out)
