"""Rotary frequencies of a configured model, for who writes a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from hub.architecture import Configured

    F32Array = np.ndarray[Any, np.dtype[np.float32]]


def rotary_frequencies(
    configured: Configured, kind: str, dim: int, theta: float, *, length: int = 1
) -> tuple[F32Array, float]:
    """Radians per position, f32 (dim / 2,), and what cosine and sine are multiplied by.

    Args:
        kind, dim, theta: the arguments `type`, `dim` and `theta` of a graph's `rope`.
        length: tokens of the sequence, for types that look at it (longrope).

    Raises:
        ConfigError: an unknown type, or settings that give no finite numbers.
    """
    from hub.makers import MAKERS
    from hub.runner.positions import frequencies

    maker = divisors(kind, configured, length)
    found = MAKERS[maker].values(configured.values) if maker else None
    return frequencies(kind, dim, theta, configured.values, found, length)


def divisors(kind: str, configured: Configured, length: int) -> str | None:
    """The maker (`hub.makers`) of the tensor that frequencies of this type are divided by, if they are by one."""
    if kind == "llama3":
        return "llama3_rope_factors"
    if kind == "longrope":
        long = length > configured.values["rope.original_max_position_embeddings"]
        return "longrope_long_factors" if long else "longrope_short_factors"
    return None
