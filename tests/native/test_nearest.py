"""Rounding to the nearest: what native/src/nearest.h says, in NumPy, and on every instruction set the same bits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import hub_native

CASES = [(14, 32), (10, 128), (6, 1), (4, 40), (2, 15), (2, 512), (6, 33)]
TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


def inputs(groups, size, seed=0):
    rng = np.random.default_rng([seed, groups, size])
    x = rng.standard_normal((groups, size)) * 10.0 ** rng.integers(-9, 5, (groups, 1))
    x[0] = 0
    x[1] = np.abs(x[1]) + 3 * np.abs(x[1]).max()  # of one sign and far from 0
    if groups > 4:
        x[2], x[3], x[4] = -0.7, x[3] * 1e38 / np.abs(x[3]).max(), x[4] * 1e-42
    return x.astype(np.float32)


def stored(scale, kind):
    limits = ml_dtypes.finfo(kind)
    least = float(limits.smallest_subnormal)
    with np.errstate(over="ignore", under="ignore"):
        kept = np.float32(np.float32(min(max(scale, least), float(limits.max))).astype(kind))
    return max(kept, np.float32(least))


def levels(x, scale, zero, most):
    with np.errstate(over="ignore"):
        return np.clip(np.rint(x / scale), -zero, most - zero).astype(np.float32)


def tried(x, bits, symmetric, kind):
    """Scales and zero points, in order."""
    most, middle = (1 << bits) - 1, 1 << (bits - 1)
    parts = [1 - i / 32 for i in range(13)]
    if symmetric:
        largest = float(np.abs(x).max())
        for scale in [
            *(largest * f / (most / 2) for f in parts),
            largest / middle,
            largest / max(1, middle - 1),
            largest,
        ]:
            yield stored(scale, kind) if largest else np.float32(1), middle
        return
    lo, hi = float(x.min()), float(x.max())
    low, high = min(lo, 0.0), max(hi, 0.0)

    def between(low, high):
        return (high - low if high > low else most) / most

    for f in parts:
        scale = stored(between(f * low, f * high), kind)
        yield scale, np.clip(np.rint(-f * low / float(scale)), 0, most)
    for least, largest in ((low, high), (lo, hi)):
        asked = between(least, largest)
        yield stored(asked, kind), np.clip(np.rint(-least / max(asked, 1e-30)), 0, most)


def definition(x, bits, symmetric, kind, weights):
    """Codes, scale and zero point of one group."""
    most = (1 << bits) - 1
    w = np.ones(len(x), np.float32) if weights is None else weights

    def error(scale, zero):
        with np.errstate(over="ignore", invalid="ignore"):
            off = levels(x, scale, zero, most) * scale - x
            terms = off * off * w if weights is not None else off * off
            sums = np.zeros(16, np.float32)
            for start in range(0, len(x), 16):
                sums[: len(terms[start : start + 16])] += terms[start : start + 16]
            for width in (8, 4, 2, 1):
                sums[:width] += sums[width : 2 * width]
        return sums[0]

    best = (np.float32(np.inf), np.float32(1), float(1 << (bits - 1)) if symmetric else 0.0)
    for scale, zero in tried(x, bits, symmetric, kind):
        best = min(best, (error(scale, np.float32(zero)), scale, float(zero)), key=lambda item: item[0])
    _, scale, zero = best
    level = levels(x, scale, np.float32(zero), most).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        fit = (w * level * x).sum() / (w * level * level).sum()
    refined = stored(fit if fit > 0 and np.isfinite(fit) else float(scale), kind)
    if error(refined, np.float32(zero)) < best[0]:
        scale = refined
    return levels(x, scale, np.float32(zero), most) + zero, scale, zero


def searched(x, bits, symmetric, type, weights=None):
    codes, scales = np.empty(x.shape, np.uint8), np.empty(len(x), np.float32)
    zeros = np.empty(len(x), np.uint8)
    hub_native.nearest(x, bits, symmetric, type, weights, codes, scales, zeros)
    return codes, scales, zeros


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_it_is_what_the_header_says(bits, symmetric, type):
    for groups, size in CASES:
        x = inputs(groups, size)
        for weights in (None, np.random.default_rng(1).random((2, size)).astype(np.float32)):
            codes, scales, zeros = searched(x, bits, symmetric, type, weights)
            for g in range(groups):
                w = None if weights is None else weights[g % 2]
                wanted, scale, zero = definition(x[g], bits, symmetric, TYPES[type], w)
                # The double sums of the last offer are added in another order here.
                assert abs(float(scales[g]) - float(scale)) <= 2e-7 * float(scale), (groups, size, g)
                assert zeros[g] == zero
                if scales[g] == scale:
                    assert np.array_equal(codes[g], wanted), (groups, size, g)


def digest():
    """Of all results on many groups, sizes and widths."""
    found = hashlib.sha256()
    for bits in (1, 2, 3, 4, 6, 8):
        for groups, size in CASES:
            for seed in range(6):
                weights = np.random.default_rng(seed).random((1, size)).astype(np.float32) if seed % 2 else None
                for symmetric in (True, False):
                    for type in TYPES:
                        for array in searched(inputs(groups, size, seed), bits, symmetric, type, weights):
                            found.update(array.tobytes())
    return found.hexdigest()


def test_every_instruction_set_gives_the_same_bits():
    here = digest()
    for name in hub_native.available():
        code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['digest']())"
        run = subprocess.run(
            [sys.executable, "-c", code, __file__], env={**os.environ, "HUB_ISA": name}, capture_output=True, text=True
        )
        assert run.stdout.strip() == here, (name, run.stderr)


def test_what_does_not_fit_together_is_refused():
    x = inputs(4, 32)
    codes, scales, zeros = np.empty(x.shape, np.uint8), np.empty(4, np.float32), np.empty(4, np.uint8)
    ones = np.ones((3, 32), np.float32)
    for args, named in [
        ((x, 9, True, "f16", None, codes, scales, zeros), "codes of 9 bits"),
        ((x, 4, True, "f64", None, codes, scales, zeros), "'f64' is not among"),
        ((x, 4, True, "f16", None, codes[:3], scales, zeros), "groups of codes"),
        ((x, 4, True, "f16", None, codes[:, :31].copy(), scales, zeros), "codes of a group"),
        ((x, 4, True, "f16", None, codes, scales[:3], zeros), "scales"),
        ((x, 4, True, "f16", None, codes, scales, zeros[:3]), "zero points"),
        ((x, 4, True, "f16", ones, codes, scales, zeros), "not a multiple"),
        ((x, 4, True, "f16", ones[:1, :31].copy(), codes, scales, zeros), "weights of a group"),
    ]:
        with pytest.raises(ValueError, match=named):
            hub_native.nearest(*args)
