"""Linear maps of the exact mode: the documented order, any tiling, all types, and what is refused."""

import numpy as np
import pytest
from native_cases import LEGACY, PLAIN, K, dequantize, quantize
from run_cases import dots, fma, linear, same_bits

import hub_native

KINDS = [*PLAIN, *LEGACY, *K]


def gauss(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_fma_of_the_tests_is_one_rounding():
    one = np.float32(1) + np.float32(2**-12)
    a = np.array([one, 1, 1], np.float32)
    c = np.array([-1, 2**-24, -(2**-25)], np.float32)
    wanted = [2**-11 + 2**-24, 1, 1]  # exact; a tie goes to even
    np.testing.assert_array_equal(fma(a, np.array([one, 1, 1], np.float32), c), np.array(wanted, np.float32))
    assert (one * one - np.float32(1)) != np.float32(wanted[0])


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 32, 33, 100, 255, 272, 1025])
@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (3, 2), (5, 7), (18, 13)])
def test_order_of_a_dot_product(n, rows, tokens):
    w, x = gauss(rows, n, seed=n), gauss(tokens, n, seed=n + 1)
    out = np.full((tokens, rows), np.nan, np.float32)
    hub_native.rows_f32(w, x, out)
    same_bits(out, dots(w, x))


def test_order_shows_where_sums_cancel():
    w = np.float32(10.0) ** np.random.default_rng(3).integers(-6, 6, (4, 300)).astype(np.float32)
    x = gauss(5, 300, seed=4)
    out = np.empty((5, 4), np.float32)
    hub_native.rows_f32(w, x, out)
    same_bits(out, dots(w, x))
    assert (out != x @ w.T).any()  # other orders do give other numbers here


def test_products_that_vanish_leave_plus_zero():
    tiny = np.full((1, 17), 1e-30, np.float32)
    out = np.empty((1, 1), np.float32)
    hub_native.rows_f32(-tiny, tiny, out)
    same_bits(out, dots(-tiny, tiny))


