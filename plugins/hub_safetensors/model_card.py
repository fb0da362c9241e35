"""The model card, README.md: its front matter, which says in YAML what a model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import printable

CARD: Final = "README.md"
MAX_FRONT_MATTER: Final = 128 << 10
"""Longest front matter of a README.md in characters; real ones stay below 20,000."""
MAX_DEPTH: Final = 16


def front_matter(readme: str) -> tuple[dict[str, Any], list[str]]:
    """The YAML at the head of a model card, and notes on why there is none.

    YAML is read with the safe loader, without anchors and aliases (a page of them can mean
    gigabytes), up to `MAX_FRONT_MATTER` characters and `MAX_DEPTH` levels. A card that cannot be
    read is no reason not to convert a model.
    """
    lines = readme.splitlines()
    if not lines or lines[0] != "---":
        return {}, []
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    # Norwegian's code is "no", which YAML takes for false; and some cards indent with tabs.
    source = "\n".join(lines[1:end]) + "\n"
    source = source.replace("- no\n", '- "no"\n').replace("\t", "  ")
    if len(source) > MAX_FRONT_MATTER:
        return {}, [f"README.md: front matter of more than {MAX_FRONT_MATTER} characters was not read"]
    import yaml

    try:
        depth = 0
        for event in yaml.parse(source, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                return {}, ["README.md: front matter with anchors was not read"]
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return {}, [f"README.md: front matter nested deeper than {MAX_DEPTH} was not read"]
        data = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        what = printable(" ".join(str(error).split()))
        return {}, [f"README.md: front matter is no YAML: {what}"]
    if data is not None and not isinstance(data, dict):
        return {}, [f"README.md: front matter is {type(data).__name__}, not members"]
    return {key: value for key, value in (data or {}).items() if isinstance(key, str)}, []


def with_front_matter(readme: str, card: Mapping[str, Any]) -> str:
    """A model card with another front matter; the text behind it stays."""
    import yaml

    lines = readme.splitlines(keepends=True)
    bare = [line.rstrip("\r\n") for line in lines]
    if bare and bare[0] == "---" and "---" in bare[1:]:
        lines = lines[bare.index("---", 1) + 1 :]
    told = yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{told}---\n{''.join(lines)}"
