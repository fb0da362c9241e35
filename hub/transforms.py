"""Named, invertible transforms between canonical tensors and those of a format.

Architecture files name them in `steps` (`hub/steps.py` lists all); each one is a class with two directions. Most work
on one tensor, a `Join` makes one of several; one of several that are cut out of one is a `Share` (`hub/shares.py`).
All are lazy: they wrap parts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from hub.dtypes import F32, DType
from hub.errors import ConfigError
from hub.ir.derived import CastPart, DecodedPart, TurnedPart, added, cut, joined, turned
from hub.ir.groups import Index
from hub.ir.part import FilePart, GatherPart, Part, Shape, row_count, row_length, rows_spec
from hub.ir.scheme import Scheme
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Dense


class Step(ABC):
    """A transform of one tensor.

    Args:
        argument: what the architecture file gives for it, evaluated over the settings.
    """

    name: ClassVar[str]

    def __init__(self, argument: Any) -> None:
        self.argument = argument

    @abstractmethod
    def forward(self, tensor: Tensor) -> Tensor:
        """From the canonical tensor towards the format's.

        Raises:
            ConfigError: the tensor's shape does not allow it.
        """

    @abstractmethod
    def backward(self, tensor: Tensor) -> Tensor:
        """The inverse of `forward`."""


class InterleaveHeads(Step):
    """Reorder the rows of each head from halves to neighbouring pairs.

    Hugging Face rotates row `j` of a head with row `j + d/2`, llama.cpp row `2j` with `2j + 1`. With
    `argument` heads of `d` rows, row `2j + s` of the result is row `s * d/2 + j` of the canonical
    tensor. Works on weights (rows) and on biases (elements), dense or packed: rows stay whole.
    """

    name = "interleave_heads"

    def forward(self, tensor: Tensor) -> Tensor:
        d = self._head_rows(tensor)
        return gather_rows(tensor, lambda start, stop: [_paired(row, d) for row in range(start, stop)], self.name)

    def backward(self, tensor: Tensor) -> Tensor:
        d = self._head_rows(tensor)
        return gather_rows(
            tensor, lambda start, stop: [_halved(row, d) for row in range(start, stop)], f"undo {self.name}"
        )

    def _head_rows(self, tensor: Tensor) -> int:
        heads = int(self.argument)
        if heads < 1 or tensor.rows % (2 * heads):
            raise ConfigError(f"{tensor.rows} rows are not {heads} heads of pairs", tensor=tensor.name)
        return tensor.rows // heads


def _paired(row: int, d: int) -> int:
    head, r = divmod(row, d)
    return head * d + (r % 2) * (d // 2) + r // 2


def _halved(row: int, d: int) -> int:
    head, r = divmod(row, d)
    return head * d + 2 * (r % (d // 2)) + r // (d // 2)


def gather_rows(tensor: Tensor, rows: Callable[[int, int], Sequence[int]], name: str) -> Tensor:
    """`tensor` with its logical rows in another order; `rows` gives the old rows of a range of new ones."""

    def moved(part: Part) -> Part:
        return part if part.spec.axis is None else GatherPart(part, part.spec, rows)

    tensor = in_rows(tensor, 1)
    body = tensor.body
    if isinstance(body, Dense):
        body = Dense(moved(body.part))
    elif isinstance(body, Packed):
        body = replace(body, parts={key: moved(part) for key, part in body.parts.items()})
    else:
        raise ConfigError("unpacked tensors are reordered by tile", tensor=tensor.name)
    return replace(tensor, body=body, derived=(*tensor.derived, name))


def in_rows(tensor: Tensor, *bounds: int) -> Tensor:
    """`tensor` so that it can be cut at these rows: opened where rows before and behind share words or a scale."""
    shared = {part.spec.per for part in tensor.parts.values() if part.spec.axis is not None}
    if not isinstance(tensor.body, Packed) or not any(bound % per for bound in bounds for per in shared):
        return tensor
    from hub.opened import opened
    from hub.plugins import registry

    return opened(tensor, registry().layout(tensor.layout))


INDEXED = "dequantized: columns of a group do not stand together (act-order)"
"""The step of tensors that have to become one while each has an index of its own."""


def alike(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Packed tensors of unlike layouts on common ground, if there is any: opened where their codes mean the same,
    decoded where an index tells groups, since one tensor has but one index."""
    from hub.opened import OpenedLayout, opened
    from hub.plugins import registry

    plugins = registry()
    if not all(isinstance(tensor.body, Packed) and plugins.knows_layout(tensor.layout) for tensor in tensors):
        return tensors
    layouts = [plugins.layout(tensor.layout) for tensor in tensors]
    schemes = [layout.scheme(tensor.shape) for layout, tensor in zip(layouts, tensors, strict=True)]
    if any(isinstance(scheme, Scheme) and isinstance(scheme.groups, Index) for scheme in schemes):
        return [replace(t, body=Dense(_decoded(t)), derived=(*t.derived, INDEXED)) for t in tensors]
    if len({layout.name for layout in layouts}) < 2:
        return tensors
    flat = [t if isinstance(layout, OpenedLayout) else opened(t, layout)
            for layout, t in zip(layouts, tensors, strict=True)]  # fmt: skip
    meanings = {plugins.layout(t.layout).scheme(t.shape) for t in flat}
    if len(meanings) > 1:
        return tensors
    return [replace(t, body=replace(t.body, layout=flat[0].layout)) for t in flat if isinstance(t.body, Packed)]


