"""Codes for ONNX from floats, where nothing is known of the activations: the nearest, with a search of each scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hub.api import (
    F32,
    I8,
    Affine,
    ArrayPart,
    Calibration,
    Const,
    Dense,
    Quantized,
    Quantizer,
    UsageError,
    rows_spec,
)
from hub_onnx.layouts import Codes
from hub_onnx.layouts import make as layout_of
from hub_safetensors.nearest_floats import NearestFloats
from hub_safetensors.nearest_groups import nearest
from hub_safetensors.parameters import Parameters
from hub_safetensors.scaled_floats import ScaledFloats

Array = np.ndarray[Any, Any]


class Nearest(Quantizer):
    """Integers: symmetric where the layout stores no zero point. An offset is minus zero point times scale.

    Raises:
        UsageError: codes that begin at 0 without a zero point, which weights of both signs do not fit; or columns in
            another order, which only calibration gives.
    """

    wants = frozenset({"importance"})

    def __init__(self, layout: Codes) -> None:
        told = layout.told
        if told.ordered:
            raise UsageError(f"{layout.name}: codes in another order of columns are only carried over, never made")
        if not told.kind and not told.signed and not layout.absent:
            raise UsageError(f"{layout.name}: weights have both signs, it wants a zero point or signed codes")
        self.layout, self.packing = layout.name, layout
        self.name = f"{layout.family}/nearest"
        high, wide = told.blocks.shape
        self.whole_tensor = not high
        self.told = Parameters(told.bits, wide or -1, symmetric=not told.kind, scale=told.scale.name)

    def quantize(self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration) -> Any:
        if self.whole_tensor:
            importance = calibration.importance
            spread = None if importance is None else np.tile(importance, len(rows))
            body = nearest(rows.reshape(1, -1), self.told, replace(calibration, importance=spread))
            codes = body.codes.whole().reshape(rows.shape)
            body = replace(body, shape=rows.shape, codes=ArrayPart(codes, rows_spec(body.codes.spec.dtype, rows.shape)))
        else:
            body = nearest(rows, self.told, calibration)
        return self.packing.pack(self._told(body))

    def _told(self, body: Quantized) -> Quantized:
        """Codes from 0 on with a zero point, as the layout has it."""
        if self.packing.told.signed:
            return _signed(body)
        if self.packing.told.kind == "offset":
            assert isinstance(body.zero, Dense) and isinstance(body.scale, Dense)
            offset = -(body.zero.part.whole().astype(np.float32) * body.scale.part.whole())
            return replace(body, zero=Const(0.0), offset=Dense(ArrayPart(offset, rows_spec(F32, offset.shape))))
        return body


def _signed(body: Quantized) -> Quantized:
    """Codes and zero points less ``2**(bits - 1)``."""
    assert isinstance(body.values, Affine)
    middle = np.uint8(1 << (body.values.bits - 1))

    def less(array: Array) -> ArrayPart:
        moved = (array - middle).view(np.int8)
        return ArrayPart(moved, rows_spec(I8, moved.shape))

    zero = Dense(less(body.zero.part.whole())) if isinstance(body.zero, Dense) else Const(0.0)
    return replace(body, codes=less(body.codes.whole()), values=replace(body.values, signed=True), zero=zero)


class Floats(Quantizer):
    """8-bit floats, the largest of a group the largest there is."""

    def __init__(self, layout: Codes) -> None:
        told = layout.told
        assert told.floats is not None
        self.packing, self.layout, self.name = layout, layout.name, f"{layout.family}/nearest"
        self.whole_tensor = told.blocks.shape[0] == 0
        self.plain = ScaledFloats(layout.name, told.floats, told.blocks, told.scale)

    def quantize(self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration) -> Any:
        made = NearestFloats(self.plain).quantize(rows, calibration)
        return self.packing.pack(self.plain.unpack(made, rows.shape))


def make(layout: str) -> Quantizer:
    """The quantizer of that layout."""
    packing = layout_of(layout)
    return Floats(packing) if packing.told.floats else Nearest(packing)
