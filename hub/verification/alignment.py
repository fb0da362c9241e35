"""Two models brought to one set of names: canonical tensors of both, whatever their formats.

The names and transforms of the second model are undone with the settings of the *first* wherever that is possible, so
that a wrong setting shows as a wrong setting and not as a tensor of another shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hub import folding, mapping
from hub.architecture import Architecture, Configured, configure
from hub.errors import ArchitectureError, HubError
from hub.ir.model import Model
from hub.ir.part import Shape
from hub.ir.tensor import Tensor
from hub.ir.tokenizer import Tokenizer
from hub.plugins import registry


@dataclass
class Side:
    """One of two models that are compared.

    Attributes:
        configured: its own settings; None where it has none, or where they contradict each other.
        tensors: under canonical names, in the order of the file; with act-order folded where the other side has it so.
        made: tensors that were computed from settings (rotary factors), by the name of their maker.
        unnamed: stored names that have no canonical one.
        faults: why its settings or a tensor could not be taken as they are, one line each.
    """

    model: Model
    configured: Configured | None
    tensors: Mapping[str, Tensor]
    made: Mapping[str, Tensor] = field(default_factory=dict)
    unnamed: Sequence[str] = ()
    faults: Sequence[str] = ()

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer.

        Raises:
            HubError: it is damaged.
        """
        return self.model.load_tokenizer(self.configured.architecture if self.configured else None)


@dataclass
class Pair:
    """Two models side by side; `a` is the one to trust.

    Attributes:
        configured: the settings by which names and transforms of both were undone; None where neither side has an
            architecture and names were taken as they stand.
    """

    a: Side
    b: Side
    configured: Configured | None

    @property
    def folded(self) -> bool:
        """Whether act-order had to be folded, so that sums of equal numbers come in another order."""
        return any(folding.told(tensor) for side in (self.a, self.b) for tensor in side.tensors.values())


def align(a: Model, b: Model) -> Pair:
    """Bring two opened models together.

    Raises:
        HubError: `a` is not sound, or neither model says what its names mean.
    """
    mine, theirs, why = configure(a) if a.architecture else None, *_tolerant(b)
    base = mine or theirs
    if base is None:
        if a.convention != b.convention:
            raise ArchitectureError(
                f"neither says its architecture, so names of {a.format} and {b.format} cannot be brought together",
                path=a.path,
            )
        return Pair(Side(a, None, dict(a.tensors)), Side(b, None, dict(b.tensors)), None)
    if mine is not None:
        found = mapping.canonical(a, mine)
        side_a = Side(a, mine, found.tensors, found.made)
    else:
        side_a = _loose(a, None, base, ())
    undo = base if _speaks(base.architecture, b) else theirs
    if undo is None:
        raise ArchitectureError(f"its names are not those of {base.architecture.family}", path=b.path, remedy=why)
    return _folded(Pair(side_a, _loose(b, theirs, undo, (why,) if why else ()), base), base)


def _folded(pair: Pair, configured: Configured) -> Pair:
    """The pair with act-order folded in the one where the other has it so."""
    plugins = registry()
    for mine, other in ((pair.a, pair.b), (pair.b, pair.a)):
        folds = folding.recognised(mine.tensors, other.tensors, configured, plugins)
        if folds:
            mine.tensors = folding.folded(mine.tensors, folds, plugins)
    return pair


def _tolerant(model: Model) -> tuple[Configured | None, str | None]:
    """Settings, or None and why not."""
    if model.architecture is None:
        return None, None
    try:
        return configure(model), None
    except HubError as error:
        return None, error.message


def _speaks(architecture: Architecture, model: Model) -> bool:
    """Whether a model's names can be read by that family's tables."""
    if not model.convention:
        return True
    if model.architecture is None:
        return model.convention in architecture.formats
    return architecture.called(model.convention, model.architecture)


def _loose(model: Model, own: Configured | None, by: Configured, faults: Sequence[str]) -> Side:
    """The canonical tensors of a model of which nothing is certain: what does not fit is listed, not refused."""
    reading = _Tolerant(model, by, by.expected())
    for tensor in model.tensors.values():
        reading.take(tensor)
    reading.finish()
    return Side(model, own, reading.kept, reading.made, reading.unknown, (*faults, *reading.faults))


class _Tolerant(mapping.Reading):
    """Lists what `canonical` refuses, and keeps tensors of any shape."""

    def __init__(self, model: Model, configured: Configured, expected: Mapping[str, tuple[Shape, bool]]) -> None:
        super().__init__(model, configured, expected)
        self.faults: list[str] = []

    def take(self, tensor: Tensor) -> None:
        try:
            super().take(tensor)
        except HubError as error:
            self.faults.append(str(error))

    def finish(self) -> None:
        """Put together what the format keeps in several tensors."""
        try:
            self.join_shares()
        except HubError as error:
            self.faults.append(str(error))

    def keep(self, tensor: Tensor, name: str) -> None:
        self.kept.setdefault(name, tensor)
