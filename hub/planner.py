"""From an opened model and a request to a Plan: every route, size, offset and fidelity, before any output.

Nothing here reads tensor data or writes a byte; the plan is what `hub plan` prints and what the
pipeline carries out.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hub import calibration, folding
from hub.architecture import Configured, configure, listing
from hub.dtypes import DType
from hub.errors import ConfigError, ExactnessError, HubError, PluginError, UsageError, printable
from hub.format import Assignment, GivenImportance, Laid, PlannedFile, Request, Writer
from hub.holding import held
from hub.ir.model import Model
from hub.ir.scheme import Scheme
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Affine
from hub.layout import FIDELITIES, DenseLayout, Fidelity, Layout
from hub.mapping import Sorted, as_kept, canonical, is_canonical, localise, relations, spelled
from hub.mapping import notes as told
from hub.plugins import Registry
from hub.recipe import Recipe
from hub.transforms import INDEXED

if TYPE_CHECKING:
    import numpy as np

Route = Literal["copy", "repack", "cast", "quantize", "requantize", "dequantize"]


@dataclass(frozen=True)
class Entry:
    """One tensor of the output.

    Attributes:
        tensor: where its weights come from, under the target's name and transforms.
        layout: name of the layout it gets.
        route: how it gets across.
        fidelity: what that keeps.
        why: why this layout or this fidelity; may be empty.
        loss: what the output does not keep of it, and why; empty for `identical`.
        importance: (matrices, in) f32, mean squared inputs by which the quantizer weights errors; None for no weights.
        fallback: whether the shape forced another layout than the variant asks for.
        quantizer: name of the quantizer that runs, if one does.
        nbytes: bytes in the output.
    """

    tensor: Tensor
    layout: str
    route: Route
    fidelity: Fidelity
    why: str
    fallback: bool
    quantizer: str | None
    nbytes: int
    loss: str = ""
    importance: np.ndarray[Any, np.dtype[np.float32]] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The tensor's name in the output."""
        return self.tensor.name


@dataclass
class Plan:
    """All that a conversion will do.

    Attributes:
        entries: the tensors in the order of the output.
        files: what the output consists of, headers included.
        metadata: what the output says about the model.
        dropped: (source tensor, why) of tensors that the output does not have.
        notes: what the user should know.
    """

    source: Model
    target_format: str
    variant: str
    writer: Writer
    configured: Configured | None
    entries: Sequence[Entry]
    files: Sequence[PlannedFile]
    metadata: Mapping[str, Any]
    dropped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all output files."""
        return sum(file.size for file in self.files)

    @property
    def weights(self) -> int:
        """Number of weights in the output."""
        from math import prod

        return sum(prod(entry.tensor.shape) for entry in self.entries)

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per weight."""
        return 8 * sum(entry.nbytes for entry in self.entries) / max(1, self.weights)


def make(
    model: Model,
    to: str,
    variant: str,
    recipe: Recipe,
    registry: Registry,
    importance: GivenImportance | None = None,
) -> Plan:
    """Plan the conversion of `model` to format `to`.

    Args:
        importance: figures that quantizers weight errors with.

    Raises:
        UsageError: no such format, variant or layout.
        HubError: the model cannot be converted; says which file, tensor or setting is at fault.
    """
    try:
        return _make(model, to, variant, recipe, registry, importance)
    except (UsageError, PluginError):
        raise
    except HubError as error:
        raise error.at(path=model.path) from None


