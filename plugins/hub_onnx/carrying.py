"""Which quantized layout keeps the codes that a tensor has already: the narrowest that holds all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from hub.api import Affine, Blocks, DType, Scheme, Shape, UsageError
from hub_onnx.layouts import BLOCKS, NBITS, Codes, make

KINDS: Final = {
    "onnx.dq": ("-signed", "-zero", "-offset"),
    "onnx.rows": ("-signed", "-zero", "-offset"),
    NBITS: ("", "-zero", "-offset"),
}
"""What may be stored for a group beside its scale, the least first."""


def carrying(
    scheme: Scheme | DType,
    shape: Shape,
    family: str,
    *,
    widths: Collection[int] | None = None,
    kinds: tuple[str, ...] | None = None,
) -> str | None:
    """The name of a layout of `family` that holds codes of `scheme` as they are; None where it has none.

    Args:
        widths: only layouts with codes of so many bits.
        kinds: only those that keep this beside scales, of `KINDS`.
    """
    if isinstance(scheme, DType):
        return None
    told, order = _in_order(scheme, shape)
    assert isinstance(told.groups, Blocks)
    if order and (family == "onnx.rows" or _group(told.groups, shape, family) != f"g{told.groups.shape[1]}"):
        return None
    doubtful = None
    for name in _members(told, shape, family, widths, kinds or KINDS[family]):
        layout = _made(name)
        if layout is None or layout.fits(shape) is not None:
            continue
        holding = layout.can_hold(told, shape)
        if holding.fidelity == "exact":
            return f"{name}{order}"
        if holding.by_value and doubtful is None:
            doubtful = f"{name}{order}"
    return doubtful


def _in_order(scheme: Scheme, shape: Shape) -> tuple[Scheme, str]:
    """With columns of a group side by side, and how layouts spell that they were not."""
    if isinstance(scheme.groups, Blocks):
        return scheme, ""
    return replace(scheme, groups=Blocks((1, -(-shape[-1] // scheme.groups.groups)))), "-order"


def _members(
    scheme: Scheme, shape: Shape, family: str, widths: Collection[int] | None, kinds: tuple[str, ...]
) -> Iterator[str]:
    assert isinstance(scheme.groups, Blocks)
    group = _group(scheme.groups, shape, family)
    if group is None:
        return
    if isinstance(scheme.values, Affine) and scheme.values.dtype is not None:
        if family == "onnx.dq" and widths is None:
            yield f"{family}/{scheme.values.dtype}-{group}"
        return
    for width in (2, 4, 8) if widths is None else widths:
        if family == "onnx.rows" and width < 8:
            continue  # Gather has no smaller types
        for kind in kinds:
            yield f"{family}/{width}bit-{group}{kind}"


def _group(blocks: Blocks, shape: Shape, family: str) -> str | None:
    """How the family spells groups that these can be told as."""
    high, wide = blocks.shape
    if family == "onnx.dq":
        return f"g{wide}" if wide else "channel" if high else "tensor"
    if family == NBITS:
        whole = wide or shape[-1]
        fits = [size for size in BLOCKS if whole % size == 0]
        return f"g{max(fits)}" if fits else None
    return f"g{wide or shape[-1]}"


def _made(name: str) -> Codes | None:
    try:
        return make(name)
    except UsageError:
        return None
