"""Carries codes from one scheme into another that can tell them: the step between `unpack` and `pack`.

Codes may move by an integer together with their zero point; codes of a table of whole numbers become these numbers; a
scale that many weights share may be told once for each of smaller groups; a constant may be stored; a zero point may
become an offset, ``-scale * zero``, and an offset a zero point where it is a whole number of scales. Nothing is ever
quantized anew here. Whether all of that keeps every weight depends on schemes first and, where they leave it open, on
scales, zero points and offsets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import hub_native
from hub.decoding import decode
from hub.dtypes import F16, I8, U8, DType, widens
from hub.errors import ConfigError
from hub.ir.groups import Blocks, Groups, Index
from hub.ir.part import ArrayPart, Part, PartSpec
from hub.ir.scheme import Field, Scheme, Stored, misfit
from hub.ir.values import Affine, Codebook, Const, Dense, Quantized, Value
from hub.kernels import from_f32, to_f32

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

ROOM = 0x1FF
"""Low bits of an f32 scale that must be clear for ``scale * code + offset`` to round no more than
``scale * (code - zero)`` does: codes and zero points of 8 bits take nine."""
MULTIPLES = "scales are small multiples of one number for some neighbours there"
NEAR = 1 / 16
"""Of a step between codes: an offset as near to a whole number of scales is that number, rounded where it was stored. A
larger change would move all weights of a group by what rounding anew moves them to and fro."""
FAR = 1 << 14
"""No code of 8 bits that moves as far is a code; sums of it are still integers of 16 bits."""


class Misfit(Exception):
    """These codes cannot be carried into that scheme; the message says why."""


@dataclass(frozen=True)
class Carried:
    """Codes in their new scheme.

    Attributes:
        body: fields exactly as the target's scheme says.
        lost: what was rounded, in a few words; None where every weight is what it was.
        error: the largest change of a number that was rounded.
    """

    body: Quantized
    lost: str | None
    error: float = 0.0


Prospect = Literal["always", "depends", "never"]


def prospect(source: Scheme, target: Scheme) -> tuple[Prospect, str]:
    """Whether codes of `source` can be carried into `target` with every weight equal, and why not always."""
    source = _listed(source, target)
    reason = _structure(source, target)
    if reason:
        return "never", reason
    if misfit(source, target) is None:
        return "always", ""
    doubts = [*_scale_doubts(source.scale, target.scale), *_zero_doubts(source, target)]
    if _narrows(source, target):
        doubts.insert(0, "codes may lie beyond those of the target")
    if isinstance(source.groups, Index) and not isinstance(target.groups, Index):
        doubts.insert(0, "columns of a group may not stand together (act-order)")
    return ("depends", doubts[0]) if doubts else ("always", "")


def carry(body: Quantized, source: Scheme, target: Scheme) -> Carried:
    """`body`, which lies in `source`, told in `target`.

    Args:
        body: some rows of a tensor, aligned to the blocks of both schemes.

    Raises:
        Misfit: a code, zero point or group cannot be told there, whatever is rounded.
    """
    # Scales of a damaged file may be anything; what is not finite ends as a misfit, or where the source is scanned.
    with np.errstate(all="ignore"):
        return _carry(body, source, target)


def _carry(body: Quantized, source: Scheme, target: Scheme) -> Carried:
    listed = _listed(source, target)
    reason = _structure(listed, target)
    if reason:
        raise Misfit(reason)
    if listed != source:
        return _carry(_looked_up(body, listed), listed, target)
    if source == target:
        return Carried(body, None)
    if _only_groups_differ(source, target):
        return Carried(_regrouped(body, source, target), None)
    if _splits(body, source, target):
        # What is told anew is told once for each group that there is, and only then for each of the smaller ones.
        between = replace(target, groups=source.groups)
        told = carry(body, source, between)
        return told if between == target else replace(told, body=_regrouped(told.body, between, target))
    grid = _Grid(body, source, target)
    scale = grid.spread(body.scale)
    lost: list[tuple[str, float]] = []
    if isinstance(source.values, Affine) and source.values.dtype is None:
        codes, zero, offset = _integers(body, source, target, grid, scale, lost)
    else:
        codes, zero, offset = body.codes, grid.spread(body.zero), grid.spread(body.offset)
    made = Quantized(
        body.shape,
        codes,
        target.values,
        grid.told(target.scale, body.scale, scale, "scale", lost),
        target.groups if isinstance(target.groups, Blocks) else body.groups,
        grid.told(target.zero, body.zero, zero, "zero point", lost),
        grid.told(target.offset, body.offset, offset, "offset", lost),
        body.signs,
    )
    return Carried(made, *lost[0]) if lost else Carried(made, None)


def _only_groups_differ(source: Scheme, target: Scheme) -> bool:
    """Whether nothing has to be told in other numbers."""
    fields = (target.scale, target.zero, target.offset)
    return replace(source, groups=target.groups) == target and not any(isinstance(f, Scheme) for f in fields)


def _splits(body: Quantized, source: Scheme, target: Scheme) -> bool:
    """Whether rectangles become smaller rectangles, by which nothing else is told that depends on them."""
    fields = (source.scale, source.zero, source.offset, target.scale, target.zero, target.offset)
    return (
        isinstance(source.groups, Blocks)
        and isinstance(target.groups, Blocks)
        and source.groups != target.groups
        and body.groups == source.groups
        and not any(isinstance(f, Scheme) for f in fields)
    )


def _regrouped(body: Quantized, source: Scheme, target: Scheme) -> Quantized:
    """`body` with its stored numbers, as they are, for each group of the target.

    Raises:
        Misfit: groups cannot be told so, a zero point lies beyond the codes, or a constant is not the target's.
    """
    grid = _Grid(body, source, target)

    def told(field: Field, was: Value, what: str) -> Value:
        if isinstance(field, Stored) and isinstance(was, Dense):
            kept = grid.chosen(was.part.whole())
            return Dense(ArrayPart(kept, PartSpec(field.dtype, kept.shape, 0, max(1, grid.per_row))))
        return grid.told(field, was, grid.spread(was), what, [])

    zero = told(target.zero, body.zero, "zero point")
    if isinstance(zero, Dense) and isinstance(target.values, Affine) and target.values.dtype is None:
        low, high = _range(target.values)
        stored = decode(zero)
        if stored.size and not (stored.min() >= low and stored.max() <= high):
            raise Misfit("zero points lie beyond those of the target")
    return replace(
        body,
        values=target.values,
        scale=told(target.scale, body.scale, "scale"),
        groups=target.groups if isinstance(target.groups, Blocks) else body.groups,
        zero=zero,
        offset=told(target.offset, body.offset, "offset"),
    )


def _listed(source: Scheme, target: Scheme) -> Scheme:
    """`source` with integers in the place of a table of whole numbers, where `target` has integers: 4-bit floats told
    as twice their value are the numbers 0, 1, 2, 3, 4, 6, 8, 12 and their negatives, and need no table."""
    table = source.values
    plain = isinstance(target.values, Affine) and target.values.dtype is None
    if not isinstance(table, Codebook) or not plain or source.zero != Const(0.0):
        return source
    numbers = {*table.table, *(-value for value in table.table if source.signs)}
    bits = next((b for b in range(1, 9) if -(1 << b >> 1) <= min(numbers) and max(numbers) < (1 << b >> 1)), None)
    if bits is None or any(value != int(value) for value in numbers):
        return source
    return replace(source, values=Affine(bits, signed=True), signs=False)


def _looked_up(body: Quantized, listed: Scheme) -> Quantized:
    """`body` with what its table says in the place of its codes."""
    assert isinstance(body.values, Codebook) and isinstance(listed.values, Affine)
    table = np.array(body.values.table, np.int8).reshape(-1, body.values.width)
    numbers = table[body.codes.whole()].reshape(body.shape)
    if body.signs is not None:
        numbers = numbers * body.signs.whole().astype(np.int8).reshape(body.shape)
    return replace(body, codes=ArrayPart(numbers, PartSpec(I8, body.shape)), values=listed.values, signs=None)


def _structure(source: Scheme, target: Scheme) -> str | None:
    """Why no numbers could be carried at all."""
    a, b = source.values, target.values
    plain = all(isinstance(v, Affine) and v.dtype is None for v in (a, b))
    if not plain and a != b:
        return misfit(Scheme(a, target.groups, target.scale), Scheme(b, target.groups, target.scale)) or "other codes"
    if plain and _narrows(source, target) and isinstance(source.scale, Scheme):
        return misfit(source, target) or "more codes"  # who quantizes scales, too, uses all codes that there are
    if source.signs != target.signs:
        return "one keeps signs apart from codes, the other does not"
    if not _groups_nest(source, target):
        return f"groups {source.groups} cannot be told as {target.groups}"
    for name in ("scale", "offset", "zero"):
        mine, theirs = getattr(source, name), getattr(target, name)
        if not isinstance(theirs, Scheme) or (source.groups == target.groups and _nested_fits(mine, theirs)):
            continue
        if not _is_product(theirs, target.groups):
            return f"{name}: it is quantized itself there"
    if isinstance(target.scale, Const) and source.scale != target.scale:
        return "it has no scale of its own for each group"
    if not plain and (
        source.zero != target.zero or (isinstance(target.offset, Const) and source.offset != target.offset)
    ):
        return "zero point or offset: the target has none"
    return None


def _nested_fits(mine: Field, theirs: Scheme) -> bool:
    """Whether a scale that is quantized itself can always be told as another such."""
    return mine == theirs or (isinstance(mine, Scheme) and misfit(mine, theirs) is None)


def _is_product(field: Scheme, groups: Groups) -> bool:
    """Whether numbers of groups in a row are small integers times one of them all, as K-quants have scales."""
    one_row = isinstance(groups, Blocks) and groups.shape[0] == 1
    several = isinstance(field.groups, Blocks) and field.groups.shape[0] == 1 and field.groups.shape[1] > 0
    plain = isinstance(field.values, Affine) and field.values.dtype is None and isinstance(field.scale, Stored)
    return one_row and several and plain and field.zero == field.offset == Const(0.0)


def _groups_nest(source: Scheme, target: Scheme) -> bool:
    a, b = source.groups, target.groups
    if a == b or (isinstance(a, Index) and isinstance(b, Index)):
        return True
    if not isinstance(b, Blocks):
        return False
    if isinstance(a, Index):
        return b.shape[0] == 1  # whether columns stand together is seen in the data
    return all(t == s or (t > 0 and (s == 0 or s % t == 0)) for s, t in zip(a.shape, b.shape, strict=True))


def _range(values: Affine) -> tuple[int, int]:
    low = -(1 << (values.bits - 1)) if values.signed else 0
    return low, low + (1 << values.bits) - 1


def _narrows(source: Scheme, target: Scheme) -> bool:
    """Whether the target has fewer codes: its own may be all that a tensor uses."""
    a, b = source.values, target.values
    if not isinstance(a, Affine) or not isinstance(b, Affine):
        return False
    return _range(a)[1] - _range(a)[0] > _range(b)[1] - _range(b)[0]


def _shift(source: Affine, target: Affine) -> int:
    """What is added to codes where nothing else says so: nothing where they fit as they are; else the lowest becomes
    the lowest, and where there are fewer codes the middle the middle."""
    (low, high), (to_low, to_high) = _range(source), _range(target)
    if to_low <= low and high <= to_high:
        return 0
    if high - low > to_high - to_low:
        return (to_low + to_high + 1) // 2 - (low + high + 1) // 2
    return to_low - low


def _scale_doubts(source: Field, target: Field) -> list[str]:
    if isinstance(target, Stored) and isinstance(source, Stored) and widens(source.dtype, target.dtype):
        return []
    if isinstance(target, Stored) and target.dtype.name in ("f32", "f64"):
        return []
    if isinstance(target, Scheme):
        return [] if _nested_fits(source, target) else [MULTIPLES]
    return (
        [] if source == target else [f"scales are rounded to {target.dtype}" if isinstance(target, Stored) else "scale"]
    )


def _zero_doubts(source: Scheme, target: Scheme) -> list[str]:
    if isinstance(target.offset, Const) != isinstance(source.offset, Const):
        return [] if _sums_are_exact(source, target) else ["zero point and offset take each other's place"]
    if isinstance(source.offset, Const):
        assert isinstance(source.values, Affine) and isinstance(target.values, Affine)
        low, high = _range(source.values)
        to_low, to_high = _range(target.values)
        if isinstance(source.zero, Const) and isinstance(target.zero, Const):
            shift = target.zero.value - source.zero.value
            fits = to_low <= low + shift and high + shift <= to_high
            return [] if fits else ["codes may lie beyond those of the target"]
        if isinstance(target.zero, Const):
            # Zero points are codes, or one beyond: code - zero + constant lies this far out at most.
            fits = to_low <= low - (high + 1) + target.zero.value and high - low + target.zero.value <= to_high
            return [] if fits else ["zero points must all be one number"]
        shift = _shift(source.values, target.values)
        inside = low + shift >= to_low and high + shift <= to_high
        if isinstance(source.zero, Const):
            inside = inside and to_low <= source.zero.value + shift <= to_high
        return [] if inside else ["zero points may lie beyond those of the target"]
    return (
        []
        if source.zero == target.zero and not _scale_doubts(source.offset, target.offset)
        else ["offsets are rounded"]
    )


def _sums_are_exact(source: Scheme, target: Scheme) -> bool:
    """Whether ``scale * code - scale * zero`` is never rounded: f16 has 11 digits, small integers nine, f32 24."""
    small = (
        isinstance(source.values, Affine) and source.values.dtype is None and source.values.bits <= 8,
        _is_small(source.zero) and _is_small(target.zero),
        source.scale == Stored(F16) and source.offset == Const(0.0),
    )
    wide = (isinstance(f, Stored) and f.dtype.name in ("f32", "f64") for f in (target.scale, target.offset))
    return all((*small, *wide))


def _is_small(zero: Field) -> bool:
    if isinstance(zero, Const):
        return abs(zero.value) <= 256 and zero.value == int(zero.value)
    return isinstance(zero, Stored) and zero.dtype in (U8, I8)


class _Grid:
    """The groups of the target, and numbers of the source's groups spread over them."""

    def __init__(self, body: Quantized, source: Scheme, target: Scheme) -> None:
        self.body, self.source, self.target = body, source, target
        rows, columns = body.shape
        if isinstance(target.groups, Index):
            self.rows, self.columns = np.arange(rows), np.arange(target.groups.groups)
            self.per_row, self.width = 1, 0
            self.as_they_are = True
            return
        self.as_they_are = False
        high, self.width = target.groups.shape
        self.per_row = high
        starts_r = np.arange(0, rows, high) if high else np.zeros(1, np.int64)
        starts_c = np.arange(0, columns, self.width) if self.width else np.zeros(1, np.int64)
        if isinstance(body.groups, Index):
            assert body.groups.g_idx is not None
            of = np.asarray(body.groups.g_idx.whole()).astype(np.int64)
            self.rows, self.columns = starts_r, of[starts_c]
            if not np.array_equal(np.repeat(self.columns, self.width or columns)[:columns], of):
                raise Misfit("columns of a group do not stand together (act-order)")
        else:
            from_r, from_c = body.groups.shape
            self.rows = starts_r // from_r if from_r else np.zeros_like(starts_r)
            self.columns = starts_c // from_c if from_c else np.zeros_like(starts_c)

    def spread(self, value: Value) -> Array:
        """A value per group of the target, f64 (row blocks, groups); (1, 1) where it is one number for all."""
        if isinstance(value, Const):
            return np.full((1, 1), value.value, np.float64)
        return self.chosen(decode(value).astype(np.float64))

    def chosen(self, found: Array) -> Array:
        """Numbers per group as they are stored, those of each group of the target: (row blocks, groups)."""
        if found.ndim != 2:
            whole = isinstance(self.body.groups, Blocks) and self.body.groups.shape[0] == 0
            found = found.reshape(1 if whole else self.body.shape[0], -1)
        if self.as_they_are:
            return found
        rows = self.rows if found.shape[0] > 1 else np.zeros_like(self.rows)
        columns = self.columns if found.shape[1] > 1 else np.zeros_like(self.columns)
        if len(rows) == len(found) and np.array_equal(rows, np.arange(len(rows))):
            return np.take(found, columns, axis=1)
        return np.asarray(found[np.ix_(rows, columns)])

    def over_codes(self, per_group: Array) -> Array:
        """A number per group as one for each weight."""
        rows, columns = self.body.shape
        if self.as_they_are:
            assert isinstance(self.body.groups, Index) and self.body.groups.g_idx is not None
            return np.asarray(per_group[:, self.body.groups.g_idx.whole()])
        tall = np.repeat(per_group, self.per_row or rows, axis=0)[:rows]
        return np.repeat(tall, self.width or columns, axis=1)[:, :columns]

    def told(self, field: Field, was: Value, numbers: Array, what: str, lost: list[tuple[str, float]]) -> Value:
        """`numbers` as the target keeps them."""
        if isinstance(field, Scheme):
            mine = getattr(self.source, "zero" if what == "zero point" else what)
            if isinstance(mine, Scheme) and self.source.groups == self.target.groups and _nested_fits(mine, field):
                return was if mine == field or not isinstance(was, Quantized) else carry(was, mine, field).body
            return _factored(np.broadcast_to(numbers, (len(self.rows), len(self.columns))), field)
        if isinstance(field, Const):
            if np.any(numbers != field.value):
                raise Misfit(f"{what}s differ, the target has {field.value:g} for all")
            return field
        if what == "scale" and isinstance(was, Dense) and was.part.spec.dtype == field.dtype:
            kept = self.chosen(was.part.whole())  # no scale is ever changed
        else:
            numbers = np.broadcast_to(numbers, (len(self.rows), len(self.columns)))
            kept, back = _stored(numbers, field.dtype, what)
            if not np.array_equal(back, numbers):
                lost.append((f"{what}s are rounded to {field.dtype}", float(np.abs(back - numbers).max())))
        return Dense(ArrayPart(kept, PartSpec(field.dtype, kept.shape, 0, max(1, self.per_row))))


