"""`onnx.columns/f32`: floats of a matrix (out, in), stored as (in, out), which is what MatMul takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hub.api import DTYPES, ArrayPart, Dense, DenseLayout, DType, HubError, PartSpec, Shape, UsageError, rows_spec

Array = np.ndarray[Any, Any]
_TURN = 16
"""Rows turned together: so few that lines a power of two apart do not drive each other out of the cache."""


class Columns(DenseLayout):
    """Floats by columns."""

    def __init__(self, name: str, dtype: DType) -> None:
        super().__init__(dtype)
        self.name, self.kernel = name, None

    def fits(self, shape: Shape) -> str | None:
        return None if len(shape) == 2 else f"it wants a matrix, this has {len(shape)} axes"

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        if reason := self.fits(shape):
            raise HubError(reason)
        return {"data": PartSpec(self.dtype, shape[::-1], axis=1)}

    def unpack(self, arrays: Mapping[str, Array], shape: Shape) -> Dense:
        return Dense(ArrayPart(turned(arrays["data"]), rows_spec(self.dtype, shape)))

    def arrange(self, numbers: Array) -> Mapping[str, Array]:
        return {"data": turned(numbers)}


def turned(array: Array) -> Array:
    """The transpose of a matrix, contiguous."""
    rows, columns = array.shape
    out = np.empty((columns, rows), array.dtype)
    for start in range(0, rows, _TURN):
        out[:, start : start + _TURN] = array[start : start + _TURN].T
    return out


def make(name: str) -> Columns:
    """The layout of that name.

    Raises:
        UsageError: not of f32, f16, bf16 or f64.
    """
    spelled = name.partition("/")[2]
    if spelled not in ("f32", "f16", "bf16", "f64"):
        raise UsageError(f"{name!r}: columns are of f32, f16, bf16 or f64")
    return Columns(name, DTYPES[spelled])
