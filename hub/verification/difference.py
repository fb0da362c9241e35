"""How two models differ: settings, tensors, tokenizer; names and transforms undone.

The same comparison serves `hub diff`, which tells it, and `hub verify`, which judges it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hub import folding
from hub.errors import HubError
from hub.ir.derived import TurnedPart
from hub.ir.tensor import Tensor
from hub.ir.values import Dense
from hub.pipeline import Progress
from hub.plugins import Registry
from hub.tiles import Budget
from hub.transforms import Transpose
from hub.verification.alignment import Pair
from hub.verification.comparison import Match, TensorResult, measure
from hub.verification.diagnosis.finding import Diagnosis
from hub.verification.diagnosis.roles import Roles, roles
from hub.verification.diagnosis.settings import Differing, differing, untold
from hub.verification.diagnosis.tokens import vocabulary

if TYPE_CHECKING:
    import numpy as np

    F32Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass
class Compared:
    """A tensor of both models.

    Attributes:
        name: its canonical name.
        result: the figures; None where they cannot be had, and `note` says why.
        note: what is to be known about the comparison.
        worst: (signal over noise, row) of the rows that differ most for their size, worst first; of matrices only.
        instead: whether one side has no such tensor, and another that stands in for it was compared.
    """

    name: str
    a: Tensor
    b: Tensor
    result: TensorResult | None = None
    note: str | None = None
    worst: Sequence[tuple[float, int]] = ()
    instead: bool = False

    @property
    def equal(self) -> bool | None:
        """Whether every weight has the same bits; None where that cannot be told."""
        return None if self.result is None else self.result.unequal == 0


@dataclass
class Difference:
    """What is not the same in two models; `pair` are the two."""

    pair: Pair
    roles: Roles
    settings: Sequence[Differing]
    tensors: Sequence[Compared]
    only_a: Sequence[str]
    only_b: Sequence[str]
    tokenizer: Sequence[str]
    token_mistakes: Sequence[Diagnosis] = ()

    @property
    def same(self) -> bool:
        """Whether both have the same tensors with equal weights, and nothing else differs."""
        all_equal = all(item.equal for item in self.tensors)
        return all_equal and not (self.only_a or self.only_b or self.settings or self.tokenizer)


def compare(pair: Pair, registry: Registry, budget: Budget, progress: Progress, *, tokens: bool = True) -> Difference:
    """Compare two models.

    Args:
        tokens: whether to compare tokenizers too.

    Raises:
        HubError: weights cannot be read.
    """
    found = roles(pair.configured)
    tensors, only_a, only_b = _paired(pair, found)
    able = []
    for item in tensors:
        reason = _incomparable(item, registry)
        if reason is None:
            able.append(item)
        else:
            item.note = f"{item.note}; {reason}" if item.note else reason
    _measure(able, registry, budget, progress)
    lines, mistakes = vocabularies(pair) if tokens else ([], [])
    return Difference(pair, found, differing(pair), tensors, only_a, only_b, lines, mistakes)


def _paired(pair: Pair, found: Roles) -> tuple[list[Compared], list[str], list[str]]:
    a, b = dict(pair.a.tensors), dict(pair.b.tensors)
    only_a, only_b = [name for name in a if name not in b], [name for name in b if name not in a]
    out = [Compared(name, a[name], b[name], note=_folded(a[name], b[name])) for name in a if name in b]
    head, table = _head(found)
    if head and table in a and table in b:
        # A tied output is the embedding; one side may have it written out.
        if head in only_b:
            only_b.remove(head)
            out.append(Compared(head, a[table], b[head], note=f"the first has {table} in its place", instead=True))
        elif head in only_a:
            only_a.remove(head)
            out.append(Compared(head, a[head], b[table], note=f"the second has {table} in its place", instead=True))
    return [_as_stored(item) for item in out], only_a, [*only_b, *pair.b.unnamed]


def _as_stored(item: Compared) -> Compared:
    """Both tensors with columns as rows where the second is stored so, packed as it is: turning decodes it."""
    body = item.b.body
    if not isinstance(body, Dense) or not isinstance(body.part, TurnedPart) or item.a.shape != item.b.shape:
        return item
    turn = Transpose(True)
    return replace(item, a=turn.forward(item.a), b=turn.forward(item.b))


def _folded(a: Tensor, b: Tensor) -> str | None:
    """What is to be known where one side has act-order folded."""
    first, second = folding.told(a), folding.told(b)
    if first:
        return f"in the second: {first}"
    return f"in the first: {second}" if second else None


def _head(found: Roles) -> tuple[str | None, str | None]:
    if found.head is None or not found.head[1]:
        return None, None
    return f"{found.head[0]}.weight", f"{found.head[1]}.weight"


def _incomparable(item: Compared, registry: Registry) -> str | None:
    if item.a.shape != item.b.shape:
        return f"shapes {list(item.a.shape)} and {list(item.b.shape)}"
    for tensor in (item.a, item.b):
        if not registry.knows_layout(tensor.layout):
            return f"weights of type {tensor.layout} cannot be decoded"
    return None


def _measure(items: Sequence[Compared], registry: Registry, budget: Budget, progress: Progress) -> None:
    matches = [Match(item.a, item.b, TensorResult(item.name, math.prod(item.a.shape))) for item in items]
    measure(matches, registry, budget, progress, rows=True)
    for item, match in zip(items, matches, strict=True):
        item.result, item.worst = match.result, match.worst


def vocabularies(pair: Pair) -> tuple[list[str], list[Diagnosis]]:
    try:
        a = pair.a.tokenizer
    except HubError as error:
        return [f"the first cannot be read: {error.message}"], []
    try:
        b = pair.b.tokenizer
    except HubError as error:
        fault = Diagnosis("tokenizer cannot be read", None, error.message, "take the source's")
        return [f"the second cannot be read: {error.message}"], [fault]
    return vocabulary(a, b)


def data(found: Difference) -> dict[str, Any]:
    """A difference as plain data; `schemas/diff.schema.json` describes it."""
    from hub._version import __version__

    return {
        "hub": __version__,
        "a": _side(found.pair.a.model),
        "b": _side(found.pair.b.model),
        "settings": [{"key": item.key, "a": item.a, "b": item.b} for item in found.settings],
        "untold": [
            {"key": item.key, "side": name, "value": item.a}
            for name, side, other in (("a", found.pair.a, found.pair.b), ("b", found.pair.b, found.pair.a))
            for item in untold(side, other)
        ],
        "tensors": [_tensor(item) for item in found.tensors],
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "tokenizer": list(found.tokenizer),
    }


def _side(model: Any) -> dict[str, Any]:
    return {"path": model.path, "format": model.format, "architecture": model.architecture}


def _tensor(item: Compared) -> dict[str, Any]:
    result = item.result
    finite = result is not None and math.isfinite(result.sum_sq)
    sqnr = result.sqnr_db if result is not None else math.nan
    return {
        "name": item.name,
        "shape": list(item.a.shape),
        "a_layout": item.a.layout,
        "b_layout": item.b.layout,
        "equal": item.equal,
        "max_abs": result.max_abs if result is not None and math.isfinite(result.max_abs) else None,
        "rmse": result.rmse if result is not None and finite else None,
        "sqnr_db": round(sqnr, 3) if math.isfinite(sqnr) else None,
        "note": item.note,
    }
