"""hub.reference is the meaning of the IR: equal to `gguf` for ggml's layouts, and to formulas written here for the
schemes
of formats that are told with the IR (docs/design.md, "On paper")."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from hub import decoding, reference
from hub.api import (
    BF16,
    DTYPES,
    F16,
    F32,
    F64,
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
    rows_spec,
)
from hub_gguf.layouts import GgmlLayout
from hub_gguf.types import QUANTIZED

ROWS, COLUMNS = 24, 512
E4M3 = DTYPES["f8_e4m3"]
_OF = {
    "uint8": U8, "int8": I8, "int32": I32, "float16": F16, "float32": F32, "float64": F64, "bfloat16": BF16,
    "float8_e4m3fn": E4M3, "float8_e8m0fnu": DTYPES["f8_e8m0"],
}  # fmt: skip


def part(array):
    """Rows along axis 0."""
    return ArrayPart(array, PartSpec(_OF[array.dtype.name], array.shape))


def shared(array):
    """A part that all rows share."""
    return ArrayPart(array, PartSpec(_OF[array.dtype.name], array.shape, axis=None))


def decoded(body):
    """What the reference says, and the generic native kernels with it, to the bit."""
    said = reference.decode(body)
    native = decoding.decode(body)
    assert native.shape == said.shape
    assert_same_bits(native, said)
    return said


def bits(array):
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def assert_same_bits(ours, theirs):
    """Every number has the same bits; NaN may differ in its payload only."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    fine = ~np.isnan(ours)
    np.testing.assert_array_equal(bits(ours)[fine], bits(theirs)[fine])


# ------------------------------------------------------------------------------------------------ ggml


@pytest.fixture(scope="module", params=[kind.name for kind in QUANTIZED])
def ggml(request):
    """A layout, random bytes of it, and what `gguf` decodes them to."""
    layout = GgmlLayout(next(kind for kind in QUANTIZED if kind.name == request.param))
    random = np.random.default_rng(sum(request.param.encode()))
    raw = random.integers(0, 256, (ROWS, layout.kind.row_bytes(COLUMNS)), np.uint8)
    with np.errstate(all="ignore"):
        wanted = quants.dequantize(raw, GGMLQuantizationType[request.param])
    return layout, raw, wanted


def test_unpacked_ggml_blocks_decode_as_gguf_decodes_them(ggml):
    layout, raw, wanted = ggml
    assert_same_bits(decoded(layout.unpack({"blocks": raw}, (ROWS, COLUMNS))), wanted)
    assert np.isfinite(wanted).mean() > 0.5  # most random scales are numbers


def test_the_native_decoder_equals_the_reference(ggml):
    layout, raw, _ = ggml
    ours = layout.decode({"blocks": raw}, (ROWS, COLUMNS))
    assert_same_bits(ours, decoded(layout.unpack({"blocks": raw}, (ROWS, COLUMNS))))


def test_a_tile_of_rows_decodes_as_those_rows(ggml):
    layout, raw, wanted = ggml
    for start, stop in ((0, 1), (5, 9), (ROWS - 1, ROWS)):
        body = layout.unpack({"blocks": raw[start:stop]}, (stop - start, COLUMNS))
        assert_same_bits(decoded(body), wanted[start:stop])


def test_what_unpack_says_is_what_the_scheme_says(ggml):
    layout, raw, _ = ggml
    body, scheme = layout.unpack({"blocks": raw}, (ROWS, COLUMNS)), layout.scheme((ROWS, COLUMNS))
    assert (body.values, body.groups) == (scheme.values, scheme.groups)
    for name in ("scale", "zero", "offset"):
        value, field = getattr(body, name), getattr(scheme, name)
        if isinstance(field, Const):
            assert value == field
        elif isinstance(value, Dense):
            assert value.part.spec.dtype == field.dtype
        else:
            assert (value.values, value.groups, value.zero) == (field.values, field.groups, field.zero)
            assert value.scale.part.spec.dtype == field.scale.dtype
    codes = body.codes.load(0, ROWS)
    low, high = (-128, 127) if body.values.signed else (0, 2**body.values.bits - 1)
    assert low <= codes.min() and codes.max() <= high


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_legacy_blocks_pack_to_the_bytes_they_were(name):
    layout = GgmlLayout(next(kind for kind in QUANTIZED if kind.name == name))
    raw = np.random.default_rng(7).integers(0, 256, (ROWS, layout.kind.row_bytes(COLUMNS)), np.uint8)
    packed = layout.pack(layout.unpack({"blocks": raw}, (ROWS, COLUMNS)))
    np.testing.assert_array_equal(packed["blocks"], raw)


# ------------------------------------------------------------------------------------------------ other schemes


@pytest.fixture
def random():
    return np.random.default_rng(2)


