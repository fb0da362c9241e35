"""`hub check`: everything about a model that can be wrong, looked at."""

from __future__ import annotations

from typing import Any

from hub.architecture import Configured, configure, find
from hub.errors import ArchitectureError, HubError
from hub.ir.model import Model
from hub.ir.tensor import Tensor
from hub.mapping import canonical
from hub.pipeline import Progress
from hub.plugins import Registry
from hub.scan import look
from hub.tiles import Budget


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


def _settings(model: Model, faults: list[str], notes: list[str], checked: list[str]) -> Configured | None:
    try:
        family = find(model).family
    except ArchitectureError as error:
        notes.append(f"settings and shapes not checked: {error.message}")
        return None
    try:
        configured = configure(model)
        found = canonical(model, configured)
    except HubError as error:
        faults.append(str(error))
        return None
    checked.append(f"settings and shapes against architecture {family}")
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
    readable: list[Tensor] = []
    unread: list[Tensor] = []
    for tensor in model.tensors.values():
        (readable if registry.knows_layout(tensor.layout) else unread).append(tensor)
    if unread:
        kinds = sorted({tensor.layout for tensor in unread})
        notes.append(f"{len(unread)} tensors were not decoded: {', '.join(kinds)}")
    progress.start("check", sum(tensor.nbytes for tensor in readable))
    found = look(readable, registry, budget, progress)
    for name in sorted(found):
        seen = found[name]
        if seen.nonfinite:
            faults.append(f"tensor {name}: {seen.nonfinite} weights are not finite, the first is number {seen.first}")
