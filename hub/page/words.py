"""Numbers as people read them; no line is broken between one and its unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NONE = "–"
"""Shown where there is no figure."""


def number(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        out = float(value)
    except OverflowError:
        return None
    return out if math.isfinite(out) else None


def member(data: Any, *path: str) -> Any:
    """What lies at `path` in nested tables; None where any of it is missing."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def figure(value: Any, digits: int = 3) -> str:
    """A number to some significant digits: 0.0123, 4.6e-7, 12,300."""
    x = number(value)
    if x is None:
        return NONE
    if x == 0:
        return "0"
    if 1e-3 <= abs(x) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(x))))
        return f"{x:,.{places}f}"
    mantissa, _, exponent = f"{x:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def whole(value: Any) -> str:
    """A count: 2,048."""
    x = number(value)
    return NONE if x is None else f"{x:,.0f}"


def decibel(value: Any) -> str:
    x = number(value)
    return NONE if x is None else f"{x:.1f}\u00a0dB"


def size(value: Any) -> str:
    """Bytes for people: 3.6 MB; powers of 1000, as disks and hubs count."""
    x = number(value)
    if x is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if x < 1000:
            return f"{x:.0f}\u00a0{unit}" if unit == "B" else f"{x:.1f}\u00a0{unit}"
        x /= 1000
    return f"{x:,.2f}\u00a0TB"


def weights(value: Any) -> str:
    """Weights for people: 5.8 M, 1.1 B."""
    x = number(value)
    if x is None:
        return NONE
    for unit in ("", "\u00a0k", "\u00a0M"):
        if x < 1000:
            return f"{x:.0f}{unit}" if not unit else f"{x:.1f}{unit}"
        x /= 1000
    return f"{x:,.1f}\u00a0B"


def seconds(value: Any) -> str:
    x = number(value)
    if x is None:
        return NONE
    if x < 0.095:
        return f"{1000 * x:.0f}\u00a0ms"
    if x < 120:
        return f"{x:.1f}\u00a0s"
    return f"{x / 60:.1f}\u00a0min" if x < 7200 else f"{x / 3600:.1f}\u00a0h"


def percent(value: Any, places: int = 1) -> str:
    """A share for people; never 100 % unless all of it."""
    x = number(value)
    if x is None:
        return NONE
    shown = f"{100 * x:.{places}f}"
    if x < 1 and float(shown) == 100:
        shown = f"{100 - 10**-places:.{places}f}"
    return f"{float(shown):g}\u00a0%" if float(shown) in (0, 100) else f"{shown}\u00a0%"


def count(number_of: int, what: str) -> str:
    """1 tensor, 2 tensors, 12,000 tensors."""
    return f"{number_of:,} {what}{'' if number_of == 1 else 's'}"


def layout(name: Any) -> str:
    """A layout without the family's name: `Q4_K` of `x.Q4_K`."""
    return str(name).rpartition(".")[2] or str(name)