@pytest.mark.parametrize("kind", hub_native.types())
def test_types(kind):
    """Rows are decoded as dequantize() does it; float64 says that the sums are right."""
    rows, n, tokens = 21, 1280, 9
    x = gauss(tokens, n, seed=1)
    if kind in KINDS:
        data = quantize(kind, gauss(rows, n))
    else:  # without a quantizer; bytes so small make finite scales of every kind
        weights, size = hub_native.block(kind)
        data = np.random.default_rng(2).integers(0, 60, (rows, n // weights * size), dtype=np.uint8)
    w = dequantize(kind, data, n)
    out = linear(kind, data.reshape(-1), rows, x)
    whole = np.empty_like(out)
    hub_native.rows_f32(w, x, whole)
    same_bits(out, whole)
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    bound = np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64).T * 2**-24 * (n / 16 + 5)
    assert (np.abs(out - exact) <= bound).all()


@pytest.mark.parametrize("kind", ["f32", "bf16", "q8_0", "q6_k"])
def test_data_at_an_odd_address(kind):
    data = quantize(kind, gauss(5, 256)).reshape(-1)
    moved = np.empty(data.size + 1, np.uint8)[1:]
    moved[:] = data
    same_bits(linear(kind, moved, 5, gauss(3, 256, seed=1)), linear(kind, data, 5, gauss(3, 256, seed=1)))


@pytest.mark.parametrize("kind", ["f32", "q4_k"])
def test_any_tiling_gives_the_same_bits(kind):
    rows, n, tokens = 37, 512, 29
    data, x = quantize(kind, gauss(rows, n)), gauss(tokens, n, seed=1)
    whole = linear(kind, data.reshape(-1), rows, x)
    for size in (1, 3, 4, 16, 17):
        out = np.full((tokens, rows + 2), np.nan, np.float32)
        for start in range(0, rows, size):
            some = data[start : start + size]
            hub_native.linear_exact(kind, some.reshape(-1), len(some), x, out, start + 1)
        same_bits(out[:, 1:-1], whole)
        assert np.isnan(out[:, [0, -1]]).all()
    for size in (1, 2, 5, 6, 11):
        for start in range(0, tokens, size):
            some = np.ascontiguousarray(x[start : start + size])
            same_bits(linear(kind, data.reshape(-1), rows, some), whole[start : start + size])


def test_more_tokens_than_one_block():
    """Tokens are worked off 384 at a time, fewer with long rows."""
    w, x = gauss(5, 33), gauss(800, 33, seed=1)
    out = np.empty((800, 5), np.float32)
    hub_native.rows_f32(w, x, out)
    same_bits(out, dots(w, x))
    w, x = gauss(2, 100_003), gauss(30, 100_003, seed=1)
    out, one = np.empty((30, 2), np.float32), np.empty((1, 2), np.float32)
    hub_native.rows_f32(w, x, out)
    for t in (0, 23, 24, 29):
        hub_native.rows_f32(w, x[t : t + 1], one)
        same_bits(one[0], out[t])
    np.testing.assert_allclose(out, x.astype(np.float64) @ w.T.astype(np.float64), atol=0.02)


def test_nan_and_infinity_stay_in_their_row_and_token():
    w, x = np.abs(gauss(9, 50)) + 1, np.abs(gauss(8, 50, seed=1)) + 1
    w[3, 49], w[5, 0], x[2, 17] = np.nan, np.inf, np.inf
    out = np.empty((8, 9), np.float32)
    hub_native.rows_f32(w, x, out)
    wanted = np.full((8, 9), "finite", dtype="<U6")
    wanted[2], wanted[:, 5], wanted[:, 3] = "inf", "inf", "nan"
    np.testing.assert_array_equal(np.isnan(out), wanted == "nan")
    np.testing.assert_array_equal(np.isposinf(out), wanted == "inf")


def test_nothing_to_do():
    x, out = np.ones((2, 32), np.float32), np.zeros((2, 3), np.float32)
    hub_native.linear_exact("q8_0", np.empty(0, np.uint8), 0, x, out, 3)
    hub_native.rows_f32(np.ones((3, 32), np.float32), x[:0], out[:0])
    assert not out.any()
    hub_native.rows_f32(np.ones((3, 0), np.float32), np.ones((2, 0), np.float32), out)
    assert not out.any()


@pytest.mark.parametrize(
    ("kind", "size", "rows", "n", "out", "column", "message"),
    [
        ("q9_9", 34, 1, 32, (2, 4), 0, "unknown type 'q9_9'"),
        (None, 34, 1, 32, (2, 4), 0, "unknown type None"),
        ("q8_0", 34, 1, 33, (2, 4), 0, "33 columns are not a multiple"),
        ("q8_0", 33, 1, 32, (2, 4), 0, "weights has 33 bytes, 1 x 32 weights take 34"),
        ("q8_0", 34, 2, 32, (2, 4), 0, "2 x 32 weights take 68"),
        ("q8_0", 34, 1 << 60, 32, (2, 4), 0, "weights take"),
        ("q8_0", 34, -1, 32, (2, 4), 0, "weights take"),
        ("q8_0", 34, 1, 32, (3, 4), 0, "out has 3 rows, x has 2"),
        ("q8_0", 34, 1, 32, (2, 4), 4, "do not lie in out"),
        ("q8_0", 34, 1, 32, (2, 4), -1, "do not lie in out"),
        ("q8_0", 34 * 5, 5, 32, (2, 4), 0, "do not lie in out"),
    ],
)
def test_refused(kind, size, rows, n, out, column, message):
    with pytest.raises(ValueError, match=message):
        hub_native.linear_exact(
            kind, np.zeros(size, np.uint8), rows, np.zeros((2, n), np.float32), np.zeros(out, np.float32), column
        )


def test_refused_rows():
    with pytest.raises(ValueError, match="w has 3 columns, x has 4"):
        hub_native.rows_f32(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), np.zeros((2, 2), np.float32))
    unaligned = np.frombuffer(bytes(65), np.uint8)[1:].view(np.float32).reshape(1, 16)
    if unaligned.ctypes.data % 4 == 0:
        unaligned = np.frombuffer(bytes(66), np.uint8)[2:].view(np.float32).reshape(1, 16)
    with pytest.raises(ValueError, match="past a multiple of 4"):
        hub_native.rows_f32(np.zeros((1, 16), np.float32), unaligned, np.zeros((1, 1), np.float32))
    with pytest.raises((ValueError, TypeError)):
        hub_native.rows_f32(np.zeros((2, 4)), np.zeros((2, 4), np.float32), np.zeros((2, 2), np.float32))
