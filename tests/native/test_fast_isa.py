"""Every instruction set computes the fast products of the scalar one: the same bytes, bf16 pairs of AVX512-BF16 excepted.

A process has one instruction set, so each works in a child of its own: `HUB_ISA=avx2 python test_fast_isa.py FILE.npz`.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fast_cases import KINDS, activations, product, reference, shapes, weights

import hub_native

OTHERS = [isa for isa in hub_native.available() if isa != "scalar"]


def results(file):
    """Products of all kinds and shapes, by name."""
    found = {}
    for kind in KINDS:
        for cols, rows, tokens in shapes(kind):
            found[f"{kind} {cols} {rows} {tokens}"] = product(
                kind, weights(kind, rows, cols), activations(tokens, cols)
            )
    np.savez(file, **found)


@pytest.fixture(scope="module")
def by_isa(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    out = {}
    for isa in hub_native.available():
        file = folder / f"{isa}.npz"
        env = os.environ | {"HUB_ISA": isa}
        subprocess.run([sys.executable, __file__, str(file)], env=env, check=True, timeout=300)
        with np.load(file) as found:
            out[isa] = {name: found[name] for name in found.files}
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isa", OTHERS)
def test_same_bytes_as_scalar(by_isa, isa, kind):
    for name, wanted in by_isa["scalar"].items():
        if name.split()[0] != kind:
            continue
        found = by_isa[isa][name]
        if kind == "bf16":
            cols, rows, tokens = map(int, name.split()[1:])
            _, size = reference(kind, weights(kind, rows, cols), activations(tokens, cols))
            assert (np.abs(found - wanted) <= 2.0**-23 * cols**0.5 * 4 * size).all(), name
        else:
            assert found.tobytes() == wanted.tobytes(), f"{name}: {np.count_nonzero(found != wanted)} differ"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    results(sys.argv[1])
