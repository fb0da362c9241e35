"""Rounding to the nearest: against NumPy in f64, on every instruction set the same bits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

import hub_native

CASES = [(7, 32), (5, 128), (3, 1), (4, 40), (2, 15), (1, 2048), (6, 33)]


def inputs(groups, size, most, seed=0):
    rng = np.random.default_rng([seed, groups, size])
    x = (rng.standard_normal((groups, size)) * 10.0 ** rng.integers(-6, 6, (groups, 1))).astype(np.float32)
    scale = (np.abs(x).max(axis=1) / max(1, most // 2) * rng.uniform(0.5, 1.5, groups)).astype(np.float32)
    zero = rng.integers(0, most + 1, groups).astype(np.float32)
    return x, scale, zero


def levels(x, scale, zero, most):
    with np.errstate(over="ignore"):
        return np.clip(np.rint(x / scale[:, None]), -zero[:, None], most - zero[:, None])


@pytest.mark.parametrize(("groups", "size"), CASES)
@pytest.mark.parametrize("most", [1, 15, 255])
def test_codes_are_the_nearest_half_to_even(groups, size, most):
    x, scale, zero = inputs(groups, size, most)
    x[0, 0] = 2.5 * scale[0]
    codes = np.empty(x.shape, np.uint8)
    hub_native.nearest_codes(x, scale, zero, most, codes)
    assert np.array_equal(codes, levels(x, scale, zero, most) + zero[:, None])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("groups", "size"), CASES)
def test_errors_and_fits_are_sums_over_the_group(groups, size, weighted):
    x, scale, zero = inputs(groups, size, 15)
    period = 1 if groups % 2 else groups // 2
    weights = np.random.default_rng(1).random((period, size)).astype(np.float32) if weighted else None
    w = np.tile(weights, (groups // period, 1)).astype(np.float64) if weighted else np.ones(x.shape)
    level = levels(x, scale, zero, 15).astype(np.float64)
    errors, fits = np.empty(groups, np.float32), np.empty(groups)
    hub_native.nearest_errors(x, scale, zero, 15, weights, errors)
    hub_native.nearest_fit(x, scale, zero, 15, weights, fits)
    wanted = (w * (level * scale[:, None] - x) ** 2).sum(axis=1)
    assert np.allclose(errors, wanted, rtol=1e-4, atol=1e-9 * (x.astype(np.float64) ** 2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        best = (w * level * x).sum(axis=1) / (w * level**2).sum(axis=1)
    assert np.allclose(fits, best, rtol=1e-12, equal_nan=True)


def digest():
    """Of all results on many groups, sizes and widths."""
    found = hashlib.sha256()
    for most in (1, 3, 15, 255):
        for groups, size in CASES:
            for seed in range(20):
                x, scale, zero = inputs(groups, size, most, seed)
                weights = np.random.default_rng(seed).random((1, size)).astype(np.float32) if seed % 2 else None
                errors, fits, codes = np.empty(groups, np.float32), np.empty(groups), np.empty(x.shape, np.uint8)
                hub_native.nearest_errors(x, scale, zero, most, weights, errors)
                hub_native.nearest_fit(x, scale, zero, most, weights, fits)
                hub_native.nearest_codes(x, scale, zero, most, codes)
                found.update(errors.tobytes() + fits.tobytes() + codes.tobytes())
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
    x, scale, zero = inputs(4, 32, 15)
    out = np.empty(4, np.float32)
    for args, named in [
        ((x, scale[:3], zero, 15, None, out), "scales"),
        ((x, scale, zero[:3], 15, None, out), "zero points"),
        ((x, scale, zero, 15, None, out[:3]), "groups of out"),
        ((x, scale, zero, 256, None, out), "codes up to 256"),
        ((x, scale, zero, 15, np.ones((3, 32), np.float32), out), "not a multiple"),
        ((x, scale, zero, 15, np.ones((1, 31), np.float32), out), "weights of a group"),
    ]:
        with pytest.raises(ValueError, match=named):
            hub_native.nearest_errors(*args)
    with pytest.raises(ValueError, match="codes of a group"):
        hub_native.nearest_codes(x, scale, zero, 15, np.empty((4, 31), np.uint8))
