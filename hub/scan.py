"""Every weight of the source, looked at before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import WeightError, printable
from hub.ir.part import row_length
from hub.layout import DenseLayout, arrays_of
from hub.overflow import refuse_overflow
from hub.pipeline import Progress, run_all, weights
from hub.planner import Entry, Plan
from hub.plugins import Registry
from hub.tiles import Budget, step, tiles

if TYPE_CHECKING:
    from hub.kernels import Scan

MOST_NAMED = 8
"""Damaged tensors that a message names."""


@dataclass
class Seen:
    """What is in one tensor: how many weights are not finite, the first of them, the largest of the others."""

    entry: Entry
    nonfinite: int = 0
    first: int = -1
    max_abs: float = 0.0


def scan(plan: Plan, registry: Registry, budget: Budget, progress: Progress) -> None:
    """Look for weights that no conversion can keep.

    Raises:
        WeightError: some are not finite, or too large for the layout they get; names the tensors.
    """
    from hub.kernels import scan as look

    found = {entry.name: Seen(entry) for entry in plan.entries}
    progress.start("scan", sum(entry.tensor.nbytes for entry in plan.entries))

    def unit(entry: Entry, start: int, stop: int) -> tuple[Entry, int, Scan, int]:
        layout = registry.layout(entry.tensor.layout)
        arrays = arrays_of(entry.tensor, start, stop)
        read = sum(array.nbytes for array in arrays.values())
        if isinstance(layout, DenseLayout):
            return entry, start, look(arrays["data"]), read
        return entry, start, look(weights(entry.tensor, layout, start, stop)), read

    def units() -> Iterable[Callable[[], tuple[Entry, int, Scan, int]]]:
        for entry in plan.entries:
            rows = step(entry.tensor, registry.layout(entry.tensor.layout))
            for start, stop in tiles(entry.tensor, rows, budget):
                yield lambda e=entry, a=start, b=stop: unit(e, a, b)  # type: ignore[misc]

    def done(result: tuple[Entry, int, Scan, int]) -> None:
        entry, start, tile, read = result
        progress.advance(read)
        seen = found[entry.name]
        if tile.nonfinite:
            at = start * row_length(entry.tensor.shape) + tile.first
            seen.first = at if seen.first < 0 else min(seen.first, at)
        seen.nonfinite += tile.nonfinite
        seen.max_abs = max(seen.max_abs, tile.max_abs)

    run_all(units(), budget.threads, done)
    _refuse_nonfinite(plan, [seen for seen in found.values() if seen.nonfinite])
    refuse_overflow(plan, {name: seen.max_abs for name, seen in found.items()}, registry, budget)


def _refuse_nonfinite(plan: Plan, bad: list[Seen]) -> None:
    if not bad:
        return
    bad.sort(key=lambda seen: seen.entry.tensor.stored_name)
    others = ", ".join(f"{printable(s.entry.tensor.stored_name)} ({s.nonfinite})" for s in bad[1:MOST_NAMED])
    others = f"; also {others}" if others else ""
    if len(bad) > MOST_NAMED:
        others += f" and {len(bad) - MOST_NAMED} more tensors"
    tensor, first = bad[0].entry.tensor, bad[0].first
    part = next(iter(tensor.parts.values()))
    row, column = divmod(first, row_length(tensor.shape))
    span = part.row_span(row)
    # The byte is known where weights lie one after another; in a block it is the row that is named.
    inside = column * part.spec.dtype.bytes if tensor.layout == part.spec.dtype.name else 0
    raise WeightError(
        f"{bad[0].nonfinite} weights are not finite, the first is number "
        f"{part.stored_row(row) * row_length(tensor.shape) + column}{others}",
        path=span.source.path if span else plan.source.path,
        tensor=tensor.stored_name,
        offset=span.offset + inside if span else None,
        remedy="the model is damaged; nothing was written",
    )