def _make(
    model: Model, to: str, variant: str, recipe: Recipe, registry: Registry, importance: GivenImportance | None
) -> Plan:
    writer = registry.writer(to)
    request = Request(variant, recipe, source_stem(model.path), importance)
    configured = configure(model)
    found = canonical(model, configured)
    found = replace(found, tensors=_folded(model, writer, configured, request, found, registry))
    tensors, dropped = _tensors(model, writer, configured, found)
    assignments, more = writer.assign(tensors, configured, request)
    entries = [_kept(assignment, writer, configured, registry) for assignment in assignments]
    _check_names(entries)
    weighted: list[str] = []
    if importance is not None:
        entries, weighted = calibration.weigh(entries, importance, writer, configured, registry)
    _check_needs(entries, registry)
    tokenizer = model.load_tokenizer(configured.architecture)
    laid = [_laid(entry, registry) for entry in entries]
    files, metadata, last = writer.lay_out(laid, model, configured, tokenizer, request)
    _check_files(entries, files, registry)
    notes = [*model.notes, *_told(model, writer, configured), *folding.notes(tensors)]
    notes += [*more, *weighted, *_unmatched(recipe, entries), *last]
    return Plan(
        source=model,
        target_format=to,
        variant=variant,
        writer=writer,
        configured=configured,
        entries=entries,
        files=files,
        metadata=metadata,
        dropped=dropped,
        notes=list(dict.fromkeys(notes)),
        settings=recipe.settings,
    )


def _told(model: Model, writer: Writer, configured: Configured) -> list[str]:
    return [] if model.convention == writer.convention else told(configured, writer.convention)


def _unmatched(recipe: Recipe, entries: Sequence[Entry]) -> list[str]:
    return [
        f"rule {printable(rule.match, 80)}={rule.layout} matches no tensor of the output"
        for rule in recipe.rules
        if not any(rule.matches(entry.name, entry.tensor.stored_name) for entry in entries)
    ]


def source_stem(path: str) -> str:
    """The name that a model's path suggests: of a folder its name, of a file its name without suffix."""
    full = Path(os.path.abspath(path))
    return full.name if full.is_dir() or not full.suffix else full.stem


def require(plan: Plan, least: Fidelity) -> None:
    """Raises:
    ExactnessError: some tensors keep less than `least`; its line groups them by reason, its `failing` lists each.
    """
    worst = FIDELITIES.index(least)
    failing = [entry for entry in plan.entries if FIDELITIES.index(entry.fidelity) > worst]
    if failing:
        groups: dict[str, list[str]] = {}
        for e in failing:
            groups.setdefault(f"{e.tensor.layout} to {e.layout}, {e.fidelity}: {e.loss}", []).append(e.name)
        shown = [f"{listing(names, 2)} ({why})" for why, names in groups.items()]
        error = ExactnessError(
            f"{len(failing)} of {len(plan.entries)} tensors cannot stay {least}: {'; '.join(shown)}",
            path=plan.source.path,
        )
        error.failing = [
            {"name": e.name, "from": e.tensor.layout, "to": e.layout, "fidelity": e.fidelity, "why": e.loss}
            for e in failing
        ]
        raise error


def _folded(
    model: Model, writer: Writer, configured: Configured, request: Request, found: Sorted, registry: Registry
) -> Mapping[str, Tensor]:
    """The canonical tensors with act-order folded wherever that lets codes be carried, and nowhere else."""
    folds = folding.candidates(found.tensors, configured, registry)
    if not folds:
        return found.tensors
    homes = _homes(writer, configured, {fold.weight for fold in folds})

    def carried(trial: Sorted, of: Sequence[folding.Fold]) -> set[str]:
        """Those of `of` whose codes get across."""
        tensors, _ = _tensors(model, writer, configured, trial)
        made = {one.tensor.name: one for one in writer.assign(tensors, configured, request)[0]}
        kept = set()
        for fold in of:
            one = made.get(homes.get(fold.weight, fold.weight))
            if one is not None and _carries(one, registry):
                kept.add(fold.weight)
        return kept

    already = carried(found, folds)
    folds = [fold for fold in folds if fold.weight not in already]
    trial = folding.folded(found.tensors, folds, registry)
    better = carried(replace(found, tensors=trial), folds)
    if len(better) == len(folds):
        return trial
    return folding.folded(found.tensors, [fold for fold in folds if fold.weight in better], registry)


