"""MLX's quantizers: the bytes of MLX (golden digests; MLX itself with `-m consumers`), of the formula told in NumPy, and
the same ones on every instruction set.

Run as a program, `python test_mlx.py` prints a digest of what is made of every sort of weights; `python test_mlx.py --golden`,
where mlx is installed, writes the golden file anew from what MLX makes.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for a child process

import mlx_cases
import words_oracle
from mlx_cases import GROUPS, MODES, TYPES, WIDTHS

import hub_native

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "mlx_quantize.json"
AFFINE = [(kind, group, bits) for kind in TYPES for group in GROUPS for bits in WIDTHS]
FLOATS = [
    (kind, mode, given) for kind in TYPES for mode in MODES for given in (0.0, 2.5) if mode == "nvfp4" or not given
]
LEAST = {"mxfp4": 2.0**-120, "mxfp8": 2.0**-118, "nvfp4": 0.0}
"""Below, MLX's exponents wrap around."""
LARGEST = 1e6
"""Far above, MLX's NVFP4 forgets to saturate."""


def affine(x, group, bits, kind):
    """words, scales and biases as bytes."""
    groups = x.size // group
    size = groups * TYPES[kind](0).itemsize
    made = [np.full(n, 0xA5, np.uint8) for n in (x.size * bits // 8, size, size)]
    hub_native.mlx_affine(x, group, bits, kind, *made)
    return made


def floats(x, mode, kind, global_scale):
    """words and scales as bytes."""
    group, bits = MODES[mode]
    made = [np.full(n, 0xA5, np.uint8) for n in (x.size * bits // 8, x.size // group)]
    hub_native.mlx_floats(x, mode, kind, global_scale, *made)
    return made


def float_weights(mode, kind, seed=3):
    """What MLX itself has no fault with."""
    x = mlx_cases.weights(96, kind, seed, least=LEAST[mode])
    return np.clip(x, -LARGEST, LARGEST) if mode == "nvfp4" else x


def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def as_bytes(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(("kind", "group", "bits"), AFFINE)
def test_affine_is_what_mlx_makes(golden, kind, group, bits):
    x = mlx_cases.weights(2 * group, kind, 1)
    made = affine(x, group, bits, kind)
    codes, scales, biases = mlx_cases.affine(x, group, bits, kind)
    np.testing.assert_array_equal(made[1], as_bytes(scales))
    np.testing.assert_array_equal(made[2], as_bytes(biases))
    row = x.shape[1] * bits // 8
    np.testing.assert_array_equal(made[0].reshape(-1, row), words_oracle.pack_rows(codes, bits, row))
    assert digest(made) == golden[f"affine {kind} {group} {bits}"]


@pytest.mark.parametrize(("kind", "mode", "global_scale"), FLOATS)
def test_floats_are_what_mlx_makes(golden, kind, mode, global_scale):
    x = float_weights(mode, kind)
    made = floats(x, mode, kind, global_scale)
    codes, scales = mlx_cases.floats(x, mode, kind, global_scale or None)
    np.testing.assert_array_equal(made[1], as_bytes(scales))
    row = x.shape[1] * MODES[mode][1] // 8
    np.testing.assert_array_equal(made[0].reshape(-1, row), words_oracle.pack_rows(codes, MODES[mode][1], row))
    assert digest(made) == golden[f"{mode} {kind} {global_scale:g}"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_tiny_and_huge_floats_are_told_as_near_as_they_can_be(mode, kind):
    """Where MLX wraps around or does not saturate, which the formula of src/mlx.h does not copy."""
    x = mlx_cases.weights(64, kind, 4)
    made = floats(x, mode, kind, 0.0)
    codes, scales = mlx_cases.floats(x, mode, kind)
    np.testing.assert_array_equal(made[1], as_bytes(scales))
    np.testing.assert_array_equal(
        made[0], words_oracle.pack_rows(codes, MODES[mode][1], len(made[0]) // len(x)).reshape(-1)
    )


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_weights_are_rounded_to_the_type_first(kind):
    x = mlx_cases.weights(128, "f32", 5)
    x = np.clip(x, -60000, 60000).astype(np.float32)
    narrow = x.astype(TYPES[kind]).astype(np.float32)
    assert (x != narrow).any()
    for one, other in zip(affine(x, 64, 4, kind), affine(narrow, 64, 4, kind), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(floats(x, "mxfp8", kind, 0.0), floats(narrow, "mxfp8", kind, 0.0), strict=True):
        np.testing.assert_array_equal(one, other)


def all_digests():
    """Of all kernels, on numbers of groups that leave a rest and at addresses that are odd."""
    found = {}
    for rows in (1, 3, 37):
        for kind, group, bits in AFFINE:
            found[f"affine {kind} {group} {bits} {rows}"] = digest(
                affine(mlx_cases.weights(group, kind, 7)[:rows], group, bits, kind)
            )
        for kind, mode, given in FLOATS:
            found[f"{mode} {kind} {given} {rows}"] = digest(
                floats(mlx_cases.weights(MODES[mode][0], kind, 8)[:rows], mode, kind, given)
            )
    for kind, group, bits in AFFINE:
        found[f"all {kind} {group} {bits}"] = digest(affine(mlx_cases.weights(256, kind, 9), group, bits, kind))
    for kind, mode, given in FLOATS:
        found[f"all {kind} {mode} {given}"] = digest(floats(mlx_cases.weights(256, kind, 9), mode, kind, given))
    return found


def test_every_instruction_set_makes_the_same_bytes():
    found = {}
    for isa in hub_native.available():
        done = subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "HUB_ISA": isa},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        found[isa] = json.loads(done.stdout)
    for isa, digests in found.items():
        assert digests == found["scalar"], isa


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("groups", [1, 7, 8, 15, 16, 17, 33])
def test_nothing_else_is_written_at_any_address(groups, bits):
    x = mlx_cases.weights(32, "f16", 2)[:groups]
    wanted = affine(x, 32, bits, "f16")
    arenas = [np.full(len(one) + 19, 0xA5, np.uint8) for one in wanted]
    hub_native.mlx_affine(x, 32, bits, "f16", *(arena[3:-16] for arena in arenas))
    for arena, other in zip(arenas, wanted, strict=True):
        np.testing.assert_array_equal(arena[3:-16], other)
        assert (arena[:3] == 0xA5).all()
        assert (arena[-16:] == 0xA5).all()


def test_wrong_sizes_are_refused():
    x = np.zeros((2, 64), np.float32)
    b = np.zeros
    for group, bits, kind, sizes, what in [
        (64, 7, "f32", (112, 8, 8), "7 bits"),
        (48, 4, "f32", (64, 8, 8), "groups of 48"),
        (128, 4, "f32", (64, 4, 4), "not a multiple of 128"),
        (64, 4, "f64", (64, 8, 8), "'f64' is not among"),
        (64, 4, "f32", (63, 8, 8), "bytes of words: 63, expected 64"),
        (64, 4, "f32", (64, 4, 8), "bytes of scales: 4, expected 8"),
        (64, 4, "f16", (64, 4, 8), "bytes of biases: 8, expected 4"),
    ]:
        with pytest.raises(ValueError, match=what):
            hub_native.mlx_affine(x, group, bits, kind, *(b(n, np.uint8) for n in sizes))
    for mode, given, sizes, what in [
        ("fp4", 0.0, (64, 4), "'fp4' is not among"),
        ("mxfp4", 1.0, (64, 4), "a global scale of 1.0 for mxfp4"),
        ("nvfp4", -1.0, (64, 8), "a global scale of -1.0"),
        ("nvfp4", 0.0, (64, 4), "bytes of scales: 4, expected 8"),
    ]:
        with pytest.raises(ValueError, match=what):
            hub_native.mlx_floats(x, mode, "f32", given, *(b(n, np.uint8) for n in sizes))
    nothing = np.zeros((0, 64), np.float32)
    hub_native.mlx_affine(nothing, 64, 4, "f32", *(b(0, np.uint8) for _ in range(3)))


# ---------------------------------------------------------------- MLX itself


def mlx():
    try:
        import mlx.core as core
    except ImportError as error:
        pytest.skip(f"mlx cannot be imported: {error}")
    return core


def by_mlx(core, x, kind, **how):
    """What `mx.quantize` makes, as bytes."""
    types = {"f32": core.float32, "f16": core.float16, "bf16": core.bfloat16}
    given = how.pop("global_scale", 0.0)
    if given:
        how["global_scale"] = core.array(np.array([given], np.float32))
    with core.stream(core.cpu):
        made = core.quantize(core.array(x).astype(types[kind]), **how)
        made = [one.view(core.uint16) if one.dtype == core.bfloat16 else one for one in made]
        core.eval(made)
    return [as_bytes(np.array(one)) for one in made]


@pytest.mark.consumers
@pytest.mark.parametrize("kind", TYPES)
def test_affine_against_mlx(kind):
    core = mlx()
    for seed, group in enumerate(GROUPS):
        x = mlx_cases.weights(4 * group, kind, 100 + seed, rows=200)
        for bits in WIDTHS:
            for one, other in zip(
                affine(x, group, bits, kind), by_mlx(core, x, kind, group_size=group, bits=bits), strict=True
            ):
                np.testing.assert_array_equal(one, other, err_msg=f"{kind}, {bits} bits, groups of {group}")


@pytest.mark.consumers
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_floats_against_mlx(mode, kind):
    core = mlx()
    group, bits = MODES[mode]
    for seed in range(3):
        x = float_weights(mode, kind, 200 + seed)
        for given in (0.0, 0.75, 3.0) if mode == "nvfp4" else (0.0,):
            wanted = by_mlx(core, x, kind, group_size=group, bits=bits, mode=mode, global_scale=given)
            for one, other in zip(floats(x, mode, kind, given), wanted, strict=True):
                np.testing.assert_array_equal(one, other, err_msg=f"{mode} {kind} {given}")


@pytest.mark.consumers
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_every_largest_weight_of_16_bits_against_mlx(kind, mode):
    core = mlx()
    group, bits = MODES[mode]
    every = np.arange(0x8000, dtype=np.uint16).view(TYPES[kind]).astype(np.float32)
    every = every[
        np.isfinite(every)
        & ((every == 0) | (every >= LEAST[mode]))
        & (every <= (LARGEST if mode == "nvfp4" else np.inf))
    ]
    x = np.zeros((len(every), 32), np.float32)
    x[:, 5] = every
    for one, other in zip(
        floats(x, mode, kind, 0.0), by_mlx(core, x, kind, group_size=group, bits=bits, mode=mode), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def golden_digests(core):
    found = {}
    for kind, group, bits in AFFINE:
        x = mlx_cases.weights(2 * group, kind, 1)
        found[f"affine {kind} {group} {bits}"] = digest(by_mlx(core, x, kind, group_size=group, bits=bits))
    for kind, mode, given in FLOATS:
        group, bits = MODES[mode]
        made = by_mlx(core, float_weights(mode, kind), kind, group_size=group, bits=bits, mode=mode, global_scale=given)
        found[f"{mode} {kind} {given:g}"] = digest(made)
    return found


if __name__ == "__main__":
    if "--golden" in sys.argv:
        GOLDEN.write_text(json.dumps(golden_digests(mlx()), indent=1) + "\n")
    else:
        print(json.dumps(all_digests()))
