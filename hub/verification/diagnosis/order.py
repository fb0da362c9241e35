"""Hypotheses about where rows and columns went: heads, experts, gate and up, layers, transposition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hub.ir.part import row_length
from hub.pipeline import weights
from hub.tiles import step, tiles
from hub.verification.diagnosis.case import Case, sqnr
from hub.verification.diagnosis.finding import Guess
from hub.verification.diagnosis.roles import Rotated

if TYPE_CHECKING:
    from hub.verification.diagnosis.case import F32Array, Rows

INTERLEAVE = "interleave_heads"
_LOOK = 6
"""Rows by which other tensors are ruled out before the whole sample is compared."""
_SHIFTS = 16
"""Largest shift of rows that is looked for."""
_LIKE_DB = 1.0
"""SQNR in dB of those rows from which on another tensor is worth a closer look; unrelated ones have -3."""


def rotary_rows(case: Case) -> Iterator[Guess]:
    """Rows of queries and keys in the order of the other convention, by the right or a wrong number of heads.

    One convention rotates row j of a head with row j + d/2, the other row 2j with 2j + 1; a format that has the other
    one moves rows, and leaving that out, or doing it twice, gives a model that talks nonsense.
    """
    moved, theirs = (any(INTERLEAVE in step for step in tensor.derived) for tensor in (case.b, case.a))
    for rotated in case.roles.rotated.get(case.module, ()):
        stop = case.a.rows if rotated.stop < 0 else rotated.stop
        inside = (case.sample >= rotated.start) & (case.sample < stop)
        if not inside.any() or stop > case.a.rows:
            continue
        rows = stop - rotated.start
        here = case.sample[inside] - rotated.start
        for mistake, order, detail in _orders(here, rows, rotated, moved, theirs):
            if np.array_equal(order, here):
                continue
            predicted = case.expected.copy()
            predicted[inside] = case.rows_of(case.a, order + rotated.start)
            yield Guess(mistake, case.like(predicted), detail, "convert it with the row order of the target")


def _orders(rows: Rows, count: int, rotated: Rotated, moved: bool, theirs: bool) -> Iterator[tuple[str, Rows, str]]:
    """(mistake, which canonical row each row would be, detail) for every order that q or k could be in.

    Args:
        moved, theirs: whether the format of the second model, and that of the first, has rows in another order.
    """
    d = count // rotated.heads
    what = f"{rotated.what} of {rotated.heads} heads"
    if d % 2 == 0:
        pairs, halves = _paired(rows, d), _halved(rows, d)
        if moved:
            yield "q/k rows permuted twice", pairs, what
            yield "q/k rows not permuted", halves, what
        else:
            name = "q/k rows not permuted" if theirs else "q/k rows permuted"
            yield name, pairs, f"{what}: in neighbouring pairs, this format has halves"
            yield "q/k rows permuted twice", halves, f"{what}: permuted back once too often"
    for heads in _divisors(count):
        other = count // heads
        if heads == rotated.heads or other % 2:
            continue
        wrong = f"{rotated.what} rows permuted with {heads} heads, they are {rotated.heads}"
        yield "wrong head counts", _paired(_halved(rows, d), other) if moved else _paired(rows, other), wrong
        if moved:
            yield "wrong head counts", _halved(_paired(rows, d), other), f"{wrong}, and twice"
        else:
            yield "wrong head counts", _halved(rows, other), wrong


def _paired(rows: Rows, d: int) -> Rows:
    """Which row of halves stands at each row of pairs."""
    head, r = np.divmod(rows, d)
    return np.asarray(head * d + (r % 2) * (d // 2) + r // 2)


def _halved(rows: Rows, d: int) -> Rows:
    """Which row of pairs stands at each row of halves."""
    head, r = np.divmod(rows, d)
    return np.asarray(head * d + 2 * (r % (d // 2)) + r // (d // 2))


def _divisors(count: int) -> list[int]:
    return [n for n in range(1, int(count**0.5) + 1) if count % n == 0] + [
        count // n for n in range(int(count**0.5), 0, -1) if count % n == 0 and n * n != count
    ]


def fused_halves(case: Case) -> Iterator[Guess]:
    """Gate and up in one matrix, and the wrong one first; or in turns, row by row."""
    half = case.roles.fused.get(case.module)
    if half is None or 2 * half != case.a.rows:
        return
    rows = case.sample
    yield _moved(case, "gate and up swapped", (rows + half) % (2 * half), "the halves of the fused matrix")
    yield _moved(case, "gate and up interleaved", (rows % 2) * half + rows // 2, "rows of the fused matrix in turns")
    yield _moved(case, "gate and up interleaved", 2 * (rows % half) + rows // half, "rows of the fused matrix in turns")


def _moved(case: Case, mistake: str, order: Rows, detail: str) -> Guess:
    return Guess(mistake, case.like(case.rows_of(case.a, order)), detail, "exchange the rows")


def another_tensor(case: Case) -> Iterator[Guess]:
    """The weights are those of another tensor of the same shape: gate for up, another expert, another layer."""
    energy = (case.found.astype(np.float64) ** 2).sum(axis=1)
    chosen = np.sort(np.argsort(-np.nan_to_num(energy), kind="stable")[: _LOOK if case.width > 1 else len(energy)])
    rows, found = case.sample[chosen], case.found[chosen]
    for name in _candidates(case):
        tensor = case.pair.a.tensors[name]
        if sqnr(case.rows_of(tensor, rows), found) < _LIKE_DB:
            continue
        whole = case.rows_of(tensor, case.sample)
        if np.array_equal(whole, case.expected):
            continue
        mistake, remedy = _named(case, name)
        yield Guess(mistake, case.like(whole), f"the weights are those of {name}", remedy)


def _candidates(case: Case) -> list[str]:
    """Tensors of the same shape, those that are mixed up most first."""
    partner = case.roles.partner.get(case.module)
    experts = case.roles.experts.get(case.module, ())
    near = [f"{module}.{case.kind}" for module in (*((partner,) if partner else ()), *experts)]
    rest = [name for name in case.pair.a.tensors if name not in near]
    own = _without_numbers(case.name)
    rest.sort(key=lambda name: _without_numbers(name) != own)
    return [
        name
        for name in (*near, *rest)
        if name != case.name and name in case.pair.a.tensors and case.pair.a.tensors[name].shape == case.a.shape
    ]


def _without_numbers(name: str) -> str:
    return ".".join("#" if part.isdigit() else part for part in name.split("."))


def _named(case: Case, name: str) -> tuple[str, str]:
    module = name.rpartition(".")[0]
    if module == case.roles.partner.get(case.module):
        return "gate and up swapped", "exchange the two tensors"
    if module in case.roles.experts.get(case.module, ()):
        return "expert order changed", "stack the experts in the order of their numbers"
    if _without_numbers(name) == _without_numbers(case.name):
        return "layers in another order", "number the layers as the source does"
    return "tensors swapped", "exchange the two tensors"


def expert_rows(case: Case) -> Iterator[Guess]:
    """Rows of the router, or whole experts stacked in one tensor, in another order."""
    rows, shape = case.a.rows, case.a.shape
    count = shape[0] if len(shape) > 2 else rows
    if len(shape) < 2 or (len(shape) == 2 and rows > 1024) or count < 2:
        return
    per = rows // count
    at = np.arange(count) * per + per // 2
    mine, theirs = case.rows_of(case.a, at), case.rows_of(case.b, at)
    fits = _correlation(theirs, mine).argmax(axis=1)
    if np.array_equal(fits, np.arange(count)) or len(set(fits.tolist())) != count:
        return
    block, inside = np.divmod(case.sample, per)
    predicted = case.rows_of(case.a, fits[block] * per + inside)
    of_experts = len(shape) > 2 or case.module in case.roles.routers
    mistake = "expert order changed" if of_experts else "rows in another order"
    yield Guess(mistake, case.like(predicted), f"in the order {fits[:8].tolist()}", "keep the source's order")


def _correlation(x: F32Array, y: F32Array) -> F32Array:
    with np.errstate(all="ignore"):
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
        y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-30)
        return np.asarray(np.nan_to_num(x @ y.T), np.float32)


def shifted_rows(case: Case) -> Iterator[Guess]:
    """Rows that stand a few places from where they belong; those of the embedding and the output are token ids."""
    if case.width < 2 or case.a.rows < 4:
        return
    mistake = "tokenizer ids shifted" if case.module in case.roles.by_token else "rows shifted"
    rows, count = case.sample[:_LOOK], case.a.rows
    for by in (1, -1, *(sign * n for n in range(2, _SHIFTS + 1) for sign in (1, -1))):
        if sqnr(case.rows_of(case.a, (rows - by) % count), case.found[:_LOOK]) > _LIKE_DB:
            predicted = case.rows_of(case.a, (case.sample - by) % count)
            yield Guess(
                mistake, case.like(predicted), f"rows stand {by:+d} from their place", f"shift them by {-by:+d}"
            )


def transposed(case: Case) -> Iterator[Guess]:
    """Columns where rows should be, with the shape changed or the data alone."""
    if len(case.a.shape) != 2:
        return
    if case.b.shape == case.a.shape[::-1]:
        rows = _chosen(case.b.rows, 16)
        wanted = _columns(case, rows)
        yield Guess("weight transposed", sqnr(wanted, case.rows_of(case.b, rows)), f"shape {list(case.b.shape)}",
                    "transpose it")  # fmt: skip
        return
    if case.a.shape != case.b.shape:
        return
    out, width = case.a.shape
    rows = case.sample[:: max(1, len(case.sample) // 16)]
    flat = (rows[:, None] * width + np.arange(width)).reshape(-1)
    wanted = _picked(case, flat % out, flat // out).reshape(len(rows), width)
    yield Guess("weight transposed", sqnr(wanted, case.rows_of(case.b, rows)), "", "transpose it")


def _chosen(rows: int, most: int) -> Rows:
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def _columns(case: Case, columns: Rows) -> F32Array:
    """Columns of the source as rows."""
    rows = np.arange(case.a.rows)
    picked = _picked(case, np.tile(rows, len(columns)), np.repeat(columns, len(rows)))
    return picked.reshape(len(columns), len(rows))


def _picked(case: Case, rows: Rows, columns: Rows) -> F32Array:
    """Single weights of the source, read tile by tile."""
    layout = case.layout_of(case.a)
    out = np.empty(len(rows), np.float32)
    for start, stop in tiles(case.a, step(case.a, layout), case.budget):
        inside = (rows >= start) & (rows < stop)
        tile = weights(case.a, layout, start, stop).reshape(stop - start, row_length(case.a.shape))
        out[inside] = tile[rows[inside] - start, columns[inside]]
    return out
