"""Figures of importance that a user gives for a conversion: out of a file, to the tensors of the output.

A file tells of tensors under a format's names. They go by way of canonical names to those of the target, so that a
file made for one format serves another: what weighs is an input of a module, whoever names it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

from hub.errors import ConfigError, HubError, UsageError, printable
from hub.format import GivenImportance
from hub.ir.part import row_length
from hub.mapping import Relation, relations
from hub.transforms import Join, Stack

if TYPE_CHECKING:
    import numpy as np

    from hub.architecture import Configured
    from hub.format import Importance, Writer
    from hub.planner import Entry
    from hub.plugins import Registry

    F32Array = np.ndarray[Any, np.dtype[np.float32]]


def read(path: str | os.PathLike[str], target: str, registry: Registry) -> GivenImportance:
    """The figures of a file, in the form of the target's format if it has such files, or else of the only one that has.

    Raises:
        HubError: it cannot be read, or is none; names the file.
    """
    format = registry.format(target)
    kind = registry.importance(target if format.importance else None)
    try:
        found, text = kind.decode(os.fspath(path))
    except HubError as error:
        raise error.at(path=path) from None
    if not found:
        raise UsageError("it tells of no tensor", path=path)
    return GivenImportance(os.fspath(path), kind.convention, {item.name: item for item in found}, text)


def means(given: Importance) -> F32Array:
    """Mean squared inputs, of one matrix after another; 1 for a matrix that nothing met, as llama-quantize has it.

    Raises:
        UsageError: numbers that are negative, or not finite.
    """
    import numpy as np

    sums, counts = given.sums, given.counts.reshape(-1, 1)
    with np.errstate(all="ignore"):
        # Of f32 sums the quotient is the one of f32: f64 has more than twice the digits.
        mean = np.where(counts > 0, sums / np.maximum(counts, 1), 1).astype(np.float32).reshape(-1)
    if not np.isfinite(mean).all() or (mean < 0).any():
        raise UsageError(f"importance of {printable(given.name, 80)} is negative or no number")
    return mean


def weigh(
    entries: Sequence[Entry], given: GivenImportance, writer: Writer, configured: Configured, registry: Registry
) -> tuple[list[Entry], list[str]]:
    """Entries whose quantizers want importance with theirs, and what the user should know.

    Raises:
        HubError: figures that are none, or that do not fit a tensor; names file and tensor.
    """
    wanting = [e.name for e in entries if e.quantizer and "importance" in _quantizer(e, registry).wants]
    try:
        known = _localised(given, writer, configured, frozenset(wanting))
        made = [_weighed(entry, known[entry.name]) if entry.name in known else entry for entry in entries]
    except HubError as error:
        raise error.at(path=given.path) from None
    without = [name for name in wanting if name not in known]
    if not wanting:
        return made, [
            f"{printable(given.path)} changes nothing: no quantizer of the output weights errors by importance"
        ]
    notes = [f"errors of {len(known)} tensors are weighted by the importance that {printable(given.path)} tells"]
    if without:
        notes.append(f"{len(without)} tensors are quantized without importance, the file has none (first {without[0]})")
    return made, notes


def _quantizer(entry: Entry, registry: Registry) -> Any:
    return registry.quantizer(entry.layout)


def _weighed(entry: Entry, importance: F32Array) -> Entry:
    shape = entry.tensor.shape
    matrices, width = prod(shape[:-2]), row_length(shape)
    if importance.size != matrices * width:
        raise ConfigError(
            f"importance of {importance.size} numbers, its shape {list(shape)} makes them {matrices * width}",
            tensor=entry.name,
        )
    why = "; ".join(text for text in (entry.why, "weighted by importance") if text)
    return replace(entry, importance=importance.reshape(matrices, width), why=why)


def _localised(
    given: GivenImportance, writer: Writer, configured: Configured, wanting: frozenset[str]
) -> dict[str, F32Array]:
    """Figures under the target's names, one matrix after another."""
    import numpy as np

    canonical: dict[str, F32Array] = {}
    for relation in relations(configured, given.convention):
        item = given.found.get(relation.name)
        if item is None or relation.make is not None:
            continue
        each = members(relation)
        mean = means(item)
        if len(relation.sources) == 1:
            canonical[relation.sources[0]] = mean
        elif mean.size % len(each) == 0:
            for matrix, sources in zip(mean.reshape(len(each), -1), each, strict=True):
                canonical |= {relation.sources[source]: matrix for source in sources}
    table = relations(configured, writer.convention) if writer.convention else _identity(configured)
    out = {}
    for relation in table:
        if relation.name not in wanting or relation.make is not None:
            continue
        found = [
            [canonical[relation.sources[s]] for s in m if relation.sources[s] in canonical] for m in members(relation)
        ]
        if all(found):
            out[relation.name] = np.concatenate([matrices[0] for matrices in found])
    return out


def _identity(configured: Configured) -> list[Relation]:
    return [Relation(name, (name,), (), name) for name in configured.expected()]


def members(relation: Relation) -> list[list[int]]:
    """Which sources, by their numbers, each matrix of a format's tensor is made of: stacked ones keep to themselves,
    any other way of joining shares an input."""
    flow = [[[number]] for number in range(len(relation.sources))]
    for step in relation.steps:
        if not isinstance(step, Join):
            continue
        groups = [flow[i : i + step.count] for i in range(0, len(flow), step.count)]
        if isinstance(step, Stack):
            flow = [[matrix for one in group for matrix in one] for group in groups]
        else:
            flow = [[list(chain(*same)) for same in zip(*group, strict=True)] for group in groups]
    return flow[0]


def of_rows(importance: F32Array, start: int, stop: int, rows: int) -> list[tuple[int, int, F32Array]]:
    """Logical rows `start` to `stop` cut where matrices of `rows` rows end, each range with its figures."""
    out = []
    while start < stop:
        matrix = start // rows
        end = min(stop, (matrix + 1) * rows)
        out.append((start, end, importance[matrix]))
        start = end
    return out
