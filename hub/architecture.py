"""Architectures: the data files in `hub/architectures/`, and what they say about one model.

An architecture names a family's canonical tensors with their shapes, its settings, and for each
format that has its own habits the names, transforms and metadata. The files are read here and
nowhere else; `hub.mapping` applies them to tensors.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import resources
from typing import Any

from hub import graph as graphs
from hub.errors import ArchitectureError, ConfigError, PluginError, printable
from hub.expression import evaluate
from hub.graph import Graph
from hub.ir.model import Model
from hub.ir.part import Shape
from hub.ir.tokenizer import TokenizerRule
from hub.recipe import Rule
from hub.rope import ROPE_MEMBERS, rope_settings

MAX_DIMENSION = 1 << 40
"""Largest size of an axis that a configuration may ask for."""
MAX_ITEMS = 100_000
"""Most items of a list among the settings."""
MAX_TENSORS = 1_000_000
"""Most canonical tensors, as many as a file may have."""
_EXPRESSION = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Setting:
    """A rule for one canonical setting.

    Attributes:
        type: int, float, bool, str or list.
        default: an expression over the other settings, or a number; None when it must be given. Of a list that has
            a length, the expression for one item, over the settings and `layer`, the item's number.
        null: the same for a setting that is given as null, where that is not the same as leaving it out.
        max: largest allowed value; integers must be at least 1 (`zero` allows 0).
        optional: whether it may be absent and stay so; null then says the same.
        absent: a value that says the same as leaving an optional setting out.
        when: the condition under which the setting counts; without it, it is as absent.
        allowed: the words allowed, for strings and lists of them.
        of: the type of a list's items.
        length: how many items a list must have, an expression.
        keys: what config.json may call it, the name itself where nothing stands; a new config.json says the first.
            Empty for a setting that config.json does not have.
    """

    type: str
    default: Any = None
    null: Any = None
    max: float = MAX_DIMENSION
    zero: bool = False
    optional: bool = False
    absent: Any = None
    when: str | None = None
    allowed: tuple[str, ...] = ()
    of: str = "int"
    length: str | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorRule:
    """A canonical tensor: its shape in expressions, and whether (or when) it may be absent.

    Attributes:
        turned: whether Hugging Face's folders have it the other way round, (..., in, out), where it is dense.
    """

    shape: tuple[str, ...]
    optional: bool | str = False
    turned: bool = False


@dataclass(frozen=True)
class Mapped:
    """How a format's tensor comes from canonical ones.

    Attributes:
        sources: canonical names; none for tensors that are made from settings. Where a name has ``{expert}`` and the
            format's has not, it stands for the tensors of all experts: for each expert, each source.
        steps: names of transforms with their arguments, in order from canonical to the format.
        make: name of the maker, for made tensors.
        when: condition for a made tensor.
    """

    sources: tuple[str, ...]
    steps: tuple[tuple[str, str], ...] = ()
    make: str | None = None
    when: str | None = None


@dataclass(frozen=True)
class Metadatum:
    """A key of a format's metadata.

    Attributes:
        type: the format's word for the value's type; ``bool[]`` is a list with an item for each layer.
        value: the expression for it, over the settings; of a list also over `layer`.
        when: the condition under which it is written.
        reads: the setting that the key tells when a file is read; None where `value` is that setting's name.
    """

    key: str
    type: str
    value: str
    when: str | None = None
    reads: str | None = None

    @property
    def setting(self) -> str | None:
        """The setting that the key tells, None if it tells none."""
        name = self.reads or self.value
        return name if name.replace(".", "_").isidentifier() else None


@dataclass(frozen=True)
class Condition:
    """What must hold for a model.

    Attributes:
        that: an expression over the settings, and over `layer` if `each_layer`.
        otherwise: the sentence for a model that breaks it; ``{sliding_window}`` stands for the value of an expression.
    """

    that: str
    otherwise: str
    each_layer: bool = False

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for a model's settings."""
        if not self.each_layer:
            return bool(evaluate(self.that, values))
        layers = int(values.get("num_hidden_layers", 0))
        return all(evaluate(self.that, {**values, "layer": layer}) for layer in range(layers))

    def sentence(self, values: Mapping[str, Any]) -> str:
        """`otherwise` for a model's settings."""
        return _EXPRESSION.sub(lambda match: printable(str(evaluate(match[1], values)), 40), self.otherwise)


