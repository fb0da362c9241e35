"""Part: bytes of a tensor that are not read before they are asked for.

Everything a tensor stores is one or more parts. A part is asked for *logical rows of its tensor*,
so a tile can be cut out of any layout: `axis` says along which stored axis the rows of the
tensor run, `per` how many rows share one index there.

    layout             part      stored shape    axis  per
    dense (out, in)    data      (out, in)       0     1
    GPTQ  (out, in)    qweight   (in/8, out)     1     1
    GPTQ  (out, in)    qzeros    (groups, out/8) 1     8
    fp8 128x128        scale     (out/128, ...)  0     128
    NVFP4              global    ()              None  -      shared by all rows
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hub.dtypes import DType

if TYPE_CHECKING:
    import numpy as np

    from hub.io.source import FileSource

Shape = tuple[int, ...]


def row_count(shape: Shape) -> int:
    """Logical rows of a tensor: of (out, in) `out`, of (experts, out, in) `experts * out`, of a
    vector each element, of a scalar one."""
    return math.prod(shape[:-1]) if len(shape) > 1 else (shape[0] if shape else 1)


def row_length(shape: Shape) -> int:
    """Weights in a logical row: the last axis; 1 for vectors and scalars."""
    return shape[-1] if len(shape) > 1 else 1


def row_shape(shape: Shape) -> Shape:
    """The shape of one row inside an array of rows: `(in,)`, or `()` for vectors and scalars."""
    return shape[-1:] if len(shape) > 1 else ()


@dataclass(frozen=True)
class PartSpec:
    """What a part is, without where it is.

    Attributes:
        dtype: the stored number type.
        shape: the stored shape.
        axis: the stored axis along which the tensor's logical rows run; None when all rows
            share the part.
        per: logical rows per index along `axis`.
    """

    dtype: DType
    shape: Shape
    axis: int | None = 0
    per: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes stored."""
        return math.prod(self.shape) * self.dtype.bytes

    def window(self, start: int, stop: int) -> tuple[int, int]:
        """The range of indices along `axis` that logical rows `start` to `stop` occupy."""
        if self.axis is None:
            return 0, 1
        return start // self.per, -(-stop // self.per)

    def runs(self, start: int, stop: int) -> tuple[int, int, int, int]:
        """Where rows `start` to `stop` lie in the stored bytes.

        Returns:
            (first, length, count, stride): `count` runs of `length` bytes, `stride` bytes apart,
            the first at byte `first`.
        """
        if self.axis is None:
            return 0, self.nbytes, 1, self.nbytes
        inner = math.prod(self.shape[self.axis + 1 :]) * self.dtype.bytes
        outer = math.prod(self.shape[: self.axis])
        low, high = self.window(start, stop)
        return low * inner, (high - low) * inner, outer, self.shape[self.axis] * inner

    def tile_shape(self, start: int, stop: int) -> Shape:
        """The stored shape of rows `start` to `stop`."""
        if self.axis is None:
            return self.shape
        low, high = self.window(start, stop)
        return (*self.shape[: self.axis], high - low, *self.shape[self.axis + 1 :])


def rows_spec(dtype: DType, shape: Shape) -> PartSpec:
    """The part of a dense tensor, stored as its rows: (out, in), or (experts * out, in)."""
    return PartSpec(dtype, (row_count(shape), *row_shape(shape)))


