"""Writes folders with experts in MXFP4, as openai/gpt-oss are published."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.api import (
    Assignment,
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
from hub_mxfp4.layouts import Blocks32
from hub_mxfp4.reader import BLOCKS, BYTES, SCALES
from hub_safetensors.linear_layers import fused_experts
from hub_safetensors.new_folder import is_folder, lay_out_folder
from hub_safetensors.serialize import SPELLED, Weight, plain_weight
from hub_safetensors.writer import FLOATS, most_frequent

WORD: Final = "mxfp4"
NOT_CONVERTED: Final = ("model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head")
"""`modules_to_not_convert` of OpenAI's own files."""


class Mxfp4Writer(Writer):
    """Writes a folder whose fused experts are MXFP4: codes as they are where the source has such, else the nearest.

    transformers has a place for them in no other module, so a model without fused experts is refused.
    """

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        return f"{re.sub(r'-[0-9]{5}-of-[0-9]{5}$', '', source_name)}-MXFP4"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        if request.variant:
            raise UsageError(f"mxfp4 has no variants, {printable(request.variant)!r} is none")
        experts = fused_experts(configured)
        made = [
            _assignment(tensor, tensor.name in experts, request) for tensor in sorted(tensors, key=lambda t: t.name)
        ]
        if not any(one.layout == Blocks32.name for one in made):
            raise UsageError("no tensor would be MXFP4: this format has it in fused experts only, as gpt-oss has them")
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
        settings = dict(request.recipe.settings)
        quantized = {"quant_method": WORD, "modules_to_not_convert": list(NOT_CONVERTED)}
        files, whole, notes = lay_out_folder(
            weights, model, configured, tokenizer,
            dtype="" if is_folder(model) else most_frequent(tensors),
            config={"quantization_config": quantized, **settings},
        )  # fmt: skip
        return files, whole, [*notes, *(f"{printable(key)} set in config.json" for key in settings)]


def _assignment(tensor: Tensor, expert: bool, request: Request) -> Assignment:
    word = request.recipe.layout_for(tensor.name, tensor.stored_name)
    if word is not None and word.lower() not in (*FLOATS, *((WORD,) if expert else ())):
        known = ", ".join((*FLOATS, WORD)) if expert else ", ".join(FLOATS)
        raise UsageError(f"mxfp4 has no layout {printable(word)!r} for {printable(tensor.name)}; known: {known}")
    if word is not None and word.lower() != WORD:
        return Assignment(tensor, word.lower(), "as the user asked")
    reason = Blocks32().fits(tensor.shape) if expert else None
    if expert and reason is None:
        return Assignment(tensor, Blocks32.name)
    plain = plain_layout(tensor)
    if isinstance(scheme_of(tensor), Scheme) or plain not in SPELLED:
        return Assignment(tensor, "f32", reason or "the only float that is exact", reason is not None)
    return Assignment(tensor, plain, reason or "", reason is not None)


def _weights(tensor: Laid) -> list[Weight]:
    """The tensors of a file that a tensor of the model is."""
    if tensor.layout != Blocks32.name:
        return [plain_weight(tensor)]
    *outer, width = tensor.shape
    blocks = (*outer, width // Blocks32.group)
    shapes = {"packed": (BLOCKS, (*blocks, BYTES)), "scale": (SCALES, blocks)}
    return [
        Weight(tensor.name + shapes[part][0], "U8", shapes[part][1], nbytes, (tensor.name, part))
        for part, nbytes in tensor.parts.items()
    ]