@dataclass(frozen=True)
class LeftOut:
    """Why a format does not have a canonical tensor; `when` is the condition for it, None for always."""

    reason: str
    when: str | None = None


@dataclass(frozen=True)
class Convention:
    """What a format makes of a family.

    Attributes:
        architecture: what the format calls it; empty where it calls it as config.json does.
        canonical: whether the format keeps config.json, and canonical names but for those that `tensors` tells.
        reads: whether a file with that word is read as this family (two families can share a word); or the condition
            for it, over what the file's metadata tell and `tensors`, the names in the file.
        tensors: the format's tensor name -> where it comes from.
        also: further names that occur in files, for reading.
        metadata: keys in the order of the field's own converter.
        leading: how many of them stand in front of everything else that the format says of a model.
        defaults: what a file means by leaving a setting out, where that is not what the family means by it:
            expressions over the settings before it and `tensors`.
        requires: what a model must fulfil to be written so.
        notes: conditions under which something is to be told, with the sentence.
        left_out: canonical tensors that the format does not have, with the reason and the condition for it.
        config: members of config.json that readers of the format need besides those of the settings, as expressions
            over these.
        layouts: what the format's own tools give single tensors where a variant says another layout for most.
    """

    architecture: str
    tensors: Mapping[str, Mapped]
    also: Mapping[str, Mapped] = field(default_factory=dict)
    metadata: tuple[Metadatum, ...] = ()
    leading: int = 0
    reads: bool | str = True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[Condition, ...] = ()
    notes: tuple[Condition, ...] = ()
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    canonical: bool = False
    config: Mapping[str, str] = field(default_factory=dict)
    layouts: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """One family; see `schemas/architecture.schema.json` for the file.

    Attributes:
        architectures: what config.json may call the family's models; the first is what a new one says.
        model_type: `model_type` of a new config.json.
        graph: what the model computes; None for a family that cannot be run.
        rope_unsaid: rope settings of a config.json that has none at all; None for families where these are the default.
        rope_local_theta: the base of layers that look at a window only, for families that give them one of their own.
        renamed: patterns of names that occur in place of canonical ones, with what to replace them by.
        spellings: further tensors that occur in place of canonical ones: their name -> where they come from.
    """

    family: str
    summary: str
    architectures: tuple[str, ...]
    model_type: str
    settings: Mapping[str, Setting]
    rope_theta: float | None
    rope_types: tuple[str, ...]
    requires: tuple[Condition, ...]
    tensors: Mapping[str, TensorRule]
    ignored: tuple[tuple[re.Pattern[str], str], ...]
    tokenizer: TokenizerRule
    formats: Mapping[str, Convention] = field(default_factory=dict)
    graph: Graph | None = None
    rope_local_theta: float | None = None
    rope_unsaid: Mapping[str, Any] | None = None
    renamed: tuple[tuple[re.Pattern[str], str], ...] = ()
    spellings: Mapping[str, Mapped] = field(default_factory=dict)

    def called(self, convention: str, name: str) -> bool:
        """Whether a format of that convention calls the family so."""
        rules = self.formats.get(convention)
        if rules is None:
            return False
        return name == rules.architecture if rules.architecture else name in (*self.architectures, self.model_type)

    def _canonical(self, convention: str) -> bool:
        """Whether a convention keeps config.json."""
        return not convention or (convention in self.formats and self.formats[convention].canonical)

    def configure(
        self, raw: Mapping[str, Any], *, path: str, convention: str = "", tensors: Collection[str] = ()
    ) -> Configured:
        """Check and complete the settings of a model.

        Args:
            raw: settings as a reader found them, under canonical keys or those of config.json.
            path: the file they come from, for messages.
            convention: the convention that the model follows; its `defaults` come before the family's.
            tensors: the names of the model's tensors, which a convention's defaults may depend on.

        Raises:
            ConfigError: a setting is missing, of the wrong type or out of range, or settings contradict
                each other.
        """
        defaults = self.formats[convention].defaults if convention in self.formats else {}
        values: dict[str, Any] = {}
        for name, rule in self.settings.items():
            known = {**values, "tensors": tensors} if name in defaults else values
            value = _setting(name, rule, raw, known, defaults.get(name), path)
            if value is not None:
                values[name] = value
            elif not rule.optional:
                raise ConfigError(f"setting {name} is missing, {self.family} needs it", path=path)
        if self.rope_types:
            theta = evaluate(defaults["rope.theta"], values) if "rope.theta" in defaults else self.rope_theta
            if self.rope_unsaid and self._canonical(convention) and not any(raw.get(key) for key in ROPE_MEMBERS):
                raw = {**raw, ROPE_MEMBERS[0]: self.rope_unsaid}
            whole = evaluate(defaults.get("rope.truncate", True), values)
            values |= rope_settings(
                raw, values, theta, self.rope_types, self.rope_local_theta, whole_bounds=whole, path=path
            )
        for condition in self.requires:
            if not condition.holds(values):
                raise ConfigError(condition.sentence(values), path=path)
        return Configured(self, values, raw)


