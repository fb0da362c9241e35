"""Integers by rounding to the nearest, with a search of the scale of every group: what makes codes of floats where
nothing is known of the activations.

The scales that the reference quantizers take - ``2 * absmax / (2**bits - 1)`` without zero points, ``(max - min) /
(2**bits - 1)`` with the range extended to 0 - are always among those tried, errors are measured with the scale as it
will be stored, and the least squared error wins; native/src/nearest.h lists all that is tried. So a group never loses
to theirs; theirs clip groups of one sign (GPTQ) or of values far from 0 (AutoAWQ).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import hub_native
from hub.api import DType

Array = np.ndarray[Any, Any]


def rounded(scale: Array, dtype: DType) -> Array:
    """Scales as they will be stored, in f32: never zero and never infinite."""
    import ml_dtypes

    kind = dtype.numpy()
    limits = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    least, most = float(limits.smallest_subnormal), float(limits.max)
    with np.errstate(over="ignore", under="ignore"):
        kept = np.clip(scale, least, most).astype(np.float32).astype(kind).astype(np.float32)
    return np.maximum(kept, np.float32(least))


def symmetric(rows: Array, bits: int, group: int, dtype: DType, importance: Array | None = None) -> tuple[Array, Array]:
    """Codes with the zero point ``2**(bits-1)``.

    Args:
        rows: (rows, in) f32, finite.
        group: weights that share a scale; 0 for a whole row. The last group of a row may be short.
        dtype: the type that scales are stored in: f32, f16 or bf16.
        importance: (in,), what the square of an error of each column counts.

    Returns:
        Codes u8 (rows, in), and scales f32 (rows, groups) that are numbers of `dtype`.
    """
    return _search(rows, bits, group, dtype, importance, symmetric=True)[:2]


def asymmetric(
    rows: Array, bits: int, group: int, dtype: DType, importance: Array | None = None
) -> tuple[Array, Array, Array]:
    """Codes with a zero point for each group.

    Args:
        rows, group, dtype, importance: as for `symmetric`.

    Returns:
        Codes u8 (rows, in), scales f32 (rows, groups), zero points u8 (rows, groups).
    """
    return _search(rows, bits, group, dtype, importance, symmetric=False)


def _search(
    rows: Array, bits: int, group: int, dtype: DType, importance: Array | None, *, symmetric: bool
) -> tuple[Array, Array, Array]:
    count, columns = rows.shape
    size = group or columns
    short = -columns % size
    weight = None if importance is None else np.asarray(importance, np.float32)
    if short:  # padded with zeros, which no scale gets wrong
        rows = np.pad(rows, ((0, 0), (0, short)))
        weight = None if weight is None else np.pad(weight, (0, short))
    groups = np.ascontiguousarray(rows, np.float32).reshape(-1, size)
    codes = np.empty(groups.shape, np.uint8)
    scales, zeros = np.empty(len(groups), np.float32), np.empty(len(groups), np.uint8)
    weights = None if weight is None else np.ascontiguousarray(weight.reshape(-1, size))
    hub_native.nearest(groups, bits, symmetric, dtype.name, weights, codes, scales, zeros)
    codes = np.ascontiguousarray(codes.reshape(count, -1)[:, :columns])
    return codes, scales.reshape(count, -1), zeros.reshape(count, -1)
