"""Hypotheses about packed codes: the order of nibbles, the sign of scales and offsets.

They work on what a layout says its bytes mean, so that they hold for every layout that can be unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hub.ir.part import ArrayPart
from hub.ir.values import Affine, Const, Quantized
from hub.layout import arrays_of
from hub.tiles import step
from hub.verification.diagnosis.case import Case, sqnr
from hub.verification.diagnosis.finding import Guess
from hub.verification.diagnosis.values import shared_scale

if TYPE_CHECKING:
    from hub.verification.diagnosis.case import F32Array, Rows

_ROWS = 16
"""Rows that are unpacked."""
_SPANS = (4, 8, 16, 32, 64, 128)
"""Numbers of codes within which nibbles may have changed places."""


def nibble_order(case: Case) -> Iterator[Guess]:
    """Codes in another order within their bytes: low and high nibble exchanged, or neighbours where halves belong.

    Only the low four bits (the low two of narrower codes) of a code move: wider codes keep their other bits elsewhere.
    """
    for expected, body in _unpacked(case):
        bits = _bits(body)
        if bits is None:
            return
        mask = 3 if bits <= 3 else 15
        codes = body.codes.load(0, body.shape[0])
        for detail, order in _orders(body.shape[1], mask):
            moved = (codes & ~np.array(mask, codes.dtype)) | (codes[:, order] & mask)
            found = _decoded(replace(body, codes=ArrayPart(moved.astype(codes.dtype), body.codes.spec)))
            yield Guess("nibble order swapped", sqnr(expected, found), detail, "swap them back")


def _bits(body: Quantized) -> int | None:
    """Width of unsigned integer codes that nibbles could hold; None for others."""
    if isinstance(body.values, Affine):
        narrow = not body.values.signed and body.values.dtype is None and body.values.bits <= 6
        return body.values.bits if narrow else None
    return (len(body.values.table) - 1).bit_length() if body.values.width == 1 else None


def _orders(width: int, mask: int) -> Iterator[tuple[str, Rows]]:
    """(what it is, where each code would come from)."""
    at = np.arange(width)
    yield "neighbouring codes exchanged", at ^ 1 if width % 2 == 0 else at
    for span in _SPANS:
        if width % span:
            continue
        base, r = at - at % span, at % span
        half = span // 2
        yield f"the halves of every {span} codes exchanged", base + (r + half) % span
        if mask == 15:
            yield f"halves of every {span} codes in turns", base + (r % 2) * half + r // 2
            yield f"codes of every {span} in halves, not in turns", base + 2 * (r % half) + r // half
            yield f"halves of every {span} codes in turns, exchanged", base + (1 - r % 2) * half + r // 2
            yield f"codes of every {span} in halves, exchanged", base + 2 * (r % half) + 1 - r // half
        elif span % 4 == 0:
            quarter = span // 4
            yield f"the quarters of every {span} codes reversed", base + (3 - r // quarter) * quarter + r % quarter


def scale_sign(case: Case) -> Iterator[Guess]:
    """Scales with the other sign, or offsets, everywhere or in some blocks."""
    for expected, body in _unpacked(case):
        if body.offset == Const(0.0):
            return  # then all of a block's weights change sign, which `sign` looks at
        whole = _decoded(body)
        scaled = _decoded(replace(body, offset=Const(0.0)))
        offset = whole - scaled
        for mistake, detail, turned in (
            ("scale sign flipped", "scales, not offsets", offset - scaled),
            ("offset sign flipped", "offsets, not scales", scaled - offset),
        ):
            yield Guess(mistake, sqnr(expected, turned), detail, "negate them")
            for per in shared_scale(case):
                x, y, z = (array.reshape(len(array), -1, per) for array in (expected, whole, turned))
                better = np.sum((x - z) ** 2, axis=2) < np.sum((x - y) ** 2, axis=2)
                if 0 < better.sum() < better.size:
                    mixed = np.where(better[:, :, None], z, y).reshape(expected.shape)
                    some = f"{detail}, in {int(better.sum())} of {better.size} blocks of {per} weights looked at"
                    yield Guess(mistake, sqnr(expected, mixed), some, "negate them")


def zero_point(case: Case) -> Iterator[Guess]:
    """Zero points that are off by one: some layouts store them less 1."""
    for expected, body in _unpacked(case):
        if not isinstance(body.values, Affine):
            return  # the next code need not be the next value, nor be there at all
        whole = _decoded(body)
        step_of_one = _decoded(replace(body, offset=Const(0.0))) - _decoded(
            replace(body, offset=Const(0.0), codes=_plus_one(body))
        )
        for sign in (1, -1):
            found = whole + np.float32(sign) * step_of_one
            yield Guess("zero point off by one", sqnr(expected, found), f"by {-sign}", "store them as the layout says")


def _plus_one(body: Quantized) -> ArrayPart:
    codes = body.codes.load(0, body.shape[0])
    return ArrayPart(codes.astype(np.int16) + np.int16(1), body.codes.spec)


def _unpacked(case: Case) -> Iterator[tuple[F32Array, Quantized]]:
    """The source's weights and the packed meaning of the rows that differ most; nothing where they are not packed."""
    layout = case.layout_of(case.b)
    if len(case.b.shape) != 2 or case.a.shape != case.b.shape:
        return
    with np.errstate(all="ignore"):
        errors = np.nan_to_num(((case.expected - case.found) ** 2).sum(axis=1), nan=np.inf)
    rows = np.sort(case.sample[np.argsort(-errors, kind="stable")[:_ROWS]])
    parts = case.b.parts.values()
    if step(case.b, layout) > 1 or any(part.spec.axis is not None and part.spec.per > 1 for part in parts):
        start = int(rows[0]) // (together := step(case.b, layout)) * together
        rows = np.arange(start, min(case.b.rows, start + together))
        arrays = arrays_of(case.b, start, int(rows[-1]) + 1)
    else:
        arrays = {
            name: part.load(0, 1) if part.spec.axis is None else part.load_rows(rows.tolist())
            for name, part in case.b.parts.items()
        }
    try:
        body = layout.unpack(arrays, (len(rows), case.width))
    except NotImplementedError:
        return
    if isinstance(body, Quantized) and (isinstance(body.values, Affine) or body.values.width == 1):
        yield case.rows_of(case.a, rows), body


def _decoded(body: Quantized) -> F32Array:
    from hub import reference

    return reference.decode(body)
