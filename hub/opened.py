"""Layouts whose bytes are opened: codes, scales, zero points and offsets as arrays, one row for each row of weights.

Rows that share words (eight zero points in an int32) or a scale (fp8 squares) cannot be moved as bytes. Opened they
can: a tensor whose rows must be reordered, cut or joined on the way to a format is told in ``codes:LAYOUT`` in the
place of ``LAYOUT``, with parts that unpack some rows at a time when they are asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hub.dtypes import I8, I32, U8, DType
from hub.errors import ConfigError
from hub.ir.groups import Blocks, Index
from hub.ir.part import ArrayPart, Part, PartSpec, Shape, row_count, row_length
from hub.ir.scheme import Field, Scheme, Stored
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Affine, Const, Dense, Quantized, Value
from hub.layout import Layout, arrays_of, naming
from hub.plugins import OPENED, STACKED

if TYPE_CHECKING:
    import numpy as np

    from hub.layout import Arrays


class OpenedLayout(Layout):
    """The codes of another layout, each number an item of an array."""

    def __init__(self, inner: Layout) -> None:
        self.name = OPENED + inner.name
        self.inner = inner

    def fits(self, shape: Shape) -> str | None:
        return self.inner.fits(shape)

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        return dict(_leaves(self.scheme(shape), row_count(shape), row_length(shape), ""))

    def scheme(self, shape: Shape) -> Scheme:
        scheme = self.inner.scheme(shape)
        assert isinstance(scheme, Scheme)
        return _by_row(scheme)

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        return _joined(self.scheme(shape), arrays, shape, "")


def opened(tensor: Tensor, layout: Layout) -> Tensor:
    """A packed tensor with its bytes opened.

    Raises:
        ConfigError: it is not packed.
    """
    if not isinstance(tensor.body, Packed) or isinstance(layout, OpenedLayout):
        raise ConfigError("only packed tensors can be opened", tensor=tensor.name)
    target = OpenedLayout(layout)
    source = _Source(tensor, layout)
    parts = {name: OpenedPart(spec, name, source) for name, spec in target.parts(tensor.shape).items()}
    return replace(tensor, body=Packed(target.name, tensor.shape, parts))


class StackedLayout(OpenedLayout):
    """Opened codes of (experts, out, in), where what all rows of one expert share is told once for each.

    NVFP4's factor of a whole tensor is one for the rows of an expert once experts are one tensor.
    """

    def __init__(self, inner: Layout) -> None:
        super().__init__(inner)
        self.name = STACKED + inner.name

    def scheme(self, shape: Shape) -> Scheme:
        scheme = super().scheme(shape)
        return _of_experts(scheme, shape[-2]) if len(shape) > 2 else scheme

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        """A tile is whole experts; how many is told by what there is of each once."""
        flat = super().scheme(shape)
        rows, columns = shape
        leaves = _leaves(flat, rows, columns, "")
        once = [name for name, spec in leaves if spec.axis is None and not name.endswith("g_idx")]
        experts = len(arrays[once[0]]) if once else 1
        return _joined(_of_experts(flat, rows // experts) if experts > 1 else flat, arrays, shape, "")


@dataclass(frozen=True)
class OncePart(Part):
    """What all rows of a tensor share, told as one index for all of them."""

    part: Part
    spec: PartSpec

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        return self.part.load(start, max(stop, start + 1))


def alone(tensor: Tensor, layout: Layout) -> Tensor:
    """A packed tensor, opened, so that it can be stacked: its numbers for all rows are those of its rows.

    Raises:
        ConfigError: it is not packed.
    """
    flat = opened(tensor, layout)
    assert isinstance(flat.body, Packed)
    parts = {
        name: OncePart(part, replace(part.spec, axis=0, per=tensor.rows))
        if part.spec.axis is None and not name.endswith("g_idx")
        else part
        for name, part in flat.body.parts.items()
    }
    return replace(tensor, body=Packed(STACKED + layout.name, tensor.shape, parts))


def _of_experts(scheme: Scheme, rows: int) -> Scheme:
    """The scheme of several tensors of so many rows, one behind the other, each of which has what all rows share."""

    def field(of: Field) -> Field:
        return _of_experts(of, rows) if isinstance(of, Scheme) else of

    groups = scheme.groups
    if isinstance(groups, Blocks) and groups.shape[0] == 0:
        groups = Blocks((rows, groups.shape[1]))
    scale, zero, offset = (field(of) for of in (scheme.scale, scheme.zero, scheme.offset))
    return replace(scheme, groups=groups, scale=scale, zero=zero, offset=offset)


class _Source:
    """Unpacks rows of a tensor; the last rows are kept, since every part of a tile asks for the same."""

    def __init__(self, tensor: Tensor, layout: Layout) -> None:
        from hub.tiles import step

        self.tensor, self.layout = tensor, layout
        self.step = step(tensor, layout)
        self.last = threading.local()

    def rows(self, start: int, stop: int) -> tuple[int, Mapping[str, Any]]:
        """The first row unpacked, at or before `start`, and all leaves of the rows up to `stop` and some behind it."""
        low = start // self.step * self.step
        high = min(self.tensor.rows, -(-stop // self.step) * self.step)
        if getattr(self.last, "key", None) != (low, high):
            width = row_length(self.tensor.shape)
            with naming(self.tensor):
                body = self.layout.unpack(arrays_of(self.tensor, low, high), (high - low, width))
            assert isinstance(body, Quantized)
            self.last.leaves = dict(_numbers(body, high - low, ""))
            self.last.key = low, high
        return low, self.last.leaves

    def scattered(self, rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Mapping[str, Any]]:
        """All leaves of the blocks that any rows lie in, and where among them these rows are."""
        import numpy as np

        blocks, which = np.unique(rows // self.step, return_inverse=True)
        key = blocks.tobytes()
        if getattr(self.last, "key", None) != key:
            count = int(np.minimum((blocks + 1) * self.step, self.tensor.rows).sum() - (blocks * self.step).sum())
            arrays = {name: _blocks(part, blocks, self.step) for name, part in self.tensor.parts.items()}
            with naming(self.tensor):
                body = self.layout.unpack(arrays, (count, row_length(self.tensor.shape)))
            assert isinstance(body, Quantized)
            self.last.leaves = dict(_numbers(body, count, ""))
            self.last.key = key
        return which * self.step + rows % self.step, self.last.leaves


def _blocks(part: Part, blocks: np.ndarray[Any, Any], step: int) -> np.ndarray[Any, Any]:
    """A part's numbers of blocks of `step` rows, in stored shape."""
    import numpy as np

    spec = part.spec
    if spec.axis is None:
        return part.load(0, 0)
    each = step // spec.per
    indices = (blocks[:, None] * each + np.arange(each)).reshape(-1)
    indices = indices[indices < spec.shape[spec.axis]]
    return part.load_indices(indices)


