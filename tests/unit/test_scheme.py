"""Which schemes can be carried into which without quantizing anew; checked by carrying real numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hub import reference
from hub.api import (
    BF16,
    DTYPES,
    F16,
    F32,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Codebook,
    Const,
    Dense,
    Holding,
    Index,
    Quantized,
    Scheme,
    Stored,
    misfit,
    rows_spec,
)
from hub.decoding import decode
from hub.ir.scheme import always_fits
from hub.layout import DENSE
from hub.transcode import conform
from hub_gguf.layouts import GgmlLayout
from hub_gguf.types import DECODED, QUANTIZED

Q4 = Scheme(Affine(4), Blocks((1, 32)), Stored(F16), zero=Const(8.0))
GPTQ = Scheme(Affine(4), Blocks((1, 128)), Stored(F16), zero=Stored(U8))
MLX = Scheme(Affine(4), Blocks((1, 64)), Stored(BF16), offset=Stored(BF16))
LAYOUTS = {kind.name: GgmlLayout(kind) for kind in (*QUANTIZED, *DECODED)}


@pytest.mark.parametrize("scheme", [Q4, GPTQ, MLX, *(layout.scheme((1, 256)) for layout in LAYOUTS.values())])
def test_everything_fits_itself(scheme):
    assert misfit(scheme, scheme) is None


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (replace(Q4, values=Affine(3)), Q4),  # fewer bits
        (replace(Q4, groups=Blocks((1, 128))), Q4),  # a larger group repeats its scale
        (replace(Q4, groups=Blocks((1, 0))), Q4),  # a whole row
        (replace(Q4, groups=Blocks((0, 0))), Q4),  # a whole tensor
        (replace(Q4, groups=Blocks((4, 64))), Q4),  # rows too
        (Q4, replace(Q4, scale=Stored(F32))),  # wider scales
        (Q4, replace(Q4, zero=Stored(U8))),  # a constant is told by a stored number
        (replace(Q4, scale=Scheme(Affine(6), Blocks((1, 8)), Stored(F16))), replace(Q4, scale=Stored(F32))),
    ],
)
def test_what_fits(source, target):
    assert misfit(source, target) is None


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (replace(Q4, values=Affine(5)), Q4, "u5 do not fit u4"),
        (replace(Q4, values=Affine(4, signed=True)), Q4, "i4 do not fit u4"),
        (replace(Q4, values=Affine(8, dtype=DTYPES["f8_e4m3"])), replace(Q4, values=Affine(8)), "f8_e4m3"),
        (replace(Q4, values=Codebook((0.0, 1.0))), Q4, "codebook of 2"),
        (replace(Q4, values=Codebook((0.0, 1.0))), replace(Q4, values=Codebook((0.0, 2.0))), "codebook"),
        (Q4, replace(Q4, groups=Blocks((1, 64))), "groups"),  # two scales, one place
        (replace(Q4, groups=Blocks((1, 48))), Q4, "groups"),  # 48 is no multiple of 32
        (Q4, replace(Q4, groups=Blocks((1, 0))), "groups"),
        (replace(Q4, groups=Index(None, 4)), Q4, "groups"),
        (Q4, replace(Q4, scale=Stored(BF16)), "scale: f16"),
        (replace(Q4, scale=Stored(BF16)), Q4, "scale: bf16"),
        (replace(Q4, scale=Stored(F32)), Q4, "scale: f32"),
        (Q4, replace(Q4, zero=Const(7.0)), "zero: 8.0"),
        (GPTQ, replace(GPTQ, zero=Const(8.0)), "zero"),  # stored zeros need a place
        (MLX, replace(MLX, offset=Const(0.0)), "offset"),
        (replace(Q4, signs=True), Q4, "signs"),
        (
            replace(Q4, values=Codebook((0.0, 1.0, -0.0, -1.0))),
            replace(Q4, values=Codebook((0.0, 1.0, 0.0, -1.0))),
            "codes",
        ),
        (replace(Q4, values=Codebook((1.0, 2.0) * 4, 4)), Q4, "codebook of 2 vectors of 4"),
        (replace(Q4, values=Codebook((1.0, 2.0) * 4, 4)), replace(Q4, values=Codebook((1.0, 2.0) * 4, 2)), "codebook"),
        (Q4, replace(Q4, scale=Scheme(Affine(6), Blocks((1, 8)), Stored(F16))), "another way"),
        (replace(Q4, scale=Scheme(Affine(6), Blocks((1, 8)), Stored(F16))), Q4, "another way"),
    ],
)
def test_what_does_not_fit(source, target, reason):
    assert reason in misfit(source, target)


def test_the_target_repeats_scales_of_larger_groups_exactly():
    """What `misfit` promises for Q4_1 <- groups of 64 and of whole rows, done: packed and decoded it is bit-equal."""
    from hub.api import ArrayPart, Dense, PartSpec, Quantized

    random, layout = np.random.default_rng(5), LAYOUTS["Q4_1"]
    for size, count in ((64, 4), (0, 1)):
        scheme = Scheme(Affine(4), Blocks((1, size)), Stored(F16), offset=Stored(F16))
        assert layout.can_hold(scheme, (1, 256)) == Holding("exact")
        q = random.integers(0, 16, (3, 256), np.uint8)
        s, m = (random.standard_normal((3, count)).astype(np.float16) for _ in range(2))
        body = Quantized(
            (3, 256), ArrayPart(q, PartSpec(U8, q.shape)), Affine(4), Dense(ArrayPart(s, PartSpec(F16, s.shape))),
            Blocks((1, size)), offset=Dense(ArrayPart(m, PartSpec(F16, m.shape))),
        )  # fmt: skip
        ours = layout.decode(layout.pack(body), (3, 256))
        np.testing.assert_array_equal(ours.view(np.uint32), reference.decode(body).view(np.uint32))


@pytest.mark.parametrize(
    ("source", "target", "fidelity"),
    [
        ("f16", "f32", "exact"), ("bf16", "f32", "exact"), ("f32", "f64", "exact"), ("f16", "f16", "exact"),
        ("f32", "f16", "lossy"), ("f16", "bf16", "lossy"), ("bf16", "f16", "lossy"), ("f64", "f32", "lossy"),
    ],
)  # fmt: skip
def test_dense_layouts_hold_narrower_ones(source, target, fidelity):
    holding = DENSE[target].can_hold(DTYPES[source], (1, 256))
    assert holding.fidelity == fidelity
    assert bool(holding.reason) == (fidelity == "lossy")


@pytest.mark.parametrize(
    ("target", "fidelity"), [("f32", "exact"), ("f64", "exact"), ("f16", "lossy"), ("bf16", "lossy")]
)
def test_f32_holds_every_scheme_since_decoding_is_defined_in_it(target, fidelity):
    assert DENSE[target].can_hold(GPTQ, (1, 256)).fidelity == fidelity


LOOKED_UP = Scheme(Codebook((0.25, 1.5, 3.0)), Blocks((0, 0)), Const(1.0))


@pytest.mark.parametrize(
    ("scheme", "fits"),
    [
        (Scheme(Codebook((-1.0, 0.0, 1.0)), Blocks((1, 256)), Stored(F16)), {"f16", "f32"}),
        (Scheme(Affine(2), Blocks((1, 256)), Stored(F16), Const(1.0)), set()),  # twice 65504
        (Scheme(Affine(1), Blocks((1, 256)), Stored(BF16)), {"bf16", "f32"}),
        (Scheme(Codebook((1.0, 1.0 + 2**-8)), Blocks((1, 256)), Const(1.0)), {"f16", "f32"}),  # bf16 has 8 bits
        (Scheme(Codebook((1.0, 2.0**20)), Blocks((1, 256)), Const(1.0)), {"bf16", "f32"}),  # f16 has no 2^20
        (Scheme(Codebook((1.0, 2.0**-20)), Blocks((1, 256)), Const(0.001)), {"f32"}),
        (Scheme(Codebook((1.0, 3.0)), Blocks((1, 16)), LOOKED_UP), {"f16", "bf16", "f32"}),
        (Scheme(Codebook((1.0, 3.0)), Blocks((1, 16)), LOOKED_UP, offset=Const(2.0**-30)), set()),
        (Scheme(Codebook((1.0, 3.0)), Blocks((1, 16)), replace(LOOKED_UP, scale=Stored(F16))), set()),
        (Scheme(Codebook((1.0, 3.0)), Blocks((1, 16)), Stored(F16)), set()),
        (Scheme(Affine(8, dtype=DTYPES["f8_e4m3"]), Blocks((1, 16)), Const(1.0)), set()),
        (Scheme(Codebook((1.0, 3.0)), Blocks((1, 16)), LOOKED_UP, zero=Stored(F16)), set()),
    ],
)
def test_types_that_hold_whatever_a_scheme_can_mean(scheme, fits):
    assert {dtype.name for dtype in (F16, BF16, F32) if always_fits(scheme, dtype)} == fits


def test_a_packed_layout_holds_no_floats():
    assert LAYOUTS["Q4_0"].can_hold(F32, (1, 256)).fidelity == "lossy"


EXACT = {
    ("Q4_0", "Q5_0"), ("Q4_0", "Q8_0"), ("Q5_0", "Q8_0"), ("Q4_1", "Q5_1"), ("Q4_K", "Q5_K"),
    *((name, "Q8_0") for name in ("TQ2_0", "Q2_0")), *((name, "Q5_0") for name in ("TQ2_0", "Q2_0")), ("TQ2_0", "Q4_0"),
    ("Q2_0", "Q4_0"),
}  # fmt: skip
"""Some pairs that must be exact whatever the numbers are."""


@pytest.mark.parametrize("target", sorted(LAYOUTS))
@pytest.mark.parametrize("source", sorted(LAYOUTS))
def test_what_a_ggml_type_says_it_holds_it_can_pack(source, target):
    """The planner takes the answer for a promise: `exact` packs and decodes to the same weights, `codes` to near ones."""
    old, new = LAYOUTS[source], LAYOUTS[target]
    raw = ordinary_blocks(old, 16, 512)
    body = old.unpack({"blocks": raw}, (16, 512))
    holding = new.can_hold(old.scheme((1, 256)), (1, 256))
    assert (source, target) not in EXACT or (holding.fidelity == "exact" and not holding.by_value)
    if holding.by_value:
        holding = new.can_hold(old.scheme((1, 256)), (16, 512), body)
    if holding.fidelity == "lossy":
        assert holding.reason
        return
    packed = new.pack(conform(body, old.scheme((16, 512)), new.scheme((16, 512))))
    assert packed["blocks"].shape == (16, new.kind.row_bytes(512))
    before, after = old.decode({"blocks": raw}, (16, 512)), new.decode(packed, (16, 512))
    if holding.fidelity == "exact":
        np.testing.assert_array_equal(before, after)
    else:
        assert holding.reason
        assert np.abs(before - after).max() <= np.abs(before).max() / 500
    if source == target:
        np.testing.assert_array_equal(packed["blocks"], raw)


def ordinary_blocks(layout, rows, columns):
    """Random codes and scales that are finite and not tiny."""
    random = np.random.default_rng(3)
    raw = random.integers(0, 256, (rows, layout.kind.row_bytes(columns)), np.uint8)
    for _ in range(100):
        weights = layout.decode({"blocks": raw}, (rows, columns))
        blocks = weights.reshape(-1, layout.kind.block)
        wrong = ~np.isfinite(blocks).all(1) | (np.abs(blocks).max(1) > 1e3)
        if not wrong.any():
            return raw
        new = random.integers(0, 256, (int(wrong.sum()), layout.kind.bytes), np.uint8)
        raw.reshape(-1, layout.kind.bytes)[wrong] = new
    raise AssertionError("no finite blocks")


@pytest.mark.parametrize("seed", range(8))
def test_scales_that_are_shared_otherwise_are_found_again(seed):
    """Of groups twice as wide, K-quants' scales are the same numbers, told twice: small multiples of one of them all."""
    random, target = np.random.default_rng(seed), LAYOUTS["Q5_K"]
    mine = replace(LAYOUTS["Q4_K"].scheme((1, 512)), groups=Blocks((1, 64)))
    assert target.can_hold(mine, (4, 512)).fidelity == "exact"

    def part(array, dtype):
        return ArrayPart(array, rows_spec(dtype, array.shape))

    def scales(scheme):
        codes = random.integers(0, 64, (4, 8)).astype(np.uint8)
        factors = (random.random((4, 1)) * 10.0 ** -random.integers(0, 8, (4, 1))).astype(np.float16)
        return Quantized((4, 8), part(codes, U8), scheme.values, Dense(part(factors, F16)), scheme.groups)

    codes = part(random.integers(0, 16, (4, 512)).astype(np.uint8), U8)
    body = Quantized(
        (4, 512), codes, mine.values, scales(mine.scale), mine.groups, mine.zero, scales(mine.offset)
    )  # fmt: skip
    packed = target.pack(conform(body, mine, target.scheme((1, 512))))
    np.testing.assert_array_equal(target.decode(packed, (4, 512)), decode(body))
