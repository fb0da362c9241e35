"""Tensors against each other, weight by weight and tile by tile: figures of the difference, rows that differ most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.ir.tensor import Tensor
from hub.pipeline import Progress, run_all, weights
from hub.plugins import Registry
from hub.tiles import Budget, step, tiles

if TYPE_CHECKING:
    import numpy as np

    from hub.kernels import Difference as Counted

    F32Array = np.ndarray[Any, np.dtype[np.float32]]

WORST = 64
"""Rows of a tensor that are remembered as the worst."""
QUIET = 1e-3
"""Share of the usual energy below which a row is not among them."""


@dataclass
class TensorResult:
    """How one written tensor compares with its source.

    Attributes:
        max_abs: largest absolute difference.
        rmse: root of the mean squared difference.
        sqnr_db: 10 log10(sum of squared weights / sum of squared differences); infinite when equal.
        unequal: weights that are not the same bits.
        limit_db: the least `sqnr_db` allowed; None where every bit must agree.
        fault: what is wrong, or None.
    """

    name: str
    weights: int
    max_abs: float = 0.0
    sum_sq: float = 0.0
    sum_sq_source: float = 0.0
    unequal: int = 0
    limit_db: float | None = None
    fault: str | None = None

    @property
    def rmse(self) -> float:
        return math.sqrt(self.sum_sq / self.weights) if self.weights else 0.0

    @property
    def sqnr_db(self) -> float:
        if self.sum_sq == 0:
            return math.inf
        ratio = self.sum_sq_source / self.sum_sq  # 0 when what was written is infinite, NaN when it is NaN
        return 10 * math.log10(ratio) if ratio else -math.inf

    def add(self, max_abs: float, sum_sq: float, sum_sq_source: float, unequal: int) -> None:
        """Count in what a comparison of some rows found."""
        if math.isnan(max_abs) or max_abs > self.max_abs:  # nothing is larger than NaN, so it stays
            self.max_abs = max_abs
        self.sum_sq += sum_sq
        self.sum_sq_source += sum_sq_source
        self.unequal += unequal

    def judge(self) -> None:
        """Set `fault` from the figures."""
        if not math.isfinite(self.sum_sq):
            self.fault = "it has weights that are not finite"
        elif self.limit_db is None:
            if self.unequal:
                self.fault = f"{self.unequal} of {self.weights} weights differ, the route is exact"
        elif not self.sqnr_db >= self.limit_db:
            self.fault = f"SQNR {self.sqnr_db:.1f} dB, at least {self.limit_db:.1f} dB is expected"


@dataclass
class Match:
    """Two tensors of one shape.

    Attributes:
        result: where the figures are added up.
        worst: (signal over noise, row) of the rows that differ most for their size, worst first; of matrices only, and
            where it was asked for.
    """

    a: Tensor
    b: Tensor
    result: TensorResult
    worst: Sequence[tuple[float, int]] = ()


_Tile = tuple[Match, int, "Counted", list[tuple[float, int]]]


def measure(
    matches: Sequence[Match], registry: Registry, budget: Budget, progress: Progress, *, rows: bool = False
) -> None:
    """Compare all weights of all matches.

    Args:
        rows: whether to look for the worst rows.

    Raises:
        HubError: weights cannot be read.
    """
    progress.start("verify", sum(match.b.nbytes for match in matches))

    def units() -> Iterable[Callable[[], _Tile]]:
        for match in matches:
            together = (step(tensor, registry.layout(tensor.layout)) for tensor in (match.a, match.b))
            for start, stop in tiles(match.a, math.lcm(*together), budget):
                yield lambda m=match, x=start, y=stop: _tile(m, registry, x, y, rows)  # type: ignore[misc]

    def done(got: _Tile) -> None:
        match, amount, counted, worst = got
        match.result.add(*counted)
        match.worst = sorted([*match.worst, *worst])[:WORST]
        progress.advance(amount)

    run_all(units(), budget.threads, done)


def _tile(match: Match, registry: Registry, start: int, stop: int, rows: bool) -> _Tile:
    from hub.kernels import compare

    a, b = (weights(tensor, registry.layout(tensor.layout), start, stop) for tensor in (match.a, match.b))
    counted = compare(a, b)
    worst = _worst(a, b, start) if rows and counted.unequal and a.ndim > 1 else []
    return match, match.b.nbytes * (stop - start) // max(1, match.b.rows), counted, worst


def _worst(a: F32Array, b: F32Array, start: int) -> list[tuple[float, int]]:
    """(signal over noise, row) of the worst rows of a tile, but for rows next to nothing: their scales underflow."""
    import numpy as np

    with np.errstate(all="ignore"):
        difference = a - b
        noise = np.einsum("ij,ij->i", difference, difference)
        signal = np.einsum("ij,ij->i", a, a)
        ratio = np.where(noise > 0, signal / noise, np.inf)
        ratio[~np.isfinite(noise)] = 0.0
        ratio[signal < QUIET * signal.mean()] = np.inf
    rows = np.argsort(ratio, kind="stable")[:WORST]
    return [(float(ratio[row]), start + int(row)) for row in rows if np.isfinite(ratio[row])]
