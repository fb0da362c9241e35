"""The rule by which `P.qweight`, `P.qzeros` and `P.scales` are one weight; shapes are checked against the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Final

import numpy as np

from hub.api import ConfigError, HubError, Shape, Tensor
from hub_awq.layouts import BITS, AwqLayout, make, whole_zeros
from hub_awq.settings import Settings
from hub_safetensors.parameters import Parameters
from hub_safetensors.partners import dense_beside, fault, modules, packed, partner

ROLES: Final = ("qweight", "qzeros", "scales")
_SCALES: Final = ("f16", "bf16", "f32")


def collect(tensors: Mapping[str, Tensor], settings: Settings, notes: list[str]) -> dict[str, Tensor]:
    """All tensors of a folder, those of quantized modules as one weight each.

    Args:
        notes: gets what the user should know.

    Raises:
        HubError: tensors that contradict each other or the settings.
    """
    joined = {prefix: _module(tensors, prefix, settings) for prefix, _ in modules(tensors, "qweight")}
    if not joined:
        raise ConfigError("the settings say AWQ, and no tensor ends in .qweight", path=settings.path)
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if role == "qzeros" and prefix not in joined:
            raise fault(tensor, f"{prefix}.qweight, which belongs to it, is missing")
    middle = {prefix for prefix, weight in joined.items() if _all_middle(weight)}
    uneven = len(joined) - len(middle)
    if settings.symmetric and uneven:
        notes.append(f"{uneven} modules have zero points of their own, the settings say that none has")
    if settings.symmetric or (settings.symmetric is None and not uneven):
        joined |= {prefix: _as_symmetric(joined[prefix]) for prefix in middle}
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if role not in ROLES or prefix not in joined:
            out[name] = tensor
        elif role == "qweight":
            out[f"{prefix}.weight"] = joined[prefix]
    return out


def activation_scales(tensors: Mapping[str, Tensor], joined: Mapping[str, Tensor]) -> Iterator[str]:
    """Numbers that AutoAWQ divides the results of an activation by (`ScaledActivation`), where they are all one.

    Raises:
        FormatError: they are not. Codes of the next matrix cannot take them in, which would need a scale per column.
    """
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if role != "scales" or f"{prefix}.weight" in joined or len(tensor.shape) != 1 or tensor.layout not in _SCALES:
            continue
        (part,) = tensor.parts.values()
        if not np.all(part.load(0, tensor.rows) == 1):
            raise fault(
                tensor,
                "what the activation gives is divided by these numbers, for which no other format has a place, "
                "and codes with a scale for each group cannot take in one for each column",
                remedy="start from a checkpoint that has them folded, or from the model before AWQ",
            )
        yield name


def _module(tensors: Mapping[str, Tensor], prefix: str, settings: Settings) -> Tensor:
    dense_beside(tensors, prefix)
    stored = {role: partner(tensors, prefix, role, beside="qweight") for role in ROLES}
    for tensor in stored.values():
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise fault(tensor, f"shape {list(tensor.shape)}, it must have 2 axes and none of them 0")
    if stored["scales"].layout not in _SCALES:
        raise fault(stored["scales"], f"its numbers are {stored['scales'].layout}, allowed are {', '.join(_SCALES)}")
    reason: HubError | None = None
    for bits, group in settings.choices:
        layout = make(f"{settings.family}/{Parameters(bits, group, scale=stored['scales'].layout)}")
        shape = _shape(layout, stored)
        unfit = layout.fits(shape) or _unlike(layout, shape, stored)
        if unfit is None:
            weight = packed(f"{prefix}.weight", shape, layout.name, layout.parts(shape), stored)
            return _by_offset(weight) if settings.family == "awq.gemv_fast" else weight
        reason = reason or fault(
            stored["qweight"],
            f"as {layout.name}: {unfit}",
            remedy=f"the settings in {settings.path} are not those of these tensors",
        )
    assert reason is not None
    raise reason


def _shape(layout: AwqLayout, stored: Mapping[str, Tensor]) -> Shape:
    """(out, in) of a weight."""
    a, b = stored["qweight"].shape
    rows = 8 * b if layout.told.bits == BITS else stored["scales"].shape[1]
    return {"awq.gemm": (rows, a), "awq.gemv": (a, 8 * b)}.get(layout.family, (4 * a, b))


def _unlike(layout: AwqLayout, shape: Shape, stored: Mapping[str, Tensor]) -> str | None:
    for role, spec in layout.parts(shape).items():
        shape = (spec.shape[0], prod(spec.shape[1:]))
        if stored[role].shape != shape:
            return f"{role} would be {list(shape)}, found {list(stored[role].shape)}"
    return None


def _by_offset(weight: Tensor) -> Tensor:
    """A weight of `gemv_fast` as offsets, where its zero points are not whole."""
    layout = make(weight.layout)
    groups = layout.told.groups(weight.shape[1])
    scales, scaled = (weight.parts[role].load(0, weight.rows)[:groups] for role in ("scales", "qzeros"))
    if whole_zeros(scales, scaled)[1]:
        return weight
    return _renamed(weight, weight.layout.replace("awq.gemv_fast/", "awq.gemv_fast_offset/"))


def _all_middle(weight: Tensor) -> bool:
    layout = make(weight.layout)
    if layout.family == "awq.gemv_fast_offset":
        return False
    arrays = {role: part.load(0, weight.rows) for role, part in weight.parts.items() if role != "qweight"}
    return bool(np.all(layout.zeros(arrays, layout.told.groups(weight.shape[1])) == layout.told.middle))


def _as_symmetric(weight: Tensor) -> Tensor:
    layout = make(weight.layout)
    return _renamed(weight, f"{layout.family}/{replace(layout.told, symmetric=True)}")


def _renamed(weight: Tensor, layout: str) -> Tensor:
    return replace(weight, body=replace(weight.body, layout=layout))  # type: ignore[arg-type]
