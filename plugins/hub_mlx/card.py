"""The model card of a folder for mlx-lm: the source's, marked as MLX's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import Model, Request
from hub_safetensors.model_card import CARD, front_matter, with_front_matter

LIBRARY: Final = "mlx"


def card(model: Model, request: Request) -> tuple[dict[str, bytes], list[str]]:
    """README.md, with `library_name`, `pipeline_tag` and a tag, by which pages and tools know the format; nothing
    where the source's front matter cannot be read, which then goes along as it is.

    Returns:
        The file by name, and notes.
    """
    readme = model.load_about().readme
    found, notes = front_matter(readme or "")
    if notes:
        return {}, notes
    text = readme if readme is not None else f"\n# {request.source_name}\n"
    return {CARD: with_front_matter(text, _marked(found)).encode("utf-8", "surrogatepass")}, []


def _marked(card: Mapping[str, Any]) -> dict[str, Any]:
    tags = card.get("tags")
    tags = list(tags) if isinstance(tags, list) else [tags] if isinstance(tags, str) else []
    marked = {**card, "library_name": LIBRARY}
    marked.setdefault("pipeline_tag", "text-generation")
    return {**marked, "tags": tags if LIBRARY in tags else [*tags, LIBRARY]}
