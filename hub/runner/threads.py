"""Work in pieces on a few threads; the pieces never overlap, so their order cannot change a result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

import numpy as np

PIECES = 4
"""Pieces per thread: more even out a slow core, fewer cost less."""


def _quiet() -> None:
    """Let overflow pass without a warning, as who asks for logits does: they are looked at, and refused, as a whole.
    NumPy keeps this for each thread."""
    np.seterr(all="ignore")


class Threads:
    """A pool for work whose kernels let go of the interpreter."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, "hub-run", _quiet) if count > 1 else None

    def each(self, size: int, step: int, work: Callable[[int, int], object]) -> None:
        """Call ``work(start, stop)`` on ranges that cover `size` items; all but the last are multiples of `step`.

        Raises:
            Exception: the first that a piece raised.
        """
        steps = -(-size // step)
        if self._pool is None or steps < 2:
            if size:
                work(0, size)
            return
        pieces = min(steps, self.count * PIECES)
        bounds = [min(size, steps * i // pieces * step) for i in range(pieces)] + [size]
        futures = [self._pool.submit(work, a, b) for a, b in pairwise(bounds) if a < b]
        wait(futures)
        for future in futures:
            future.result()

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
