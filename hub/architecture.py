"""Architectures: the data files in `hub/architectures/`, and what they say about one model.

An architecture names a family's canonical tensors with their shapes, its settings, and for each
format that has its own habits the names, transforms and metadata. The files are read here and
nowhere else; `hub.mapping` applies them to tensors.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from hub import graph as graphs
from hub.errors import ArchitectureError, ConfigError, PluginError, printable
from hub.expression import evaluate
from hub.graph import Graph
from hub.ir.model import Model
from hub.ir.part import Shape
from hub.ir.tokenizer import TokenizerRule
from hub.rope import rope_settings

MAX_DIMENSION = 1 << 40
"""Largest size of an axis that a configuration may ask for."""


@dataclass(frozen=True)
class Setting:
    """A rule for one canonical setting.

    Attributes:
        type: int, float, bool or str.
        default: an expression over the other settings, or a number; None when it must be given.
        null: the same for a setting that is given as null, where that is not the same as leaving it out.
        max: largest allowed value; integers must be at least 1 (`zero` allows 0).
        allowed: the words allowed, for strings.
    """

    type: str
    default: Any = None
    null: Any = None
    max: float = MAX_DIMENSION
    zero: bool = False
    optional: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorRule:
    """A canonical tensor: its shape in expressions, and whether (or when) it may be absent."""

    shape: tuple[str, ...]
    optional: bool | str = False


@dataclass(frozen=True)
class Mapped:
    """How a format's tensor comes from canonical ones.

    Attributes:
        source: canonical name, None for tensors that are made from settings.
        steps: names of transforms with their arguments, in order from canonical to the format.
        make: name of the maker, for made tensors.
        when: condition for a made tensor.
    """

    source: str | None
    steps: tuple[tuple[str, str], ...] = ()
    make: str | None = None
    when: str | None = None


@dataclass(frozen=True)
class Metadatum:
    """A key of a format's metadata: its type, the expression for its value, and when it is written."""

    key: str
    type: str
    value: str
    when: str | None = None


@dataclass(frozen=True)
class Convention:
    """What a format makes of a family.

    Attributes:
        architecture: what the format calls it.
        reads: whether a file with that word is read as this family (two families can share a word).
        tensors: the format's tensor name -> where it comes from.
        metadata: keys in the order of the field's own converter.
    """

    architecture: str
    tensors: Mapping[str, Mapped]
    metadata: tuple[Metadatum, ...] = ()
    reads: bool = True


@dataclass(frozen=True)
class Architecture:
    """One family; see `schemas/architecture.schema.json` for the file.

    Attributes:
        architectures: what config.json may call the family's models; the first is what a new one says.
        model_type: `model_type` of a new config.json.
        graph: what the model computes; None for a family that cannot be run.
    """

    family: str
    summary: str
    architectures: tuple[str, ...]
    model_type: str
    settings: Mapping[str, Setting]
    rope_theta: float | None
    rope_types: tuple[str, ...]
    requires: tuple[tuple[str, str], ...]
    tensors: Mapping[str, TensorRule]
    ignored: tuple[tuple[str, str], ...]
    tokenizer: TokenizerRule
    formats: Mapping[str, Convention] = field(default_factory=dict)
    graph: Graph | None = None

    def configure(self, raw: Mapping[str, Any], *, path: str) -> Configured:
        """Check and complete the settings of a model.

        Args:
            raw: settings under canonical keys, as a reader found them.
            path: the file they come from, for messages.

        Raises:
            ConfigError: a setting is missing, of the wrong type or out of range, or settings contradict
                each other.
        """
        values: dict[str, Any] = {}
        for name, rule in self.settings.items():
            given = raw.get(name)
            if given is None and name in raw and rule.null is not None:
                given = evaluate(rule.null, values)
            if given is None and rule.default is not None:
                given = evaluate(rule.default, values)
            if given is None:
                if rule.optional:
                    continue
                raise ConfigError(f"setting {name} is missing, {self.family} needs it", path=path)
            values[name] = _checked(name, given, rule, path)
        if self.rope_types:
            values |= rope_settings(raw, values, self.rope_theta, self.rope_types, path=path)
        for condition, otherwise in self.requires:
            if not evaluate(condition, values):
                raise ConfigError(otherwise, path=path)
        return Configured(self, values)


def _checked(name: str, value: Any, rule: Setting, path: str) -> Any:
    def refuse(allowed: str) -> ConfigError:
        return ConfigError(f"setting {name} is {printable(repr(value), 60)}, allowed is {allowed}", path=path)

    if rule.type == "bool":
        if not isinstance(value, bool):
            raise refuse("true or false")
        return value
    if rule.type == "str":
        if not isinstance(value, str) or (rule.allowed and value not in rule.allowed):
            raise refuse(f"one of {', '.join(rule.allowed)}" if rule.allowed else "a string")
        return value
    number = int if rule.type == "int" else (int, float)
    low = 0 if rule.zero or rule.type == "float" else 1
    if isinstance(value, bool) or not isinstance(value, number) or not low <= value <= rule.max:
        raise refuse(f"a number of type {rule.type} from {low} to {rule.max:g}")
    return value


