"""Where a tensor stands in its model, by its name alone: layer and kind."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

MAX_DIGITS = 5
"""Of a layer number; anything longer is a word."""


class Place(NamedTuple):
    """Attributes:
    layer: its number, or None outside the layers.
    kind: the name without the layer: `attn_q`, `mlp.experts.*.down_proj`, `token_embd`.
    """

    layer: int | None
    kind: str


@lru_cache(maxsize=1 << 15)
def place(name: str) -> Place:
    """The first numeric component is the layer; further ones, such as an expert's, become `*`."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if _numeric(part)), None)
    layer = None if at is None else int(parts[at])
    rest = parts if at is None else parts[at + 1 :]
    if len(rest) > 1 and rest[-1] == "weight":
        rest = rest[:-1]
    kind = ".".join("*" if _numeric(part) else part for part in rest)
    return Place(layer, kind or name)


def _numeric(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) <= MAX_DIGITS


def shortened(name: str, limit: int) -> str:
    """`name` in at most `limit` characters, both ends kept."""
    if len(name) <= limit:
        return name
    tail = (limit - 1) * 2 // 3
    return f"{name[: limit - 1 - tail]}…{name[-tail:]}"