def _carries(assignment: Assignment, registry: Registry) -> bool:
    """Whether codes get across as they are; what cannot get there at all is told when all is planned."""
    try:
        return _entry(assignment, registry).route in ("copy", "repack")
    except ConfigError:
        return False


def _homes(writer: Writer, configured: Configured, names: Collection[str]) -> dict[str, str]:
    """The target's names of canonical tensors, or of what they become part of."""
    if not writer.convention:
        return {name: name for name in names}
    table = relations(configured, writer.convention)
    return {source: relation.name for relation in table for source in relation.sources if source in names}


def _tensors(
    model: Model, writer: Writer, configured: Configured, found: Sorted
) -> tuple[list[Tensor], Sequence[tuple[str, str]]]:
    if model.convention == writer.convention and spelled(model, configured, found):
        # Same names, same transforms: undoing and redoing them would only cost `identical`.
        left_out = {name for name, _ in found.dropped} if is_canonical(model.convention, configured) else set()
        own = model.tensors.items()
        new = {t.stored_name: t for t in found.tensors.values() if folding.told(t) or t.name in configured.turned}
        return [new[name].renamed(name) if name in new else t for name, t in own if name not in left_out], [
            item for item in found.dropped if item[0] in left_out
        ]
    tensors, omitted = localise(found, writer.convention, configured)
    return tensors, [*found.dropped, *omitted]


def _kept(assignment: Assignment, writer: Writer, configured: Configured, registry: Registry) -> Entry:
    """The entry of a tensor the way round that the target has it."""
    tensor = assignment.tensor
    kept = as_kept(tensor, assignment.layout, writer.convention, configured)
    if kept is tensor:
        return _entry(assignment, registry)
    if not isinstance(tensor.body, Packed):
        return _entry(replace(assignment, tensor=kept), registry)
    # What decoding keeps is known of the codes only.
    return replace(_entry(assignment, registry), tensor=kept)


def _entry(assignment: Assignment, registry: Registry) -> Entry:
    tensor = assignment.tensor
    _layout_of(tensor, registry)  # first of all, so that a type hub cannot read is told as the source's fault
    target = registry.layout(assignment.layout)
    reason = target.fits(tensor.shape)
    if reason:
        raise ConfigError(f"cannot be laid out as {target.name}: {reason}", tensor=tensor.name)
    route, fidelity, why, quantizer = _route(tensor, target, registry)
    if fidelity != "lossy" and tensor.derived and not all(part.reversible() for part in tensor.parts.values()):
        fidelity, why = "lossy", f"{', '.join(tensor.derived)} rounds some of its weights"
    return Entry(
        tensor=tensor,
        layout=target.name,
        route=route,
        fidelity=fidelity,
        why="; ".join(text for text in (assignment.reason, why, _order_told(tensor)) if text),
        fallback=assignment.fallback,
        quantizer=quantizer,
        nbytes=target.nbytes(tensor.shape),
        loss=_loss(tensor, target, route, fidelity, why),
    )


def _loss(tensor: Tensor, target: Layout, route: Route, fidelity: Fidelity, why: str) -> str:
    """What a route does not keep, and why."""
    if fidelity == "identical":
        return ""
    if route == "quantize":
        return f"floats are rounded to {_codes(target.scheme(tensor.shape))}"
    if fidelity in ("codes", "lossy"):
        return why or "weights are rounded"
    kept = {"copy": f"the same numbers, moved ({', '.join(tensor.derived)})", "repack": "the same codes in other bytes"}
    return kept.get(route, "the same numbers in another type")


def _codes(scheme: Scheme | DType) -> str:
    if isinstance(scheme, DType):
        return str(scheme)
    values = scheme.values
    if isinstance(values, Affine):
        return f"codes of {values.bits} bits" if values.dtype is None else str(values.dtype)
    return f"{len(values.table)} values of a table"


def _order_told(tensor: Tensor) -> str:
    """What became of act-order on the way to the target's tensor."""
    return "; ".join(text for text in (folding.told(tensor), INDEXED if INDEXED in tensor.derived else "") if text)


