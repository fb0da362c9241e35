"""Layout: how a scheme's bits lie in bytes. The planner asks it, the pipeline runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hub.dtypes import DTYPES, DType, widens
from hub.errors import HubError
from hub.ir.part import ArrayPart, PartSpec, Shape, rows_spec
from hub.ir.scheme import Scheme, always_fits
from hub.ir.tensor import Tensor
from hub.ir.values import Dense, Quantized

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

Fidelity = Literal["identical", "exact", "codes", "lossy"]
FIDELITIES: tuple[Fidelity, ...] = ("identical", "exact", "codes", "lossy")
"""From best to worst; what each keeps is told in docs/design.md."""


@dataclass(frozen=True)
class Holding:
    """Whether a layout can hold a scheme.

    Attributes:
        fidelity: what holding it keeps; `lossy` means that it cannot, and must quantize anew.
        reason: why not better, in a few words; empty for `exact`.
        by_value: whether the answer depends on the numbers, which were not there to look at.
        error: the largest change of a scale, zero point or offset that is rounded; 0 where that is not known.
    """

    fidelity: Fidelity
    reason: str = ""
    by_value: bool = False
    error: float = 0.0


class Layout(ABC):
    """One way to lay out tensors.

    A layout works on tiles: `unpack`, `pack` and `decode` get whole rows, at a multiple of
    `row_multiple`, and nothing else. They must be pure functions that can run in many threads.

    Example: a layout of int8 codes with one f32 scale per row::

        class RowInt8(Layout):
            name = "toy.row_int8"

            def parts(self, shape):
                out, width = shape
                return {"codes": PartSpec(I8, (out, width)), "scale": PartSpec(F32, (out, 1))}
    """

    name: str
    kernel: str | None = None
    """The native kind (`hub_native.types()`) whose kernels read rows of this layout as they lie, if there is one; the
    runner then maps them. Any other layout is run through `decode`."""
    row_multiple: int = 1
    """Rows that must be handled together (4 where four rows share a word)."""
    padded: bool = False
    """Whether some bytes or bits mean nothing, as in the last block of a short row; `pack` writes them as 0."""

    @abstractmethod
    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        """The parts of a tensor of logical `shape`.

        Raises:
            HubError: the layout cannot hold that shape (see `fits`).
        """

    def fits(self, shape: Shape) -> str | None:
        """Why a tensor of this shape cannot be laid out so, or None."""
        return None

    def nbytes(self, shape: Shape) -> int:
        """Bytes of a tensor of logical `shape`; needs no data."""
        return sum(spec.nbytes for spec in self.parts(shape).values())

    @abstractmethod
    def scheme(self, shape: Shape) -> Scheme | DType:
        """What the bytes mean; for dense layouts the number type."""

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        """Whether codes of `scheme` can be carried over without quantizing anew.

        Args:
            shape: the tensor's logical shape.
            values: the numbers of some rows, when a first answer without them said `by_value`; the planner asks
                for all rows, tile by tile, and the worst answer counts.
        """
        from hub import transcode

        mine = self.scheme(shape)
        if isinstance(scheme, DType) or isinstance(mine, DType):
            return Holding("lossy", "one side is not quantized")
        if values is None:
            chance, why = transcode.prospect(scheme, mine)
            if chance == "depends":
                return Holding("codes", why, by_value=True)
            return Holding("lossy", why) if chance == "never" else Holding("exact")
        try:
            carried = transcode.carry(values, scheme, mine)
        except transcode.Misfit as error:
            return Holding("lossy", str(error))
        if reason := self.refuses(carried.body):
            return Holding("lossy", reason)
        return Holding("codes", carried.lost, error=carried.error) if carried.lost else Holding("exact")

    def refuses(self, body: Quantized) -> str | None:
        """Why numbers told in the layout's own scheme cannot be packed all the same, or None. A layout that has such
        must answer `by_value` where it is asked without numbers.

        Args:
            body: as `pack` would get it.
        """
        return None

    @abstractmethod
    def unpack(self, arrays: Arrays, shape: Shape) -> Dense | Quantized:
        """The meaning of a tile of bytes.

        Args:
            arrays: the parts of the tile.
            shape: the tile's logical shape, (rows, in).
        """

    def pack(self, body: Quantized) -> Arrays:
        """Bytes of codes; the inverse of `unpack`.

        Args:
            body: fields as `scheme` says, to the stored type and the shape of groups: `hub.transcode` has seen to that.

        Raises:
            NotImplementedError: the layout is only ever made by a quantizer.
        """
        raise NotImplementedError(f"{self.name} cannot be packed from codes")

    def decode(self, arrays: Arrays, shape: Shape) -> F32Array:
        """The weights in f32, shape (rows, in); equal bit for bit to `hub.reference.decode(unpack())`.

        Done by generic kernels on what `unpack` gives; layouts with a kernel of their own override this.
        """
        from hub import decoding

        return decoding.decode(self.unpack(arrays, shape))


class DenseLayout(Layout):
    """Plain numbers: the layouts `f32`, `f16`, `bf16`, `f64`, which belong to no format, have a tensor's rows one after
    another. A format that keeps numbers in another order brings a subclass, with `parts`, `unpack` and `arrange`.
    """

    def __init__(self, dtype: DType) -> None:
        self.name = dtype.name
        self.dtype = dtype
        self.kernel = dtype.name if dtype.name in ("f32", "f16", "bf16") else None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        return {"data": rows_spec(self.dtype, shape)}

    def scheme(self, shape: Shape) -> DType:
        return self.dtype

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        """Wider types hold narrower ones; f32 holds every scheme, since decoding is defined in f32, and the others
        hold those that mean nothing else than their numbers."""
        if isinstance(scheme, DType):
            if widens(scheme, self.dtype):
                return Holding("exact")
            return Holding("lossy", f"{scheme} is rounded to {self.dtype}")
        if self.dtype.name in ("f32", "f64") or always_fits(scheme, self.dtype):
            return Holding("exact")
        return Holding("lossy", f"decoded weights are rounded to {self.dtype}")

    def unpack(self, arrays: Arrays, shape: Shape) -> Dense:
        return Dense(ArrayPart(arrays["data"], rows_spec(self.dtype, shape)))

    def decode(self, arrays: Arrays, shape: Shape) -> F32Array:
        from hub.kernels import to_f32

        return to_f32(self.unpack(arrays, shape).part.whole())

    def arrange(self, numbers: np.ndarray[Any, Any]) -> Arrays:
        """The parts of a tile of numbers, (rows, in) in the layout's type; the inverse of `unpack`."""
        return {"data": numbers}


DENSE = {name: DenseLayout(DTYPES[name]) for name in ("f32", "f16", "bf16", "f64")}
"""The dense layouts by name."""


@contextmanager
def naming(tensor: Tensor) -> Iterator[None]:
    """A fault that is found in the numbers of `tensor` names it, and its file."""
    try:
        yield
    except HubError as error:
        # Of a tensor put together from several the file of its first row.
        spans = (part.span or part.place(0, 0, 1).span for part in tensor.parts.values())
        span = next(filter(None, spans), None)
        raise error.at(path=span.source.path if span else None, tensor=tensor.stored_name) from None


def arrays_of(tensor: Tensor, start: int, stop: int) -> Arrays:
    """The stored parts of logical rows `start` to `stop`."""
    return {name: part.load(start, stop) for name, part in tensor.parts.items()}
