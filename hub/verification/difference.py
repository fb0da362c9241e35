"""How two models differ: settings, tensors, tokenizer; names and transforms undone.

The same comparison serves `hub diff`, which tells it, and `hub verify`, which judges it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hub import folding
from hub.errors import HubError
from hub.ir.derived import TurnedPart
from hub.ir.tensor import Tensor
from hub.ir.values import Dense
from hub.pipeline import Progress, run_all, weights
from hub.plugins import Registry
from hub.tiles import Budget, step, tiles
from hub.transforms import Transpose
from hub.verification.alignment import Pair
from hub.verification.diagnosis.finding import Diagnosis
from hub.verification.diagnosis.roles import Roles, roles
from hub.verification.diagnosis.settings import Differing, differing, untold
from hub.verification.diagnosis.tokens import vocabulary
from hub.verification.verifier import TensorResult

if TYPE_CHECKING:
    import numpy as np

    from hub.kernels import Difference as Counted

    F32Array = np.ndarray[Any, np.dtype[np.float32]]

WORST = 64
"""Rows of a tensor that are remembered as the worst."""
QUIET = 1e-3
"""Share of the usual energy below which a row is not among them."""


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


_Tile = tuple[Compared, int, "Counted", list[tuple[float, int]]]


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
    progress.start("verify", sum(item.b.nbytes for item in items))
    for item in items:
        item.result = TensorResult(item.name, math.prod(item.a.shape))

    def units() -> Iterable[Callable[[], _Tile]]:
        for item in items:
            first, second = registry.layout(item.a.layout), registry.layout(item.b.layout)
            rows = math.lcm(step(item.a, first), step(item.b, second))
            for start, stop in tiles(item.a, rows, budget):
                yield lambda i=item, x=start, y=stop: _tile(i, registry, x, y)  # type: ignore[misc]

    def done(got: _Tile) -> None:
        item, amount, counted, worst = got
        assert item.result is not None
        item.result.add(*counted)
        item.worst = sorted([*item.worst, *worst])[:WORST]
        progress.advance(amount)

    run_all(units(), budget.threads, done)


def _tile(item: Compared, registry: Registry, start: int, stop: int) -> _Tile:
    from hub.kernels import compare as kernel

    a = weights(item.a, registry.layout(item.a.layout), start, stop)
    b = weights(item.b, registry.layout(item.b.layout), start, stop)
    counted = kernel(a, b)
    worst = _worst(a, b, start) if counted.unequal and a.ndim > 1 else []
    return item, item.b.nbytes * (stop - start) // max(1, item.b.rows), counted, worst


def _worst(a: F32Array, b: F32Array, start: int) -> list[tuple[float, int]]:
    """(signal over noise, row) of the worst rows of a tile, but for rows next to nothing: their scales underflow."""
    import numpy as np

    with np.errstate(all="ignore"):
        difference = a - b
        noise = np.einsum("ij,ij->i", difference, difference)
        signal = np.einsum("ij,ij->i", a, a)
        ratio = np.where(noise > 0, signal / noise, np.inf)
        ratio[~np.isfinite(noise)] = 0.0
        ratio[signal < QUIET * signal.mean()] = np.inf
    rows = np.argsort(ratio, kind="stable")[:WORST]
    return [(float(ratio[row]), start + int(row)) for row in rows if np.isfinite(ratio[row])]


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
