"""Between a format's tensors and the canonical ones, by what the architecture says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.architecture import Configured, Mapped, listing
from hub.errors import ArchitectureError, ConfigError, PluginError
from hub.ir.model import Model
from hub.ir.part import Shape
from hub.ir.tensor import Tensor
from hub.transforms import MAKERS, STEPS, Step


@dataclass(frozen=True)
class Sorted:
    """The tensors of a model under canonical names.

    Attributes:
        tensors: those that the architecture names, in the order of the file.
        dropped: (stored name, why) of those that no target needs.
    """

    tensors: Mapping[str, Tensor]
    dropped: Sequence[tuple[str, str]]


def canonical(model: Model, configured: Configured) -> Sorted:
    """The canonical tensors of `model`, checked against the architecture.

    Raises:
        ArchitectureError: tensors that the architecture does not name, or that it misses.
        ConfigError: a shape that contradicts the settings.
    """
    if configured.layers > len(model.tensors):
        raise ConfigError(
            f"the settings say {configured.layers} layers, the model has {len(model.tensors)} tensors in all",
            path=model.path,
        )
    renamed, unnamed, dropped = _undo(model, configured) if model.convention else (dict(model.tensors), [], [])
    expected = configured.expected()
    kept: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name in unnamed:
        if reason := configured.ignored(name):
            dropped.append((name, reason))
        else:
            unknown.append(name)
    for name, tensor in renamed.items():
        if name in expected:
            _check_shape(model, tensor, expected[name][0])
            kept[name] = tensor
        elif reason := configured.ignored(name):
            dropped.append((name, reason))
        else:
            unknown.append(tensor.name)
    missing = [name for name, (_, optional) in expected.items() if not optional and name not in kept]
    family = configured.architecture.family
    if unknown:
        raise ArchitectureError(
            f"{len(unknown)} tensors that architecture {family} does not name: {listing(sorted(unknown))}",
            path=model.path,
            remedy="is the architecture in the config right?",
        )
    if missing:
        raise ArchitectureError(
            f"{len(missing)} tensors that architecture {family} needs are missing: {listing(missing)}",
            path=model.path,
        )
    return Sorted(kept, dropped)


def _check_shape(model: Model, tensor: Tensor, wanted: Shape) -> None:
    if tensor.shape != wanted:
        span = next(iter(tensor.parts.values())).span
        raise ConfigError(
            f"shape {list(tensor.shape)}, the configuration makes it {list(wanted)}",
            path=span.source.path if span else model.path,
            tensor=tensor.name,
            offset=span.offset if span else None,
        )


def localise(tensors: Mapping[str, Tensor], convention: str, configured: Configured) -> list[Tensor]:
    """Canonical tensors under the names and transforms of `convention`: first those that are made from
    settings, then the others in the order they came.

    Raises:
        ArchitectureError: the architecture has no table for that convention, or the table lacks a tensor.
    """
    if not convention:
        return [tensor.renamed(name) for name, tensor in tensors.items()]
    rules: dict[str, tuple[str, Mapped]] = {}
    out: list[Tensor] = []
    for name, rule in _table(configured, convention).items():
        if rule.source is not None:
            rules[rule.source] = name, rule
        elif rule.make and (rule.when is None or configured.evaluate(rule.when)):
            out.append(MAKERS[rule.make](name, configured))
    unnamed = [name for name in tensors if name not in rules]
    if unnamed:
        raise ArchitectureError(f"no {convention} name is known for {listing(unnamed)}")
    for canonical_name, tensor in tensors.items():
        name, rule = rules[canonical_name]
        for step in _steps(rule, configured):
            tensor = step.forward(tensor)
        out.append(tensor.renamed(name))
    return out


def _undo(model: Model, configured: Configured) -> tuple[dict[str, Tensor], list[str], list[tuple[str, str]]]:
    """Tensors under canonical names, names that the convention does not know, and (name, why) of those not needed.

    A name that the convention does not know stays out even if it is a canonical one: its transforms would be missed,
    and it could take another tensor's place.
    """
    table = _table(configured, model.convention)
    out: dict[str, Tensor] = {}
    unnamed: list[str] = []
    dropped: list[tuple[str, str]] = []
    for name, tensor in model.tensors.items():
        rule = table.get(name)
        if rule is None:
            unnamed.append(name)
        elif rule.source is None:
            dropped.append((name, f"made again from the settings ({rule.make})"))
        else:
            for step in reversed(_steps(rule, configured)):
                tensor = step.backward(tensor)
            out[rule.source] = tensor.renamed(rule.source)
    return out, unnamed, dropped


def _table(configured: Configured, convention: str) -> dict[str, Mapped]:
    """The table of a convention with `{layer}` spelled out: format's name -> rule."""
    found = configured.architecture.formats.get(convention)
    if found is None:
        raise ArchitectureError(f"architecture {configured.architecture.family} has no table for {convention}")
    out: dict[str, Mapped] = {}
    for name, rule in found.tensors.items():
        sources = [rule.source] if rule.source is None else configured.each_layer(rule.source)
        for full, source in zip(configured.each_layer(name), sources, strict=True):
            out[full] = Mapped(source, rule.steps, rule.make, rule.when)
    return out


def _steps(rule: Mapped, configured: Configured) -> list[Step]:
    try:
        return [STEPS[name](configured.evaluate(argument)) for name, argument in rule.steps]
    except KeyError as error:
        raise PluginError(f"architecture {configured.architecture.family} names an unknown step {error}") from None
