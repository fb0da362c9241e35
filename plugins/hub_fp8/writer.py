"""Writes fp8 checkpoints in squares of 128x128."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.api import (
    BF16,
    DTYPES,
    F32,
    Affine,
    Assignment,
    Blocks,
    Configured,
    DType,
    Laid,
    Model,
    PlannedFile,
    Request,
    Scheme,
    Stored,
    Tensor,
    Tokenizer,
    UsageError,
    Writer,
    plain_layout,
    printable,
    scheme_of,
)
from hub_fp8.reader import SCALE
from hub_safetensors.linear_layers import is_linear, linear_layers, other_linears, refuse_conv1d
from hub_safetensors.new_folder import is_folder, lay_out_folder
from hub_safetensors.scaled_floats import make, name_of
from hub_safetensors.serialize import SPELLED, Weight, plain_weight
from hub_safetensors.writer import most_frequent

SQUARE: Final = Blocks((128, 128))
_FAMILY: Final = "fp8.block"


class Fp8Writer(Writer):
    """Writes a folder whose linear layers are 8-bit floats, scales in f32 unless the source has others."""

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        return f"{re.sub(r'-[0-9]{5}-of-[0-9]{5}$', '', source_name)}-FP8"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        if request.variant not in ("", "block"):
            raise UsageError(f"fp8 has no variant {printable(request.variant)!r}; known: block")
        refuse_conv1d(configured, "fp8")
        layers = linear_layers(configured)
        made = []
        for tensor in sorted(tensors, key=lambda tensor: tensor.name):
            word = request.recipe.layout_for(tensor.name, tensor.stored_name)
            if word is not None and word.lower() not in ("f32", "f16", "bf16", "block"):
                raise UsageError(f"fp8 has no layout {printable(word)!r}; known: block, f32, f16, bf16")
            if word == "block" or (word is None and is_linear(tensor.name, layers, configured)):
                made.append(Assignment(tensor, _layout(tensor)))
            elif word is not None:
                made.append(Assignment(tensor, word.lower(), "as the user asked"))
            else:
                plain = plain_layout(tensor)
                made.append(Assignment(tensor, plain if plain in SPELLED else "f32"))
        if not any(one.layout.startswith(_FAMILY) for one in made):
            raise UsageError("no tensor of the model would be quantized")
        return made, []

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        weights = [weight for tensor in tensors for weight in _weights(tensor)]
        modules = {t.name.removesuffix(".weight") for t in tensors if t.layout.startswith(_FAMILY)}
        config = {
            "quantization_config": {
                "quant_method": "fp8",
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "weight_block_size": list(SQUARE.shape),
                "modules_to_not_convert": other_linears(configured, modules),
            },
            **dict(request.recipe.settings),
        }
        dtype = "" if is_folder(model) else most_frequent(tensors)
        files, whole, notes = lay_out_folder(weights, model, configured, tokenizer, dtype=dtype, config=config)
        return files, whole, [*notes, *_partial(tensors)]


def _partial(tensors: Sequence[Laid]) -> list[str]:
    """transformers 5.23 (`Fp8Dequantize`) takes the sides of squares from the shape of the scales."""
    sides = SQUARE.shape
    names = [
        t.name
        for t in tensors
        if t.layout.startswith(_FAMILY) and any(n > m and n % m for n, m in zip(t.shape, sides, strict=True))
    ]
    if not names:
        return []
    return [
        f"{len(names)} matrices are not whole squares of 128x128: vLLM reads that, transformers decodes it wrongly or "
        f"refuses (first {names[0]})"
    ]


def _layout(tensor: Tensor) -> str:
    """The source's own codes and scales where they are such; else E4M3 with scales in f32."""
    scheme = scheme_of(tensor)
    scale: DType = F32
    if (
        isinstance(scheme, Scheme)
        and isinstance(scheme.values, Affine)
        and scheme.values.dtype
        and scheme.groups == SQUARE
    ):
        if isinstance(scheme.scale, Stored) and scheme.scale.dtype in (F32, BF16, DTYPES["f8_e8m0"]):
            scale = scheme.scale.dtype
        return name_of(_FAMILY, scheme.values.dtype, SQUARE, scale)
    return name_of(_FAMILY, DTYPES["f8_e4m3"], SQUARE, scale)


def _weights(tensor: Laid) -> list[Weight]:
    if not tensor.layout.startswith(_FAMILY):
        return [plain_weight(tensor)]
    names = {"weight": tensor.name, "scale": f"{tensor.name.removesuffix('.weight')}.{SCALE}"}
    specs = make(tensor.layout).parts(tensor.shape)
    return [
        Weight(names[part], SPELLED[spec.dtype.name], spec.shape, spec.nbytes, (tensor.name, part))
        for part, spec in specs.items()
    ]