def _factored(numbers: Array, field: Scheme) -> Quantized:
    """Numbers per group as integers times a stored number for some neighbours, each product exact.

    The largest of the neighbours gets the largest integer that works, which is what quantizers give it.
    """
    assert isinstance(field.groups, Blocks) and isinstance(field.values, Affine) and isinstance(field.scale, Stored)
    rows, count = numbers.shape
    size = field.groups.shape[1]
    if count % size:
        raise Misfit(MULTIPLES)
    blocks = numbers.reshape(-1, size)
    low, high = _range(field.values)
    top = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    one, codes = top.copy(), np.zeros(blocks.shape, np.int64)
    for some in (slice(0, 16), slice(16, None)):  # most that do not work are found out by the first
        left = np.flatnonzero(top[some, 0]) + some.start
        for most in range(high, 0, -1):
            tried = (top[left] / most).astype(np.float32).astype(field.scale.dtype.numpy()).astype(np.float64)
            whole = np.rint(blocks[left] / tried)
            works = ((whole * tried == blocks[left]) & (whole >= low) & (whole <= high)).all(axis=1)
            one[left[works]], codes[left[works]] = tried[works], whole[works]
            left = left[~works]
            if not len(left):
                break
        else:
            raise Misfit(MULTIPLES)
    dtype = I8 if field.values.signed else U8
    kept = one.reshape(rows, -1).astype(field.scale.dtype.numpy())
    integers = codes.reshape(rows, count).astype(dtype.numpy())
    return Quantized(
        (rows, count),
        ArrayPart(integers, PartSpec(dtype, integers.shape)),
        field.values,
        Dense(ArrayPart(kept, PartSpec(field.scale.dtype, kept.shape))),
        field.groups,
    )


