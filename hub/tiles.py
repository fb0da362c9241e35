"""Tiles: some rows of a tensor, small enough for the memory that a thread may use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import UsageError
from hub.ir.part import PartSpec, row_count, row_length
from hub.ir.tensor import Tensor

if TYPE_CHECKING:
    from hub.layout import Layout

RESERVED = 160 << 20
"""Private memory that the process itself takes: interpreter, NumPy, a vocabulary, threads' stacks."""
LARGEST_TILE = 8 << 20
"""Bytes of f32 that a tile exceeds only where one row does; larger ones win nothing and leave the caches."""
COPIES = 6
"""Arrays of a tile's f32 size that a thread may hold at once: source bytes, f32, codes, decoded."""


@dataclass(frozen=True)
class Budget:
    """What `--max-memory` and `--threads` leave for one tile.

    Raises:
        UsageError: not even one small tile per thread would fit.
    """

    max_memory: int
    threads: int

    @property
    def tile_bytes(self) -> int:
        """Bytes of f32 per tile."""
        return min(self.most_bytes, LARGEST_TILE)

    @property
    def most_bytes(self) -> int:
        """Bytes of f32 that a tile could have, were a single row so long."""
        share = (self.max_memory - RESERVED) // (self.threads * COPIES)
        if share < 1 << 16:
            least = RESERVED + self.threads * COPIES * (1 << 16)
            raise UsageError(
                f"--max-memory {self.max_memory} is too little for {self.threads} threads, they need {least}"
            )
        return share


def multiple(*parts: Mapping[str, PartSpec]) -> int:
    """The number of rows that tiles must be a multiple of, for all these parts."""
    return math.lcm(*(spec.per for group in parts for spec in group.values() if spec.axis is not None), 1)


def step(tensor: Tensor, source: Layout, target: Layout | None = None) -> int:
    """The number of rows that tiles of `tensor`, which lies as `source`, must be a multiple of; on its way to `target`
    if that is given."""
    least = math.lcm(multiple({name: part.spec for name, part in tensor.parts.items()}), source.row_multiple)
    if target is None:
        return least
    return math.lcm(least, multiple(target.parts(tensor.shape)), target.row_multiple)


def tiles(tensor: Tensor, step: int, budget: Budget) -> Iterator[tuple[int, int]]:
    """Row ranges that cover `tensor`, each a multiple of `step` rows but for the last; none where it has no weights.

    Raises:
        UsageError: one step of rows alone is beyond the memory allowed.
    """
    rows, length = row_count(tensor.shape), row_length(tensor.shape)
    if not rows or not length:
        # A shape such as (2^50, 0) has rows without end and nothing in them.
        return
    least = 4 * length * step
    allowed = max(budget.tile_bytes, least) // (4 * length) // step * step
    if least > budget.most_bytes:
        need = least * budget.threads * COPIES + RESERVED
        raise UsageError(
            f"tensor {tensor.name}: {step} of its rows need {least} bytes, the memory allowed "
            f"leaves {budget.most_bytes}; give --max-memory {need} or fewer --threads"
        )
    for start in range(0, rows, allowed):
        yield start, min(rows, start + allowed)
