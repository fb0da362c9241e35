"""Reads fp8 checkpoints: `P.weight` in 8-bit floats and `P.weight_scale_inv`, which it is multiplied by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import DTYPES, Blocks, ConfigError, Folder, FormatError, Model, Packed, Reader, Tensor
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.members import Members
from hub_safetensors.partners import fault, told
from hub_safetensors.quantization import quantization_of
from hub_safetensors.scaled_floats import make, name_of

SCALE, OTHER_SCALE = "weight_scale_inv", "weight_scale"
_CODES: Final = ("f8_e4m3", "f8_e5m2")
_SCALES: Final = ("f32", "bf16", "f16", "f8_e8m0")
_ACTIVATIONS: Final = ("input_scale", "activation_scale", "k_scale", "v_scale", "q_scale")


class Fp8Reader(Reader):
    """Opens a folder of 8-bit floats; nothing but headers is read."""

    def open(self, path: str) -> Model:
        folder = Folder(path)
        beside: dict[str, str] = {}

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            values, where = quantization_of(folder, config)
            if not values:
                raise FormatError("no quantization_config in config.json", path=path)
            return _collect(tensors, _square(Members(values, where, "quantization_config")), beside)

        model = open_folder(path, format="fp8", collect=rule)
        model.beside = beside
        return model


def _square(settings: Members) -> Blocks:
    """The weights that share a scale."""
    sides = settings.raw("weight_block_size")
    if sides is None:
        return Blocks((0, 0))
    whole = isinstance(sides, list) and len(sides) == 2 and all(type(side) is int for side in sides)
    if not whole or not all(0 < side < 1 << 20 for side in sides):
        raise ConfigError("weight_block_size must be two sizes", path=settings.path)
    return Blocks((sides[0], sides[1]))


def _collect(tensors: Mapping[str, Tensor], square: Blocks, beside: dict[str, str]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if role in (SCALE, OTHER_SCALE):
            if f"{prefix}.weight" not in tensors:
                raise fault(tensor, f"{prefix}.weight, which belongs to it, is missing")
            weight = tensors[f"{prefix}.weight"]
            if weight.layout not in _CODES:
                raise fault(weight, f"its numbers are {weight.layout}, and it has scales as 8-bit floats have")
            continue
        if role in _ACTIVATIONS:
            beside[name] = "scale of activations or of a cache, which weights do not need"
        out[name] = _joined(tensors, prefix, tensor, square) if tensor.layout in _CODES else tensor
    if not any(isinstance(tensor.body, Packed) for tensor in out.values()):
        raise FormatError("the config says fp8, and no tensor has 8-bit floats")
    return out


def _joined(tensors: Mapping[str, Tensor], prefix: str, weight: Tensor, square: Blocks) -> Tensor:
    if len(weight.shape) != 2 or 0 in weight.shape:
        raise fault(weight, f"shape {list(weight.shape)}, it must have 2 axes and none of them 0")
    scale = tensors.get(f"{prefix}.{SCALE}") or tensors.get(f"{prefix}.{OTHER_SCALE}")
    if scale is None:
        raise fault(weight, f"{prefix}.{SCALE}, which belongs to it, is missing")
    if scale.layout not in _SCALES:
        raise fault(scale, f"its numbers are {scale.layout}, allowed are {', '.join(_SCALES)}")
    name = name_of("fp8.block", DTYPES[weight.layout], square, DTYPES[scale.layout])
    specs = make(name).parts(weight.shape)
    if [side for side in scale.shape if side != 1] != [side for side in specs["scale"].shape if side != 1]:
        raise fault(scale, f"shape {list(scale.shape)}, blocks of {list(square.shape)} of {list(weight.shape)} make it "
                    f"{list(specs['scale'].shape)}")  # fmt: skip
    parts = {"weight": told(weight, specs["weight"]), "scale": told(scale, specs["scale"])}
    return Tensor(weight.name, weight.shape, Packed(name, weight.shape, parts))