class Part(ABC):
    """Lazy stored numbers."""

    spec: PartSpec

    @abstractmethod
    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        """The numbers of logical rows `start` to `stop`, in stored shape and dtype.

        Raises:
            HubError: the file cannot be read, or ended early.
        """

    def whole(self) -> np.ndarray[Any, Any]:
        """All of its numbers; for parts of a tile, which are in memory."""
        axis = self.spec.axis
        return self.load(0, 0 if axis is None else self.spec.shape[axis] * self.spec.per)

    def load_rows(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        """The numbers of any logical rows, in the order given; neighbours are read together.

        Only for parts with one row per index along their axis.
        """
        assert self.spec.per == 1
        return self.load_indices(rows)

    def load_indices(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The numbers at any indices along `axis`, `per` logical rows each, in the order given."""
        import numpy as np

        axis, per = self.spec.axis, self.spec.per
        assert axis is not None
        before, after = self.spec.shape[:axis], self.spec.shape[axis + 1 :]
        out = np.empty((*before, len(indices), *after), self.spec.dtype.numpy())
        order = np.argsort(np.asarray(indices), kind="stable")
        first = 0
        while first < len(order):
            last = first + 1
            while last < len(order) and indices[order[last]] == indices[order[last - 1]] + 1:
                last += 1
            block = order[first:last]
            low, high = int(indices[block[0]]), int(indices[block[-1]]) + 1
            out[(slice(None),) * axis + (block,)] = self.load(low * per, high * per)
            first = last
        return out

    @property
    def span(self) -> Span | None:
        """Where the bytes lie, if they lie in one piece in a file."""
        return None

    def stored_row(self, row: int) -> int:
        """Which row of the file logical row `row` is."""
        return row

    def row_span(self, row: int) -> Span | None:
        """Where the bytes of logical row `row` lie, if they lie in one piece in a file."""
        return None

    def place(self, row: int, column: int, width: int) -> Place:
        """Where weight `column` of logical row `row` comes from; rows are `width` weights long."""
        span = self.row_span(row)
        spec = self.spec
        if span is not None and spec.axis == 0 and math.prod(spec.shape[1:]) == width:
            span = Span(span.source, span.offset + column * spec.dtype.bytes, spec.dtype.bytes)
        return Place(self.stored_row(row) * width + column, span)

    def reversible(self) -> bool:
        """Whether every number can be had back from what this part makes of it; may look at all of them."""
        return True


@dataclass(frozen=True)
class Span:
    """A byte range of a file."""

    source: FileSource
    offset: int
    nbytes: int


class Place(NamedTuple):
    """Where a weight comes from.

    Attributes:
        number: which weight of the stored tensor it is.
        span: its bytes, or those of its row where several weights share bytes; None where they are not in one piece.
        name: the stored tensor, where that is not the one of the whole part.
    """

    number: int
    span: Span | None
    name: str | None = None


@dataclass(frozen=True)
class FilePart(Part):
    """Numbers at `offset` of a file, in C order; `first` is the row of the stored tensor that they begin with."""

    spec: PartSpec
    source: FileSource
    offset: int
    first: int = 0

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        axis = self.spec.axis
        if axis is not None and self.spec.window(start, stop)[1] > self.spec.shape[axis]:
            raise IndexError(f"rows {start} to {stop} of a part of shape {self.spec.shape}")  # else a neighbour's bytes
        first, length, count, stride = self.spec.runs(start, stop)
        raw = np.empty(length * count, np.uint8)
        if count == 1:
            self.source.read_into(memoryview(raw), self.offset + first)
        else:
            self.source.read_runs(memoryview(raw), length, self.offset + first, stride)
        return raw.view(self.spec.dtype.numpy()).reshape(self.spec.tile_shape(start, stop))

    def load_indices(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Where rows run across the file, a few bytes each, whole stripes are read: that is far less work."""
        import numpy as np

        spec = self.spec
        if not spec.axis or not len(indices):
            return super().load_indices(indices)
        numbers = np.asarray(indices)
        low, high = int(numbers.min()), int(numbers.max()) + 1
        first, length, count, stride = spec.runs(low * spec.per, high * spec.per)
        raw = np.empty(length, np.uint8)
        stripe = raw.view(spec.dtype.numpy()).reshape(high - low, *spec.shape[spec.axis + 1 :])
        out = np.empty((count, len(numbers), *spec.shape[spec.axis + 1 :]), spec.dtype.numpy())
        for i in range(count):
            self.source.read_into(memoryview(raw), self.offset + first + i * stride)
            out[i] = stripe[numbers - low]
        return out.reshape(*spec.shape[: spec.axis], *out.shape[1:])

    @property
    def span(self) -> Span:
        return Span(self.source, self.offset, self.spec.nbytes)

    def stored_row(self, row: int) -> int:
        return self.first + row

    def row_span(self, row: int) -> Span | None:
        first, length, count, _ = self.spec.runs(row, row + 1)
        return Span(self.source, self.offset + first, length) if count == 1 and self.spec.per == 1 else None


@dataclass(frozen=True)
class ArrayPart(Part):
    """Numbers that exist already: a generated tensor, or a tile on its way through the pipeline."""

    array: np.ndarray[Any, Any]
    spec: PartSpec

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        if self.spec.axis is None:
            return self.array
        low, high = self.spec.window(start, stop)
        return self.array[(slice(None),) * self.spec.axis + (slice(low, high),)]


@dataclass(frozen=True)
class GatherPart(Part):
    """The rows of another part in another order.

    Attributes:
        rows: gives the rows of `part` that logical rows `start` to `stop` of this one are.
    """

    part: Part
    spec: PartSpec
    rows: Callable[[int, int], Sequence[int]] = field(repr=False)

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        return self.part.load_rows(self.rows(start, stop))

    def stored_row(self, row: int) -> int:
        return self.part.stored_row(self.rows(row, row + 1)[0])

    def row_span(self, row: int) -> Span | None:
        return self.part.row_span(self.rows(row, row + 1)[0])

    def place(self, row: int, column: int, width: int) -> Place:
        return self.part.place(self.rows(row, row + 1)[0], column, width)

    def reversible(self) -> bool:
        return self.part.reversible()
