"""Writes toy files: says which layout each tensor gets and where it lies. hub does the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hub.api import (
    Assignment,
    ConfigError,
    Configured,
    Laid,
    Model,
    Packed,
    PlannedFile,
    Request,
    Tensor,
    Tokenizer,
    UsageError,
    Writer,
)
from hub_toy.detect import MAGIC
from hub_toy.header import DENSE, LAYOUTS, placed

VARIANTS = ("f32", "int8")


class ToyWriter(Writer):
    """Writes one `.toy` file, under canonical names."""

    def default_name(self, source_name: str, request: Request) -> str:
        return f"{source_name}-{request.variant or 'kept'}.toy"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        if request.variant not in ("", *VARIANTS):
            raise UsageError(f"toy has no variant {request.variant!r}; known: {', '.join(VARIANTS)}")
        return [_assignment(tensor, request) for tensor in tensors], []

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        if configured is None:
            raise ConfigError("the architecture is not known", path=model.path)
        about = {"architecture": configured.architecture.architectures[0], "config": _config(configured)}
        listed = {tensor.name: {"shape": tensor.shape, "layout": tensor.layout} for tensor in tensors}
        header = json.dumps({**about, "tensors": listed}).encode()
        parts = [((tensor.name, part), size) for tensor in tensors for part, size in tensor.parts.items()]
        *offsets, size = placed((size for _, size in parts), len(header))
        file = PlannedFile(
            name="",
            size=size,
            literals=[(0, MAGIC + len(header).to_bytes(8, "little") + header)],
            placed={key: offset for (key, _), offset in zip(parts, offsets, strict=True)},
        )
        notes = ["the tokenizer is left out: toy files have none"] if tokenizer else []
        return [file], about, notes


def _assignment(tensor: Tensor, request: Request) -> Assignment:
    asked = request.recipe.layout_for(tensor.name)
    if asked is not None:
        if asked not in LAYOUTS:
            raise UsageError(f"toy has no layout {asked!r}; known: {', '.join(LAYOUTS)}")
        return Assignment(tensor, asked, "as the user asked")
    keeps_floats = request.variant == "" and not isinstance(tensor.body, Packed)
    if request.variant == "f32" or keeps_floats:
        return Assignment(tensor, tensor.layout if keeps_floats and tensor.layout in DENSE else "f32")
    if len(tensor.shape) < 2:
        return Assignment(tensor, "f32", "never quantized")
    if tensor.shape[-1] % 32:
        return Assignment(tensor, "f32", f"rows of {tensor.shape[-1]} are not whole blocks of 32", fallback=True)
    return Assignment(tensor, "toy.column8")


def _config(configured: Configured) -> dict[str, Any]:
    """Canonical settings under the keys of config.json."""
    rope = {"type": "rope_type", "theta": "rope_theta"}
    config: dict[str, Any] = {}
    for key, value in configured.values.items():
        if key.startswith("rope."):
            name = key.removeprefix("rope.")
            config.setdefault("rope_parameters", {})[rope.get(name, name)] = value
        else:
            config[key] = value
    return config