def _stored(numbers: Array, dtype: DType, what: str) -> tuple[Array, Array]:
    """Numbers in the type that they are stored in, and what they are there, f64."""
    kind = dtype.numpy()
    if np.dtype(kind).kind in "iu":
        limits = np.iinfo(kind)
        if np.any((numbers < limits.min) | (numbers > limits.max) | (numbers != np.rint(numbers))):
            raise Misfit(f"{what}s are not integers that {dtype} holds")
        return numbers.astype(kind), numbers
    with np.errstate(all="ignore"):
        kept = from_f32(numbers.astype(np.float32), dtype.name)
    back = to_f32(kept).astype(np.float64)
    if not np.array_equal(np.isfinite(back), np.isfinite(numbers)):
        raise Misfit(f"{what}s are beyond {dtype}")
    return kept, back


def _integers(
    body: Quantized, source: Scheme, target: Scheme, grid: _Grid, scale: Array, lost: list[tuple[str, float]]
) -> tuple[Part, Array, Array]:
    """Codes, zero points and offsets of integer codes in the target's terms."""
    assert isinstance(source.values, Affine) and isinstance(target.values, Affine)
    to_low, to_high = _range(target.values)
    zero, offset = grid.spread(body.zero), grid.spread(body.offset)
    shift = np.float64(_shift(source.values, target.values))
    if _narrows(source, target) and _inside(body.codes.whole(), to_low, to_high):
        shift = np.float64(0)  # codes of a wider type that do not use it
    form_changes = isinstance(target.offset, Const) != (not np.any(offset))
    if isinstance(target.offset, Const):
        if np.any(offset):
            to_be = target.zero.value - shift if isinstance(target.zero, Const) else (to_low + to_high + 1) / 2 - shift
            whole = _whole_offsets(offset, scale, lost, to_be - zero)
            zero, offset = zero + whole, np.zeros_like(offset)
        move = target.zero.value - zero if isinstance(target.zero, Const) else np.full_like(zero, shift)
        zero = zero + move
    else:
        assert isinstance(target.zero, Const)
        move = np.full_like(zero, shift if shift or not isinstance(source.zero, Const) else 0)
        rest = zero + move - target.zero.value
        if np.any(rest):
            offset = offset - scale * rest
            form_changes = True
        zero = np.full_like(zero, target.zero.value)
    if form_changes and np.any(scale.astype(np.float32).view(np.uint32) & ROOM):
        lost.append(("scales have too many digits for sums to round alike", 0.0))
    if isinstance(target.zero, Stored) and np.any((zero < to_low) | (zero > to_high)):
        raise Misfit("zero points lie beyond those of the target")
    return _moved(body, grid, move, (to_low, to_high), target.values), zero, offset


