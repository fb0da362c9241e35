"""The section about other programs that the output was run in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hub.consumers.titles import title
from hub.page.markup import Child, Markup, tag
from hub.page.names import shortened
from hub.page.tables import capped, section, table
from hub.page.words import NONE, figure, percent, seconds, whole


def consumed(found: Any) -> Markup | None:
    """A row for each setting of each program; None where none was asked."""
    rows, more = capped([row for item in _members(found) for row in _rows(item)])
    if not rows:
        return None
    heads = ["program", "setting", "relative error", "limit", "largest difference", "same top token", "generated"]
    heads += ["tokens", "time", "remark"]
    versions = [
        ", ".join(f"{shortened(str(name), 60)} {shortened(str(version), 40)}" for name, version in each.items())
        for item in _members(found)
        if isinstance(each := item.get("versions"), Mapping) and each
    ]
    return section(
        "consumers", "In other programs",
        tag("p", "Logits of the output, of the same tokens, beside those of hub's own runner in f32.", class_="note"),
        table("Other programs", heads, rows, numeric=(2, 3, 4, 5, 7, 8)), more,
        tag("p", f"Versions: {'; '.join(versions)}.", class_="note") if versions else None,
    )  # fmt: skip


def refusals(found: Any) -> list[str]:
    """A line for everything that a program had against the output."""
    out = []
    for item in _members(found):
        if item.get("fault"):
            out.append(f"{_title(item)}: {item['fault']}")
        out += [f"{_title(item)}, {run.get('setting')}: {run['fault']}" for run in _runs(item) if run.get("fault")]
    return out


def _rows(item: Mapping[str, Any]) -> Iterator[list[Child]]:
    if item.get("fault"):
        yield [_title(item), *[NONE] * 8, tag("strong", str(item["fault"]), class_="bad")]
    for run in _runs(item):
        agrees = {True: "the same tokens", False: "other tokens"}.get(run.get("greedy_agrees"), NONE)  # type: ignore[arg-type]
        remark: Child = str(run.get("summary") or "")
        if run.get("fault"):
            remark = [tag("strong", str(run["fault"]), class_="bad"), "; ", remark]
        yield [
            _title(item), str(run.get("setting") or NONE), figure(run.get("relative_error")), figure(run.get("limit")),
            figure(run.get("max_abs")), percent(run.get("top1_agreement")), agrees, whole(run.get("tokens")),
            seconds(run.get("seconds")), [remark, "; ", tag("small", f"limit: {run.get('why') or NONE}")],
        ]  # fmt: skip


def _title(item: Mapping[str, Any]) -> str:
    return shortened(title(item), 120)


def _members(found: Any) -> list[Mapping[str, Any]]:
    return [item for item in found or () if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def _runs(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _members(item.get("runs"))
