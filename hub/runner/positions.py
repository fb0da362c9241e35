"""Rotary frequencies by the rope types of Hugging Face's `modeling_rope_utils`, whose formulas these are.

A number pair `i` of a head turns by ``position * frequency[i]``; cosine and sine are multiplied by a scale that is 1
but for the types that stretch attention with the context.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.errors import ConfigError

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

MAX_ANGLE = 2.0**28
"""Radians up to which the native kernels know sine and cosine (native/src/run_math.h)."""
BETA_FAST, BETA_SLOW = 32.0, 1.0
"""Turns within the original context above which yarn leaves a frequency, and below which it stretches it."""


def frequencies(
    kind: str, dim: int, theta: float, values: Mapping[str, Any], divisors: F32Array | None, length: int
) -> tuple[F32Array, float]:
    """Radians per position, f32 (dim / 2,), and the scale of cosine and sine.

    Args:
        kind: rope type.
        dim: how many numbers of a head turn.
        theta: base of the frequencies.
        values: settings; `rope.*` are the type's own.
        divisors: what frequencies are divided by, for types that list them (llama3, longrope); (dim / 2,).
        length: tokens in the sequence.

    Raises:
        ConfigError: an unknown type, or settings that do not fit, or give no finite numbers.
    """
    with np.errstate(all="ignore"):
        try:
            found, scale = _frequencies(kind, dim, theta, values, divisors)
        except (ZeroDivisionError, OverflowError, ValueError):  # of a logarithm, or a bound that is no number
            found, scale = np.full(0, np.nan, np.float32), math.nan
    if not (np.isfinite(found).all() and math.isfinite(scale)):
        raise ConfigError(f"rope settings of type {kind} and theta {theta:g} give frequencies that are not finite")
    farthest = length * float(np.abs(found).max(initial=0))
    if farthest > MAX_ANGLE:
        raise ConfigError(
            f"rope settings of type {kind} and theta {theta:g} turn by {farthest:.3g} radians, the limit is 2^28"
        )
    return found, scale


def _frequencies(
    kind: str, dim: int, theta: float, values: Mapping[str, Any], divisors: F32Array | None
) -> tuple[F32Array, float]:
    plain = 1.0 / float(theta) ** (np.arange(0, dim, 2, dtype=np.float64) / dim)
    if kind in ("default", "dynamic"):  # dynamic stretches only what is longer than the model's context
        return plain.astype(np.float32), 1.0
    if kind == "linear":
        return (plain / values["rope.factor"]).astype(np.float32), 1.0
    if kind == "yarn":
        return _yarn(plain, dim, theta, values)
    if kind in ("llama3", "longrope") and divisors is not None:
        if divisors.shape != plain.shape:
            raise ConfigError(f"{divisors.size} rope factors, {plain.size} pairs of a head turn")
        scale = float(values["rope.attention_factor"]) if kind == "longrope" else 1.0
        return (plain / divisors.astype(np.float64)).astype(np.float32), scale
    raise ConfigError(f"rope type {kind} cannot be run")


def _yarn(plain: np.ndarray[Any, Any], dim: int, theta: float, values: Mapping[str, Any]) -> tuple[F32Array, float]:
    factor, original = values["rope.factor"], values["rope.original_max_position_embeddings"]

    def turning(turns: float) -> float:
        """The pair that turns so often within the original context."""
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = turning(values.get("rope.beta_fast") or BETA_FAST), turning(values.get("rope.beta_slow") or BETA_SLOW)
    if values.get("rope.truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    stretched = plain / factor * ramp + plain * (1 - ramp)
    given = values.get("rope.attention_factor")
    scale = given if given is not None else 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
    return stretched.astype(np.float32), float(scale)
