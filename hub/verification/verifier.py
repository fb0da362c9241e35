"""Does the written file hold the weights of its source? Reopened through the reader, tensor by tensor.

Exact routes must agree bit for bit. Lossy ones must keep a signal-to-noise ratio that any working
quantizer of that width keeps on any data, so what fails is broken, not merely coarse.
"""

from __future__ import annotations

import math
from dataclasses import replace

from hub.dtypes import DType
from hub.ir.derived import TurnedPart
from hub.ir.groups import Blocks
from hub.ir.model import Model
from hub.ir.part import FilePart, Shape, row_count, row_length, rows_spec
from hub.ir.scheme import Scheme
from hub.ir.tensor import Tensor
from hub.ir.values import Affine, Const, Dense
from hub.pipeline import Progress
from hub.planner import Entry, Plan
from hub.plugins import Registry
from hub.tiles import Budget
from hub.verification.comparison import Match, TensorResult, measure

_SIGNIFICAND = {"f32": 24, "f16": 11, "bf16": 8, "f64": 53, "f8_e4m3": 4, "f8_e5m2": 3}
_MARGIN_DB = 3.0
"""For scales that are themselves rounded."""


def least_sqnr(scheme: Scheme | DType, shape: Shape) -> float:
    """The signal-to-noise ratio in dB that a layout keeps on any tensor of that logical shape, less a margin.

    Of a block of `n` weights that share a scale, the hardest for `b`-bit codes has one weight of the
    largest magnitude M and the others half a step of ``M / 2**(b-1)`` away from every code: noise
    ``(n - 1) (M / 2**b)**2`` against ``M**2`` and as much again, so at least ``1 + 4**b / (n - 1)``. One bit with an
    offset is the two ends of a block, M and -M, and the others may be zero: ``2 / (n - 2)``. Rounding to a float of `p`
    significant bits keeps ``6.02 p`` dB above its subnormals.
    """
    if isinstance(scheme, DType):
        return 6.02 * _SIGNIFICAND.get(scheme.name, 8) - 2 * _MARGIN_DB
    values = scheme.values
    bits = values.bits if isinstance(values, Affine) else math.log2(len(values.table) / values.width) / values.width
    if isinstance(scheme.groups, Blocks):
        whole = row_count(shape), row_length(shape)
        size = math.prod(min(n, axis or n) for axis, n in zip(scheme.groups.shape, whole, strict=True))
    else:
        size = row_length(shape) // max(1, scheme.groups.groups)
    size = max(2, size)
    ends = bits == 1 and scheme.offset != Const(0.0)
    found = 10 * math.log10(2 / max(1, size - 2) if ends else 1 + 4**bits / (size - 1)) - _MARGIN_DB
    if isinstance(values, Affine) and values.dtype is not None:  # steps between codes grow with them
        found = min(found, 6.02 * _SIGNIFICAND.get(values.dtype.name, values.bits) - 2 * _MARGIN_DB)
    return found


_OVERHEAD = 0.5
"""Bits per weight that scales add in the layouts that limits were measured with; wider ones make no code finer."""


def precision(scheme: Scheme | DType, stored: float) -> float:
    """Bits of a weight that tell its value apart from its neighbours: of floats the significand, of integer codes their
    width and the usual scales, else those stored."""
    if isinstance(scheme, DType):
        return min(stored, _SIGNIFICAND.get(scheme.name, stored))
    values = scheme.values
    if not isinstance(values, Affine):
        return stored
    return min(stored, values.bits + _OVERHEAD if values.dtype is None else _SIGNIFICAND.get(values.dtype.name, stored))


def verify(plan: Plan, written: Model, registry: Registry, budget: Budget, progress: Progress) -> list[TensorResult]:
    """Compare every tensor of `written` with the source of `plan`.

    Returns:
        A result per tensor of the plan, in its order; tensors that are missing or extra are faults.
    """
    results = {entry.name: _expected(entry, registry) for entry in plan.entries}
    matches = []
    for entry in plan.entries:
        found = _as_it_lies(written.tensors.get(entry.name), entry)
        fault = _structure(entry, found)
        if fault or found is None:
            results[entry.name].fault = fault
        else:
            matches.append(Match(entry.tensor, _reshaped(found, entry), results[entry.name]))
    extra = [name for name in written.tensors if name not in results]
    for name in extra:
        results[name] = TensorResult(name, 0, fault="the output has it, the plan does not")
    measure(matches, registry, budget, progress)
    for result in results.values():
        if result.fault is None:
            result.judge()
    return list(results.values())


def _expected(entry: Entry, registry: Registry) -> TensorResult:
    limit = None
    if entry.fidelity in ("codes", "lossy"):
        limit = least_sqnr(registry.layout(entry.layout).scheme(entry.tensor.shape), entry.tensor.shape)
    return TensorResult(entry.name, math.prod(entry.tensor.shape), limit_db=limit)


def _structure(entry: Entry, found: Tensor | None) -> str | None:
    if found is None:
        return "the output lacks it"
    if found.layout != entry.layout:
        return f"layout {found.layout}, planned was {entry.layout}"
    if math.prod(found.shape) != math.prod(entry.tensor.shape):
        return f"shape {list(found.shape)}, planned was {list(entry.tensor.shape)}"
    return None


def _as_it_lies(found: Tensor | None, entry: Entry) -> Tensor | None:
    """Codes of a matrix that its reader turned to have it canonical, as they are stored."""
    if found is not None and isinstance(found.body, Dense) and isinstance(found.body.part, TurnedPart):
        origin = found.body.part.origin
        if (origin.layout, origin.shape) == (entry.layout, entry.tensor.shape):
            return origin
    return found


def _reshaped(found: Tensor, entry: Entry) -> Tensor:
    """A format may drop axes of length 1; rows are then counted as the source has them."""
    if found.shape == entry.tensor.shape or not isinstance(found.body, Dense):
        return found
    part = found.body.part
    if not isinstance(part, FilePart):
        return found
    spec = rows_spec(part.spec.dtype, entry.tensor.shape)
    return replace(found, shape=entry.tensor.shape, body=Dense(FilePart(spec, part.source, part.offset)))