def test_gptq_with_act_order(random):
    """w[n, k] = s[g[k], n] * (q[n, k] - z[g[k], n]), GPTQ's own formula, with a permuted g_idx."""
    n, k, g = 12, 96, 3
    q = random.integers(0, 16, (n, k), np.uint8)
    s = random.standard_normal((n, g)).astype(np.float16)
    z = random.integers(1, 17, (n, g), np.uint8)
    g_idx = random.permutation(np.repeat(np.arange(g), k // g)).astype(np.int32)
    body = Quantized((n, k), part(q), Affine(4), Dense(part(s)), Index(shared(g_idx), g), zero=Dense(part(z)))
    wanted = np.empty((n, k), np.float32)
    for column in range(k):
        group = g_idx[column]
        wanted[:, column] = s[:, group].astype(np.float32) * (
            q[:, column].astype(np.float32) - z[:, group].astype(np.float32)
        )
    assert_same_bits(decoded(body), wanted)


def test_awq_with_zero_points(random):
    n, k, size = 8, 256, 64
    q = random.integers(0, 16, (n, k), np.uint8)
    s = random.standard_normal((n, k // size)).astype(np.float16)
    z = random.integers(0, 16, (n, k // size), np.uint8)
    body = Quantized((n, k), part(q), Affine(4), Dense(part(s)), Blocks((1, size)), zero=Dense(part(z)))
    wanted = (
        s.astype(np.float32)[:, :, None]
        * (q.reshape(n, -1, size).astype(np.float32) - z.astype(np.float32)[:, :, None])
    ).reshape(n, k)
    assert_same_bits(decoded(body), wanted)


def test_mlx_affine_adds_a_float_offset(random):
    """w = scale * q + bias, both bf16."""
    n, k, size = 8, 256, 64
    q = random.integers(0, 16, (n, k), np.uint8)
    s = (random.standard_normal((n, k // size)) * 0.01).astype(ml_dtypes.bfloat16)
    b = random.standard_normal((n, k // size)).astype(ml_dtypes.bfloat16)
    body = Quantized((n, k), part(q), Affine(4), Dense(part(s)), Blocks((1, size)), offset=Dense(part(b)))
    product = q.reshape(n, -1, size).astype(np.float32) * s.astype(np.float32)[:, :, None]
    wanted = (product + b.astype(np.float32)[:, :, None]).astype(np.float32).reshape(n, k)
    assert_same_bits(decoded(body), wanted)


E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)


def test_nvfp4_scales_are_fp8_times_one_global_f32(random):
    n, k = 6, 128
    q = random.integers(0, 16, (n, k), np.uint8)
    s = np.abs(random.standard_normal((n, k // 16)) * 50).astype(ml_dtypes.float8_e4m3fn)
    top = np.float32(0.00317)
    scale = Quantized(
        (n, k // 16), part(s), Affine(8, signed=True, dtype=E4M3), Dense(shared(np.array(top))), Blocks((0, 0))
    )
    body = Quantized((n, k), part(q), Codebook(E2M1), scale, Blocks((1, 16)))
    per_block = (s.astype(np.float32) * top).astype(np.float32)
    wanted = np.array(E2M1, np.float32)[q].reshape(n, -1, 16) * per_block[:, :, None]
    assert_same_bits(decoded(body), wanted.reshape(n, k))


def test_mxfp4_looks_codes_up_and_scales_by_powers_of_two(random):
    n, k = 6, 128
    q = random.integers(0, 16, (n, k), np.uint8)
    e = random.integers(100, 140, (n, k // 32), np.uint8)
    body = Quantized((n, k), part(q), Codebook(E2M1), Dense(part(e.view(ml_dtypes.float8_e8m0fnu))), Blocks((1, 32)))
    wanted = (
        np.array(E2M1, np.float32)[q].reshape(n, -1, 32) * np.ldexp(np.float32(1), e.astype(np.int32) - 127)[:, :, None]
    )
    assert_same_bits(decoded(body), wanted.astype(np.float32).reshape(n, k))


@pytest.mark.parametrize("shape", [(256, 384), (200, 300), (128, 100)])
def test_fp8_squares_may_be_short_at_the_edges(random, shape):
    n, k = shape
    q = random.standard_normal((n, k)).astype(ml_dtypes.float8_e4m3fn)
    s = random.random((-(-n // 128), -(-k // 128))).astype(np.float32)
    scale = ArrayPart(s, PartSpec(F32, s.shape, axis=0, per=128))
    body = Quantized((n, k), part(q), Affine(8, signed=True, dtype=E4M3), Dense(scale), Blocks((128, 128)))
    wanted = np.empty((n, k), np.float32)
    for i in range(n):
        for j in range(0, k, 128):
            wanted[i, j : j + 128] = s[i // 128, j // 128] * q[i, j : j + 128].astype(np.float32)
    assert_same_bits(decoded(body), wanted)


NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def test_nf4_with_double_quantization(random):
    """absmax = code8[c] * absmax2 + mean: the scale is a codebook value with a scale and an offset of its own."""
    n, k = 4, 512
    q = random.integers(0, 16, (n, k), np.uint8)
    table8 = tuple(np.sort(random.standard_normal(256)).astype(np.float32).tolist())
    c = random.integers(0, 256, (n, k // 64), np.uint8)
    absmax2 = random.random((n, 2)).astype(np.float32)
    mean = np.float32(0.0213)
    scale = Quantized(
        (n, k // 64), part(c), Codebook(table8), Dense(part(absmax2)), Blocks((1, 4)), offset=Const(float(mean))
    )
    body = Quantized((n, k), part(q), Codebook(NF4), scale, Blocks((1, 64)))
    absmax = (np.array(table8, np.float32)[c].reshape(n, 2, 4) * absmax2[:, :, None]).astype(np.float32) + mean
    wanted = absmax.reshape(n, -1, 1) * np.array(NF4, np.float32)[q].reshape(n, -1, 64)
    assert_same_bits(decoded(body), wanted.reshape(n, k))


@pytest.mark.parametrize("columns", [128, 120], ids=["whole blocks", "short last block"])
def test_onnx_blocked_zero_points(random, columns):
    n, size = 5, 32
    groups = -(-columns // size)
    q = random.integers(0, 16, (n, columns), np.uint8)
    s = random.standard_normal((n, groups)).astype(np.float32)
    z = random.integers(0, 16, (n, groups), np.uint8)
    body = Quantized((n, columns), part(q), Affine(4), Dense(part(s)), Blocks((1, size)), zero=Dense(part(z)))
    at = np.arange(columns) // size
    wanted = (q.astype(np.float32) - z.astype(np.float32)[:, at]) * s[:, at]
    assert_same_bits(decoded(body), wanted)


def test_vector_codebook_with_signs(random):
    """One code stands for eight magnitudes, signs are kept apart (IQ2)."""
    n, k = 4, 64
    grid = random.integers(1, 60, (16, 8)).astype(np.float32)
    q = random.integers(0, 16, (n, k // 8), np.uint8)
    signs = random.choice(np.array([-1, 1], np.int8), (n, k))
    s = random.standard_normal((n, k // 32)).astype(np.float16)
    body = Quantized(
        (n, k), part(q), Codebook(tuple(grid.reshape(-1).tolist()), width=8), Dense(part(s)), Blocks((1, 32)),
        signs=part(signs),
    )  # fmt: skip
    wanted = signs * grid[q].reshape(n, k) * np.repeat(s.astype(np.float32), 32, axis=1)
    assert_same_bits(decoded(body), wanted.astype(np.float32))


@pytest.mark.parametrize(
    ("groups", "shape", "index"),
    [
        (Blocks((0, 0)), (), lambda *_: ()),
        (Blocks((0, 0)), (1,), lambda *_: 0),
        (Blocks((1, 0)), (6,), lambda i, _: i),
        (Blocks((1, 0)), (6, 1), lambda i, _: (i, 0)),
        (Blocks((0, 4)), (3,), lambda _, j: j // 4),
        (Blocks((0, 1)), (1, 12), lambda _, j: (0, j)),
        (Blocks((2, 0)), (3, 1), lambda i, _: (i // 2, 0)),
        (Blocks((3, 4)), (2, 3), lambda i, j: (i // 3, j // 4)),
        (Blocks((1, 4)), (18,), lambda i, j: 3 * i + j // 4),
    ],
)
def test_scales_of_any_rectangle(random, groups, shape, index):
    """Whole tensor, whole rows, columns that all rows share, squares; one-dimensional where it is unambiguous."""
    q = random.integers(-8, 8, (6, 12), np.int8)
    s = np.asarray(random.standard_normal(shape), np.float32)
    body = Quantized((6, 12), part(q), Affine(4, signed=True), Dense(shared(s)), groups)
    wanted = np.array([[s[index(i, j)] * np.float32(q[i, j]) for j in range(12)] for i in range(6)], np.float32)
    assert_same_bits(decoded(body), wanted)


def test_a_zero_of_nothing_keeps_minus_zero(random):
    """-0 minus 0 is -0, but -0 plus 0 is +0: constants of 0 are no operation."""
    q = np.zeros((1, 4), np.int8)
    body = Quantized((1, 4), part(q), Affine(8, signed=True), Dense(shared(np.float32([[-1.0]]))), Blocks((0, 0)))
    assert np.signbit(decoded(body)).all()


@pytest.mark.parametrize("name", ["f64", "f32", "f16", "bf16", "f8_e4m3", "f8_e5m2", "i8"])
def test_dense_numbers_are_themselves(random, name):
    array = (random.standard_normal((3, 5)) * 9).astype(DTYPES[name].numpy())
    body = Dense(ArrayPart(array, rows_spec(DTYPES[name], array.shape)))
    assert_same_bits(decoded(body), array.astype(np.float32))


def test_a_double_beyond_f32_is_infinite_without_a_warning():
    array = np.array([[1e300, -1e300, 1.0]])
    assert decoded(Dense(part(array))).tolist() == [[np.inf, -np.inf, 1.0]]
