"""Promises of the contracts that no built-in format needs yet: the next one would."""

from __future__ import annotations

import numpy as np
import pytest

from hub import reference
from hub.dtypes import F16, F32, I8, I32, U8
from hub.ir.groups import Blocks
from hub.ir.part import ArrayPart, PartSpec
from hub.ir.scheme import Scheme, Stored, misfit
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Affine, Codebook, Const, Dense, Quantized
from hub.layout import DENSE, Layout
from hub.plugins import registry
from hub.tiles import step
from hub.transcode import conform
from hub.verification.verifier import least_sqnr

B32 = Blocks((1, 32))


class Words(Layout):
    """Eight rows share a word, and the layout itself wants three at a time."""

    name = "test.words"
    row_multiple = 3

    def parts(self, shape):
        return {"words": PartSpec(I32, (shape[1], shape[0] // 8), axis=1, per=8)}

    def scheme(self, shape):
        return Scheme(Affine(4), B32, Stored(F16))

    def unpack(self, arrays, shape):
        raise NotImplementedError


def test_tiles_are_a_multiple_of_all_that_either_layout_wants():
    layout, dense = Words(), Tensor("w", (48, 4), Dense(ArrayPart(np.zeros((48, 4), "<f4"), PartSpec(F32, (48, 4)))))
    spec = layout.parts((48, 4))["words"]
    packed = Tensor("w", (48, 4), Packed(layout.name, (48, 4), {"words": ArrayPart(np.zeros((4, 6), "<i4"), spec)}))
    assert step(dense, DENSE["f32"]) == 1
    assert step(dense, DENSE["f32"], layout) == 24
    assert step(packed, layout) == 24  # looking at the source asks for whole words too
    assert step(packed, layout, DENSE["f32"]) == 24


def test_a_family_of_layouts_is_known_by_every_member():
    known = registry()
    name = next(name for name in known.layout_names if name not in DENSE)
    assert known.knows_layout("f32") and known.knows_layout(f"{name}/4bit-g64")
    assert not known.knows_layout("no.such/4bit-g64")


@pytest.mark.parametrize(("zero", "fits"), [(8.0, True), (255.0, True), (8.5, False), (-1.0, False), (256.0, False)])
def test_a_constant_is_stored_only_where_the_type_has_it(zero, fits):
    source = Scheme(Affine(4), B32, Stored(F16), zero=Const(zero))
    assert (misfit(source, Scheme(Affine(4), B32, Stored(F16), zero=Stored(U8))) is None) == fits


@pytest.mark.parametrize("groups", [Blocks((0, 0)), Blocks((32, 128)), Blocks((1, 128)), Blocks((8, 32))])
def test_groups_of_any_shape_are_told_by_blocks_of_32(groups):
    codes = np.arange(32 * 192).astype(np.int8).reshape(32, 192)
    high, wide = groups.shape
    scale = (1 + np.arange(-(-32 // (high or 32)) * -(-192 // (wide or 192)), dtype="<f2")).reshape(
        -(-32 // (high or 32)), -1
    )
    parts = [ArrayPart(array, PartSpec(dtype, array.shape)) for array, dtype in ((codes, I8), (scale, F16))]
    body = Quantized((32, 192), parts[0], Affine(8, signed=True), Dense(parts[1]), groups)
    scheme = Scheme(Affine(8, signed=True), groups, Stored(F16))
    layout = registry().layout("ggml.Q8_0")
    assert layout.can_hold(scheme, (32, 192)).fidelity == "exact"
    packed = layout.pack(conform(body, scheme, layout.scheme((32, 192))))
    assert np.array_equal(layout.decode(packed, (32, 192)), reference.decode(body))


def test_the_least_sqnr_follows_how_many_weights_share_a_scale():
    rows = Scheme(Affine(8, signed=True), Blocks((1, 0)), Stored(F16))
    assert least_sqnr(rows, (4, 4096)) < least_sqnr(rows, (4, 256))
    pairs = Scheme(Codebook((0.0,) * 512, width=2), B32, Stored(F16))  # 256 codes for two weights each: four bits
    assert least_sqnr(pairs, (4, 256)) == least_sqnr(Scheme(Affine(4), B32, Stored(F16)), (4, 256))
