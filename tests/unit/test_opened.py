"""Opened layouts: the same weights, a row at a time, whatever words and scales rows share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from hub import decoding
from hub.api import (
    F16,
    U8,
    U32,
    Affine,
    ArrayPart,
    Blocks,
    Const,
    Dense,
    Layout,
    Packed,
    PartSpec,
    Quantized,
    Scheme,
    Stored,
    Tensor,
)
from hub.layout import arrays_of
from hub.opened import OpenedLayout, opened
from hub.plugins import registry
from hub.shares import Rows
from hub.transforms import Concat, InterleaveHeads

GGML = [
    name
    for name in registry().layout_names
    if name.startswith("ggml.") and registry().layout(name).fits((8, 512)) is None
]
SHAPE = (48, 64)


class Sharing(Layout):
    """Four-bit codes by row, eight zero points of neighbouring rows in a word, and a scale for 16 x 32 weights."""

    name = "test.sharing"

    def parts(self, shape):
        rows, columns = shape
        return {
            "codes": PartSpec(U8, (rows, columns)),
            "zeros": PartSpec(U32, (columns // 16, -(-rows // 8)), 1, 8),
            "scale": PartSpec(F16, (-(-rows // 16), columns // 32), 0, 16),
        }

    def scheme(self, shape):
        return Scheme(
            Affine(4), Blocks((1, 16)), Scheme(Affine(8), Blocks((16, 2)), Stored(F16), Const(-1.0)), Stored(U8)
        )

    def unpack(self, arrays, shape):
        rows, columns = shape
        shifts = np.arange(8, dtype=np.uint32) * 4
        zeros = (arrays["zeros"][:, :, None] >> shifts & 15).reshape(columns // 16, -1).T[:rows].astype(np.uint8)
        ones = np.zeros((rows, columns // 16), np.uint8)
        scale = Quantized(
            ones.shape, self.of(ones, U8), Affine(8), Dense(self.of(arrays["scale"], F16)), Blocks((16, 2)), Const(-1.0)
        )
        codes = self.of(np.ascontiguousarray(arrays["codes"]), U8)
        return Quantized(
            shape, codes, Affine(4), scale, Blocks((1, 16)), Dense(self.of(np.ascontiguousarray(zeros), U8))
        )

    @staticmethod
    def of(array, dtype):
        return ArrayPart(array, PartSpec(dtype, array.shape))


@pytest.fixture
def sharing(monkeypatch):
    layout, real = Sharing(), registry().layout
    monkeypatch.setattr(registry(), "layout", lambda name: fake(name))

    def fake(name):
        if name.startswith("codes:"):
            return OpenedLayout(fake(name.removeprefix("codes:")))
        return layout if name == layout.name else real(name)

    return layout


def packed(layout, shape, seed=0) -> Tensor:
    random = np.random.default_rng(seed)
    parts: Mapping = {
        name: ArrayPart(
            random.integers(0, 16 if name == "codes" else 1 << 12, spec.shape).astype(spec.dtype.numpy())
            if spec.dtype is not U8 or name == "codes"
            else random.integers(0, 256, spec.shape, np.uint8),
            spec,
        )
        for name, spec in layout.parts(shape).items()
    }
    return Tensor("w", shape, Packed(layout.name, shape, parts))


def weights(tensor, start, stop):
    layout = registry().layout(tensor.layout)
    return decoding.decode(layout.unpack(arrays_of(tensor, start, stop), (stop - start, tensor.shape[-1])))


@pytest.mark.parametrize("name", GGML)
@pytest.mark.parametrize(("start", "stop"), [(0, 8), (3, 5), (7, 8)])
def test_opened_blocks_mean_the_same(name, start, stop):
    layout, shape = registry().layout(name), (8, 512)
    tensor = opened(packed(layout, shape), layout)
    arrays = arrays_of(tensor, start, stop)
    specs = OpenedLayout(layout).parts((stop - start, 512))
    assert {key: array.shape for key, array in arrays.items()} == {key: spec.shape for key, spec in specs.items()}
    np.testing.assert_array_equal(
        weights(tensor, start, stop), layout.decode(arrays_of(packed(layout, shape), start, stop), (stop - start, 512))
    )


def test_rows_that_share_words_are_reordered(sharing):
    tensor = packed(sharing, SHAPE)
    whole = weights(tensor, 0, 48)
    moved = InterleaveHeads(4).forward(tensor)
    order = [head * 12 + (r % 2) * 6 + r // 2 for head in range(4) for r in range(12)]
    np.testing.assert_array_equal(weights(moved, 0, 48), whole[order])
    np.testing.assert_array_equal(weights(moved, 5, 29), whole[order][5:29])
    np.testing.assert_array_equal(weights(InterleaveHeads(4).backward(moved), 3, 40), whole[3:40])


@pytest.mark.parametrize(("start", "stop", "stays"), [(16, 32, True), (8, 24, False), (3, 29, False)])
def test_rows_that_share_words_are_cut(sharing, start, stop, stays):
    tensor = packed(sharing, SHAPE)
    some = Rows([start, stop]).forward(tensor)
    np.testing.assert_array_equal(weights(some, 0, stop - start), weights(tensor, 0, 48)[start:stop])
    assert (some.layout == sharing.name) == stays


def test_tensors_of_such_rows_are_joined(sharing):
    tensors = [packed(sharing, (20, 64), 1), packed(sharing, (12, 64), 2)]
    (joined,) = Concat(2).forward(tensors)
    both = np.concatenate([weights(tensors[0], 0, 20), weights(tensors[1], 0, 12)])
    np.testing.assert_array_equal(weights(joined, 0, 32), both)
    np.testing.assert_array_equal(weights(joined, 18, 23), both[18:23])


@pytest.mark.parametrize("rows", [[47, 0, 17, 16, 33], [5, 5, 46], list(range(48))[::-1]])
def test_rows_in_any_order(sharing, rows):
    tensor = opened(packed(sharing, SHAPE), sharing)
    for part in tensor.parts.values():
        np.testing.assert_array_equal(part.load_rows(rows), part.load(0, 48)[rows])
