"""The page of a difference: two models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.page.bars import histogram
from hub.page.compared import Compared, of_difference, worst
from hub.page.conversion import told
from hub.page.document import banner, document, tile
from hub.page.heatmap import heatmap
from hub.page.markup import Child, Markup, breakable, tag
from hub.page.names import shortened
from hub.page.tables import bullets, capped, folded, kind_table, of_count, section, table, tensor_table
from hub.page.words import NONE, count, decibel, figure, member

MAX_WORST = 15


def difference(data: Mapping[str, Any]) -> str:
    """The page of a difference, as `schemas/diff.schema.json` has it."""
    tensors = of_difference(data.get("tensors"))
    sides = [str(member(data, side, "path") or side.upper()) for side in "ab"]
    a, b = (shortened(side.rstrip("/").rpartition("/")[2] or side, 60) for side in sides)
    alone = {side: [str(name) for name in data.get(f"only_{side}") or ()] for side in "ab"}
    settings = [item for item in data.get("settings") or () if isinstance(item, Mapping)]
    untold = [
        f"{str(item.get('side')).upper()} has {item.get('key')} {shortened(str(item.get('value')), 80)}"
        for item in data.get("untold") or ()
        if isinstance(item, Mapping)
    ]
    tokenizer = [str(line) for line in data.get("tokenizer") or ()]
    head = [
        tag("h1", f"{a} against {b}"),
        tag("p", f"A is {_side(data.get('a'), sides[0])}. B is {_side(data.get('b'), sides[1])}.", class_="sub"),
    ]
    cards = [card for card in (heatmap(tensors), histogram(tensors)) if card is not None]
    unequal = [t for t in tensors if not t.equal]
    parts: list[Child] = [
        _verdict(tensors, alone, settings, tokenizer),
        tag("div", _tiles(tensors, alone, settings, tokenizer), class_="tiles"),
        section("plots", "Where they differ", tag("div", cards, class_="cards")) if cards else None,
        _settings(settings),
        section("untold", "Settings that the other format cannot tell", bullets(untold)) if untold else None,
        section("tokenizer", "Tokenizer", bullets(tokenizer)) if tokenizer else None,
        *(
            section(f"only-{side}", f"Only in {side.upper()} ({len(names):,})", bullets(names))
            for side, names in alone.items()
            if names
        ),
        section("worst", "Tensors that differ most", tensor_table("Tensors that differ most", low, sides=("A", "B")))
        if (low := worst(unequal, MAX_WORST))
        else None,
        folded("kinds", "Tensors by kind", kind_table(tensors)) if len(tensors) > 1 else None,
        folded("tensors", f"All tensors ({len(tensors):,})", tensor_table("All tensors", tensors, sides=("A", "B")))
        if tensors
        else None,
    ]
    foot = (
        f"Written by hub {data.get('hub', '')}. SQNR is of B against A. Nothing on this page is loaded from elsewhere."
    )
    return document(f"{a} against {b}: hub diff", head, parts, tag("p", foot))


def _side(side: Any, path: str) -> str:
    facts = [member(side, "format"), member(side, "architecture")]
    known = ", ".join(shortened(str(fact), 80) for fact in facts if fact)
    return f"{path} ({known})" if known else path


def _verdict(
    tensors: Sequence[Compared], alone: Mapping[str, Sequence[str]], settings: Sequence[Any], tokenizer: Sequence[str]
) -> Markup:
    equal = sum(1 for t in tensors if t.equal)
    sentences = [f"{of_count(equal, len(tensors), 'tensor')} that both have are bit-equal."]
    sentences += [f"{count(len(names), 'tensor')} only in {side.upper()}." for side, names in alone.items() if names]
    if settings:
        sentences.append(f"{count(len(settings), 'setting')} differ{'s' if len(settings) == 1 else ''}.")
    if tokenizer:
        sentences.append("The tokenizers differ.")
    same = equal == len(tensors) and not any(alone.values()) and not settings and not tokenizer
    body = tag("p", " ".join(sentences))
    return banner("good", "The same model", body) if same else banner("open", "They differ", body)


def _tiles(
    tensors: Sequence[Compared], alone: Mapping[str, Sequence[str]], settings: Sequence[Any], tokenizer: Sequence[str]
) -> list[Markup]:
    equal = sum(1 for t in tensors if t.equal)
    out = [tile("Bit-equal tensors", f"{equal:,}", f"of {len(tensors):,} that both have")]
    noisy = [t for t in tensors if t.sqnr is not None]
    if noisy:
        low = min(noisy, key=lambda t: t.badness[1])
        out.append(tile("Lowest SQNR", decibel(low.sqnr), breakable(shortened(low.name, 40))))
        far = max(noisy, key=lambda t: t.max_abs or 0.0)
        out.append(tile("Largest difference", figure(far.max_abs), breakable(shortened(far.name, 40))))
    only = f"{len(alone['a']):,} / {len(alone['b']):,}"
    out.append(tile("Only in A / B", only, "tensors"))
    out.append(tile("Settings", f"{len(settings):,}", "that differ"))
    out.append(
        tile("Tokenizer", f"{len(tokenizer):,}" if tokenizer else "the same", "differences" if tokenizer else "")
    )
    return out


def _settings(settings: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not settings:
        return None
    shown, more = capped(settings)
    rows = [[breakable(s.get("key", "")), *(NONE if s.get(x) is None else told(s[x]) for x in "ab")] for s in shown]
    return section("settings", "Settings that differ", table("Settings that differ", ["setting", "A", "B"], rows), more)
