"""Tables: what the plots show, as numbers; long ones cut and folded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hub.page.compared import Compared, median
from hub.page.markup import Child, Markup, breakable, tag, text
from hub.page.words import NONE, count, decibel, figure, size

MAX_ROWS = 500
"""Rows of one table; the JSON report has all of them."""


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], *, numeric: Sequence[int] = ()
) -> Markup:
    """A table that scrolls inside itself where the screen is narrow.

    Args:
        numeric: columns whose cells are numbers, aligned at the right.
    """

    def cells(row: Sequence[Child]) -> Iterable[Markup]:
        for i, cell in enumerate(row):
            kind = "n" if i in numeric else None
            yield tag("th", cell, scope="row") if i == 0 else tag("td", cell, class_=kind)

    head = [tag("th", word, scope="col", class_="n" if i in numeric else None) for i, word in enumerate(heads)]
    body = [tag("tr", cells(row)) for row in rows]
    whole = tag(
        "table", tag("caption", caption, class_="unseen"), tag("thead", tag("tr", head)), tag("tbody", body)
    )  # fmt: skip
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def pairs(caption: str, facts: Iterable[tuple[Child, Child]]) -> Markup:
    """Facts and their values."""
    rows = list(facts)
    if not rows:
        return Markup()
    return tag("div", tag("dl", [tag("div", tag("dt", key), tag("dd", value)) for key, value in rows]), class_="facts",
               role="group", aria_label=caption)  # fmt: skip


def section(slug: str, title: str, *children: Child) -> Markup:
    """A part of the page."""
    return tag("section", tag("h2", title), children, id=slug)


def folded(slug: str, title: str, *children: Child, open_: bool = False) -> Markup:
    """A part that opens when asked."""
    return tag("details", tag("summary", tag("h2", title)), children, id=slug, open=open_)


def capped(rows: Sequence[Any], most: int = MAX_ROWS) -> tuple[Sequence[Any], Markup | None]:
    """The rows shown, and a sentence about the others."""
    if len(rows) <= most:
        return rows, None
    left = len(rows) - most
    return rows[:most], tag("p", f"{left:,} more not shown here; the JSON report has them.", class_="note")


def bullets(items: Sequence[Any]) -> Markup:
    """A list of sentences."""
    shown, more = capped([str(item) for item in items])
    return tag("div", tag("ul", [tag("li", text(item, 1000)) for item in shown]), more)


def tensor_table(caption: str, tensors: Sequence[Compared], *, sides: tuple[str, str] = ("from", "to")) -> Markup:
    """A row per tensor; columns that would be empty are left out."""
    shown, more = capped(tensors)
    sized = any(t.nbytes is not None for t in shown)
    routed = any(t.route or t.fidelity for t in shown)
    judged = any(t.limit is not None for t in shown)
    remarked = any(t.remark or t.fault for t in shown)
    heads = ["tensor", "SQNR", *["limit"] * judged, *sides, "shape", *["size"] * sized]
    heads += [*["route", "fidelity"] * routed, "RMSE", "max abs", *["remark"] * remarked]

    def row(t: Compared) -> Iterable[Child]:
        yield breakable(t.name)
        yield "bit-equal" if t.equal else decibel(t.sqnr)
        if judged:
            yield decibel(t.limit)
        yield from (t.source, t.target, " × ".join(map(str, t.shape)) or "scalar")
        if sized:
            yield size(t.nbytes)
        if routed:
            yield from (t.route or NONE, t.fidelity or NONE)
        yield from (figure(t.rmse), figure(t.max_abs))
        if remarked:
            fault = tag("strong", t.fault, class_="bad") if t.fault else None
            yield [fault, "; " if t.fault and t.remark else "", tag("small", t.remark)]

    numeric = [i for i, head in enumerate(heads) if head in ("size", "SQNR", "limit", "RMSE", "max abs")]
    return tag("div", table(caption, heads, (list(row(t)) for t in shown), numeric=numeric), more)


def kind_table(tensors: Sequence[Compared]) -> Markup:
    """A row per kind of tensor, worst first: what a model of thousands of tensors comes down to."""
    kinds: dict[str, list[Compared]] = defaultdict(list)
    for tensor in tensors:
        kinds[tensor.place.kind].append(tensor)
    ordered = sorted(kinds.items(), key=lambda item: min(t.badness for t in item[1]))
    shown, more = capped(ordered)
    rows = []
    for kind, members in shown:
        values = [t.sqnr for t in members if t.sqnr is not None]
        sizes = [t.nbytes for t in members if t.nbytes is not None]
        equal = sum(1 for t in members if t.equal)
        layouts = sorted({t.target for t in members})
        rows.append([
            breakable(kind), f"{len(members):,}", ", ".join(layouts[:4]) + (", …" if len(layouts) > 4 else ""),
            size(sum(sizes)) if sizes else NONE, f"{equal:,}", decibel(min(values, default=None)),
            decibel(median(values) if values else None), decibel(max(values, default=None)),
        ])  # fmt: skip
    heads = ["kind", "tensors", "types", "size", "bit-equal", "lowest SQNR", "median", "highest"]
    return tag("div", table("Tensors by kind", heads, rows, numeric=(1, 3, 4, 5, 6, 7)), more)


def fidelity_table(classes: Mapping[str, Any]) -> Markup:
    """What the plan's classes hold."""
    keeps = {
        "identical": "the same bytes",
        "exact": "every weight bit-equal",
        "codes": "codes equal, scale or offset rounded",
        "lossy": "quantized or rounded; the error is measured",
    }
    rows = [
        [name, f"{amount.get('tensors', 0):,}", size(amount.get("bytes")), keeps.get(name, NONE)]
        for name, amount in classes.items()
        if isinstance(amount, Mapping)
    ]
    return table("Fidelity", ["class", "tensors", "size", "what is kept"], rows, numeric=(1, 2))


def of_count(found: int, whole: int, what: str) -> str:
    """12 of 57 tensors."""
    return f"{found:,} of {count(whole, what)}"
