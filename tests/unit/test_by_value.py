"""Exactness that depends on numbers: the planner reads them, and only then."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hub.dtypes import F16, F32, U8
from hub.holding import held
from hub.ir.groups import Blocks
from hub.ir.part import ArrayPart, PartSpec, rows_spec
from hub.ir.scheme import Scheme, Stored
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Affine, Dense, Quantized
from hub.layout import Holding, Layout

SCHEME = Scheme(Affine(8), Blocks((1, 4)), Stored(F32))


class Wide(Layout):
    """Codes and an f32 scale per four weights."""

    name = "test.wide"

    def parts(self, shape) -> Mapping[str, PartSpec]:
        rows, width = shape
        return {"codes": PartSpec(U8, (rows, width)), "scale": PartSpec(F32, (rows, width // 4))}

    def scheme(self, shape):
        return SCHEME

    def unpack(self, arrays, shape):
        scale = Dense(ArrayPart(arrays["scale"], rows_spec(F32, arrays["scale"].shape)))
        return Quantized(shape, ArrayPart(arrays["codes"], rows_spec(U8, shape)), Affine(8), scale, Blocks((1, 4)))


class Narrow(Wide):
    """The same with f16 scales: exact where every scale is an f16."""

    name = "test.narrow"
    asked = 0

    def scheme(self, shape):
        return Scheme(Affine(8), Blocks((1, 4)), Stored(F16))

    def can_hold(self, scheme, shape, values=None) -> Holding:
        if values is None:
            return Holding("lossy", "scales need not fit f16", by_value=True)
        self.asked += 1
        scale = values.scale.part.load(0, shape[0])
        fits = bool((scale.astype(np.float16).astype(np.float32) == scale).all())
        return Holding("exact") if fits else Holding("codes", "a scale is rounded to f16")


def tensor(scale: float) -> Tensor:
    arrays = {"codes": np.ones((6, 8), np.uint8), "scale": np.full((6, 2), 0.5, np.float32)}
    arrays["scale"][5, 1] = scale
    parts = {
        name: ArrayPart(array, rows_spec(F32 if name == "scale" else U8, array.shape)) for name, array in arrays.items()
    }
    return Tensor("t", (6, 8), Packed("test.wide", (6, 8), parts))


def test_numbers_decide() -> None:
    narrow = Narrow()
    assert held(tensor(0.25), Wide(), narrow) == Holding("exact")
    assert narrow.asked == 1
    assert held(tensor(0.1), Wide(), narrow).fidelity == "codes"


def test_numbers_are_not_read_where_types_decide() -> None:
    class Unread(ArrayPart):
        def load(self, start, stop):
            raise AssertionError("read")

    made = tensor(0.1)
    parts = {name: Unread(part.array, part.spec) for name, part in made.body.parts.items()}
    unread = Tensor("t", (6, 8), Packed("test.wide", (6, 8), parts))
    assert held(unread, Wide(), Wide()) == Holding("exact")
