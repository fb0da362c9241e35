"""Writes compressed-tensors checkpoints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from hub.api import (
    Assignment,
    ConfigError,
    Configured,
    Laid,
    Model,
    PlannedFile,
    Request,
    Scheme,
    Tensor,
    Tokenizer,
    UsageError,
    Writer,
    plain_layout,
    printable,
    scheme_of,
)
from hub_compressed_tensors.collect import G_IDX, GLOBAL, PACKED, SCALE, SHAPE, WEIGHT, ZERO
from hub_compressed_tensors.form import parse
from hub_compressed_tensors.layouts import make
from hub_compressed_tensors.new_settings import new_settings
from hub_compressed_tensors.variant import KEEP, Variant
from hub_safetensors.linear_layers import is_linear, linear_layers, other_linears, refuse_conv1d
from hub_safetensors.new_folder import is_folder, lay_out_folder
from hub_safetensors.serialize import SPELLED, Weight, plain_weight
from hub_safetensors.writer import most_frequent

_ROLES: Final = {"packed": PACKED, "weight": WEIGHT, "scale": SCALE, "zero": ZERO, "g_idx": G_IDX, "global": GLOBAL}
_FLOATS: Final = ("f32", "f16", "bf16")
USUAL: Final = "4bit-g128"
"""What the format's name alone means for a model without codes."""


class CompressedWriter(Writer):
    """Writes a folder whose linear layers are quantized, and whose other tensors are as they were."""

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", source_name)
        return f"{stem}-ct" if request.variant in ("", KEEP) else f"{stem}-ct-{request.variant}"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        if request.variant not in ("", KEEP):
            refuse_conv1d(configured, "compressed-tensors")
        layers = linear_layers(configured)
        ordered = sorted(tensors, key=lambda tensor: tensor.name)

        def made(word: str) -> list[Assignment]:
            variant = Variant.parse(word)
            return [_assignment(t, variant, request, is_linear(t.name, layers, configured)) for t in ordered]

        def some(assignments: Sequence[Assignment]) -> bool:
            return any(one.layout.startswith("ct.") for one in assignments)

        if some(found := made(request.variant or KEEP)):
            return found, []
        if request.variant == "" and some(usual := made(USUAL)):
            return usual, [f"no codes to keep: {USUAL}, the usual variant"]
        if request.variant not in ("", KEEP):
            raise UsageError("no tensor of the model would be quantized")
        return found, ["nothing is quantized: name a variant, such as 4bit-g128"]

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        weights = [weight for tensor in tensors for weight in _weights(tensor)]
        modules = {t.name.removesuffix(".weight"): t.layout for t in tensors if t.layout.startswith("ct.")}
        settings = dict(request.recipe.settings)
        config = {
            "quantization_config": new_settings(modules, other_linears(configured, modules)) if modules else None,
            "compression_config": None,
            **settings,
        }
        dtype = "" if is_folder(model) else _computed_in(tensors)
        files, whole, notes = lay_out_folder(weights, model, configured, tokenizer, dtype=dtype, config=config)
        return files, whole, [*notes, *(f"{printable(key)} set in config.json" for key in settings)]


def _assignment(tensor: Tensor, variant: Variant, request: Request, linear: bool) -> Assignment:
    word = request.recipe.layout_for(tensor.name, tensor.stored_name)
    if word is not None:
        if word.lower() in _FLOATS:
            return Assignment(tensor, word.lower(), "as the user asked")
        variant, linear = Variant.parse(word.lower()), True
        if not tensor.name.endswith(".weight") or len(tensor.shape) != 2:
            raise UsageError(f"{printable(tensor.name)} is no matrix that compressed-tensors could quantize")
    coded = isinstance(scheme_of(tensor), Scheme)
    if linear or (coded and variant.word == KEEP and tensor.layout.startswith("ct.")):
        layout, reason = variant.layout(tensor)
        unfit = make(layout).fits(tensor.shape) if layout else None
        if unfit and variant.word != KEEP:
            return Assignment(tensor, _plain(tensor), unfit, True)
        if layout and not unfit:
            return Assignment(tensor, layout, reason, bool(reason))
        if variant.word != KEEP:
            return Assignment(tensor, _plain(tensor), reason, True)
    return Assignment(tensor, _plain(tensor), "the only float that is exact" if coded else "")


def _plain(tensor: Tensor) -> str:
    plain = plain_layout(tensor)
    return plain if plain in SPELLED else "f32"


def _weights(tensor: Laid) -> list[Weight]:
    """The tensors of a file that a tensor of the model is."""
    if not tensor.layout.startswith("ct."):
        return [plain_weight(tensor)]
    stem = tensor.name.removesuffix(".weight")
    if stem == tensor.name:
        raise ConfigError("it would need tensors beside it, whose names are made of one in .weight", tensor=tensor.name)
    found = []
    for part, spec in make(tensor.layout).parts(tensor.shape).items():
        shape = spec.shape
        if part == "zero" and len(shape) == 3:
            shape = (shape[0] * shape[1], shape[2])  # words of 32 rows, one after another
        elif part == "scale" and spec.axis is None:
            shape = (1,)
        name = f"{stem}.{_ROLES[part]}"
        found.append(Weight(name, SPELLED[spec.dtype.name], shape, spec.nbytes, (tensor.name, part)))
    if tensor.layout.startswith("ct.pack"):
        data = np.array(tensor.shape, "<i8").tobytes()
        found.append(Weight(f"{stem}.{SHAPE}", "I64", (2,), len(data), None, data))
    return found


def _computed_in(tensors: Sequence[Laid]) -> str:
    """The number type of scales, which loaders make of the config's, or else that of most other weights."""
    counts = Counter(
        parse(t.layout).scale.name for t in tensors if t.layout.startswith("ct.") and "/" in t.layout
    )  # nvfp4 and mxfp4 have none
    best = counts.most_common(1)[0][0] if counts else ""
    return best if best in ("f16", "bf16") else most_frequent(tensors)
