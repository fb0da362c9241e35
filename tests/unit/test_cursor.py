"""The bounds-checked reader of binary headers."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import Cursor, FileSource, checked_product, padded
from hub.errors import FormatError
from hub.io import cursor as module


@pytest.fixture
def opened(tmp_path):
    sources = []

    def make(data, *bounds):
        path = tmp_path / f"{len(sources)}"
        path.write_bytes(data)
        sources.append(FileSource(path))
        return Cursor(sources[-1], *bounds)

    yield make
    for source in sources:
        source.close()


@given(st.integers(0, 2**40), st.integers(0, 12))
def test_padded(size, power):
    out = padded(size, 1 << power)
    assert out >= size
    assert out - size < 1 << power
    assert out % (1 << power) == 0


@given(st.lists(st.integers(0, 2**70), max_size=6), st.integers(0, 2**80))
def test_checked_product(factors, limit):
    # A zero does not excuse the others: they are compared as if it stood last.
    others = math.prod(factor for factor in factors if factor)
    wanted = None if factors and others > limit else 0 if 0 in factors else others
    assert checked_product(factors, limit) == wanted


def test_it_stops_before_numbers_become_huge():
    assert checked_product([1 << 62] * 100_000, 1 << 63) is None


def test_numbers_are_little_endian(opened):
    cursor = opened(struct.pack("<BbHhIiQqfd", 255, -1, 65535, -2, 2**32 - 1, -3, 2**64 - 1, -4, 0.5, 0.25))
    assert [cursor.number(code) for code in "BbHhIiQqfd"] == [
        255,
        -1,
        65535,
        -2,
        2**32 - 1,
        -3,
        2**64 - 1,
        -4,
        0.5,
        0.25,
    ]
    assert cursor.left == 0
    with pytest.raises(FormatError, match="truncated: the flag needs 1 bytes, 0 are left"):
        cursor.integer("B", "the flag")


def test_it_starts_and_ends_where_it_is_told(opened):
    cursor = opened(bytes(range(20)), 4, 10)
    assert cursor.take(2) == b"\4\5"
    assert cursor.left == 4
    with pytest.raises(FormatError) as caught:
        cursor.take(5, "five")
    assert caught.value.offset == 6
    assert opened(b"abc", 0, 100).left == 3


def test_reading_across_windows(opened, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 16)
    data = bytes(range(256)) * 2
    cursor = opened(data)
    out = b"".join(cursor.take(n) for n in (1, 15, 16, 17, 40, 7, 100, 3))
    assert out == data[: len(out)]
    cursor.skip(13)
    assert cursor.take(20) == data[len(out) + 13 :][:20]


def test_peek_does_not_move_and_is_short_at_the_end(opened, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 8)
    cursor = opened(bytes(range(20)))
    assert bytes(cursor.peek(100)) == bytes(range(8))
    cursor.skip(5)
    assert bytes(cursor.peek(8)) == bytes(range(5, 13))
    cursor.skip(10)
    assert bytes(cursor.peek(8)) == bytes(range(15, 20))
    assert cursor.offset == 15


def test_going_back_reads_again(opened, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 4)
    cursor = opened(bytes(range(20)))
    cursor.skip(12)
    cursor.take(2)
    cursor.offset = 1
    assert cursor.take(3) == b"\1\2\3"


@pytest.mark.parametrize(("value", "fits"), [(0, True), (3, True), (4, False), (-1, False), (2**62, False)])
def test_counts_are_compared_with_what_is_left(opened, value, fits):
    cursor = opened(struct.pack("<q", value) + bytes(12))
    if fits:
        assert cursor.count("q", "things", item_bytes=4, limit=100) == value
    else:
        with pytest.raises(FormatError, match="at most 3 can follow") as caught:
            cursor.count("q", "things", item_bytes=4, limit=100)
        assert caught.value.offset == 0


def test_counts_have_a_limit_of_their_own(opened):
    with pytest.raises(FormatError, match="at most 2 can follow"):
        opened(struct.pack("<q", 3) + bytes(12)).count("q", "things", item_bytes=1, limit=2)


def test_strings(opened):
    cursor = opened(struct.pack("<Q", 3) + b"abc" + struct.pack("<Q", 0) + struct.pack("<Q", 9) + b"12345678")
    assert cursor.string("a name", limit=10) == b"abc"
    assert cursor.string("a name", limit=10) == b""
    with pytest.raises(FormatError, match="a name of 9 bytes, at most 8 can follow") as caught:
        cursor.string("a name", limit=10)
    assert caught.value.offset == 19
    with pytest.raises(FormatError, match="at most 2 can follow"):
        opened(struct.pack("<Q", 3) + b"abc").string("a name", limit=2)


def test_an_impossible_length_allocates_nothing(opened):
    with pytest.raises(FormatError):
        opened(struct.pack("<Q", 1 << 62)).string("a name", limit=1 << 63)
