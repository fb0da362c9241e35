"""Axes: which numbers stand on them, and where a value lies between their ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_TICKS = 12


@dataclass(frozen=True)
class Axis:
    """From `lo` to `hi`, both of them ticks unless the span is degenerate."""

    lo: float
    hi: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where `value` lies, 0 at `lo` and 1 at `hi`; values beyond are at the nearer end."""
        if self.log:
            value, lo, hi = (math.log10(max(x, 5e-324)) for x in (value, self.lo, self.hi))
        else:
            lo, hi = self.lo, self.hi
        return min(1.0, max(0.0, (value - lo) / (hi - lo))) if hi > lo else 0.0

    @property
    def step(self) -> float:
        return self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0


def step_of(span: float, parts: int) -> float:
    """The least of 1, 2 and 5 times a power of ten that cuts `span` into at most `parts`."""
    rough = span / parts
    if not (rough > 0 and math.isfinite(rough)):
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9)), 10 * power) or 1.0


def linear(lo: float, hi: float, parts: int = 5) -> Axis:
    """An axis that covers `lo` to `hi` with round ends."""
    if hi <= lo:
        hi = lo + (abs(lo) or 1.0)
    step = step_of(hi - lo, parts)
    first, last = math.floor(lo / step + 1e-9), math.ceil(hi / step - 1e-9)
    ticks = tuple(i * step for i in range(first, min(last, first + MAX_TICKS) + 1))
    return Axis(ticks[0], max(ticks[-1], hi), ticks)


def logarithmic(lo: float, hi: float) -> Axis:
    """An axis of whole decades that covers `lo` to `hi`, both above 0."""
    first, last = math.floor(math.log10(lo)), math.ceil(math.log10(hi))
    last = max(last, first + 1)
    every = -(-(last - first) // 6)
    return Axis(10.0**first, 10.0**last, tuple(10.0**i for i in range(first, last + 1, every)), log=True)
