"""The exact mode gives the same bits on every instruction set. A process has one, so each works in a child of its own.

Run as a program (`HUB_ISA=avx2 python test_run_isa.py FILE.npz`) this file is that child.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from run_cases import attend, linear

import hub_native

OTHERS = [isa for isa in hub_native.available() if isa != "scalar"]
SHAPES = [(1, 1), (3, 15), (5, 17), (2, 32), (7, 100), (13, 257)]


def gauss(*shape, seed=0):
    """Over many powers of two, so that the order of a sum shows."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 8, shape)).astype(np.float32)


def wide(*shape, seed=0):
    """Whatever a float can be, except NaN."""
    bits = np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    return np.where(np.isnan(x), np.float32(0), x)


def results():
    """(name, array) of everything."""
    for kind in hub_native.types():
        x = gauss(11, 768)
        weights, size = hub_native.block(kind)
        data = np.random.default_rng(9).integers(0, 120, 21 * 768 // weights * size, dtype=np.uint8)
        yield f"linear {kind}", linear(kind, data, 21, x)
    for tokens, n in SHAPES:
        x, out = gauss(tokens, n), np.empty((tokens, n), np.float32)
        yield f"linear f32 {n}", linear("f32", gauss(19, n, seed=1).view(np.uint8).reshape(-1), 19, x)
        weight, bias = gauss(n, seed=2), gauss(n, seed=3)
        hub_native.rms_norm(x, weight, 1e-5, out)
        yield f"rms_norm {n}", out.copy()
        hub_native.layer_norm(x, weight, bias, 1e-5, out)
        yield f"layer_norm {n}", out.copy()
        hub_native.softmax_rows(x, out)
        yield f"softmax {n}", out.copy()
        ids, values = np.empty((tokens, min(n, 4)), np.int32), np.empty((tokens, min(n, 4)), np.float32)
        hub_native.top_k(x, min(n, 4), ids, values)
        yield f"top_k {n}", ids
        squares = np.zeros(n)
        hub_native.sum_squares(x, squares)
        yield f"sum_squares {n}", squares
    x, y = wide(1, 60_001), wide(1, 60_001, seed=1)
    near = gauss(1, 60_001, seed=2)
    for name in ("silu", "gelu_tanh", "gelu_erf"):
        for which, argument in (("wide", x), ("near", near)):
            out = np.empty_like(x)
            getattr(hub_native, name)(argument, out)
            yield f"{name} {which}", out
            out = np.empty_like(x)
            getattr(hub_native, f"{name}_mul")(argument, y, out)
            yield f"{name}_mul {which}", out
    for which, argument in (("wide", x), ("near", near)):
        out = np.empty_like(x)
        hub_native.softcap(argument, 7.0, out)
        yield f"softcap {which}", out
    for which, argument in (("wide", x), ("near", near)):
        out = np.empty((1, 30_000), np.float32)
        hub_native.swiglu_pairs(np.ascontiguousarray(argument[:, :60_000]), 1.702, 7.0, out)
        yield f"swiglu_pairs {which}", out
    cos, sin = np.empty((2, 50, 37), np.float32)
    inv_freq = np.float32(2) ** -np.arange(37, dtype=np.float32)
    hub_native.rope_tables(inv_freq, np.arange(50, dtype=np.int32) ** 4, 1.3, cos, sin)
    yield "cos", cos
    yield "sin", sin
    for pairs in ("halves", "neighbours"):
        turned = gauss(50, 3 * 80)
        hub_native.rope(turned, cos, sin, 3, pairs)
        yield f"rope {pairs}", turned
    for dim, value_dim in ((16, 64), (40, 33), (7, 150)):
        q, k, v = gauss(29, 4 * dim), gauss(35, 2 * dim, seed=1), gauss(35, 2 * value_dim, seed=2)
        for more in ({}, {"window": 9}, {"softcap": 20.0}, {"sinks": gauss(4)}):
            yield f"attention {dim} {more}", attend(q, k, v, 4, 2, scale=0.02, **more)
    codes = np.random.default_rng(0).integers(0, 256, (9, 700)).astype(np.uint8)
    out = np.empty((9, 700), np.float32)
    hub_native.decode_affine(codes, gauss(9, 22), gauss(9, 22, seed=1), gauss(9, 22, seed=2), 32, out)
    yield "decode", out


def work(path):
    np.savez(path, isa=np.array(hub_native.isa()), **dict(results()))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isa")
    files = {}
    for isa in hub_native.available():
        path = folder / f"{isa}.npz"
        done = subprocess.run(
            [sys.executable, __file__, str(path)],
            env={**os.environ, "HUB_ISA": isa},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        with np.load(path) as file:
            files[isa] = dict(file)
        assert str(files[isa].pop("isa")) == isa
    return files


@pytest.mark.parametrize("isa", OTHERS)
def test_same_bits(found, isa):
    assert found[isa].keys() == found["scalar"].keys()
    for name, wanted in found["scalar"].items():
        ours = found[isa][name]
        # Which NaN a NaN is, is not promised.
        same = (ours.view(np.uint8) == wanted.view(np.uint8)).reshape(*wanted.shape, -1).all(-1)
        bad = np.argwhere(~(same | (np.isnan(ours) & np.isnan(wanted))))
        at = tuple(bad[0]) if bad.size else None
        assert not bad.size, f"{name}: {len(bad)} of {ours.size} differ, the first at {at}: {ours[at]} for {wanted[at]}"


if __name__ == "__main__":
    work(sys.argv[1])
