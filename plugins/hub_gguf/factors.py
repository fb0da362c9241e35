"""Factors that stand in tensors of their own: `X.scale` belongs to the weight `X.weight` of type NVFP4.

The weight is ``decode(X.weight) * X.scale``, so the factor becomes a part of the weight's tensor: it cannot be passed
over, and goes where the weight goes. `X.input_scale` is what activations are divided by where they are rounded to 4
bits, too; it says nothing about weights and is kept beside them. Source: llama.cpp's conversion/base.py (NVFP4) and
llama-model.cpp, which reads both for every architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hub.api import F32, Dense, FormatError, Packed, PartSpec, Shape, Tensor
from hub_gguf.types import SCALED

WEIGHT, SCALE, INPUT_SCALE = ".weight", ".scale", ".input_scale"
_LAYOUTS = {kind.layout: kind.scaled_layout for kind in SCALED}
_WHY = "scale of 4-bit activations, of no use to other weights"


def attach(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Make factors parts of their weights.

    Returns:
        The tensors, without the factors; and those that are kept beside the weights, with what they are.

    Raises:
        FormatError: a factor that is not f32, or not one number per weight or expert.
    """
    out = dict(tensors)
    beside: dict[str, str] = {}
    for name, tensor in tensors.items():
        if not name.endswith(WEIGHT) or tensor.layout not in _LAYOUTS:
            continue
        stem = name.removesuffix(WEIGHT)
        if stem + INPUT_SCALE in tensors:
            beside[stem + INPUT_SCALE] = _WHY
        if stem + SCALE in tensors:
            out[name] = _scaled(tensor, out.pop(stem + SCALE))
    return out, beside


def scale_spec(shape: Shape) -> PartSpec:
    """The part of the factors of a weight of that shape: one for all rows, or one for those of each expert."""
    return PartSpec(F32, (shape[0],), 0, shape[1]) if len(shape) > 2 else PartSpec(F32, (1,), None)


def name_of(weight: str, part: str) -> str:
    """The name of the tensor that holds a part of a weight.

    Raises:
        FormatError: the weight's name gives none.
    """
    if part == "blocks" or part == "data":
        return weight
    if not weight.endswith(WEIGHT):
        raise FormatError(f"its {part} needs a name of its own, and that is made of one in {WEIGHT}", tensor=weight)
    return f"{weight.removesuffix(WEIGHT)}.{part}"


def orphans(tensors: Mapping[str, str]) -> list[str]:
    """Which of the tensors (name -> layout) are `X.input_scale` of a weight that has no 4-bit floats any more."""
    kept = {*_LAYOUTS, *_LAYOUTS.values()}
    return [
        name
        for name in tensors
        if name.endswith(INPUT_SCALE)
        and (weight := name.removesuffix(INPUT_SCALE) + WEIGHT) in tensors
        and tensors[weight] not in kept
    ]


def _scaled(weight: Tensor, factor: Tensor) -> Tensor:
    assert isinstance(weight.body, Packed)
    spec = scale_spec(weight.shape)
    part = next(iter(factor.parts.values()))
    if not isinstance(factor.body, Dense) or part.spec.dtype != spec.dtype or factor.shape != spec.shape:
        raise FormatError(
            f"shape {list(factor.shape)} of {factor.layout}, a factor of {weight.name} is {list(spec.shape)} of f32",
            path=part.span.source.path if part.span else None,
            tensor=factor.name,
            offset=part.span.offset if part.span else None,
        )
    parts = {**weight.body.parts, "scale": replace(part, spec=spec)}  # type: ignore[type-var]
    return replace(weight, body=replace(weight.body, layout=_LAYOUTS[weight.layout], parts=parts))