def _inside(codes: Array, low: int, high: int) -> bool:
    return not codes.size or (low <= codes.min() and codes.max() <= high)


def _whole_offsets(offset: Array, scale: Array, lost: list[tuple[str, float]], free: Array) -> Array:
    """Zero points that mean the same as offsets, or nearly; `free` where every one does."""
    with np.errstate(all="ignore"):
        zero = np.where(offset == 0, np.where(scale == 0, free, 0.0), -offset / scale)
        whole = np.rint(zero)
        change = np.abs(whole * scale + offset)
        if not np.all(np.abs(zero - whole) <= NEAR):  # one is NaN or infinite where a scale is 0
            raise Misfit("offsets are not whole numbers of scales")
    if np.any(change):
        lost.append(("offsets are rounded to whole zero points", float(change.max())))
    return np.asarray(whole)


def _moved(body: Quantized, grid: _Grid, move: Array, allowed: tuple[int, int], values: Affine) -> Part:
    if not np.any(move) and (body.values == values):
        return body.codes
    rows, columns = body.shape
    codes = np.ascontiguousarray(body.codes.whole().reshape(body.shape))
    dtype = I8 if values.signed else U8
    assert isinstance(body.values, Affine)
    low, high = _range(body.values)
    if np.any(move) or low < allowed[0] or high > allowed[1]:
        if np.any(move != np.rint(move)):
            raise Misfit("zero points are not whole numbers")
        if np.all(move == move.flat[0]):
            moves, height, width = np.full((1, 1), np.clip(move.flat[0], -FAR, FAR), np.int16), rows, columns
        elif grid.as_they_are:  # columns of a group are anywhere: a row of moves for each row of codes
            moves, height, width = grid.over_codes(np.clip(move, -FAR, FAR).astype(np.int16)), 1, 1
        else:
            moves, height, width = (
                np.clip(move, -FAR, FAR).astype(np.int16),
                grid.per_row or rows,
                grid.width or columns,
            )
        moved = np.empty(body.shape, dtype.numpy())
        inside = hub_native.move_codes(
            codes.view(np.uint8),
            codes.dtype.kind == "i",
            np.ascontiguousarray(moves),
            max(1, height),
            max(1, width),
            *allowed,
            moved.view(np.uint8),
        )
        if not inside:
            raise Misfit(f"codes lie beyond {allowed[0]} to {allowed[1]}")
        codes = moved
    return ArrayPart(codes.astype(dtype.numpy(), copy=False), PartSpec(dtype, body.shape))


def conform(body: Quantized, source: Scheme, target: Scheme) -> Quantized:
    """As `carry`, for what the planner has found to fit.

    Raises:
        ConfigError: it does not fit after all.
    """
    try:
        return carry(body, source, target).body
    except Misfit as error:
        raise ConfigError(f"{error}, the plan said that it fits") from None
