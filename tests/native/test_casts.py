"""f16 and bf16: all patterns down and up, against NumPy and ml_dtypes. Only NaN follows hub's own rule."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_cases import quantize

import hub_native

ALL = np.arange(65536, dtype="<u2")
PEERS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}


def widen(dtype, bits):
    out = np.empty(bits.size, np.float32)
    hub_native.to_f32(dtype, bits.view(np.uint8), out)
    return out


def narrow(dtype, x):
    return quantize(dtype, x.reshape(1, -1)).view("<u2").reshape(-1)


def floats():
    """float32: random patterns, and every f16/bf16 boundary with its neighbours."""
    rng = np.random.default_rng(11)
    bits = [rng.integers(0, 2**32, 200_000, np.uint32)]
    with np.errstate(invalid="ignore"):
        exact = np.concatenate([ALL.view(peer).astype(np.float32).view(np.uint32) for peer in PEERS.values()])
    for step in (0x1000, 0x8000):  # half of a step of f16, of bf16
        for off in (-1, 0, 1):
            bits.append(exact + np.uint32(step) + np.uint32(off & 0xFFFFFFFF))
    bits.append(exact)
    bits.append(np.arange(0x38000000 - 70000, 0x38000000 + 70000, dtype=np.uint32))  # around 2^-15
    bits.append(np.arange(0x33000000 - 200, 0x33000000 + 200, dtype=np.uint32))  # 2^-25: half the least f16
    bits.append(np.float32([65504, 65519.996, 65520, 65535.996, 65536, 1e38]).view(np.uint32))
    both = np.concatenate(bits)
    return np.concatenate([both, both ^ np.uint32(0x80000000)]).view(np.float32)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_widen_all(dtype):
    ours = widen(dtype, ALL)
    with np.errstate(invalid="ignore"):
        theirs = ALL.view(PEERS[dtype]).astype(np.float32)
    nan = np.isnan(theirs)
    np.testing.assert_array_equal(ours.view(np.uint32)[~nan], theirs.view(np.uint32)[~nan])
    shift, quiet = (13, 0x00400000) if dtype == "f16" else (16, 0)
    payload = 0x3FF if dtype == "f16" else 0x7F
    patterns = ALL[nan].astype(np.uint32)
    want = (patterns & 0x8000) << 16 | 0x7F800000 | (patterns & payload) << shift | quiet
    np.testing.assert_array_equal(ours.view(np.uint32)[nan], want)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrow(dtype):
    x = floats()
    ours = narrow(dtype, x)
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = x.astype(PEERS[dtype]).view("<u2")
    nan = np.isnan(x)
    assert nan.sum() > 1000
    np.testing.assert_array_equal(ours[~nan], theirs[~nan])
    bits = x[nan].view(np.uint32)
    want = bits >> 16 & 0x8000 | 0x7E00 if dtype == "f16" else bits >> 16 | 0x40
    np.testing.assert_array_equal(ours[nan], want.astype("<u2"))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_up_and_down_again(dtype):
    kept = ALL[~np.isnan(widen(dtype, ALL))]
    np.testing.assert_array_equal(narrow(dtype, widen(dtype, kept)), kept)


@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_f32_is_a_copy(values):
    x = np.array(values, np.float32)
    np.testing.assert_array_equal(quantize("f32", x.reshape(1, -1)).view("<u4").reshape(-1), x.view(np.uint32))
    np.testing.assert_array_equal(widen("f32", x).view(np.uint32), x.view(np.uint32))


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_any_address(dtype):
    size = hub_native.block(dtype)[1]
    data = np.random.default_rng(5).integers(0, 256, 100 * size, np.uint8)
    want = np.empty(100, np.float32)
    hub_native.to_f32(dtype, data, want)
    for shift in (1, 3):
        out = np.empty(100, np.float32)
        hub_native.to_f32(dtype, memoryview(bytes(shift) + data.tobytes())[shift:], out)
        np.testing.assert_array_equal(out.view(np.uint32), want.view(np.uint32))
