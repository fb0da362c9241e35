"""How far the answers of a converted model may be from its source's: a limit by bits per weight.

Rounding weights to b bits leaves noise that falls by 4 for every bit, and the divergence of the answers follows that
noise. A tensor of b bits among others therefore counts with 4**-b. docs/verification.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.ir.part import Shape

EXACT = 1e-9
"""Mean KL divergence in nats allowed where every weight is equal but for a constant added in f32."""
AT_FOUR_BITS = 0.064
"""Mean KL divergence in nats at four effective bits: of tiny-llama on the built-in sample."""
STEEP = 3.5
"""By what it falls for every bit more: it falls by 3.3 to 4 in what was measured."""
MARGIN = 10.0
"""How many times that is allowed."""
SENSITIVE = 20.0
"""How many times what noise makes of the source itself is allowed; the conversions of the bundled models show 0.5 to 6
times that."""


def effective_bits(tensors: Iterable[tuple[Shape, float]]) -> float:
    """Bits per weight of a mixture as noise sees it: ``-log4(mean of 4**-bits)``.

    The mean is over all weights or over all matrices, whichever leaves fewer bits: a large vocabulary kept in floats
    makes most of the weights of a small model, and nothing of what its layers do to a token.

    Args:
        tensors: (shape, bits per weight); infinite bits where nothing is lost.
    """
    found = [(math.prod(shape), len(shape) > 1, 4.0**-bits) for shape, bits in tensors]
    weights = sum(count for count, _, _ in found)
    of_weights = sum(count * noise for count, _, noise in found) / max(1, weights)
    matrices = [noise for _, matrix, noise in found if matrix]
    noise = max(of_weights, sum(matrices) / max(1, len(matrices)))
    return -math.log(noise, 4) if noise else math.inf


def kl_limit(bits: float) -> dict[str, Any]:
    """The mean KL divergence in nats that is allowed at so many effective bits, and why."""
    if math.isinf(bits):
        return {"kl_mean": EXACT, "why": "every weight is equal but for a constant added and taken away in f32"}
    limit = MARGIN * AT_FOUR_BITS * STEEP ** (4.0 - bits)
    return {
        "kl_mean": _short(limit),
        "why": f"{MARGIN:g} times what was measured at {bits:.2f} effective bits per weight",
    }


def sensitive_limit(bits: float, shown: float, at: float) -> dict[str, Any]:
    """The same for a source that magnifies errors.

    Args:
        shown: mean KL divergence of the source from itself with noise of `at` bits on its weights.
    """
    usual = kl_limit(bits)
    limit = SENSITIVE * shown * 4.0 ** (at - bits)
    if limit <= usual["kl_mean"]:
        return usual
    why = f"{SENSITIVE:g} times what noise of {bits:.2f} bits makes of the source, from {shown:.3g} nats at {at:g} bits"
    return {"kl_mean": _short(limit), "why": why}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
