"""Decodes the intermediate representation by the generic native kernels: what makes a layout that has no kernel of its
own run, and run fast, on its first day.

The formula is that of `hub.reference`, which this equals bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import hub_native
from hub.ir.groups import Blocks
from hub.ir.values import Affine, Const, Dense, Quantized, Value

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]


def decode(body: Dense | Quantized) -> F32Array:
    """The weights of `body` in f32, in its logical shape.

    Raises:
        ValueError: parts that do not have the shapes that the scheme says.
    """
    if isinstance(body, Dense):
        from hub.kernels import to_f32

        return to_f32(body.part.whole())
    return _quantized(body)


def _quantized(q: Quantized) -> F32Array:
    rows = q.shape[0]
    codes = np.ascontiguousarray(q.codes.whole()).reshape(rows, -1)
    if isinstance(q.values, Affine) and codes.dtype.kind not in "iu":
        codes = codes.astype(np.float32)  # floating-point codes are their own values
    signs = None if q.signs is None else np.ascontiguousarray(q.signs.whole()).astype(np.int8).reshape(q.shape)
    block_rows, groups = _groups(q)
    out = np.empty(q.shape, np.float32)
    # A constant zero or offset of 0 is no operation: adding it would still turn -0 to +0.
    zero, offset = (None if v == Const(0.0) else _per_group(v, q, block_rows) for v in (q.zero, q.offset))
    scale = _per_group(q.scale, q, block_rows)
    if isinstance(q.values, Affine):
        hub_native.decode_affine(codes, scale, zero, offset, groups, out, block_rows, signs)
    else:
        with np.errstate(over="ignore"):  # a value of the table beyond f32 is infinite
            table = np.array(q.values.table, np.float32)
        width = q.values.width
        hub_native.decode_codebook(codes, table, scale, zero, offset, groups, out, block_rows, signs, width)
    return out


def _groups(q: Quantized) -> tuple[int, int | np.ndarray[Any, Any]]:
    """Rows of a block (0: all), and its columns (0: all) or the group of each column."""
    if isinstance(q.groups, Blocks):
        return q.groups.shape
    assert q.groups.g_idx is not None
    return 1, np.ascontiguousarray(q.groups.g_idx.whole(), np.int32)


def _per_group(value: Value, q: Quantized, block_rows: int) -> float | F32Array:
    """One number per group as (row blocks, groups), or one for all."""
    if isinstance(value, Const):
        return float(value.value)
    per_group = np.asarray(decode(value), np.float32)
    if per_group.ndim != 2:
        # One number for all rows, or for each column group of all rows; otherwise a list per row.
        per_group = per_group.reshape(1 if block_rows == 0 else q.shape[0], -1)
    if block_rows > 1:
        per_group = per_group[: -(-q.shape[0] // block_rows)]
    return np.ascontiguousarray(per_group)
