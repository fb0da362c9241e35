"""Canonical weights as matrices that multiply themselves with activations, where they lie.

A matrix whose rows lie one after another in a file, in a layout that a kernel reads, is mapped and never copied.
Any other is decoded some rows at a time, so whatever a layout can decode can be run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

import hub_native
from hub.ir.part import FilePart, GatherPart, Part, row_length
from hub.ir.tensor import Tensor
from hub.ir.woven import WovenPart
from hub.layout import Layout
from hub.pipeline import weights
from hub.runner.threads import Threads
from hub.shares import Every

if TYPE_CHECKING:
    from hub.io.source import FileSource

    F32Array = np.ndarray[Any, np.dtype[np.float32]]
    Ids = np.ndarray[Any, np.dtype[np.int32]]

TILE = 2 << 20
"""Bytes of f32 that a decoded piece of a matrix may take."""


class Activation:
    """A value on its way through the graph, (tokens, width) f32, with what fast kernels make of it."""

    def __init__(self, array: F32Array) -> None:
        self.array = array
        self._prepared: dict[str, Any] = {}

    def prepared(self, kind: str, threads: Threads) -> Any:
        """The activations as the integer kernel of a kind of weights takes them; made once."""
        family = hub_native.fast_family(kind)
        if family not in self._prepared:
            made = self._prepared[family] = hub_native.fast_buffer(kind, *self.array.shape)
            fill = hub_native.fast_input_rows
            threads.each(len(self.array), hub_native.FAST_TOKEN_BATCH, lambda a, b: fill(made, self.array, a, b))
        return self._prepared[family]


class Matrix(ABC):
    """A weight matrix of shape (rows, width)."""

    rows: int
    width: int
    step: int = 16
    """Rows that work is cut into multiples of."""

    def product(self, x: Activation, mode: str, threads: Threads) -> F32Array:
        """``x @ matrix.T``, (tokens, rows)."""
        out = np.empty((len(x.array), self.rows), np.float32)
        prepared = self.prepare(x, mode, threads)
        threads.each(self.rows, self.step, lambda a, b: self.multiply(prepared, out, a, b))
        return self.ordered(out, threads)

    @abstractmethod
    def prepare(self, x: Activation, mode: str, threads: Threads) -> Any:
        """What `multiply` wants of an activation; called once, before `multiply` is called by threads."""

    @abstractmethod
    def multiply(self, x: Any, out: F32Array, start: int, stop: int) -> None:
        """Columns `start` to `stop` of ``out = x @ matrix.T``, out (tokens, rows), in stored order."""

    @abstractmethod
    def take(self, ids: Ids) -> F32Array:
        """Rows by number, (len(ids), width)."""

    def ordered(self, out: F32Array, threads: Threads) -> F32Array:
        """`out` with its columns in canonical order."""
        return out


class MappedMatrix(Matrix):
    """Rows that lie one after another in a mapped file.

    Args:
        kind: the native kind of the rows.
        data: their bytes.
        order: where each canonical row lies; None when they lie in order.
    """

    def __init__(self, kind: str, data: memoryview, rows: int, width: int, order: Ids | None) -> None:
        self.kind, self.rows, self.width, self.order = kind, rows, width, order
        self._data = np.frombuffer(data, np.uint8).reshape(rows, -1)

    def prepare(self, x: Activation, mode: str, threads: Threads) -> Any:
        return x.prepared(self.kind, threads) if mode == "fast" and self.kind in hub_native.fast_kinds() else x.array

    def multiply(self, x: Any, out: F32Array, start: int, stop: int) -> None:
        data = self._data[start:stop].reshape(-1)
        kernel = hub_native.linear_exact if isinstance(x, np.ndarray) else hub_native.linear_fast
        kernel(self.kind, data, stop - start, x, out, start)

    def take(self, ids: Ids) -> F32Array:
        rows = ids if self.order is None else self.order[ids]
        out = np.empty((len(ids), self.width), np.float32)
        hub_native.dequantize(self.kind, np.ascontiguousarray(self._data[rows]).reshape(-1), out)
        return out

    def ordered(self, out: F32Array, threads: Threads) -> F32Array:
        order = self.order
        if order is None:
            return out
        result = np.empty_like(out)
        threads.each(len(out), 16, lambda a, b: out[a:b].take(order, 1, result[a:b], "clip"))
        return result


class DecodedMatrix(Matrix):
    """Any tensor: some rows at a time are read, decoded and multiplied in f32."""

    def __init__(self, tensor: Tensor, layout: Layout) -> None:
        self.tensor, self.layout = tensor, layout
        self.rows, self.width = tensor.rows, row_length(tensor.shape)
        self.step = max(layout.row_multiple, 16)

    def prepare(self, x: Activation, mode: str, threads: Threads) -> Any:
        return x.array

    def multiply(self, x: Any, out: F32Array, start: int, stop: int) -> None:
        height = max(1, TILE // (4 * self.width) // self.step) * self.step
        for row in range(start, stop, height):
            end = min(stop, row + height)
            tile = weights(self.tensor, self.layout, row, end).reshape(end - row, self.width)
            hub_native.rows_f32(tile, x, out, row)

    def take(self, ids: Ids) -> F32Array:
        found = {int(i): weights(self.tensor, self.layout, int(i), int(i) + 1).reshape(-1) for i in set(ids.tolist())}
        return np.stack([found[int(i)] for i in ids])


class WovenMatrix(Matrix):
    """Matrices of equal shape as one, their rows in turns: each is multiplied where it lies."""

    def __init__(self, pieces: list[Matrix]) -> None:
        self.pieces = pieces
        self.rows, self.width = sum(piece.rows for piece in pieces), pieces[0].width

    def product(self, x: Activation, mode: str, threads: Threads) -> F32Array:
        out = [piece.product(x, mode, threads) for piece in self.pieces]
        return np.stack(out, axis=-1).reshape(len(x.array), self.rows)

    def prepare(self, x: Activation, mode: str, threads: Threads) -> Any:
        raise NotImplementedError("its pieces are multiplied one by one")

    def multiply(self, x: Any, out: F32Array, start: int, stop: int) -> None:
        raise NotImplementedError("its pieces are multiplied one by one")

    def take(self, ids: Ids) -> F32Array:
        found = np.stack([piece.take(ids // len(self.pieces)) for piece in self.pieces])
        return np.ascontiguousarray(found[ids % len(self.pieces), np.arange(len(ids))])


def matrix(tensor: Tensor, layout: Layout) -> Matrix:
    """The matrix of a canonical tensor of two axes."""
    parts = tensor.parts
    if all(isinstance(part, WovenPart) for part in parts.values()):
        count = len(next(iter(parts.values())).parts)  # type: ignore[attr-defined]
        return WovenMatrix([matrix(Every((i, count)).forward(tensor), layout) for i in range(count)])
    if layout.kernel is not None and len(tensor.parts) == 1:
        (part,) = tensor.parts.values()
        lies = _lies(part)
        if lies is not None:
            source, offset, order = lies
            data = source.map()[offset : offset + part.spec.nbytes]
            return MappedMatrix(layout.kernel, data, tensor.rows, row_length(tensor.shape), order)
    return DecodedMatrix(tensor, layout)


def vector(tensor: Tensor, layout: Layout) -> F32Array:
    """The numbers of a tensor of one axis."""
    return weights(tensor, layout, 0, tensor.rows).reshape(-1)


def _lies(part: Part) -> tuple[FileSource, int, Ids | None] | None:
    """Where the rows of a part lie together in a file and in which order; None where they do not."""
    if isinstance(part, FilePart):
        return (part.source, part.offset, None) if part.spec.axis == 0 and part.spec.per == 1 else None
    if isinstance(part, GatherPart):
        inner = _lies(part.part)
        if inner is None:
            return None
        source, offset, order = inner
        rows = np.asarray(part.rows(0, part.spec.shape[0]), np.int32)
        rows = rows if order is None else order[rows]
        first = int(rows.min(initial=0))
        together = np.array_equal(np.sort(rows), np.arange(first, first + len(rows)))
        at = offset + first * (part.spec.nbytes // max(1, len(rows)))
        return (source, at, rows - first) if together else None
    return None
