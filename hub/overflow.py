"""Weights too large for the layout they get, found before anything is written.

Rounding to a narrower float can give infinity, and so can the scale of a quantized block, which most
layouts store in f16. Where exactly depends on the quantizer, so a tensor with weights that large is
put through it once for trial and compared as after writing; models in the field have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from hub.errors import WeightError
from hub.pipeline import run_all, step_of, tile, weights
from hub.planner import Entry, Plan
from hub.plugins import Registry
from hub.tiles import Budget, tiles
from hub.verification.comparison import TensorResult
from hub.verification.verifier import least_sqnr

SUSPICIOUS: Final = 65504.0
"""The largest f16; no scale and no rounding overflows below it."""


def refuse_overflow(plan: Plan, largest: Mapping[str, float], registry: Registry, budget: Budget) -> None:
    """Try the tensors whose weights may be too large.

    Args:
        largest: the largest magnitude of each tensor, by its name in the plan.

    Raises:
        WeightError: one would not survive its layout.
    """
    for entry in plan.entries:
        most = largest.get(entry.name, 0.0)
        if entry.fidelity in ("codes", "lossy") and most >= SUSPICIOUS and _tried(entry, registry, budget).fault:
            raise WeightError(
                f"its largest weight, {most:g}, is beyond what {entry.layout} can hold",
                path=plan.source.path,
                tensor=entry.tensor.stored_name,
                remedy="give the tensor a wider layout with --tensor",
            )


def _tried(entry: Entry, registry: Registry, budget: Budget) -> TensorResult:
    from hub.kernels import Difference, compare

    source, target = registry.layout(entry.tensor.layout), registry.layout(entry.layout)
    shape = entry.tensor.shape
    result = TensorResult(entry.name, math.prod(shape), limit_db=least_sqnr(target.scheme(shape), shape))

    def unit(start: int, stop: int) -> Difference:
        before = weights(entry.tensor, source, start, stop)
        return compare(before, target.decode(tile(entry, registry, start, stop), before.shape))

    def units() -> Iterable[Callable[[], Difference]]:
        for start, stop in tiles(entry.tensor, step_of(entry, registry), budget):
            yield lambda a=start, b=stop: unit(a, b)  # type: ignore[misc]

    run_all(units(), budget.threads, lambda difference: result.add(*difference))
    result.judge()
    return result
