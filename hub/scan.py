"""Every weight of the source, looked at before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import WeightError, printable
from hub.ir.part import row_length
from hub.ir.tensor import Tensor
from hub.layout import DENSE, arrays_of
from hub.overflow import refuse_overflow
from hub.pipeline import Progress, run_all, weights
from hub.planner import Plan
from hub.plugins import Registry
from hub.tiles import Budget, step, tiles

if TYPE_CHECKING:
    from hub.kernels import Scan

MOST_NAMED = 8
"""Damaged tensors that a message names."""


@dataclass
class Seen:
    """What is in one tensor: how many weights are not finite, the first of them, the largest of the others."""

    tensor: Tensor
    nonfinite: int = 0
    first: int = -1
    max_abs: float = 0.0

    def add(self, tile: Scan, start: int) -> None:
        """Take in what was seen of the rows from `start` on."""
        if tile.nonfinite:
            at = start * row_length(self.tensor.shape) + tile.first
            self.first = at if self.first < 0 else min(self.first, at)
        self.nonfinite += tile.nonfinite
        self.max_abs = max(self.max_abs, tile.max_abs)


def look(tensors: Sequence[Tensor], registry: Registry, budget: Budget, progress: Progress) -> dict[str, Seen]:
    """Look at every weight of `tensors`; what was seen, by tensor name."""
    from hub.kernels import scan as kernel

    found = {tensor.name: Seen(tensor) for tensor in tensors}

    def unit(tensor: Tensor, start: int, stop: int) -> tuple[str, int, Scan, int]:
        layout = registry.layout(tensor.layout)
        arrays = arrays_of(tensor, start, stop)
        read = sum(array.nbytes for array in arrays.values())
        dense = layout.name in DENSE  # whose numbers stand in the order of weights
        seen = kernel(arrays["data"] if dense else weights(tensor, layout, start, stop))
        return tensor.name, start, seen, read

    def units() -> Iterable[Callable[[], tuple[str, int, Scan, int]]]:
        for tensor in tensors:
            rows = step(tensor, registry.layout(tensor.layout))
            for start, stop in tiles(tensor, rows, budget):
                yield lambda t=tensor, a=start, b=stop: unit(t, a, b)  # type: ignore[misc]

    def done(result: tuple[str, int, Scan, int]) -> None:
        name, start, seen, read = result
        found[name].add(seen, start)
        progress.advance(read)

    run_all(units(), budget.threads, done)
    return found


def scan(plan: Plan, registry: Registry, budget: Budget, progress: Progress) -> None:
    """Look for weights that no conversion can keep.

    Raises:
        WeightError: some are not finite, or too large for the layout they get; names the tensors.
    """
    progress.start("scan", sum(entry.tensor.nbytes for entry in plan.entries))
    found = look([entry.tensor for entry in plan.entries], registry, budget, progress)
    _refuse_nonfinite(plan, [seen for seen in found.values() if seen.nonfinite])
    refuse_overflow(plan, {name: seen.max_abs for name, seen in found.items()}, registry, budget)


def _refuse_nonfinite(plan: Plan, bad: list[Seen]) -> None:
    if not bad:
        return
    bad.sort(key=lambda seen: seen.tensor.stored_name)
    others = ", ".join(f"{printable(s.tensor.stored_name)} ({s.nonfinite})" for s in bad[1:MOST_NAMED])
    others = f"; also {others}" if others else ""
    if len(bad) > MOST_NAMED:
        others += f" and {len(bad) - MOST_NAMED} more tensors"
    tensor, first = bad[0].tensor, bad[0].first
    part = next(iter(tensor.parts.values()))
    row, column = divmod(first, row_length(tensor.shape))
    place = part.place(row, column, row_length(tensor.shape))
    span = place.span
    raise WeightError(
        f"{bad[0].nonfinite} weights are not finite, the first is number {place.number}{others}",
        path=span.source.path if span else plan.source.path,
        tensor=place.name or tensor.stored_name,
        offset=span.offset if span else None,
        remedy="the model is damaged; nothing was written",
    )
