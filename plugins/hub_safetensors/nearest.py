"""Integers by rounding to the nearest, with a search of the scale of every group: what makes codes of floats where
nothing is known of the activations.

The scales that the reference quantizers take - ``2 * absmax / (2**bits - 1)`` without zero points, ``(max - min) /
(2**bits - 1)`` with the range extended to 0 - are always among those tried, errors are measured with the scale as it
will be stored, and the least squared error wins. So a group never loses to theirs; theirs clip groups of one sign
(GPTQ) or of values far from 0 (AutoAWQ).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

import hub_native
from hub.api import DType

Array = np.ndarray[Any, Any]
SHRINK: Final = tuple(1 - i / 32 for i in range(13))
"""Parts of the whole range that are tried; clipping the largest weights can make all others finer."""

CHUNK: Final = 1 << 16
"""Weights looked at together, so that they stay in the caches."""


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
        dtype: the type that scales are stored in.
        importance: (in,), what the square of an error of each column counts.

    Returns:
        Codes u8 (rows, in), and scales f32 (rows, groups) that are numbers of `dtype`.
    """
    if _too_many(rows):
        codes, scales = zip(*(symmetric(few, bits, group, dtype, importance) for few in _cut(rows)), strict=True)
        return np.concatenate(codes), np.concatenate(scales)
    grouped, weight, columns = _grouped(rows, group, importance)
    middle = 1 << (bits - 1)
    most = np.abs(grouped).max(axis=2)
    best = _Best(grouped, weight, bits)
    for scale in _symmetric_scales(most, bits):
        best.offer(rounded(np.where(most == 0, 1, scale), dtype), np.full_like(most, middle))
    best.refine(dtype)
    return best.result(columns)[:2]


def asymmetric(
    rows: Array, bits: int, group: int, dtype: DType, importance: Array | None = None
) -> tuple[Array, Array, Array]:
    """Codes with a zero point for each group.

    Args:
        rows, group, dtype, importance: as for `symmetric`.

    Returns:
        Codes u8 (rows, in), scales f32 (rows, groups), zero points u8 (rows, groups).
    """
    if _too_many(rows):
        found = zip(*(asymmetric(few, bits, group, dtype, importance) for few in _cut(rows)), strict=True)
        codes, scales, zero_points = (np.concatenate(pieces) for pieces in found)
        return codes, scales, zero_points
    grouped, weight, columns = _grouped(rows, group, importance)
    levels = (1 << bits) - 1
    lowest, highest = grouped.min(axis=2).astype(np.float64), grouped.max(axis=2).astype(np.float64)
    low, high = np.minimum(lowest, 0), np.maximum(highest, 0)
    best = _Best(grouped, weight, bits)

    def offer(low: Array, high: Array, exact: bool = False) -> None:
        asked = np.where(high > low, high - low, levels) / levels
        scale = rounded(asked, dtype)
        best.offer(scale, np.clip(np.rint(-low / (np.maximum(asked, 1e-30) if exact else scale)), 0, levels))

    for part in SHRINK:
        offer(part * low, part * high)
    # What GPTQ and AutoAWQ take: the zero point by the scale before it is stored, and the range as it is.
    offer(low, high, exact=True)
    offer(lowest, highest, exact=True)
    best.refine(dtype)
    return best.result(columns)


def _too_many(rows: Array) -> bool:
    return len(rows) > 1 and rows.size > CHUNK


def _cut(rows: Array) -> Iterator[Array]:
    step = max(1, CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _grouped(rows: Array, group: int, importance: Array | None) -> tuple[Array, Array | None, int]:
    """(rows, groups, weights of a group), padded with zeros, which no scale gets wrong."""
    count, columns = rows.shape
    size = group or columns
    short = -columns % size
    weight = importance
    if short:
        rows = np.pad(rows, ((0, 0), (0, short)))
        weight = None if weight is None else np.pad(weight, (0, short))
    return rows.reshape(count, -1, size), None if weight is None else weight.reshape(1, -1, size), columns


def _symmetric_scales(most: Array, bits: int) -> Iterator[Array]:
    half = ((1 << bits) - 1) / 2
    wide = most.astype(np.float64)
    for part in SHRINK:
        yield wide * part / half
    yield wide / (1 << (bits - 1))  # the largest is negative, and its code the lowest
    yield wide / max(1, (1 << (bits - 1)) - 1)  # the largest is positive, and its code the highest
    yield wide  # one size and zeros


class _Best:
    """The best scale and zero point so far of every group."""

    def __init__(self, grouped: Array, weight: Array | None, bits: int) -> None:
        shape = grouped.shape[:2]
        self.shape, self.most = shape, (1 << bits) - 1
        self.groups = np.ascontiguousarray(grouped, np.float32).reshape(-1, grouped.shape[2])
        self.weight = None if weight is None else np.ascontiguousarray(weight[0], np.float32)
        self.error = np.full(shape, np.inf, np.float32)
        self.scale = np.ones(shape, np.float32)
        self.zero = np.zeros(shape, np.float32)

    def offer(self, scale: Array, zero: Array) -> None:
        """Take them where they are better."""
        scale, zero = scale.astype(np.float32), zero.astype(np.float32)
        error = np.empty(self.shape, np.float32)
        hub_native.nearest_errors(self.groups, scale.ravel(), zero.ravel(), self.most, self.weight, error.ravel())
        better = error < self.error
        np.copyto(self.error, error, where=better)
        np.copyto(self.scale, scale, where=better)
        np.copyto(self.zero, zero, where=better)

    def refine(self, dtype: DType) -> None:
        """Offer the scale of the least squared error for the codes that there are."""
        scale = np.empty(self.shape, np.float64)
        found = self.scale.ravel(), self.zero.ravel()
        hub_native.nearest_fit(self.groups, *found, self.most, self.weight, scale.ravel())
        usable = np.isfinite(scale) & (scale > 0)
        self.offer(rounded(np.where(usable, scale, self.scale), dtype), self.zero)

    def result(self, columns: int) -> tuple[Array, Array, Array]:
        """Codes, scales, zero points."""
        codes = np.empty(self.groups.shape, np.uint8)
        hub_native.nearest_codes(self.groups, self.scale.ravel(), self.zero.ravel(), self.most, codes)
        return (
            np.ascontiguousarray(codes.reshape(self.shape[0], -1)[:, :columns]),
            self.scale,
            self.zero.astype(np.uint8),
        )