def _setting(
    name: str, rule: Setting, raw: Mapping[str, Any], values: Mapping[str, Any], default: Any, path: str
) -> Any:
    """The checked value of a setting, None where it is absent."""
    if rule.when is not None and not evaluate(rule.when, values):
        return None
    given, as_null = _given(name, rule, raw, path)
    if given is None and as_null and rule.null is not None:
        given = evaluate(rule.null, values)
    if given is None and not (as_null and rule.optional):
        default = rule.default if default is None else default
        if default is not None and rule.length is not None:
            count = _length(name, rule, values, path)
            given = [evaluate(default, {**values, "layer": layer}) for layer in range(count)]
        elif default is not None:
            given = evaluate(default, values)
    if given is None or (rule.absent is not None and given == rule.absent):
        return None
    return _checked(name, given, rule, values, path)


def _given(name: str, rule: Setting, raw: Mapping[str, Any], path: str) -> tuple[Any, bool]:
    """What the settings say, and whether they say null."""
    found = {key: raw[key] for key in dict.fromkeys((*rule.keys, name)) if key in raw}
    told = {key: value for key, value in found.items() if value is not None}
    if any(value != next(iter(told.values())) for value in told.values()):
        both = ", ".join(f"{key} is {printable(repr(value), 40)}" for key, value in told.items())
        raise ConfigError(f"{both}: for this family they are one setting", path=path)
    return next(iter(told.values()), None), bool(found)


def _length(name: str, rule: Setting, values: Mapping[str, Any], path: str) -> int:
    count = evaluate(rule.length or "0", values)
    if not isinstance(count, int) or not 0 <= count <= MAX_ITEMS:
        raise ConfigError(f"setting {name} would have {printable(repr(count))} items", path=path)
    return count