class Transpose(Step):
    """Columns as rows: (in, out) as GPT-2's Conv1D has it, (out, in) in the format. Of (experts, in, out) each matrix.

    A dense tensor is read by columns. Blocks of a packed one run along its rows, so it is turned as what it decodes
    to, in f32; turned back it is the packed tensor again.
    """

    name = "transpose"

    def forward(self, tensor: Tensor) -> Tensor:
        if len(tensor.shape) < 2:
            raise ConfigError(f"shape {list(tensor.shape)}, there are no rows to exchange", tensor=tensor.name)
        body, derived = tensor.body, tensor.derived
        if isinstance(body, Dense) and isinstance(body.part, TurnedPart):
            return replace(body.part.origin, name=tensor.name, stored=tensor.stored)
        if isinstance(body, Packed):
            body, derived = Dense(_decoded(tensor)), (*derived, "dequantize")
        if not isinstance(body, Dense):
            raise ConfigError("unpacked tensors are not transposed", tensor=tensor.name)
        return replace(
            tensor,
            shape=(*tensor.shape[:-2], *tensor.shape[:-3:-1]),
            body=Dense(turned(body.part, tensor)),
            derived=(*derived, self.name),
        )

    def backward(self, tensor: Tensor) -> Tensor:
        return self.forward(tensor)


def transposed(tensor: Tensor) -> Tensor:
    """A matrix with its columns as rows; one that was turned so is what it was before.

    Raises:
        ConfigError: it is no matrix.
    """
    return Transpose(None).forward(tensor)


class Add(Step):
    """Add a constant to every number, in f32: Gemma multiplies with 1 + w, its GGUF files store that."""

    name = "add"

    def forward(self, tensor: Tensor) -> Tensor:
        return _plus(tensor, float(self.argument), self.name)

    def backward(self, tensor: Tensor) -> Tensor:
        return _plus(tensor, -float(self.argument), f"undo {self.name}")


def _plus(tensor: Tensor, constant: float, name: str) -> Tensor:
    part = tensor.body.part if isinstance(tensor.body, Dense) else _decoded(tensor)
    return replace(tensor, body=Dense(added(part, constant)), derived=(*tensor.derived, name))


def cast(tensor: Tensor, dtype: DType) -> Tensor:
    """A dense tensor with its numbers rounded to another type before anything else is done with them; itself where
    they are of that type."""
    if not isinstance(tensor.body, Dense) or tensor.body.part.spec.dtype == dtype:
        return tensor
    part = CastPart(tensor.body.part, replace(tensor.body.part.spec, dtype=dtype))
    return replace(tensor, body=Dense(part), derived=(*tensor.derived, f"cast to {dtype}"))


def _decoded(tensor: Tensor) -> Part:
    """A packed tensor as numbers in f32."""
    from hub.pipeline import weights
    from hub.plugins import registry

    layout = registry().layout(tensor.layout)
    width = row_length(tensor.shape)

    def decode(start: int, stop: int) -> Any:
        return weights(tensor, layout, start, stop).reshape((stop - start, width)[: len(tensor.shape)])

    return DecodedPart(tensor, rows_spec(F32, tensor.shape), decode)


def shifted(tensor: Tensor, constant: float) -> Tensor:
    """Every number plus a constant, in f32."""
    return _plus(tensor, constant, Add.name)


