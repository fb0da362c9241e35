"""Act-order folded away: columns brought together by group, and the rows that make these columns permuted alike.

`linear(silu(linear(h, gate)) * linear(h, up), down)` computes the same numbers when the columns of `down` and the rows
of `gate` and `up` are permuted together, since what stands between works on each number alone; only the order of the
sums in `down` changes. Which matrices feed which so is read off the architecture's graph. Nothing else can be folded:
rotary embeddings, attention, norms and sums with the residual stream tell one row from another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from hub.graph import Node
from hub.ir.part import row_length
from hub.ir.tensor import Tensor
from hub.regrouped import order_of, regrouped
from hub.transforms import gather_rows

if TYPE_CHECKING:
    import numpy as np

    from hub.architecture import Configured
    from hub.plugins import Registry

ELEMENTWISE = ("silu", "gelu_tanh", "gelu", "softcap", "scale", "add", "multiply")
"""Operators that treat every column alike."""
FOLDED = "act-order folded into "
"""How the step of a tensor begins whose columns are by group now."""
FOLLOWED = "rows follow the groups of "
"""How that of a tensor begins whose rows were permuted with them."""
_SAMPLE = 64
"""Rows by which it is seen whether a matrix was folded."""
_CLOSER = 0.25
"""Least part of the squared differences that must be left when columns are permuted."""


@dataclass(frozen=True)
class Feed:
    """Rows of a module whose results are the columns of another.

    Attributes:
        module: canonical name without `.weight`.
        start: the first of the rows.
    """

    module: str
    start: int = 0


@dataclass(frozen=True)
class Fold:
    """A matrix whose columns may change places.

    Attributes:
        module: canonical name of the matrix, without `.weight`.
        feeds: what must follow.
    """

    module: str
    feeds: tuple[Feed, ...]

    @property
    def weight(self) -> str:
        """The canonical name of the tensor."""
        return f"{self.module}.weight"


def foldable(configured: Configured) -> Iterator[Fold]:
    """All matrices of a model whose columns may change places, by its graph.

    Raises:
        ConfigError: the graph needs settings that are not there.
    """
    graph = configured.architecture.graph
    if graph is None:
        return
    nodes = list(graph.nodes(configured.evaluate, configured.layers))
    uses = Counter(name for node in nodes for name in (*node.weights, node.arguments.get("tied")) if name)
    # In a graph values keep their names from layer to layer; here each is known by the node that gave it.
    made: dict[str, tuple[int, int]] = {}
    inputs: list[tuple[tuple[int, int], ...]] = []
    readers: Counter[tuple[int, int]] = Counter()
    for number, node in enumerate(nodes):
        took = tuple(made.get(name, (-1, 0)) for name in node.inputs)
        inputs.append(took)
        readers.update(took)
        made.update({name: (number, place) for place, name in enumerate(node.outputs)})
    for number, node in enumerate(nodes):
        if node.op == "experts":
            yield from _experts(node, configured)
        elif node.op == "linear" and not node.arguments.get("transposed"):
            feeds = _feeds(inputs[number][0], nodes, inputs, readers)
            (module,) = node.weights
            if feeds and all(uses[name] == 1 for name in (module, *{feed.module for feed in feeds})):
                yield Fold(module, feeds)


def _experts(node: Node, configured: Configured) -> Iterator[Fold]:
    _, gate, up, down = node.weights
    for expert in range(configured.experts):
        gate_up = tuple(Feed(name.replace("{expert}", str(expert))) for name in (gate, up))
        yield Fold(down.replace("{expert}", str(expert)), gate_up)


def _feeds(
    value: tuple[int, int],
    nodes: Sequence[Node],
    inputs: Sequence[tuple[tuple[int, int], ...]],
    readers: Mapping[tuple[int, int], int],
) -> tuple[Feed, ...]:
    """The rows that `value` is made of, column by column; none where something else is in it, or reads of it."""
    found: dict[Feed, None] = {}
    seen = Counter([value])
    waiting = [value]
    while waiting:
        number, place = waiting.pop()
        if number < 0:
            return ()
        node = nodes[number]
        if node.op in ELEMENTWISE:
            fresh = [one for one in dict.fromkeys(inputs[number]) if one not in seen]
            seen.update(inputs[number])
            waiting += reversed(fresh)  # feeds come in the order in which the graph names them
        elif node.op == "linear" and not node.arguments.get("transposed"):
            found[Feed(node.weights[0])] = None
        elif node.op == "split" and (feed := _piece(node, place, inputs[number][0], nodes, readers)):
            found[feed] = None
        else:
            return ()
    return tuple(found) if all(readers[one] == count for one, count in seen.items()) else ()


def _piece(
    node: Node, place: int, of: tuple[int, int], nodes: Sequence[Node], readers: Mapping[tuple[int, int], int]
) -> Feed | None:
    """The rows of a fused matrix that are piece `place` of a split."""
    if of[0] < 0 or readers[of] != 1:
        return None
    source = nodes[of[0]]
    if source.op != "linear" or source.arguments.get("transposed"):
        return None
    return Feed(source.weights[0], sum(int(size) for size in node.arguments["sizes"][:place]))


def candidates(tensors: Mapping[str, Tensor], configured: Configured, registry: Registry) -> list[Fold]:
    """Matrices of a model that have groups by an index, and can be folded.

    Args:
        tensors: canonical ones.
    """
    packed = [name for name, tensor in tensors.items() if _order(tensor, registry) is not None]
    if not packed:
        return []
    return [fold for fold in foldable(configured) if fold.weight in packed and _there(fold, tensors)]


def _there(fold: Fold, tensors: Mapping[str, Tensor]) -> bool:
    """Whether all that feeds a matrix has the rows."""
    columns = row_length(tensors[fold.weight].shape)
    weights = [(feed, tensors.get(f"{feed.module}.weight")) for feed in fold.feeds]
    return all(t is not None and len(t.shape) == 2 and feed.start + columns <= t.rows for feed, t in weights)


def _order(tensor: Tensor, registry: Registry) -> np.ndarray[Any, Any] | None:
    return order_of(tensor, registry.layout(tensor.layout)) if registry.knows_layout(tensor.layout) else None


def folded(tensors: Mapping[str, Tensor], folds: Iterable[Fold], registry: Registry) -> dict[str, Tensor]:
    """Canonical tensors with matrices folded, all names in the order they had.

    Raises:
        HubError: an index cannot be read.
    """
    out = dict(tensors)
    for fold in folds:
        tensor = out[fold.weight]
        order = _order(tensor, registry)
        assert order is not None  # it is a candidate
        names = " and ".join(dict.fromkeys(feed.module.rpartition(".")[2] for feed in fold.feeds))
        out[fold.weight] = regrouped(tensor, registry.layout(tensor.layout), order, FOLDED + names)
        for feed in fold.feeds:
            for name in (f"{feed.module}.weight", f"{feed.module}.bias"):
                if name in out:
                    out[name] = _followed(out[name], order, feed.start, FOLLOWED + fold.module.rpartition(".")[2])
    return out


def _followed(tensor: Tensor, order: np.ndarray[Any, Any], start: int, step: str) -> Tensor:
    """A tensor with as many rows as `order` has numbers, from `start` on, in that order."""
    import numpy as np

    rows = np.arange(tensor.rows)
    rows[start : start + len(order)] = start + order
    return gather_rows(tensor, lambda low, high: rows[low:high].tolist(), step)


def told(tensor: Tensor) -> str:
    """What folding did to a tensor, in a few words; "" where nothing."""
    steps = (step for step in tensor.derived if step.startswith((FOLDED, FOLLOWED)))
    return "; ".join(dict.fromkeys(steps))


def notes(tensors: Iterable[Tensor]) -> list[str]:
    """A sentence about what was folded, if anything was."""
    names = [tensor.name for tensor in tensors if any(step.startswith(FOLDED) for step in tensor.derived)]
    if not names:
        return []
    return [
        f"act-order folded: the columns of {len(names)} matrices come by group, and the rows that feed them follow "
        f"(first {names[0]})"
    ]


def recognised(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], configured: Configured, registry: Registry
) -> Collection[Fold]:
    """Matrices with an index in `a` that `b` has with their columns by group.

    Only the order that `hub` writes is known: groups by their number, columns of a group as they were.
    """
    import numpy as np

    from hub.pipeline import weights

    out = []
    for fold in candidates(a, configured, registry):
        mine, theirs = a[fold.weight], b.get(fold.weight)
        if theirs is None or theirs.shape != mine.shape or _order(theirs, registry) is not None:
            continue
        order = _order(mine, registry)
        stop = min(mine.rows, _SAMPLE)
        try:
            x = weights(mine, registry.layout(mine.layout), 0, stop)
            y = weights(theirs, registry.layout(theirs.layout), 0, stop)
        except HubError:
            continue  # who compares them will say so
        with np.errstate(all="ignore"):
            if np.square(x[:, order] - y).sum() < _CLOSER * np.square(x - y).sum():
                out.append(fold)
    return out