def _checked(name: str, value: Any, rule: Setting, values: Mapping[str, Any], path: str) -> Any:
    def refuse(allowed: str) -> ConfigError:
        return ConfigError(f"setting {name} is {printable(repr(value), 60)}, allowed is {allowed}", path=path)

    if rule.type == "list":
        if not isinstance(value, list | tuple) or len(value) > MAX_ITEMS:
            raise refuse(f"a list of up to {MAX_ITEMS} items of type {rule.of}")
        if rule.length is not None and len(value) != _length(name, rule, values, path):
            raise ConfigError(
                f"setting {name} has {len(value)} items, {rule.length} is {evaluate(rule.length, values)}", path=path
            )
        item = replace(rule, type=rule.of, length=None)
        return [_checked(f"{name}[{i}]", one, item, values, path) for i, one in enumerate(value)]
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
        said: what the source says, under its own names: what is no setting of the family is there, too.
    """

    architecture: Architecture
    values: Mapping[str, Any]
    said: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def layers(self) -> int:
        """Number of layers, what `{layer}` in names runs over."""
        return int(self.values.get("num_hidden_layers", 0))

    @property
    def experts(self) -> int:
        """Number of experts of a layer, what `{expert}` in names runs over."""
        return int(self.values.get("num_experts", 0))

    def evaluate(self, expression: str, **more: Any) -> Any:
        """The value of an expression over the settings."""
        return evaluate(expression, {**self.values, **more})

    def expected(self) -> dict[str, tuple[Shape, bool]]:
        """Every canonical tensor: its shape, and whether it may be absent.

        Raises:
            ConfigError: a shape is beyond `MAX_DIMENSION`, or there are more than `MAX_TENSORS`.
        """
        count = sum(
            (self.layers if "{layer}" in name else 1) * (self.experts if "{expert}" in name else 1)
            for name in self.architecture.tensors
        )
        if count > MAX_TENSORS:
            raise ConfigError(f"the settings give {count} tensors, at most {MAX_TENSORS} are allowed")
        out: dict[str, tuple[Shape, bool]] = {}
        for name, rule in self.architecture.tensors.items():
            shape = tuple(int(self.evaluate(axis)) for axis in rule.shape)
            if any(not 0 < axis <= MAX_DIMENSION for axis in shape):
                raise ConfigError(f"the settings give tensor {name} the shape {shape}")
            optional = bool(self.evaluate(rule.optional)) if isinstance(rule.optional, str) else rule.optional
            for layered in self.each_layer(name):
                for full in self.each_expert(layered):
                    out[full] = shape, optional
        return out

    @cached_property
    def turned(self) -> frozenset[str]:
        """Canonical tensors that Hugging Face's folders have the other way round where they are dense."""
        return frozenset(
            full
            for name, rule in self.architecture.tensors.items()
            if rule.turned
            for layered in self.each_layer(name)
            for full in self.each_expert(layered)
        )

    def each_layer(self, name: str) -> Iterable[str]:
        """`name` for every layer, or once if it has no `{layer}`."""
        if "{layer}" not in name:
            return (name,)
        return (name.replace("{layer}", str(layer)) for layer in range(self.layers))

    def each_expert(self, name: str) -> Iterable[str]:
        """`name` for every expert, or once if it has no `{expert}`."""
        if "{expert}" not in name:
            return (name,)
        return (name.replace("{expert}", str(expert)) for expert in range(self.experts))

    def ignored(self, name: str) -> str | None:
        """Why a tensor is left out, or None."""
        for pattern, reason in self.architecture.ignored:
            if pattern.search(name):
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
            settings={key: _rule(key, rule) for key, rule in data["config"].items()},
            rope_theta=rope.get("theta"),
            rope_local_theta=rope.get("local_theta"),
            rope_unsaid=rope.get("unsaid"),
            rope_types=tuple(rope.get("types", ())),
            requires=_conditions(data.get("requires", ())),
            tensors={
                key: TensorRule(tuple(rule["shape"]), rule.get("optional", False), rule.get("turned", False))
                for key, rule in data["tensors"].items()
            },
            ignored=tuple((re.compile(rule["pattern"]), rule["reason"]) for rule in data.get("ignored", ())),
            renamed=tuple((re.compile(rule["pattern"]), rule["to"]) for rule in data.get("renamed", ())),
            spellings=_mapped(data.get("spellings", {})),
            tokenizer=TokenizerRule.from_table(data.get("tokenizer", {}), f"architecture {data['family']}"),
            formats={key: _convention(rule) for key, rule in data.get("formats", {}).items()},
            graph=graphs.parse(data["graph"], data["family"]) if "graph" in data else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise PluginError(f"architecture file of {data.get('family', '?')}: {error!r}") from None


