"""Between a format's tensors and the canonical ones, by what the architecture says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hub.architecture import Configured, Convention, Mapped, listing
from hub.errors import ArchitectureError, ConfigError, HubError, PluginError
from hub.ir.model import Model
from hub.ir.part import Shape
from hub.ir.tensor import Tensor
from hub.ir.values import Dense
from hub.layout import DENSE
from hub.makers import MAKERS, alike, numbers
from hub.shares import Share
from hub.steps import STEPS
from hub.transforms import Join, Step, Transpose, with_shape


@dataclass(frozen=True)
class Sorted:
    """The tensors of a model under canonical names.

    Attributes:
        tensors: those that the architecture names, in the order of the file.
        dropped: (stored name, why) of those that no target needs.
        made: tensors of the file that are made from settings, by the name of their maker.
    """

    tensors: Mapping[str, Tensor]
    dropped: Sequence[tuple[str, str]]
    made: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Relation:
    """How one tensor of a format comes from canonical ones, with layers and experts spelled out.

    Attributes:
        name: the format's.
        sources: canonical names, in the order in which they are joined.
        steps: shared by all tensors of one rule.
        group: what relations have in common whose members are the same experts, or that share one source; they are
            written together.
    """

    name: str
    sources: tuple[str, ...]
    steps: tuple[Step | Join, ...]
    group: str
    make: str | None = None
    when: str | None = None

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """The format's tensor.

        Args:
            tensors: one for each of `sources`.

        Raises:
            ConfigError: the tensors do not fit together.
        """
        flow = list(tensors)
        for step in self.steps:
            flow = step.forward(flow) if isinstance(step, Join) else [step.forward(tensor) for tensor in flow]
        if len(flow) != 1:
            raise PluginError(f"the steps make {len(flow)} tensors of {len(tensors)}", tensor=self.name)
        return flow[0].renamed(self.name)

    def backward(self, tensor: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        """The canonical tensors, one for each of `sources`; `shapes` are theirs.

        Raises:
            ConfigError: the tensor does not have the rows.
        """
        at: list[list[Shape]] = []  # the shapes in front of every joining step
        level = list(shapes)
        for step in self.steps:
            at.append(level)
            if isinstance(step, Join):
                level = [step.shape(level[i : i + step.count]) for i in range(0, len(level), step.count)]
        flow = [tensor]
        for step, level in zip(reversed(self.steps), reversed(at), strict=True):
            flow = step.backward(flow, level) if isinstance(step, Join) else [step.backward(one) for one in flow]
        return flow


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
    expected = configured.expected()
    reading = Reading(model, configured, expected)
    for tensor in model.tensors.values():
        reading.take(tensor)
    reading.join_shares()
    missing = [name for name, (_, optional) in expected.items() if not optional and name not in reading.kept]
    family = configured.architecture.family
    if reading.unknown:
        raise ArchitectureError(
            f"{len(reading.unknown)} tensors that architecture {family} does not name: "
            f"{listing(sorted(reading.unknown))}",
            path=model.path,
            remedy="is the architecture in the config right?",
        )
    if missing:
        raise ArchitectureError(
            f"{len(missing)} tensors that architecture {family} needs are missing: {listing(missing)}",
            path=model.path,
        )
    return Sorted(reading.kept, reading.dropped, reading.made)


class Reading:
    """Stored tensors on their way to canonical names: `take` all, then `join_shares`.

    Attributes:
        kept: canonical tensors by name.
        dropped: (stored name, why) of what is no weight of the model.
        made: tensors that settings make, by maker.
        unknown: stored names that have no canonical one.
    """

    def __init__(self, model: Model, configured: Configured, expected: Mapping[str, tuple[Shape, bool]]) -> None:
        self.model, self.configured, self.expected = model, configured, expected
        architecture = configured.architecture
        rules = _convention(configured, model.convention) if model.convention else None
        self.canonical = rules is None or rules.canonical
        """Whether a canonical name that stands in the file is meant."""
        if rules is not None:
            self.table = _table(configured, {**rules.also, **rules.tensors})
        else:
            self.table = _table(configured, architecture.spellings) if architecture.spellings else {}
        self.kept: dict[str, Tensor] = {}
        self.dropped: list[tuple[str, str]] = []
        self.made: dict[str, Tensor] = {}
        self.unknown: list[str] = []
        self.pieces: dict[str, list[tuple[Share, Tensor]]] = {}

    def take(self, tensor: Tensor) -> None:
        """Sort in one tensor.

        A name that a convention does not know stays out even if it is a canonical one: its transforms would be
        missed, and it could take another tensor's place.
        """
        name = tensor.name
        relation = self.table.get(name)
        if relation is not None and relation.make is not None:
            self.made[relation.make] = tensor
            self.dropped.append((name, f"made again from the settings ({relation.make})"))
        elif relation is not None and (self.model.convention or name not in self.expected):
            self._undo(relation, tensor)
        elif self.canonical and (wanted := self._spelled(name)) is not None:
            upright = _upright(tensor, wanted, self.configured)
            self.keep(upright if wanted == name else upright.renamed(wanted), wanted)
        elif reason := self.model.beside.get(name) or self.configured.ignored(name):
            self.dropped.append((name, reason))
        else:
            self.unknown.append(name)

    def _spelled(self, name: str) -> str | None:
        if name in self.expected:
            return name
        for pattern, to in self.configured.architecture.renamed:
            wanted = pattern.sub(to, name)
            if wanted != name and wanted in self.expected:
                return wanted
        return None

    def _undo(self, relation: Relation, tensor: Tensor) -> None:
        unknown = [name for name in relation.sources if name not in self.expected]
        if unknown:
            self.unknown.append(tensor.name)
            return
        first = relation.steps[0] if relation.steps else None
        shapes = [self.expected[name][0] for name in relation.sources]
        try:
            if isinstance(first, Share):
                (name,) = relation.sources
                flow = [tensor]
                for step in reversed(relation.steps[1:]):
                    assert isinstance(step, Step)
                    flow = [step.backward(one) for one in flow]
                self.pieces.setdefault(name, []).append((first, flow[0]))
                return
            if not relation.steps:
                tensor = with_shape(tensor, shapes[0])
            found = relation.backward(tensor, shapes)
        except ConfigError as error:
            raise error.at(path=self.model.path, tensor=tensor.name) from None
        for name, one in zip(relation.sources, found, strict=True):
            self.keep(one.renamed(name), name)

    def keep(self, tensor: Tensor, name: str) -> None:
        """Take a canonical tensor, of the name and shape that the model must have; a subclass may take others.

        Raises:
            ConfigError: there is one of that name, or its shape is another.
        """
        if name in self.kept:
            raise ConfigError(
                f"it is {name}, and so is {self.kept[name].stored_name}",
                path=self.model.path, tensor=tensor.stored_name,
            )  # fmt: skip
        _check_shape(self.model, tensor, self.expected[name][0])
        self.kept[name] = tensor

    def join_shares(self) -> None:
        """Put canonical tensors together that the format keeps in several."""
        for name, pieces in self.pieces.items():
            pieces.sort(key=lambda piece: piece[0].order)
            try:
                joined = type(pieces[0][0]).together(pieces)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error.message}", path=self.model.path) from None
            self.keep(joined.renamed(name), name)


def _upright(tensor: Tensor, name: str, configured: Configured) -> Tensor:
    """A tensor as canonical ones are, (..., out, in), where folders have dense ones the other way round."""
    turns = name in configured.turned and isinstance(tensor.body, Dense) and len(tensor.shape) > 1
    return Transpose(None).backward(tensor) if turns else tensor


def as_kept(tensor: Tensor, layout: str, convention: str, configured: Configured) -> Tensor:
    """A tensor as a format of that convention has it in `layout`: turned where folders turn dense ones."""
    turns = tensor.name in configured.turned and layout in DENSE
    return Transpose(None).forward(tensor) if turns and is_canonical(convention, configured) else tensor


def _check_shape(model: Model, tensor: Tensor, wanted: Shape) -> None:
    if tensor.shape != wanted:
        span = next(iter(tensor.parts.values())).span
        raise ConfigError(
            f"shape {list(tensor.shape)}, the configuration makes it {list(wanted)}",
            path=span.source.path if span else model.path,
            tensor=tensor.name,
            offset=span.offset if span else None,
        )


def localise(found: Sorted, convention: str, configured: Configured) -> tuple[list[Tensor], list[tuple[str, str]]]:
    """Canonical tensors under the names and transforms of `convention`: first those that are made from
    settings, then the others in the order they came.

    Experts that become one tensor come where the last tensor of these experts stood, in the order of the table.

    Returns:
        The tensors, and (stored name, why) of those that the convention does not have.

    Raises:
        ArchitectureError: the architecture has no table for that convention, or the table lacks a tensor.
        ConfigError: the model is not one that can be told so.
    """
    for maker, tensor in found.made.items():
        _check_made(maker, tensor, configured)
    if not convention:
        return [tensor.renamed(name) for name, tensor in found.tensors.items()], []
    rules = _convention(configured, convention)
    for condition in rules.requires:
        if not condition.holds(configured.values):
            raise ConfigError(f"as {convention}: {condition.sentence(configured.values)}")
    out: list[Tensor] = []
    left_out: list[tuple[str, str]] = []
    groups: dict[str, list[Relation]] = {}
    group_of: dict[str, str] = {}
    absent = _left_out(rules, configured)
    for relation in relations(configured, convention):
        if relation.make:
            if relation.when is None or configured.evaluate(relation.when):
                out.append(MAKERS[relation.make](relation.name, configured))
            continue
        groups.setdefault(relation.group, []).append(relation)
        for source in relation.sources:
            group_of[source] = relation.group
    waiting = {
        group: {source for relation in relations for source in relation.sources if source in found.tensors}
        for group, relations in groups.items()
    }
    unnamed = [name for name in found.tensors if name not in group_of and name not in absent]
    if unnamed:
        raise ArchitectureError(f"no {convention} name is known for {listing(unnamed)}")
    for name, tensor in found.tensors.items():
        if name not in group_of:
            left_out.append((tensor.stored_name, absent[name]))
            continue
        group = group_of[name]
        waiting[group].discard(name)
        if not waiting[group]:
            out += _together(groups[group], found.tensors)
    return out, left_out


def _together(relations: Iterable[Relation], tensors: Mapping[str, Tensor]) -> Iterable[Tensor]:
    for relation in relations:
        missing = [source for source in relation.sources if source not in tensors]
        if len(missing) == len(relation.sources):
            continue
        if missing:
            raise ArchitectureError(f"{len(missing)} of {len(relation.sources)} tensors that {relation.name} "
                                    f"is made of are missing: {listing(missing)}")  # fmt: skip
        yield relation.forward([tensors[source] for source in relation.sources])


def _check_made(maker: str, tensor: Tensor, configured: Configured) -> None:
    """A tensor that does not follow from the settings would be lost.

    Raises:
        ConfigError: making it again gives other numbers.
    """
    found = numbers(tensor)
    try:
        again = MAKERS[maker].values(configured.values)
    except (HubError, KeyError):
        again = None
    if found is None or again is None or not alike(found, again):
        raise ConfigError(
            f"its numbers follow from no rope settings that hub knows ({maker}), and the target has no place for them",
            tensor=tensor.name,
        )


def notes(configured: Configured, convention: str) -> list[str]:
    """What is to be told about a model that is written by `convention`."""
    rules = configured.architecture.formats.get(convention)
    values = configured.values
    return [note.sentence(values) for note in rules.notes if not note.holds(values)] if rules else []


def relations(configured: Configured, convention: str) -> list[Relation]:
    """How every tensor of a convention comes from canonical ones.

    Raises:
        ArchitectureError: the architecture has no table for that convention.
    """
    rules = _convention(configured, convention)
    table = _table(configured, rules.tensors)
    if rules.canonical:
        told = {source for relation in table.values() for source in relation.sources} | _left_out(
            rules, configured
        ).keys()
        table |= {name: Relation(name, (name,), (), name) for name in configured.expected() if name not in told}
    return list(table.values())


def is_canonical(convention: str, configured: Configured) -> bool:
    """Whether a convention keeps config.json and canonical names, but for some that it tells otherwise."""
    return not convention or _convention(configured, convention).canonical


def spelled(model: Model, configured: Configured, found: Sorted) -> bool:
    """Whether a model has every tensor under the name that its convention writes: readers of formats that keep
    canonical names take these, too, where the format has others."""
    if not model.convention or not is_canonical(model.convention, configured):
        return True
    dropped = {name for name, _ in found.dropped}
    return model.tensors.keys() <= {relation.name for relation in relations(configured, model.convention)} | dropped


def _left_out(rules: Convention, configured: Configured) -> dict[str, str]:
    """Canonical tensors that the format does not have of this model, with the reason."""
    return {
        full: rule.reason
        for name, rule in rules.left_out.items()
        if rule.when is None or configured.evaluate(rule.when)
        for full in configured.each_layer(name)
    }


def _convention(configured: Configured, convention: str) -> Convention:
    found = configured.architecture.formats.get(convention)
    if found is None:
        raise ArchitectureError(f"architecture {configured.architecture.family} has no table for {convention}")
    return found


def _table(configured: Configured, rules: Mapping[str, Mapped]) -> dict[str, Relation]:
    """Rules with `{layer}` and `{expert}` spelled out: format's name -> relation."""
    out: dict[str, Relation] = {}
    for name, rule in rules.items():
        steps = tuple(_steps(rule, configured))
        layers = range(configured.layers) if "{layer}" in name else (0,)
        experts = range(configured.experts) if "{expert}" in name else (None,)
        for layer in layers:
            layered = [source.replace("{layer}", str(layer)) for source in rule.sources]
            for expert in experts:
                full = name.replace("{layer}", str(layer))
                if expert is None:
                    sources = _members(layered, configured.experts)
                    apart = bool(steps) and isinstance(steps[0], Share)
                    group = layered[0].partition("{expert}")[0] if apart or "{expert}" in "".join(layered) else full
                else:
                    full = full.replace("{expert}", str(expert))
                    sources = tuple(source.replace("{expert}", str(expert)) for source in layered)
                    group = full
                out[full] = Relation(full, sources, steps, group, rule.make, rule.when)
    return out


def _members(sources: Sequence[str], experts: int) -> tuple[str, ...]:
    """The tensors that a rule joins: for each expert, each source."""
    if not any("{expert}" in source for source in sources):
        return tuple(sources)
    return tuple(source.replace("{expert}", str(expert)) for expert in range(experts) for source in sources)


def _steps(rule: Mapped, configured: Configured) -> list[Step | Join]:
    try:
        return [STEPS[name](configured.evaluate(argument)) for name, argument in rule.steps]
    except KeyError as error:
        raise PluginError(f"architecture {configured.architecture.family} names an unknown step {error}") from None
