"""`hub check`: everything about a model that can be wrong, looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hub.architecture import Configured, find
from hub.errors import ArchitectureError, HubError
from hub.ir.model import Model
from hub.ir.part import row_length
from hub.ir.tensor import Tensor
from hub.layout import DenseLayout, arrays_of
from hub.mapping import canonical
from hub.pipeline import Progress, run_all, weights
from hub.plugins import Registry
from hub.tiles import Budget, step, tiles


def check(model: Model, registry: Registry, budget: Budget, progress: Progress) -> dict[str, Any]:
    """Check an opened model.

    Returns:
        ``path``, ``format``, ``checked`` (what was looked at), ``faults`` and ``notes`` (one line each).
    """
    faults: list[str] = []
    notes = list(model.notes)
    checked = ["structure"]
    configured = _settings(model, faults, notes, checked)
    _tokenizer(model, configured, faults, notes, checked)
    faults += registry.reader(model.format).check(model)
    checked.append("companion files and metadata")
    _data(model, registry, budget, progress, faults, notes)
    checked.append("data of every tensor")
    try:
        model.check_unchanged()
    except HubError as error:
        faults.append(str(error))
    return {"path": model.path, "format": model.format, "checked": checked, "faults": faults, "notes": notes}


def _settings(
    model: Model, faults: list[str], notes: list[str], checked: list[str]
) -> Configured | None:
    try:
        architecture = find(model)
    except ArchitectureError as error:
        notes.append(f"settings and shapes not checked: {error.message}")
        return None
    try:
        configured = architecture.configure(model.hyperparameters(architecture), path=model.path)
        found = canonical(model, configured)
    except HubError as error:
        faults.append(str(error))
        return None
    checked.append(f"settings and shapes against architecture {architecture.family}")
    notes += [f"{name} is not needed: {why}" for name, why in found.dropped]
    return configured


def _tokenizer(
    model: Model, configured: Configured | None, faults: list[str], notes: list[str], checked: list[str]
) -> None:
    try:
        tokenizer = model.load_tokenizer(configured.architecture if configured else None)
    except HubError as error:
        faults.append(str(error))
        return
    if tokenizer is None:
        notes.append("no tokenizer")
        return
    checked.append("tokenizer")
    notes += tokenizer.notes
    vocab_size = configured.values.get("vocab_size") if configured else None
    if vocab_size is not None and tokenizer.tokens and len(tokenizer.tokens) != vocab_size:
        faults.append(f"the tokenizer has {len(tokenizer.tokens)} tokens, the settings say {vocab_size}")


def _data(
    model: Model,
    registry: Registry,
    budget: Budget,
    progress: Progress,
    faults: list[str],
    notes: list[str],
) -> None:
    from hub.kernels import Scan, scan

    readable: list[Tensor] = []
    unread: list[Tensor] = []
    for tensor in model.tensors.values():
        (readable if registry.knows_layout(tensor.layout) else unread).append(tensor)
    if unread:
        kinds = sorted({tensor.layout for tensor in unread})
        notes.append(f"{len(unread)} tensors were not decoded: {', '.join(kinds)}")
    progress.start("check", sum(tensor.nbytes for tensor in readable))
    bad: dict[str, tuple[int, int]] = {}

    def unit(tensor: Tensor, start: int, stop: int) -> tuple[Tensor, int, Scan, int]:
        layout = registry.layout(tensor.layout)
        if isinstance(layout, DenseLayout):
            data = arrays_of(tensor, start, stop)["data"]
            return tensor, start, scan(data), data.nbytes
        values = weights(tensor, layout, start, stop)
        return tensor, start, scan(values), tensor.nbytes * (stop - start) // max(1, tensor.rows)

    def units() -> Iterable[Callable[[], tuple[Tensor, int, Scan, int]]]:
        for tensor in readable:
            rows = step(tensor, registry.layout(tensor.layout))
            for start, stop in tiles(tensor, rows, budget):
                yield lambda t=tensor, a=start, b=stop: unit(t, a, b)  # type: ignore[misc]

    def done(result: tuple[Tensor, int, Scan, int]) -> None:
        tensor, start, seen, amount = result
        progress.advance(amount)
        if seen.nonfinite:
            count, first = bad.get(tensor.name, (0, -1))
            at = start * row_length(tensor.shape) + seen.first
            bad[tensor.name] = count + seen.nonfinite, at if first < 0 else min(first, at)

    run_all(units(), budget.threads, done)
    for name in sorted(bad):
        count, first = bad[name]
        faults.append(f"tensor {name}: {count} weights are not finite, the first is number {first}")
