"""The page around its parts."""

from __future__ import annotations

from hub.page.markup import Child, Markup, tag
from hub.page.style import CSS, POLICY, SCRIPT


def document(title: str, head: Child, parts: Child, foot: Child) -> str:
    """A whole page, of which nothing lies elsewhere."""
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(CSS)),
    )
    body = tag(
        "body", tag("header", head), tag("main", parts), tag("footer", foot), tag("script", Markup(SCRIPT))
    )  # fmt: skip
    return f"<!DOCTYPE html>\n{tag('html', top, body, lang='en')}\n"


def banner(kind: str, headline: str, *children: Child) -> Markup:
    """The verdict: `kind` is good, bad or open."""
    sign = {"good": "✓", "bad": "✗"}.get(kind, "○")
    return tag("section", tag("h2", f"{sign} {headline}"), children, class_=f"banner {kind}", id="verdict")


def tile(label: str, value: str, under: Child = "") -> Markup:
    """A key figure."""
    return tag("div", tag("span", label), tag("b", value), tag("span", under) if under else None, class_="tile")