@dataclass(frozen=True)
class OpenedPart(Part):
    """One array of an opened tensor."""

    spec: PartSpec
    name: str
    source: _Source

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        low, leaves = self.source.rows(start, stop)
        array = leaves[self.name]
        if self.spec.axis is not None:
            array = array[start - low : stop - low]
        return np.ascontiguousarray(array.astype(self.spec.dtype.numpy(), copy=False))

    def load_rows(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        import numpy as np

        at, leaves = self.source.scattered(np.asarray(rows, np.int64))
        return np.ascontiguousarray(leaves[self.name][at].astype(self.spec.dtype.numpy(), copy=False))

    def stored_row(self, row: int) -> int:
        return next(iter(self.source.tensor.parts.values())).stored_row(row)

    def row_span(self, row: int) -> Any:
        return next(iter(self.source.tensor.parts.values())).row_span(row)


def _by_row(scheme: Scheme) -> Scheme:
    """The scheme with a scale of its own for each row, or one for all rows."""

    def field(of: Field) -> Field:
        return _by_row(of) if isinstance(of, Scheme) else of

    groups = scheme.groups
    if isinstance(groups, Blocks) and groups.shape[0] > 1:
        groups = Blocks((1, groups.shape[1]))
    scale, zero, offset = (field(of) for of in (scheme.scale, scheme.zero, scheme.offset))
    return replace(scheme, groups=groups, scale=scale, zero=zero, offset=offset)


def _code_type(values: Any) -> DType:
    if isinstance(values, Affine):
        return values.dtype or (I8 if values.signed else U8)
    return U8 if len(values.table) // values.width <= 256 else I32


def _leaves(scheme: Scheme, rows: int, columns: int, prefix: str, each: int = 1) -> Iterator[tuple[str, PartSpec]]:
    """Names and specs of the arrays of a scheme that has a scale for each row, for all rows of an expert, or for all.

    Args:
        each: logical rows of the tensor that one row here is for; 0 for all of them.
    """

    def spec(dtype: DType, rows: int, columns: int, each: int) -> PartSpec:
        return PartSpec(dtype, (rows, columns), 0 if each else None, max(1, each))

    width = 1 if isinstance(scheme.values, Affine) else scheme.values.width
    yield f"{prefix}codes", spec(_code_type(scheme.values), rows, columns // width, each)
    if scheme.signs:
        yield f"{prefix}signs", spec(I8, rows, columns, each)
    high = 1
    if isinstance(scheme.groups, Index):
        count = scheme.groups.groups
        yield f"{prefix}g_idx", PartSpec(I32, (columns,), None)
    else:
        high, wide = scheme.groups.shape
        count = -(-columns // wide) if wide else 1
    fewer = rows // high if high else 1
    for name in ("scale", "zero", "offset"):
        field: Field = getattr(scheme, name)
        if isinstance(field, Stored):
            yield f"{prefix}{name}", spec(field.dtype, fewer, count, each * high)
        elif isinstance(field, Scheme):
            yield from _leaves(field, fewer, count, f"{prefix}{name}.", each * high)


def _numbers(body: Quantized, rows: int, prefix: str) -> Iterator[tuple[str, Any]]:
    """The arrays of `_leaves`, out of some rows that were unpacked."""
    import numpy as np

    yield f"{prefix}codes", body.codes.whole().reshape(rows, -1)
    if body.signs is not None:
        yield f"{prefix}signs", body.signs.whole().reshape(rows, -1)
    high = 1
    if isinstance(body.groups, Index):
        assert body.groups.g_idx is not None
        yield f"{prefix}g_idx", body.groups.g_idx.whole()
    else:
        high = body.groups.shape[0]
    for name in ("scale", "zero", "offset"):
        value: Value = getattr(body, name)
        count = 1 if high == 0 else -(-rows // high)
        if isinstance(value, Dense):
            array = value.part.whole().reshape(count, -1)
            yield f"{prefix}{name}", np.repeat(array, high, axis=0)[:rows] if high > 1 else array
        elif isinstance(value, Quantized):
            for key, array in _numbers(value, count, f"{prefix}{name}."):
                own = np.repeat(array, high, axis=0)[:rows] if high > 1 and not key.endswith("g_idx") else array
                yield key, own


def _joined(scheme: Scheme, arrays: Mapping[str, Any], shape: Shape, prefix: str) -> Quantized:
    """The meaning of the arrays of `_leaves`."""
    rows, columns = shape
    specs = dict(_leaves(scheme, rows, columns, prefix))

    def part(name: str) -> ArrayPart:
        return ArrayPart(arrays[prefix + name], specs[prefix + name])

    groups = scheme.groups
    if isinstance(groups, Index):
        groups = replace(groups, g_idx=part("g_idx"))
    fields: dict[str, Value] = {}
    for name in ("scale", "zero", "offset"):
        field: Field = getattr(scheme, name)
        if isinstance(field, Const):
            fields[name] = field
        elif isinstance(field, Stored):
            fields[name] = Dense(part(name))
        else:
            fields[name] = _joined(field, arrays, specs[f"{prefix}{name}.codes"].shape, f"{prefix}{name}.")
    return Quantized(
        shape,
        part("codes"),
        scheme.values,
        fields["scale"],
        groups,
        fields["zero"],
        fields["offset"],
        part("signs") if scheme.signs else None,
    )