def _route(tensor: Tensor, target: Layout, registry: Registry) -> tuple[Route, Fidelity, str, str | None]:
    """How a tensor gets into `target`: the first of copy, repack, cast, and quantizing anew that can."""
    source = _layout_of(tensor, registry)
    if source.name == target.name:
        return "copy", "exact" if tensor.derived else "identical", "", None
    holding = held(tensor, source, target)
    if isinstance(target, DenseLayout):
        route: Route = "cast" if isinstance(source, DenseLayout) else "dequantize"
        return route, holding.fidelity, holding.reason, None
    if holding.fidelity != "lossy" and _can_pack(target):
        return "repack", holding.fidelity, holding.reason, None
    quantizer = registry.quantizer(target.name)
    if quantizer is None:
        raise ConfigError(
            f"{source.name} cannot become {target.name}: {holding.reason or 'no exact way'}, "
            f"and no quantizer for it is registered",
            tensor=tensor.name,
        )
    if isinstance(source, DenseLayout):
        return "quantize", "lossy", "", quantizer.name
    return "requantize", "lossy", holding.reason, quantizer.name


def _can_pack(layout: Layout) -> bool:
    return type(layout).pack is not Layout.pack


def _layout_of(tensor: Tensor, registry: Registry) -> Layout:
    if isinstance(tensor.body, Packed) or registry.knows_layout(tensor.layout):
        try:
            return registry.layout(tensor.layout)
        except HubError as error:
            message = f"layout {tensor.layout} cannot be decoded: {error.message}"
            raise ConfigError(message, tensor=tensor.name) from None
    span = next(iter(tensor.parts.values())).span
    raise ConfigError(
        f"weights of type {tensor.layout}, which hub does not convert",
        path=span.source.path if span else None,
        tensor=tensor.name,
        offset=span.offset if span else None,
    )


def _check_needs(entries: Sequence[Entry], registry: Registry) -> None:
    for entry in entries:
        quantizer = registry.quantizer(entry.layout) if entry.quantizer else None
        if quantizer is None:
            continue
        missing = quantizer.needs - ({"importance"} if entry.importance is not None else set())
        if missing:
            raise ConfigError(
                f"{quantizer.name} needs {', '.join(sorted(missing))}, which was not given",
                tensor=entry.name,
                remedy="--imatrix FILE gives importance" if missing == {"importance"} else None,
            )


def _check_names(entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ConfigError("two tensors of the output would have this name", tensor=entry.name)
        seen.add(entry.name)


def _laid(entry: Entry, registry: Registry) -> Laid:
    parts = registry.layout(entry.layout).parts(entry.tensor.shape)
    return Laid(entry.name, entry.tensor.shape, entry.layout, {name: spec.nbytes for name, spec in parts.items()})


def _check_files(entries: Sequence[Entry], files: Sequence[PlannedFile], registry: Registry) -> None:
    """A writer that forgets or overlaps a part is a broken plugin; find it before writing."""
    placed = {key: (file, offset) for file in files for key, offset in file.placed.items()}
    for entry in entries:
        for part, spec in registry.layout(entry.layout).parts(entry.tensor.shape).items():
            if (entry.name, part) not in placed:
                raise PluginError(f"the writer did not place part {part}", tensor=entry.name)
            file, offset = placed[entry.name, part]
            if offset < 0 or offset + spec.nbytes > file.size:
                raise PluginError(f"the writer placed part {part} outside file {file.name}", tensor=entry.name)
    for file in files:
        spans = sorted((offset, offset + len(data)) for offset, data in file.literals)
        by_name = {entry.name: entry for entry in entries}
        for (name, part), offset in file.placed.items():
            spec = registry.layout(by_name[name].layout).parts(by_name[name].tensor.shape)[part]
            spans.append((offset, offset + spec.nbytes))
        spans.sort()
        for (_, end), (begin, _) in pairwise(spans):
            if begin < end:
                raise PluginError(f"the writer's plan for file {file.name} overlaps at byte {begin}")
