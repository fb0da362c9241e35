"""Every instruction set writes the bytes of the scalar one. A process has one, so each works in a child of its own.

Run as a program (`HUB_ISA=avx2 python test_isa_bytes.py FILE.npz`) this file is that child.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_cases import LEGACY, PLAIN, K, assert_same_blocks, distributions, importances, mixed_rows

import hub_native

OTHERS = [isa for isa in hub_native.available() if isa != "scalar"]
KINDS = [*PLAIN, *LEGACY, *K]
SEEDS = range(2)
# A kernel takes 1 or 2 super-blocks at once, or 8 or 16 blocks, whatever their rows: counts that leave a rest, too.
SHAPES = [(1, 256), (2, 256), (3, 256), (1, 512), (5, 768), (17, 256), (3, 2816), (1, 32), (3, 160), (1, 992), (7, 96)]


def nonfinite(rng, x):
    """Some of x replaced by infinities and NaNs of both signs, with and without payload."""
    bits = np.array([0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFF812345], np.uint32)
    at = rng.random(x.shape) < 1 / 700
    return np.where(at, rng.choice(bits, x.shape).view(np.float32), x)


def at_address(x, floats):
    """A copy of x that begins `floats` floats after a multiple of 64 bytes."""
    arena = np.empty(x.size + 32, np.float32)
    start = -arena.ctypes.data // 4 % 16 + floats
    out = arena[start : start + x.size].reshape(x.shape)
    out[...] = x
    return out


def cases(kind):
    """(name, x, importance) for a type: those whose rows are whole blocks of it."""
    weights, _ = hub_native.block(kind)
    return [case for case in all_cases() if case[1].shape[1] % weights == 0]


def all_cases():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        for name, row in distributions(2816, seed):
            yield f"{name} {seed}", row.reshape(1, -1), None
            yield f"{name} {seed} with importance", row.reshape(1, -1)[:, :768], importances(768, seed)[0]
        for rows, cols in SHAPES:
            mixed = mixed_rows(rng, rows, cols)
            yield f"mixed {rows} x {cols} {seed}", mixed, None
            yield f"nonfinite {rows} x {cols} {seed}", nonfinite(rng, mixed), None
        gauss = rng.standard_normal((3, 768)).astype(np.float32)  # 9 super-blocks, 72 blocks
        for floats in (0, 1, 3, 7, 15):
            yield f"address {floats} {seed}", at_address(gauss, floats), None


def quantize_at(kind, x, importance, odd):
    """The blocks, written to an address that is odd or even."""
    weights, size = hub_native.block(kind)
    arena = np.full(x.size // weights * size + 3, 0xA5, np.uint8)
    start = (arena.ctypes.data + odd) % 2
    out = arena[start : start + x.size // weights * size]
    hub_native.quantize(kind, x, out, importance)
    assert (arena[:start] == 0xA5).all()
    assert (arena[start + out.size :] == 0xA5).all()
    return out


def work(path):
    done = {"isa": np.array(hub_native.isa())}
    for kind in KINDS:
        blocks = [
            quantize_at(kind, np.ascontiguousarray(x), importance, i % 2)
            for i, (_, x, importance) in enumerate(cases(kind))
        ]
        done[kind] = np.concatenate(blocks)
        weights, size = hub_native.block(kind)
        out = np.empty(done[kind].size // size * weights, np.float32)
        hub_native.dequantize(kind, done[kind], out.reshape(1, -1))
        done[f"{kind} back"] = out.view(np.uint32)
    np.savez(path, **done)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isa")
    found = {}
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
            found[isa] = dict(file)
        assert str(found[isa]["isa"]) == isa
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isa", OTHERS)
def test_same_blocks(results, isa, kind):
    ours, theirs = results[isa][kind], results["scalar"][kind]
    weights, size = hub_native.block(kind)
    start = 0
    for name, x, _ in cases(kind):
        end = start + x.size // weights * size
        assert_same_blocks(kind, ours[start:end], theirs[start:end], np.asarray(x), f"{isa}, {name}")
        start = end
    assert start == len(ours) == len(theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isa", OTHERS)
def test_same_weights(results, isa, kind):
    np.testing.assert_array_equal(results[isa][f"{kind} back"], results["scalar"][f"{kind} back"])


@pytest.mark.skipif(platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="Linux on x86-64")
def test_what_the_cpu_has_is_available():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split(":")[1].split())
    wanted = [
        isa
        for isa, needed in (("avx512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}), ("avx2", {"avx2"}))
        if needed <= flags
    ]
    assert list(hub_native.available()) == [*wanted, "scalar"]


if __name__ == "__main__":
    work(sys.argv[1])
