"""A bounds-checked reader of little-endian binary headers."""

from __future__ import annotations

import struct
from typing import Final

from hub.errors import FormatError
from hub.io.source import FileSource

WINDOW: Final = 1 << 20
"""Bytes fetched at a time: headers are small, vocabularies are a few of these."""

_NUMBERS: Final = {code: struct.Struct("<" + code) for code in ("B", "b", "H", "h", "I", "i", "Q", "q", "f", "d")}


def checked_product(factors: tuple[int, ...] | list[int], limit: int) -> int | None:
    """The product of non-negative `factors`, or None when it exceeds `limit`.

    Python's integers do not wrap, but a product of hostile numbers can be a number of a million
    digits; stopping at the first excess keeps every step small. A zero does not excuse the others:
    readers that multiply in another order than its place would overflow before they come to it.
    """
    product = 1
    for factor in factors:
        product *= factor or 1
        if product > limit:
            return None
    return 0 if 0 in factors else product


def padded(size: int, alignment: int) -> int:
    """`size` rounded up to a multiple of `alignment` (a power of two)."""
    return (size + alignment - 1) & ~(alignment - 1)


class Cursor:
    """Reads numbers and strings from `source`, from `start` on, never beyond `end`.

    Every method raises `FormatError` with file and offset when the bytes do not suffice; nothing
    is allocated before a length has been compared with the bytes that are left.
    """

    def __init__(self, source: FileSource, start: int = 0, end: int | None = None) -> None:
        self.source = source
        self.offset = start
        self.end = source.size if end is None else min(end, source.size)
        self._window = b""
        self._window_start = start

    @property
    def left(self) -> int:
        """Bytes between here and the end."""
        return self.end - self.offset

    def fail(self, message: str, *, offset: int | None = None, tensor: str | None = None) -> FormatError:
        """The error to raise for a fault at `offset` (default: here)."""
        return FormatError(
            message,
            path=self.source.path,
            offset=self.offset if offset is None else offset,
            tensor=tensor,
        )

    def require(self, size: int, what: str) -> None:
        """Raises:
        FormatError: fewer than `size` bytes are left.
        """
        if size > self.left:
            raise self.fail(f"truncated: {what} needs {size} bytes, {self.left} are left")

    def peek(self, size: int) -> memoryview:
        """At most `size` and at most `WINDOW` bytes from here, without moving."""
        size = min(size, WINDOW, self.left)
        begin = self.offset - self._window_start
        if begin < 0 or begin + size > len(self._window):
            self._window_start = self.offset
            self._window = self.source.read(self.offset, min(WINDOW, self.left))
            begin = 0
        return memoryview(self._window)[begin : begin + size]

    def take(self, size: int, what: str = "data") -> bytes:
        """The next `size` bytes."""
        self.require(size, what)
        data = bytes(self.peek(size)) if size <= WINDOW else self.source.read(self.offset, size)
        self.offset += size
        return data

    def skip(self, size: int, what: str = "data") -> None:
        """Move on by `size` bytes that must exist."""
        self.require(size, what)
        self.offset += size

    def number(self, code: str, what: str = "a number") -> int | float:
        """One little-endian number; `code` as in `struct`."""
        form = _NUMBERS[code]
        self.require(form.size, what)
        (value,) = form.unpack(self.peek(form.size))
        self.offset += form.size
        return value  # type: ignore[no-any-return]

    def integer(self, code: str, what: str = "a number") -> int:
        """One little-endian integer."""
        return int(self.number(code, what))

    def count(self, code: str, what: str, *, item_bytes: int, limit: int) -> int:
        """A count of items to come, each at least `item_bytes` long.

        Raises:
            FormatError: more than `limit`, or more than the bytes left can hold.
        """
        at = self.offset
        value = self.integer(code, what)
        if value < 0 or value > limit or value * item_bytes > self.left:
            raise self.fail(
                f"impossible count: {value} {what}, at most {min(limit, self.left // item_bytes)} can follow",
                offset=at,
            )
        return value

    def string(self, what: str, *, limit: int) -> bytes:
        """A string with its length as u64 before it."""
        return self.take(self._length(what, limit), what)

    def skip_string(self, what: str, *, limit: int) -> None:
        """Move on behind a string that `string` would give."""
        self.skip(self._length(what, limit), what)

    def _length(self, what: str, limit: int) -> int:
        at = self.offset
        size = self.integer("Q", f"the length of {what}")
        if size > limit or size > self.left:
            raise self.fail(
                f"impossible length: {what} of {size} bytes, at most {min(limit, self.left)} can follow",
                offset=at,
            )
        return size