def _rule(name: str, given: Mapping[str, Any]) -> Setting:
    members: dict[str, Any] = {"keys": (name,), **given}
    for key in ("allowed", "keys"):
        members[key] = tuple(members.get(key, ()))
    return Setting(**members)


def _row(cells: Sequence[str]) -> Metadatum:
    key, kind, value, when, reads = (*cells, *("" for _ in range(5 - len(cells))))
    return Metadatum(key, kind, value, when or None, reads or None)


def _conditions(rules: Iterable[Mapping[str, Any]]) -> tuple[Condition, ...]:
    return tuple(Condition(rule["that"], rule["else"], rule.get("each_layer", False)) for rule in rules)


def _mapped(rules: Mapping[str, Any]) -> dict[str, Mapped]:
    out = {}
    for name, rule in rules.items():
        source = rule.get("from", ())
        out[name] = Mapped(
            sources=(source,) if isinstance(source, str) else tuple(source),
            steps=tuple(next(iter(step.items())) for step in rule.get("steps", ())),
            make=rule.get("make"),
            when=rule.get("when"),
        )
    return out


def _convention(data: Mapping[str, Any]) -> Convention:
    rows = data.get("metadata", {})
    first = rows.get("first", ())
    return Convention(
        architecture=data.get("architecture", ""),
        reads=data.get("reads", True),
        tensors=_mapped(data.get("tensors", {})),
        also=_mapped(data.get("also", {})),
        metadata=tuple(_row(row) for row in (*first, *rows.get("list", ()))),
        leading=len(first),
        defaults=data.get("defaults", {}),
        requires=_conditions(data.get("requires", ())),
        notes=_conditions(data.get("notes", ())),
        left_out={name: _left_out(rule) for name, rule in data.get("left_out", {}).items()},
        canonical=data.get("canonical", False),
        config=data.get("config", {}),
        layouts=tuple(Rule(rule["match"], rule["layout"]) for rule in data.get("layouts", ())),
    )


def _left_out(rule: str | Mapping[str, str]) -> LeftOut:
    return LeftOut(rule) if isinstance(rule, str) else LeftOut(rule["reason"], rule.get("when"))


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
            if architecture.called(model.convention, model.architecture) and _reads(model, architecture):
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


def _reads(model: Model, architecture: Architecture) -> bool:
    reads = architecture.formats[model.convention].reads
    if isinstance(reads, bool):
        return reads
    return bool(evaluate(reads, {**model.hyperparameters(architecture), "tensors": model.tensors}))


def configure(model: Model) -> Configured:
    """The architecture of a model with the model's settings.

    Raises:
        ArchitectureError: no file describes it.
        ConfigError: settings are wrong or missing.
    """
    if model.incomplete:
        raise ConfigError(model.incomplete, path=model.config_path or model.path)
    architecture = find(model)

    def of(raw: Mapping[str, Any]) -> Configured:
        return architecture.configure(
            raw,
            path=model.config_path or model.path,
            convention=model.convention,
            tensors=model.tensors.keys(),
        )

    raw = model.hyperparameters(architecture)
    configured = of(raw)
    told = _recovered(model, configured)
    return of({**raw, "rope_parameters": {**raw.get("rope_parameters", {}), **told}}) if told else configured


def _recovered(model: Model, configured: Configured) -> dict[str, Any]:
    """Rope settings that a format keeps in no key but in tensors that were made from them."""
    from hub.makers import MAKERS, numbers

    convention = configured.architecture.formats.get(model.convention)
    out: dict[str, Any] = {}
    for name, rule in convention.tensors.items() if convention else ():
        if rule.make is None or name not in model.tensors or rule.make not in MAKERS:
            continue
        found = numbers(model.tensors[name])
        if found is not None:
            out |= MAKERS[rule.make].recover(found, configured.values)
    return out


def listing(names: Sequence[str], limit: int = 5) -> str:
    """Names for a message: a few, and how many more."""
    shown = ", ".join(printable(name, 80) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
