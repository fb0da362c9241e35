"""Parts made of other parts: some rows of one, several after another, columns as rows, a constant added.

They keep what they are made of and load it when they are asked, so that nothing is copied whole and packed bytes stay
packed.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hub.dtypes import F32
from hub.errors import ConfigError
from hub.ir.part import FilePart, Part, PartSpec, Place, rows_spec
from hub.ir.woven import WovenPart, height, woven

if TYPE_CHECKING:
    import numpy as np

    from hub.ir.tensor import Tensor

BLOCK = 4 << 20
"""Bytes read at a time where columns have to be cut out of rows."""
KEPT = 128 << 20
"""Bytes of a matrix that is decoded once for all of its columns; of a larger one it is done for every tile."""


def cut(part: Part, start: int, stop: int) -> Part:
    """Logical rows `start` to `stop` of a part, as a part of their own.

    Raises:
        ConfigError: the rows share words with others.
    """
    spec = part.spec
    if spec.axis is None:
        return part
    if isinstance(part, WovenPart) and start % len(part.parts) == 0 == stop % len(part.parts):
        return woven([cut(one, start // len(part.parts), stop // len(part.parts)) for one in part.parts], part.names)
    if start % spec.per:
        raise ConfigError(f"row {start} cannot begin a part, {spec.per} rows share a word")
    smaller = height(spec, stop - start)
    if isinstance(part, FilePart) and spec.axis == 0:
        first, _, _, _ = spec.runs(start, stop)
        return FilePart(smaller, part.source, part.offset + first, part.first + start)
    return CutPart(part, smaller, start)


@dataclass(frozen=True)
class CutPart(Part):
    """Some rows of another part, from row `start` on."""

    part: Part
    spec: PartSpec
    start: int

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        return self.part.load(self.start + start, self.start + stop)

    def stored_row(self, row: int) -> int:
        return self.part.stored_row(self.start + row)

    def place(self, row: int, column: int, width: int) -> Place:
        return self.part.place(self.start + row, column, width)

    def reversible(self) -> bool:
        return self.part.reversible()


def joined(parts: Sequence[Part], rows: Sequence[int], names: Sequence[str]) -> Part:
    """Parts of equal width as one, rows after rows.

    Args:
        rows: logical rows of each.
        names: the tensors they come from, for messages.

    Raises:
        ConfigError: they do not fit together.
    """
    specs = [part.spec for part in parts]
    if any(spec.axis is None for spec in specs):
        raise ConfigError("each has numbers for the whole tensor (a scale of its own), they cannot become one tensor")
    flat = {height(spec, 0) for spec in specs}
    if len(flat) != 1:
        raise ConfigError("they are not of one type and width, so they cannot become one tensor")
    return JoinedPart(tuple(parts), height(specs[0], sum(rows)), tuple(rows), tuple(names))


@dataclass(frozen=True)
class JoinedPart(Part):
    """Several parts, one after another; `rows` and `names` as for `joined`."""

    parts: tuple[Part, ...]
    spec: PartSpec
    rows: tuple[int, ...]
    names: tuple[str, ...]

    @cached_property
    def begins(self) -> list[int]:
        """The first row of each part."""
        out = [0]
        for count in self.rows:
            out.append(out[-1] + count)
        return out[:-1]

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        pieces = []
        index = bisect_right(self.begins, start) - 1
        while start < stop:
            begin = self.begins[index]
            end = min(stop, begin + self.rows[index])
            if end > start:
                pieces.append(self.parts[index].load(start - begin, end - begin))
            start, index = end, index + 1
        if not pieces:
            return self.parts[0].load(0, 0)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=self.spec.axis)

    def stored_row(self, row: int) -> int:
        index = bisect_right(self.begins, row) - 1
        return self.parts[index].stored_row(row - self.begins[index])

    def place(self, row: int, column: int, width: int) -> Place:
        index = bisect_right(self.begins, row) - 1
        found = self.parts[index].place(row - self.begins[index], column, width)
        return found if found.name else found._replace(name=self.names[index])

    def reversible(self) -> bool:
        return all(part.reversible() for part in self.parts)


class _Kept:
    """The last matrix that was made, for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[int, np.ndarray[Any, Any]] | None = None

    def matrix(self, number: int, make: Callable[[], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        with self._lock:
            if self._last is None or self._last[0] != number:
                self._last = None  # before the next one is there
                self._last = number, make()
            return self._last[1]


@dataclass(frozen=True)
class TurnedPart(Part):
    """The columns of a dense tensor as rows: of (a, b), or of each of n such matrices (n, a, b).

    Attributes:
        part: rows of numbers, n * a of b; this one has n * b rows of a.
        high: a.
        origin: the tensor that is turned, for who wants to undo it without loss.
        kept: the last matrix that had to be made for some of its columns, since neighbours of these are asked for next.
    """

    part: Part
    spec: PartSpec
    high: int
    origin: Tensor
    kept: _Kept = field(default_factory=lambda: _Kept(), repr=False, compare=False)

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        wide = self.part.spec.shape[1]
        out = np.empty((stop - start, self.high), self.spec.dtype.numpy())
        row = start
        while row < stop:
            matrix, low = divmod(row, wide)
            end = min(stop, (matrix + 1) * wide)
            self._columns(matrix, low, low + end - row, out[row - start : end - start])
            row = end
        return out

    def _columns(self, matrix: int, start: int, stop: int, out: np.ndarray[Any, Any]) -> None:
        """Columns `start` to `stop` of a matrix, as rows."""
        part, begin = self.part, matrix * self.high
        if isinstance(part, FilePart):
            stored = PartSpec(part.spec.dtype, (self.high, part.spec.shape[1]), 1)
            at = part.offset + begin * part.spec.shape[1] * part.spec.dtype.bytes
            out[:] = FilePart(stored, part.source, at).load(start, stop).T
            return
        if part.spec.shape[1] * self.high * part.spec.dtype.bytes <= KEPT:
            out[:] = self.kept.matrix(matrix, lambda: self._turned(matrix))[start:stop]
            return
        step = max(1, BLOCK // max(1, part.spec.shape[1] * part.spec.dtype.bytes))
        for row in range(0, self.high, step):
            end = min(self.high, row + step)
            out[:, row:end] = part.load(begin + row, begin + end)[:, start:stop].T

    def _turned(self, matrix: int) -> np.ndarray[Any, Any]:
        """All columns of a matrix, as rows."""
        import numpy as np

        wide, begin = self.part.spec.shape[1], matrix * self.high
        out = np.empty((wide, self.high), self.spec.dtype.numpy())
        step = max(1, BLOCK // max(1, wide * self.spec.dtype.bytes))
        for row in range(0, self.high, step):
            end = min(self.high, row + step)
            out[:, row:end] = self.part.load(begin + row, begin + end).T
        return out

    def place(self, row: int, column: int, width: int) -> Place:
        matrix, across = divmod(row, self.part.spec.shape[1])
        return self.part.place(matrix * self.high + column, across, self.part.spec.shape[1])

    def reversible(self) -> bool:
        return self.part.reversible()


@dataclass(frozen=True)
class DecodedPart(Part):
    """The weights of a packed tensor in f32, as its layout defines them.

    Attributes:
        decode: gives the weights of logical rows.
    """

    tensor: Tensor
    spec: PartSpec
    decode: Any

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        out: np.ndarray[Any, Any] = self.decode(start, stop)
        return out

    def place(self, row: int, column: int, width: int) -> Place:
        return next(iter(self.tensor.parts.values())).place(row, column, width)


@dataclass(frozen=True)
class AddedPart(Part):
    """The numbers of a dense part plus a constant, added in f32."""

    part: Part
    spec: PartSpec
    constant: float

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return self._wide(start, stop) + np.float32(self.constant)

    def _wide(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        from hub.kernels import to_f32

        return to_f32(self.part.load(start, stop))

    def stored_row(self, row: int) -> int:
        return self.part.stored_row(row)

    def place(self, row: int, column: int, width: int) -> Place:
        return self.part.place(row, column, width)

    def reversible(self) -> bool:
        """Whether taking the constant away again gives every number back, sign of zero included."""
        import numpy as np

        width = max(1, self.spec.nbytes // max(1, self.spec.shape[0]))
        step = max(1, BLOCK // width)
        for start in range(0, self.spec.shape[0], step):
            stop = min(self.spec.shape[0], start + step)
            before = self._wide(start, stop)
            after = (before + np.float32(self.constant)) - np.float32(self.constant)
            if not np.array_equal(before.view(np.uint32), after.view(np.uint32)):
                return False
        return self.part.reversible()


@dataclass(frozen=True)
class CastPart(Part):
    """The numbers of a dense part in another number type, rounded to nearest even."""

    part: Part
    spec: PartSpec

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        from hub.kernels import to_f32

        with np.errstate(over="ignore"):  # what is beyond the type is told when all is scanned
            return to_f32(self.part.load(start, stop)).astype(self.spec.dtype.numpy())

    def stored_row(self, row: int) -> int:
        return self.part.stored_row(row)

    def place(self, row: int, column: int, width: int) -> Place:
        return self.part.place(row, column, width)

    def reversible(self) -> bool:
        """Whether no number is rounded."""
        import numpy as np

        from hub.kernels import to_f32

        width = max(1, self.spec.nbytes // max(1, self.spec.shape[0]))
        step = max(1, BLOCK // width)
        for start in range(0, self.spec.shape[0], step):
            stop = min(self.spec.shape[0], start + step)
            before, after = to_f32(self.part.load(start, stop)), to_f32(self.load(start, stop))
            if not np.array_equal(before.view(np.uint32), after.view(np.uint32)):
                return False
        return self.part.reversible()


def added(part: Part, constant: float) -> AddedPart:
    """`part` plus a constant, as f32; adding and taking away the same constant cancel out unread."""
    return AddedPart(part, replace(part.spec, dtype=F32), constant)


def turned(part: Part, origin: Tensor) -> TurnedPart:
    """A dense part with the last two axes of `origin`, its tensor, exchanged."""
    *outer, rows, width = origin.shape
    return TurnedPart(part, rows_spec(part.spec.dtype, (*outer, width, rows)), rows, origin)
