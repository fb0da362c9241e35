"""The page of a conversion or a verification: what was done, how it was checked, and what was lost where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub.page.bars import histogram, size_by_type
from hub.page.compared import Compared, of_report, worst
from hub.page.consumed import consumed, refusals
from hub.page.curves import divergence_by_layer, kl_by_position
from hub.page.document import banner, document, tile
from hub.page.heatmap import heatmap
from hub.page.markup import Child, Markup, breakable, join, tag
from hub.page.names import shortened
from hub.page.tables import (
    bullets,
    capped,
    fidelity_table,
    folded,
    kind_table,
    of_count,
    pairs,
    section,
    table,
    tensor_table,
)
from hub.page.words import NONE, count, decibel, figure, member, number, percent, seconds, size, weights, whole

MAX_WORST = 15
MAX_FAULTS = 5
MAX_KEYS = 200


def conversion(data: Mapping[str, Any]) -> str:
    """The page of a report, as `schemas/report.schema.json` or `schemas/verify.schema.json` has it."""
    plan = _table(data.get("plan"))
    logits = _table(data.get("logits"))
    tensors = of_report(plan.get("tensors"))
    name = _name(plan, data)
    head = [tag("h1", name), tag("p", _subtitle(plan, data, tensors), class_="sub")]
    parts: list[Child] = [
        _verdict(data, logits, tensors),
        _diagnoses(data),
        tag("div", _tiles(data, plan, logits, tensors), class_="tiles"),
        _plots(logits, tensors),
        _logits(logits),
        consumed(data.get("consumers")),
        _tables(plan, tensors),
        _circumstances(data, plan),
    ]
    foot = f"Written by hub {data.get('hub', '')}. Nothing on this page is loaded from elsewhere."
    return document(f"{name}: hub report", head, parts, tag("p", foot))


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _name(plan: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    source = str(member(plan, "source", "path") or "").rstrip("/").rpartition("/")[2]
    target = str(member(plan, "target", "format") or "")
    variant = str(member(plan, "target", "variant") or "")
    output = str(data.get("output") or "").rstrip("/").rpartition("/")[2]
    wanted = target + (f":{variant}" if variant else "") if _converted(plan) else ""
    left, right = shortened(source or "model", 80), wanted or shortened(output, 80)
    return f"{left} → {right}" if right else left


def _converted(plan: Mapping[str, Any]) -> bool:
    """Whether hub itself made the output: a verification knows no fidelity classes, which are what a plan promises."""
    return "fidelity" in plan


def _subtitle(plan: Mapping[str, Any], data: Mapping[str, Any], tensors: Sequence[Compared]) -> str:
    facts = [member(plan, "source", "architecture"), member(plan, "source", "format")]
    known = [shortened(str(fact), 80) for fact in facts if fact]
    if plan.get("weights"):
        known.append(f"{weights(plan['weights'])} weights in {count(len(tensors), 'tensor')}")
    if data.get("output"):
        known.append(f"{'written to' if _converted(plan) else 'against'} {data['output']}")
    return ", ".join(known)


# -------------------------------------------------------------------------------------------------------- verdict


def _verdict(data: Mapping[str, Any], logits: Mapping[str, Any], tensors: Sequence[Compared]) -> Markup:
    verified, output = data.get("verified"), str(data.get("output") or "")
    faults = [fault for fault in data.get("faults") or () if isinstance(fault, Mapping)]
    measured = [t for t in tensors if t.equal is not None]
    equal = sum(1 for t in measured if t.equal)
    agree = f"{of_count(equal, len(measured), 'tensor')} bit-equal to the source"
    lossy = len(measured) - equal
    agree += f", {lossy:,} quantized or rounded within their limits." if lossy else "."
    if verified == "rejected" or faults or logits.get("fault"):
        items = [f"{shortened(str(f.get('name', '')), 120)}: {f.get('fault', '')}" for f in faults[:MAX_FAULTS]]
        if len(faults) > MAX_FAULTS:
            items.append(f"and {len(faults) - MAX_FAULTS:,} more")
        items += refusals(data.get("consumers"))
        if not items and not logits.get("fault"):
            items.append("What is wrong is told below.")
        return banner(
            "bad", "Rejected: the output does not agree with its source",
            tag("p", f"Logits: {logits['fault']}") if logits.get("fault") else None,
            tag("ul", [tag("li", item) for item in items]) if items else None,
            tag("p", f"It is kept as {output}.") if output.endswith(".rejected") else None,
        )  # fmt: skip
    if verified not in ("weights", "full"):
        return banner("open", "Not verified", tag("p", "The output was not compared with its source."))
    return banner(
        "good", "Verified: weights and logits" if verified == "full" else "Verified: weights",
        tag("p", agree), tag("p", _run_sentence(logits)),
    )  # fmt: skip


def _run_sentence(logits: Mapping[str, Any]) -> str:
    if not logits:
        return "The model was not run."
    if logits.get("not_run"):
        return f"The model was not run: {logits['not_run']}"
    tokens = number(logits.get("tokens"))
    where = f"on {count(int(tokens), 'token')}" if tokens is not None else "on the same tokens"
    if logits.get("identical"):
        return f"Both sides were run {where}: every logit has the same bits."
    limit = number(member(logits, "limits", "kl_mean"))
    allowed = f", {figure(limit)} allowed" if limit is not None else ""
    return (
        f"Both sides were run {where}: mean KL divergence {figure(member(logits, 'kl', 'mean'))} nats{allowed}, the "
        f"same most likely token at {percent(logits.get('top1_agreement'))} of positions."
    )


def _diagnoses(data: Mapping[str, Any]) -> Markup | None:
    found = [item for item in data.get("diagnoses") or () if isinstance(item, Mapping)]
    if not found:
        return None
    shown, more = capped(found, 50)
    boxes = [
        tag(
            "article",
            tag("h3", str(item.get("mistake", ""))),
            tag("p", f"Tensor {item['tensor']}", class_="sub") if item.get("tensor") else None,
            tag("p", str(item.get("evidence") or "")),
            tag("p", tag("strong", "Remedy: "), str(item["remedy"])) if item.get("remedy") else None,
            class_="card",
        )
        for item in shown
    ]
    return section(
        "diagnoses", "Likely cause" if len(found) == 1 else "Likely causes", tag("div", boxes, class_="cards"), more
    )


# -------------------------------------------------------------------------------------------------------- figures


def _tiles(
    data: Mapping[str, Any], plan: Mapping[str, Any], logits: Mapping[str, Any], tensors: Sequence[Compared]
) -> Iterator[Markup]:
    source = sum(item.get("size", 0) for item in data.get("input") or () if isinstance(item, Mapping))
    bits = number(plan.get("bits_per_weight"))
    under = [f"{bits:.2f} bits per weight"] if bits is not None else []
    if source:
        under.append(f"source {size(source)}")
    if number(plan.get("size")) is not None:
        yield tile("Size", size(plan.get("size")), ", ".join(under))
    noisy = [t for t in tensors if t.sqnr is not None]
    if noisy:
        low = min(noisy, key=lambda t: t.badness[1])
        yield tile("Lowest SQNR", decibel(low.sqnr), join([breakable(shortened(low.name, 40)), f", {low.target}"]))
    elif any(t.equal for t in tensors):
        yield tile("Weights", "bit-equal", "all of them" if all(t.equal for t in tensors) else "where compared")
    if number(member(logits, "kl", "mean")) is not None:
        yield tile(
            "KL divergence",
            figure(member(logits, "kl", "mean")),
            f"nats, mean; max {figure(member(logits, 'kl', 'max'))}",
        )
    if number(logits.get("top1_agreement")) is not None:
        yield tile("Top-1 agreement", percent(logits["top1_agreement"]), "same most likely token")
    ratio = number(member(logits, "perplexity", "ratio"))
    if ratio is not None:
        sides = f"{figure(member(logits, 'perplexity', 'source'))} → {figure(member(logits, 'perplexity', 'output'))}"
        yield tile("Perplexity", change(ratio), sides)
    stages = _table(data.get("seconds"))
    spent = [number(value) or 0.0 for value in stages.values()]
    memory = number(data.get("peak_private_memory"))
    if spent:
        yield tile("Time", seconds(sum(spent)), f"peak memory {size(memory)}" if memory else "")


def change(ratio: float) -> str:
    """A ratio as a signed change: +1.42 %."""
    percentage = 100 * (ratio - 1)
    if percentage == 0:
        return "unchanged"
    if abs(percentage) >= 1000:
        return f"× {figure(ratio)}"
    shown = f"{abs(percentage):.2f}" if abs(percentage) >= 0.01 else figure(abs(percentage), 2)
    return f"{'+' if percentage > 0 else '−'}{shown} %"


def _plots(logits: Mapping[str, Any], tensors: Sequence[Compared]) -> Markup | None:
    made: list[Child] = [
        heatmap(tensors),
        kl_by_position(logits),
        divergence_by_layer(logits),
        size_by_type(tensors),
        histogram(tensors),
    ]
    cards = [card for card in made if card is not None]
    return section("plots", "Where the error is", tag("div", cards, class_="cards")) if cards else None


def _logits(logits: Mapping[str, Any]) -> Markup | None:
    if not logits or logits.get("not_run"):
        return None
    levels = {
        "mean": "mean", "p50": "median", "p90": "90th percentile", "p95": "95th percentile", "p99": "99th percentile",
        "p99_9": "99.9th percentile", "max": "largest",
    }  # fmt: skip
    kl = _table(logits.get("kl"))
    first = logits.get("first_divergent")
    facts: list[tuple[Child, Child]] = [
        ("sample", str(logits.get("sample") or NONE)),
        ("mode", str(logits.get("mode") or NONE)),
        ("tokens", whole(logits.get("tokens"))),
        ("sequences × context", f"{whole(logits.get('sequences'))} × {whole(logits.get('context'))}"),
        ("bit-equal logits", "yes" if logits.get("identical") else "no"),
        ("perplexity of the source", figure(member(logits, "perplexity", "source"), 5)),
        ("perplexity of the output", figure(member(logits, "perplexity", "output"), 5)),
        ("ratio", figure(member(logits, "perplexity", "ratio"), 5)),
        ("NMSE of logits", figure(logits.get("nmse"))),
        ("largest difference", figure(logits.get("max_abs"))),
        ("first divergent layer", str(first.get("name", "")) if isinstance(first, Mapping) else "none"),
        ("time of the source", seconds(member(logits, "seconds", "source"))),
        ("time of the output", seconds(member(logits, "seconds", "output"))),
        ("passes over the weights", whole(member(logits, "cost", "weight_passes"))),
        ("estimated time", seconds(member(logits, "cost", "estimate_seconds"))),
    ]
    why = member(logits, "limits", "why")
    limit = number(member(logits, "limits", "kl_mean"))
    allowed = f"Limit of the mean: {figure(limit)} nats. {why or ''}" if limit is not None else why
    return section(
        "logits", "Logits of both sides", tag("h3", "KL divergence") if kl else None,
        pairs("KL divergence", [(word, f"{figure(kl.get(level))} nats") for level, word in levels.items() if kl]),
        tag("p", allowed, class_="note") if allowed else None,
        tag("h3", "The run"), pairs("The run", facts),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- tables


def _tables(plan: Mapping[str, Any], tensors: Sequence[Compared]) -> Markup:
    classes = _table(plan.get("fidelity"))
    parts: list[Child] = []
    if classes:
        parts.append(section("fidelity", "What was kept", fidelity_table(classes)))
    low = worst(tensors, MAX_WORST)
    if low:
        parts.append(
            section("worst", "Worst tensors" if len(low) > 1 else "Worst tensor", tensor_table("Worst tensors", low))
        )
    if len(tensors) > 1:
        parts.append(folded("kinds", "Tensors by kind", kind_table(tensors)))
    if tensors:
        parts.append(folded("tensors", f"All tensors ({len(tensors):,})", tensor_table("All tensors", tensors)))
    return join(parts)


def _circumstances(data: Mapping[str, Any], plan: Mapping[str, Any]) -> Markup:
    parts: list[Child] = []
    notes = [str(item) for item in plan.get("notes") or ()]
    dropped = [item for item in plan.get("dropped") or () if isinstance(item, Mapping)]
    notes += [f"left out: {item.get('name', '')}: {item.get('why', '')}" for item in dropped]
    if notes:
        parts.append(section("notes", "Notes of the plan", bullets(notes)))
    metadata = _table(plan.get("metadata"))
    if metadata:
        rows, more = capped([(breakable(key), told(value)) for key, value in metadata.items()], MAX_KEYS)
        parts.append(
            folded("metadata", f"Metadata ({len(metadata):,})", table("Metadata", ["key", "value"], rows), more)
        )
    stages = _table(data.get("seconds"))
    facts: list[tuple[Child, Child]] = [("hub", str(data.get("hub", NONE)))]
    facts += [(str(name), str(version)) for name, version in _table(data.get("versions")).items()]
    facts += [("instruction set", str(data.get("isa", NONE))), ("threads", whole(data.get("threads")))]
    facts += [
        ("memory allowed", size(data.get("max_memory"))),
        ("peak private memory", size(data.get("peak_private_memory"))),
    ]
    facts += [(f"time: {stage}", seconds(value)) for stage, value in stages.items()]
    files = [item for item in plan.get("files") or () if isinstance(item, Mapping)]
    inputs = [item for item in data.get("input") or () if isinstance(item, Mapping)]
    rows, more = capped([[str(i.get("path", "")), size(i.get("size")), str(i.get("sha256") or NONE)] for i in inputs])
    outputs = [[str(f.get("name") or data.get("output", "")), size(f.get("size"))] for f in files]
    shown, more_out = capped(outputs)
    parts.append(
        folded(
            "run",
            "How it was done",
            pairs("Circumstances", facts),
            [tag("h3", "Input"), table("Input files", ["file", "size", "SHA-256"], rows, numeric=(1,)), more]
            if rows
            else None,
            [tag("h3", "Output"), table("Output files", ["file", "size"], shown, numeric=(1,)), more_out]
            if shown
            else None,
        )
    )
    return join(parts)


def told(value: Any) -> str:
    """A metadata value in a line."""
    if isinstance(value, Mapping) and set(value) == {"items", "first"}:
        return f"{value['items']} items, first {', '.join(told(item) for item in value['first'])}"
    if isinstance(value, list | tuple):
        return ", ".join(told(item) for item in value)
    return str(value)
