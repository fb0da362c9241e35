"""Tiles: they cover a tensor, fit the memory, and say what would be needed where they cannot."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import F16, F32, I32, FilePart, PartSpec, Tensor, UsageError, rows_spec
from hub.ir.values import Dense
from hub.tiles import COPIES, LARGEST_TILE, RESERVED, Budget, multiple, tiles


def tensor(*shape):
    return Tensor("t", shape, Dense(FilePart(rows_spec(F32, shape), None, 0)))


def budget(tile_bytes, threads=1):
    return Budget(RESERVED + tile_bytes * threads * COPIES, threads)


@given(st.integers(0, 400), st.integers(1, 4000), st.sampled_from([1, 4, 8, 32]), st.integers(1 << 19, 1 << 20))
def test_tiles_cover_the_rows_in_steps_and_stay_small(rows, columns, step, size):
    found = list(tiles(tensor(rows, columns), step, budget(size)))
    assert [row for start, stop in found for row in range(start, stop)] == list(range(rows))
    for start, stop in found:
        assert start % step == 0
        assert stop % step == 0 or stop == rows
        assert (stop - start) * columns * 4 <= size
    # And not smaller than they must be.
    assert len(found) <= 1 + rows / max(1, size // (4 * columns) // step * step)


@pytest.mark.parametrize(("shape", "wanted"), [((), 1), ((5,), 5), ((2, 3, 7), 6), ((0, 8), 0)])
def test_any_shape(shape, wanted):
    found = list(tiles(tensor(*shape), 1, budget(1 << 20)))
    assert sum(stop - start for start, stop in found) == wanted


@given(st.integers(1, 64), st.integers(RESERVED, 1 << 40))
def test_memory_is_shared_among_threads(threads, memory):
    made = Budget(memory, threads)
    try:
        size = made.tile_bytes
    except UsageError as error:
        least = int(re.search(r"they need (\d+)", str(error))[1])
        assert memory < least
        assert Budget(least, threads).tile_bytes >= 1 << 16
    else:
        assert 1 << 16 <= size <= LARGEST_TILE
        assert RESERVED + size * threads * COPIES <= memory


@pytest.mark.parametrize("memory", [0, 1, RESERVED, -5])
def test_too_little_memory_says_the_least(memory):
    with pytest.raises(UsageError, match=f"they need {RESERVED + 3 * COPIES * (1 << 16)}"):
        Budget(memory, 3).tile_bytes  # noqa: B018


@pytest.mark.parametrize("columns", [1 << 18, 3 << 20, 1 << 24])
def test_a_row_that_is_too_long_says_what_would_do_and_that_does(columns):
    """Rows beyond the usual largest tile are fine as soon as the memory allows them."""
    small = Budget(RESERVED + 2 * COPIES * (1 << 16), 2)
    with pytest.raises(UsageError, match="give --max-memory") as caught:
        list(tiles(tensor(10, columns), 2, small))
    enough = int(re.search(r"--max-memory (\d+)", str(caught.value))[1])
    assert list(tiles(tensor(10, columns), 2, Budget(enough, 2))) == [(i, i + 2) for i in range(0, 10, 2)]


def test_the_multiple_of_rows_that_share_words():
    assert multiple({}) == 1
    shared = PartSpec(F32, (1,), axis=None, per=7)
    assert multiple({"a": PartSpec(I32, (2, 3), axis=1, per=8), "b": shared}, {"c": PartSpec(F16, (4, 4), per=6)}) == 24
