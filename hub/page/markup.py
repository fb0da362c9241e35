"""HTML as values: what is text becomes escaped text, so a name out of a file cannot become markup."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape

MAX_TEXT = 400
"""Characters of one piece of text; a hostile name must not fill the page."""
VOID = frozenset({"meta"})
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move the cursor, turn the direction of what follows, or show nothing."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = object
"""Of an element: `Markup` as it is, None as nothing, an iterable as its items, anything else as text."""


def text(value: object, limit: int = MAX_TEXT) -> Markup:
    """`value` as HTML text of at most `limit` characters, unseen characters spelled out."""
    raw = str(value)
    if len(raw) > limit:
        raw = raw[: limit - 1] + "…"
    if not (raw.isascii() and raw.isprintable()):
        raw = "".join(ascii(c)[1:-1] if unicodedata.category(c) in _UNSEEN else c for c in raw)
    return Markup(escape(raw, quote=True))


def breakable(name: object, limit: int = MAX_TEXT) -> Markup:
    """A tensor's name, which a line may break after a dot or an underscore rather than within a word."""
    return Markup(text(name, limit).replace(".", ".<wbr>").replace("_", "_<wbr>"))


def join(children: Iterable[Child]) -> Markup:
    """Children in a row."""
    return Markup("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, list | tuple) or (isinstance(child, Iterable) and not isinstance(child, str)):
        return join(child)
    return text(child)


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """An element.

    Args:
        attributes: by name, a final underscore dropped and others made hyphens; None leaves one out, True gives it
            no value. Values are text, so they are escaped.
    """
    out = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        spelled = key.rstrip("_").replace("_", "-")
        out.append(spelled if value is True else f'{spelled}="{text(value, 10_000)}"')
    head = " ".join(out)
    if name in VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(children)}</{name}>")
