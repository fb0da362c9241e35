"""One tensor that does not agree with its source, and the rows of it that hypotheses are tried on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.ir.part import row_length
from hub.ir.tensor import Tensor
from hub.layout import Layout
from hub.pipeline import weights
from hub.plugins import Registry
from hub.tiles import Budget, step, tiles
from hub.verification.alignment import Pair
from hub.verification.diagnosis.roles import Roles

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]
    Rows = np.ndarray[Any, np.dtype[np.int64]]

SAMPLE = 64
"""Rows looked at: half of them those that differ most, half chosen by chance (always the same ones)."""
MOST_WEIGHTS = 1 << 20
"""Weights looked at, where rows are long; of vectors all up to this number."""


@dataclass
class Case:
    """A tensor that is in both models and not alike.

    Attributes:
        name: its canonical name.
        a, b: the tensor in either model.
        exact: whether every bit should agree.
        only: rows to look at, where not all are wrong; None for a choice from all.
    """

    pair: Pair
    roles: Roles
    registry: Registry
    budget: Budget
    name: str
    a: Tensor
    b: Tensor
    exact: bool
    only: Sequence[int] | None = None

    @property
    def module(self) -> str:
        """The canonical name without `.weight` or `.bias`."""
        return self.name.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """`weight` or `bias`."""
        return self.name.rpartition(".")[2]

    @property
    def width(self) -> int:
        """Weights in a row; 1 for vectors."""
        return row_length(self.a.shape)

    @cached_property
    def sample(self) -> Rows:
        """The rows to look at, ascending."""
        if self.only is not None:
            return np.unique(np.asarray(self.only, np.int64))
        rows = self.a.rows
        most = MOST_WEIGHTS if len(self.a.shape) < 2 else max(4, min(SAMPLE, MOST_WEIGHTS // max(1, self.width)))
        if rows <= most:
            return np.arange(rows)
        worst = np.argsort(-self._row_errors(), kind="stable")[: most // 2]
        chance = np.random.default_rng(rows).choice(rows, most - len(worst), replace=False)
        return np.unique(np.concatenate([worst, chance]))

    def _row_errors(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Squared difference of every row."""
        out = np.zeros(self.a.rows)
        first, second = self.layout_of(self.a), self.layout_of(self.b)
        rows = math.lcm(step(self.a, first), step(self.b, second))
        for start, stop in tiles(self.a, rows, self.budget):
            x, y = weights(self.a, first, start, stop), weights(self.b, second, start, stop)
            with np.errstate(all="ignore"):
                difference = np.nan_to_num((x - y).astype(np.float64), nan=np.inf)
                out[start:stop] = (difference**2).reshape(stop - start, -1).sum(axis=1)
        return out

    @cached_property
    def expected(self) -> F32Array:
        """The sample of `a`, (rows, width)."""
        return self.rows_of(self.a, self.sample)

    @cached_property
    def found(self) -> F32Array:
        """The sample of `b`, (rows, width)."""
        return self.rows_of(self.b, self.sample)

    @cached_property
    def before(self) -> float:
        """SQNR in dB of the sample as it is."""
        return sqnr(self.expected, self.found)

    def layout_of(self, tensor: Tensor) -> Layout:
        """How a tensor lies."""
        return self.registry.layout(tensor.layout)

    def rows_of(self, tensor: Tensor, rows: Sequence[int] | Rows) -> F32Array:
        """Any rows of a tensor in f32, (rows, width), in the order asked; neighbours are read together."""
        layout = self.layout_of(tensor)
        wanted = np.asarray(rows, np.int64)
        out = np.empty((len(wanted), row_length(tensor.shape)), np.float32)
        order = np.argsort(wanted, kind="stable")
        ends = [0, *(np.flatnonzero(np.diff(wanted[order]) > 1) + 1), len(order)]
        together = step(tensor, layout)
        for low, high in pairwise(ends):
            chosen = order[low:high]
            if not len(chosen):
                continue
            start = int(wanted[chosen[0]]) // together * together
            stop = min(tensor.rows, -(-(int(wanted[chosen[-1]]) + 1) // together) * together)
            out[chosen] = weights(tensor, layout, start, stop).reshape(stop - start, -1)[wanted[chosen] - start]
        return out

    def like(self, predicted: F32Array) -> float:
        """SQNR in dB of what was found against what a mistake would have made of the source."""
        return sqnr(predicted, self.found)


def sqnr(expected: F32Array, found: F32Array) -> float:
    """10 log10(energy of `expected` / energy of the difference); infinite when equal, -infinite when nothing fits."""
    with np.errstate(all="ignore"):
        noise = float(np.sum((expected.astype(np.float64) - found) ** 2))
        signal = float(np.sum(expected.astype(np.float64) ** 2))
    if noise == 0:
        return math.inf
    if not math.isfinite(noise) or not signal:
        return -math.inf
    return 10 * math.log10(signal / noise)
