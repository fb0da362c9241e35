"""The meaning of the intermediate representation, as code.

This is the specification: ``w = scale * (sign * value(code) - zero) + offset``, scale first, then
code, then offset, every step rounded to f32. Native kernels must equal it bit for bit. It is
written to be read, and is fast enough for tests and small tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hub.ir.groups import Blocks, Groups
from hub.ir.part import Shape
from hub.ir.values import Affine, Const, Dense, Quantized, Value

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]


def decode(body: Dense | Quantized) -> F32Array:
    """The weights of `body` in f32, in its logical shape.

    Overflow gives infinity and NaN stays NaN, as the formula has it; neither is an error here.
    """
    with np.errstate(all="ignore"):
        if isinstance(body, Dense):
            return np.asarray(body.part.whole(), dtype=np.float32)
        return _quantized(body)


def _quantized(q: Quantized) -> F32Array:
    value = _value_of_codes(q)
    if q.signs is not None:
        value = q.signs.whole().astype(np.float32).reshape(q.shape) * value
    # A constant zero or offset of 0 is no operation: adding it would still turn -0 to +0.
    if q.zero != Const(0.0):
        value = value - _spread(q.zero, q.groups, q.shape)
    weight = _spread(q.scale, q.groups, q.shape) * value
    if q.offset != Const(0.0):
        weight = weight + _spread(q.offset, q.groups, q.shape)
    return np.ascontiguousarray(weight, dtype=np.float32)


def _value_of_codes(q: Quantized) -> F32Array:
    codes = q.codes.whole()
    if isinstance(q.values, Affine):
        return np.asarray(codes, dtype=np.float32).reshape(q.shape)
    table = np.array(q.values.table, np.float32).reshape(-1, q.values.width)
    return np.asarray(table[codes.astype(np.intp)]).reshape(q.shape)


def _spread(value: Value, groups: Groups, shape: Shape) -> F32Array:
    """One number per group, repeated to one per weight."""
    if isinstance(value, Const):
        return np.float32(value.value)  # type: ignore[return-value]
    if isinstance(value, Dense):
        per_group: F32Array = np.asarray(value.part.whole(), dtype=np.float32)
    else:
        per_group = _quantized(value)
    rows, columns = shape
    if not isinstance(groups, Blocks):
        assert groups.g_idx is not None
        return np.asarray(per_group.reshape(rows, groups.groups)[:, groups.g_idx.whole()])
    for axis, (block, length) in enumerate(zip(groups.shape, (rows, columns), strict=True)):
        if per_group.ndim < 2:
            # One number for all rows, or for each column group of all rows; otherwise a list per row.
            per_group = per_group.reshape(1 if block == 0 else rows, -1)
        repeats = length if block == 0 else block
        if repeats > 1:
            per_group = np.repeat(per_group, repeats, axis=axis)
        per_group = per_group[:length] if axis == 0 else per_group[:, :length]
    return per_group
