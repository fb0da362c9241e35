"""The quantizer that rounds to nearest, for every layout of integers in groups along rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from hub.api import (
    DTYPES,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Calibration,
    Const,
    Dense,
    Layout,
    Quantized,
    Quantizer,
    UsageError,
    rows_spec,
)
from hub_safetensors.nearest import asymmetric, symmetric
from hub_safetensors.parameters import Parameters


class NearestQuantizer(Quantizer):
    """Finds codes, scales and zero points, and leaves the rest to the layout's own packing.

    Args:
        layout: one whose scheme is that of `told`.

    Raises:
        UsageError: a layout with an order of columns, which only calibration gives.
    """

    wants = frozenset({"importance"})

    def __init__(self, layout: Layout, told: Parameters) -> None:
        if told.ordered:
            raise UsageError(f"{layout.name}: codes in another order of columns are only carried over, never made")
        self.layout = layout.name
        self.name = f"{layout.name.partition('/')[0]}/nearest"
        self.packing, self.told = layout, told

    def quantize(self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration) -> Any:
        return self.packing.pack(nearest(rows, self.told, calibration))


def nearest(rows: np.ndarray[Any, np.dtype[np.float32]], told: Parameters, calibration: Calibration) -> Quantized:
    """Rows of floats as codes in the scheme of `told`, whose columns stand in order; codes begin at 0."""
    dtype = DTYPES[told.scale]
    group = max(0, told.group)
    zero: Const | Dense = Const(float(told.middle))
    if told.symmetric:
        codes, scales = symmetric(rows, told.bits, group, dtype, calibration.importance)
    else:
        codes, scales, zeros = asymmetric(rows, told.bits, group, dtype, calibration.importance)
        zero = Dense(ArrayPart(zeros, rows_spec(U8, zeros.shape)))
    scale = Dense(ArrayPart(scales.astype(dtype.numpy()), rows_spec(dtype, scales.shape)))
    part = ArrayPart(codes, rows_spec(U8, codes.shape))
    return Quantized(rows.shape, part, Affine(told.bits), scale, Blocks((1, group)), zero)
