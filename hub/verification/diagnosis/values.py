"""Hypotheses about the numbers themselves: one added or not, another sign, another factor, nothing there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hub.ir.groups import Blocks
from hub.ir.scheme import Scheme
from hub.verification.diagnosis.case import Case, sqnr
from hub.verification.diagnosis.finding import Guess


def norm_plus_one(case: Case) -> Iterator[Guess]:
    """Norm weights with 1 added where it should not be, or without it where it should.

    Some families store a norm's weight less 1, and a format may store the sum: adding it twice or leaving it out
    gives a norm of 2 or of 0.
    """
    is_norm = case.module in case.roles.norms or (not case.roles.norms and "norm" in case.module)
    if case.width != 1 or case.kind != "weight" or not is_norm:
        return
    one = np.float32(1)
    yield Guess("norms with +1", case.like(case.expected + one), "every weight is larger by 1", "subtract it")
    yield Guess("norms without +1", case.like(case.expected - one), "every weight is smaller by 1", "add it")


def sign(case: Case) -> Iterator[Guess]:
    """All weights, or those of some blocks or rows, with the other sign."""
    yield Guess("scale sign flipped", case.like(-case.expected), "all weights", "negate them")
    for per in dict.fromkeys((*shared_scale(case), case.width)):
        if per < 2:
            continue
        x, y = (array.reshape(len(array), -1, per) for array in (case.expected, case.found))
        turned = np.sum(x.astype(np.float64) * y, axis=2) < 0
        if not 0 < turned.sum() < turned.size:
            continue
        predicted = np.where(turned[:, :, None], -x, x).reshape(case.expected.shape)
        detail = f"{int(turned.sum())} of {turned.size} blocks of {per} weights looked at"
        yield Guess("scale sign flipped", case.like(predicted), detail, "negate their scales")


def shared_scale(case: Case) -> list[int]:
    """How many weights of a row share a scale, and a scale of scales, in the tensor that was found."""
    scheme = case.layout_of(case.b).scheme(case.b.shape)
    sizes = [32]
    if isinstance(scheme, Scheme) and isinstance(scheme.groups, Blocks):
        inner = scheme.groups.shape[1] or case.width
        outer = scheme.scale.groups if isinstance(scheme.scale, Scheme) else None
        sizes = [inner, inner * outer.shape[1]] if isinstance(outer, Blocks) else [inner]
    return [size for size in sizes if size and case.width % size == 0]


def factor(case: Case) -> Iterator[Guess]:
    """All weights times one number."""
    x, y = case.expected.astype(np.float64), case.found.astype(np.float64)
    energy = float(np.sum(x * x))
    with np.errstate(all="ignore"):
        by = float(np.sum(x * y)) / energy if energy else 0.0
    if not np.isfinite(by) or by <= 0 or abs(by - 1) < 0.05:
        return
    yield Guess("weights scaled", sqnr((x * by).astype(np.float32), case.found), f"by {by:.4g}", "divide by it")


def nothing(case: Case) -> Iterator[Guess]:
    """Zeros where weights should be."""
    if not case.found.any() and case.expected.any():
        yield Guess("weights are all zero", np.inf, "nothing was written there", "convert it again")
