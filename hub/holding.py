"""What layouts hold of the codes that a tensor has; its numbers are read only where the answer depends on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hub.ir.part import row_length
from hub.ir.scheme import Scheme
from hub.ir.tensor import Tensor
from hub.ir.values import Quantized
from hub.layout import FIDELITIES, Holding, Layout, arrays_of, naming
from hub.tiles import Budget, step, tiles

LOOKING = 256 << 20
"""Private memory that may be used where numbers have to be looked at."""


def held(tensor: Tensor, source: Layout, target: Layout) -> Holding:
    """What `target` can hold of `tensor`; its numbers are read only where the answer depends on them."""
    scheme = source.scheme(tensor.shape)
    holding = target.can_hold(scheme, tensor.shape)
    if not holding.by_value:
        return holding
    with naming(tensor):
        worst = _looked(tensor, source, target)
    return replace(worst, reason=f"{worst.reason}, by at most {worst.error:.2g}") if worst.error else worst


def _looked(tensor: Tensor, source: Layout, target: Layout) -> Holding:
    """What `target` can hold of all numbers of `tensor`: the worst of its tiles."""
    scheme = source.scheme(tensor.shape)
    worst = Holding("exact")
    for start, stop in tiles(tensor, step(tensor, source, target), Budget(LOOKING, 1)):
        shape = (stop - start, row_length(tensor.shape))
        body = source.unpack(arrays_of(tensor, start, stop), shape)
        assert isinstance(body, Quantized)  # a dense source has no codes that could depend on anything
        found = target.can_hold(scheme, shape, body)
        if (FIDELITIES.index(found.fidelity), found.error) > (FIDELITIES.index(worst.fidelity), worst.error):
            worst = found
        if worst.fidelity == "lossy":
            break
    return worst


def keeper(tensor: Tensor, candidates: Iterable[Layout]) -> Layout | None:
    """The first of some layouts that keeps every weight of a tensor's codes; if none does, the one that keeps the codes
    and rounds least.

    Returns:
        None for a tensor of plain numbers, and where none keeps codes.
    """
    from hub.plugins import registry

    source = registry().layout(tensor.layout)
    if not isinstance(source.scheme(tensor.shape), Scheme):
        return None
    best: tuple[float, Layout] | None = None
    for layout in candidates:
        if layout.fits(tensor.shape) is not None:
            continue
        holding = held(tensor, source, layout)
        if holding.fidelity in ("identical", "exact"):
            return layout
        if holding.fidelity == "codes" and (best is None or holding.error < best[0]):
            best = holding.error, layout
    return best[1] if best else None
