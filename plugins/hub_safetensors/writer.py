"""Writes Hugging Face folders with float weights."""

from __future__ import annotations

import math
import re
from collections import Counter
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
from hub_safetensors.new_folder import lay_out_folder
from hub_safetensors.serialize import SPELLED, plain_weight

KEEP: Final = "keep"
FLOATS: Final = ("f32", "f16", "bf16")
VARIANTS: Final = (KEEP, *FLOATS)
_ALL_FLOATS: Final = (*FLOATS, "f64")


class SafetensorsWriter(Writer):
    """Writes a folder with config.json, weights, index and tokenizer."""

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", source_name)  # of a split model, whose files become one folder
        return f"{stem}-{request.variant.upper()}" if request.variant in FLOATS else f"{stem}-hf"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        if request.variant and request.variant not in VARIANTS:
            raise UsageError(f"safetensors has no variant {printable(request.variant)!r}; known: {', '.join(VARIANTS)}")
        # By name, as readers of shards list them.
        return [_assignment(tensor, request) for tensor in sorted(tensors, key=lambda tensor: tensor.name)], []

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        weights = [plain_weight(tensor) for tensor in tensors]
        settings = dict(request.recipe.settings)
        files, config, notes = lay_out_folder(
            weights, model, configured, tokenizer, dtype=most_frequent(tensors), config=settings
        )
        return files, config, [*notes, *(f"{printable(key)} set in config.json" for key in settings)]


def most_frequent(tensors: Sequence[Laid]) -> str:
    """The float type that most weights have; empty when none is a float."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.layout in _ALL_FLOATS:
            counts[tensor.layout] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else ""


def _assignment(tensor: Tensor, request: Request) -> Assignment:
    word = request.recipe.layout_for(tensor.name, tensor.stored_name)
    if word is not None:
        if word.lower() not in FLOATS:
            raise UsageError(
                f"safetensors has no layout {printable(word)!r} for {printable(tensor.name)}; "
                f"known: {', '.join(FLOATS)}"
            )
        return Assignment(tensor, word.lower(), "as the user asked")
    plain = plain_layout(tensor)
    coded = isinstance(scheme_of(tensor), Scheme) or plain not in SPELLED
    if request.variant in FLOATS and (coded or plain in _ALL_FLOATS):
        return Assignment(tensor, request.variant)
    return Assignment(tensor, "f32", "the only float that is exact") if coded else Assignment(tensor, plain)