class Join(ABC):
    """A transform that makes one tensor of several.

    Args:
        argument: how many, evaluated over the settings.
    """

    name: ClassVar[str]

    def __init__(self, argument: Any) -> None:
        self.count = int(argument)
        if self.count < 1:
            raise ConfigError(f"{self.name} of {self.count} tensors")

    @abstractmethod
    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The shape of what tensors of these shapes become.

        Raises:
            ConfigError: they do not fit together.
        """

    def forward(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Every run of `count` tensors as one.

        Raises:
            ConfigError: they differ in type or width.
        """
        return [self._joined(tensors[i : i + self.count]) for i in range(0, len(tensors), self.count)]

    def backward(self, tensors: Sequence[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
        """The inverse of `forward`; `shapes` are those of the tensors it was given."""
        out: list[Tensor] = []
        for i, tensor in enumerate(tensors):
            out += self._parted(tensor, shapes[i * self.count : (i + 1) * self.count])
        return out

    def _joined(self, tensors: Sequence[Tensor]) -> Tensor:
        ends = [sum(tensor.rows for tensor in tensors[: i + 1]) for i in range(len(tensors))]
        tensors = self._prepared(alike([in_rows(tensor, *ends) for tensor in tensors]))
        first, last = tensors[0], tensors[-1]
        try:
            shape = self.shape([tensor.shape for tensor in tensors])
            if any(type(t.body) is not type(first.body) or t.layout != first.layout for t in tensors):
                raise ConfigError("they are not of one type, so they cannot become one tensor")
            rows, names = [tensor.rows for tensor in tensors], [tensor.stored_name for tensor in tensors]
            parts = {key: joined([t.parts[key] for t in tensors], rows, names) for key in first.parts}
        except ConfigError as error:
            raise ConfigError(f"{error.message} ({len(tensors)} tensors, up to {last.stored_name})",
                              tensor=first.stored_name) from None  # fmt: skip
        body = with_parts(first, parts, shape)
        # One name where a stack was cut up before.
        stored = " to ".join(dict.fromkeys((first.stored_name, last.stored_name)))
        return Tensor(first.name, shape, body, (*first.derived, self.name), stored)

    def _prepared(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Tensors that can become one by putting their parts together."""
        return tensors

    def _parted(self, tensor: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        wanted = [row_count(shape) for shape in shapes]
        if sum(wanted) != tensor.rows:
            raise ConfigError(f"{tensor.rows} rows, {len(shapes)} tensors need {sum(wanted)}", tensor=tensor.name)
        out, begin = [], 0
        for shape, rows in zip(shapes, wanted, strict=True):
            out.append(cut_rows(tensor, begin, begin + rows, (*shape[:-1], *tensor.shape[-1:]), f"undo {self.name}"))
            begin += rows
        return out


class Concat(Join):
    """Rows after rows: (a, in) and (b, in) to (a + b, in)."""

    name = "concat"

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        if len({(len(shape), shape[1:]) for shape in shapes}) != 1:
            raise ConfigError("their rows differ in length")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def concatenated(tensors: Sequence[Tensor]) -> Tensor:
    """Rows after rows: (a, in) and (b, in) to (a + b, in).

    Raises:
        ConfigError: they differ in type or width.
    """
    (made,) = Concat(len(tensors)).forward(tensors)
    return made


class Stack(Join):
    """Experts: `count` tensors of (out, in) to (count, out, in)."""

    name = "stack"

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        if len(set(shapes)) != 1 or len(shapes[0]) < 2:
            raise ConfigError("they are not matrices of one shape")
        return (len(shapes), *shapes[0])

    def _prepared(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Where each has numbers for all of its rows (NVFP4's factor), these are one for each expert."""
        from hub.opened import alone
        from hub.plugins import registry

        plugins = registry()
        whole = any(part.spec.axis is None for tensor in tensors for part in tensor.parts.values())
        matrices = all(isinstance(tensor.body, Packed) and len(tensor.shape) == 2 for tensor in tensors)
        if not whole or not matrices or not all(plugins.knows_layout(tensor.layout) for tensor in tensors):
            return tensors
        return [alone(tensor, plugins.layout(tensor.layout)) for tensor in tensors]


def cut_rows(tensor: Tensor, start: int, stop: int, shape: Shape, name: str) -> Tensor:
    """Logical rows `start` to `stop` of a tensor, as a tensor of `shape`; packed bytes stay packed."""
    tensor = in_rows(tensor, start, stop)
    try:
        parts = {key: cut(part, start, stop) for key, part in tensor.parts.items()}
    except ConfigError as error:
        raise error.at(tensor=tensor.name) from None
    return replace(tensor, shape=shape, body=with_parts(tensor, parts, shape), derived=(*tensor.derived, name))


def with_parts(tensor: Tensor, parts: Mapping[str, Part], shape: Shape) -> Dense | Packed:
    """The body of `tensor` with other parts, by the names that its own have.

    Raises:
        ConfigError: it is neither dense nor packed.
    """
    if isinstance(tensor.body, Dense):
        return Dense(parts["data"])
    if isinstance(tensor.body, Packed):
        return replace(tensor.body, parts=parts, shape=shape)
    raise ConfigError("unpacked tensors are moved by tile", tensor=tensor.name)


def with_shape(tensor: Tensor, shape: Shape) -> Tensor:
    """The same numbers under another shape, where that moves none of them: formats drop axes of length 1.

    Returns:
        `tensor` itself where its numbers would have to move.
    """
    if tensor.shape == shape or math.prod(tensor.shape) != math.prod(shape):
        return tensor
    if [n for n in tensor.shape if n != 1] != [n for n in shape if n != 1]:
        return tensor
    body = tensor.body
    if isinstance(body, Dense) and isinstance(body.part, FilePart) and body.part.spec.axis == 0:
        part = replace(body.part, spec=rows_spec(body.part.spec.dtype, shape))
        return replace(tensor, shape=shape, body=Dense(part))
    if row_count(tensor.shape) == row_count(shape) and row_length(tensor.shape) == row_length(shape):
        return replace(tensor, shape=shape, body=with_parts(tensor, tensor.parts, shape))
    return tensor
