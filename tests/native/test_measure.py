"""scan and compare against NumPy."""

import ml_dtypes
import numpy as np
import pytest

import hub_native as h

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


def expected(values):
    wide = values.astype(np.float32)
    finite = np.isfinite(wide)
    bad = np.flatnonzero(~finite)
    largest = float(np.abs(wide[finite]).max()) if finite.any() else 0.0
    return len(bad), int(bad[0]) if len(bad) else -1, largest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 15, 16, 17, 1000, 4097])
def test_scan(dtype, n):
    rng = np.random.default_rng(n)
    values = (rng.standard_normal(n) * 10).astype(DTYPES[dtype])
    assert h.scan(dtype, values.view(np.uint8)) == expected(values)
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        for at in {0, n // 2, n - 1} if n else ():
            dirty = values.copy()
            dirty[at] = bad
            assert h.scan(dtype, dirty.view(np.uint8)) == expected(dirty)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_scan_every_pattern(dtype):
    bits = np.arange(65536, dtype="<u2")
    with np.errstate(invalid="ignore"):
        assert h.scan(dtype, bits.view(np.uint8)) == expected(bits.view(DTYPES[dtype]))
    for pattern in (0x7C00, 0xFC01, 0x7F80, 0xFF81, 0x8000, 0x0001, 0xFBFF):
        one = np.array([pattern], "<u2")
        with np.errstate(invalid="ignore"):
            assert h.scan(dtype, one.view(np.uint8)) == expected(one.view(DTYPES[dtype]))


def test_scan_at_any_address():
    values = np.array([1.5, -7.25, np.inf], np.float32).tobytes()
    for shift in range(4):
        assert h.scan("f32", memoryview(bytes(shift) + values)[shift:]) == (1, 2, 7.25)


def fixed_order(terms):
    """The order that measure_scalar.c promises."""
    part = [0.0] * 16
    for i, term in enumerate(terms):
        part[i % 16] += term
    width = 8
    while width:
        part = [part[i] + part[i + width] for i in range(width)]
        width //= 2
    return part[0]


@pytest.mark.parametrize("n", [0, 1, 5, 15, 16, 17, 33, 1000])
def test_compare(n):
    rng = np.random.default_rng(n)
    # Wide exponents: sums of squares must round, or any order would give the same.
    a = (rng.standard_normal(n) * np.exp(5 * rng.standard_normal(n))).astype(np.float32)
    b = np.where(rng.random(n) < 0.5, a, a + np.exp(5 * rng.standard_normal(n))).astype(np.float32)
    diff = a.astype(np.float64) - b
    max_abs, sum_sq, sum_sq_a, unequal = h.compare(a, b)
    assert max_abs == (np.abs(diff).max() if n else 0.0)
    assert sum_sq == fixed_order((diff**2).tolist())
    assert sum_sq_a == fixed_order((a.astype(np.float64) ** 2).tolist())
    assert unequal == ((a.view(np.uint32) != b.view(np.uint32)) & ~((a == 0) & (b == 0))).sum()


def test_compare_what_is_not_a_number():
    nan, inf = np.nan, np.inf
    same = np.float32([1, nan, inf, -inf, -0.0])
    max_abs, sum_sq, sum_sq_a, unequal = h.compare(same, same.copy())
    assert (max_abs, sum_sq, unequal) == (0.0, 0.0, 0)
    assert np.isnan(sum_sq_a)
    assert h.compare(np.float32([0.0]), np.float32([-0.0])) == (0.0, 0.0, 0.0, 0)
    for a, b in ((nan, 1), (1, nan)):
        max_abs, sum_sq, _, unequal = h.compare(np.float32([5, a, 2]), np.float32([1, b, 2]))
        assert np.isnan(max_abs)
        assert np.isnan(sum_sq)
        assert unequal == 2
    assert h.compare(np.float32([inf]), np.float32([-inf]))[:2] == (inf, inf)
    big = np.float32([3.4e38])
    assert h.compare(big, -big)[0] == 2 * float(big[0])