@dataclass(frozen=True)
class Configured:
    """An architecture with the settings of one model.

    Attributes:
        values: canonical settings, complete and checked; rope settings as `rope.theta`, `rope.type`, ...
    """

    architecture: Architecture
    values: Mapping[str, Any]

    @property
    def layers(self) -> int:
        """Number of layers, what `{layer}` in names runs over."""
        return int(self.values.get("num_hidden_layers", 0))

    def evaluate(self, expression: str, **more: Any) -> Any:
        """The value of an expression over the settings."""
        return evaluate(expression, {**self.values, **more})

    def expected(self) -> dict[str, tuple[Shape, bool]]:
        """Every canonical tensor: its shape, and whether it may be absent.

        Raises:
            ConfigError: a shape is beyond `MAX_DIMENSION`.
        """
        out: dict[str, tuple[Shape, bool]] = {}
        for name, rule in self.architecture.tensors.items():
            shape = tuple(int(self.evaluate(axis)) for axis in rule.shape)
            if any(not 0 < axis <= MAX_DIMENSION for axis in shape):
                raise ConfigError(f"the settings give tensor {name} the shape {shape}")
            optional = bool(self.evaluate(rule.optional)) if isinstance(rule.optional, str) else rule.optional
            for full in self.each_layer(name):
                out[full] = shape, optional
        return out

    def each_layer(self, name: str) -> Iterable[str]:
        """`name` for every layer, or once if it has no `{layer}`."""
        if "{layer}" not in name:
            return (name,)
        return (name.replace("{layer}", str(layer)) for layer in range(self.layers))

    def ignored(self, name: str) -> str | None:
        """Why a tensor is left out, or None."""
        for pattern, reason in self.architecture.ignored:
            if re.search(pattern, name):
                return reason
        return None


def parse(text: str, *, name: str) -> dict[str, Any]:
    """An architecture file as plain data.

    Raises:
        PluginError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PluginError(f"architecture file {name}: {error}") from None


def build(data: Mapping[str, Any]) -> Architecture:
    """An architecture from a parsed file.

    Raises:
        PluginError: a member is missing or of the wrong kind.
    """
    try:
        rope = data.get("rope", {})
        return Architecture(
            family=data["family"],
            summary=data["summary"],
            architectures=tuple(data["match"]["architectures"]),
            model_type=data["match"]["model_type"],
            settings={
                key: Setting(**{**rule, "allowed": tuple(rule.get("allowed", ()))})
                for key, rule in data["config"].items()
            },
            rope_theta=rope.get("theta"),
            rope_types=tuple(rope.get("types", ())),
            requires=tuple((rule["that"], rule["else"]) for rule in data.get("requires", ())),
            tensors={
                key: TensorRule(tuple(rule["shape"]), rule.get("optional", False))
                for key, rule in data["tensors"].items()
            },
            ignored=tuple((rule["pattern"], rule["reason"]) for rule in data.get("ignored", ())),
            tokenizer=TokenizerRule.from_table(data.get("tokenizer", {}), f"architecture {data['family']}"),
            formats={key: _convention(rule) for key, rule in data.get("formats", {}).items()},
            graph=graphs.parse(data["graph"], data["family"]) if "graph" in data else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise PluginError(f"architecture file of {data.get('family', '?')}: {error!r}") from None


def _convention(data: Mapping[str, Any]) -> Convention:
    return Convention(
        architecture=data["architecture"],
        reads=data.get("reads", True),
        tensors={
            name: Mapped(
                source=rule.get("from"),
                steps=tuple(next(iter(step.items())) for step in rule.get("steps", ())),
                make=rule.get("make"),
                when=rule.get("when"),
            )
            for name, rule in data.get("tensors", {}).items()
        },
        metadata=tuple(Metadatum(*row) for row in data.get("metadata", {}).get("list", ())),
    )


@cache
def known() -> tuple[Architecture, ...]:
    """All architectures: hub's own, and those that plugins registered.

    A registered file of a family that exists already adds its `formats` to it.
    """
    from hub.plugins import registry

    files = [
        (entry.name, entry.read_text("utf-8"))
        for entry in resources.files("hub.architectures").iterdir()
        if entry.name.endswith(".toml")
    ]
    for reference in registry().architecture_files:
        package, _, name = reference.partition(":")
        files.append((reference, (resources.files(package) / name).read_text("utf-8")))
    families: dict[str, dict[str, Any]] = {}
    for name, text in files:
        data = parse(text, name=name)
        family = data.get("family", name)
        if family in families:
            families[family].setdefault("formats", {}).update(data.get("formats", {}))
        else:
            families[family] = data
    return tuple(build(families[family]) for family in sorted(families))


def find(model: Model) -> Architecture:
    """The architecture of a model.

    Raises:
        ArchitectureError: no file describes it; says what it is called and what is known.
    """
    if model.architecture is None:
        why = "".join(f" ({note})" for note in model.notes[:1])
        raise ArchitectureError(f"the model does not say its architecture{why}", path=model.path)
    for architecture in known():
        if model.convention:
            convention = architecture.formats.get(model.convention)
            if convention and convention.reads and convention.architecture == model.architecture:
                return architecture
        elif model.architecture in architecture.architectures:
            return architecture
    names = sorted(name for a in known() for name in a.architectures)
    raise ArchitectureError(
        f"architecture {printable(model.architecture)!r} has no architecture file: its canonical tensor "
        f"names, settings, transforms and metadata are not known; known are {', '.join(names)}",
        path=model.path,
        remedy="add a file to hub/architectures, or a plugin that registers one",
    )


def listing(names: Sequence[str], limit: int = 5) -> str:
    """Names for a message: a few, and how many more."""
    shown = ", ".join(printable(name, 80) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
