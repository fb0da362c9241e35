"""How much the inputs of every weight matrix weigh: sums of squared activations, for quantizers that weight errors.

The figures are those of llama-imatrix (tools/imatrix/imatrix.cpp of llama.cpp 0c1e570): over all tokens of all chunks,
for each matrix the sum of squares of every input column and the number of rows it met; of experts for each its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import hub_native
from hub.architecture import Configured
from hub.errors import UsageError, WeightError
from hub.format import Importance, ImportanceFile
from hub.graph import expert_name
from hub.mapping import Relation, relations
from hub.runner.slices import head_slices
from hub.transforms import Join, Stack

if TYPE_CHECKING:
    from hub.pipeline import Progress
    from hub.runner import Runner

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]
    F64Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Moments:
    """What met a matrix, or each of those of a tensor of all experts.

    Attributes:
        sums: (matrices, in) f64 of squared inputs.
        counts: (matrices,) of rows.
    """

    sums: F64Array
    counts: np.ndarray[Any, np.dtype[np.int64]]


class Collector:
    """Listens to a runner's products.

    Args:
        wanted: canonical names of the tensors that are of interest.
        stacks: how many matrices there are in tensors of all experts, as `stacks` gives it.

    Attributes:
        moments: by canonical tensor name, of those that were met.
    """

    def __init__(self, wanted: frozenset[str], stacks: Mapping[str, int]) -> None:
        self.moments: dict[str, Moments] = {}
        self._places = {name.removesuffix(".weight"): (name, 0, 1) for name in wanted if name.endswith(".weight")}
        for name in wanted & stacks.keys():
            self._places |= {expert_name(name, i): (name, i, stacks[name]) for i in range(stacks[name])}
        self._last: tuple[F32Array, F64Array] | None = None

    def __call__(self, module: str, x: F32Array) -> None:
        """Count in the input of a module, (tokens, in) f32."""
        if module not in self._places:
            return
        name, which, of = self._places[module]
        found = self.moments.get(name)
        if found is None:
            found = self.moments[name] = Moments(np.zeros((of, x.shape[1])), np.zeros(of, np.int64))
        found.sums[which] += self._squares(x)
        found.counts[which] += len(x)

    def _squares(self, x: F32Array) -> F64Array:
        # Queries, keys and values have one input; what was summed last is not summed again.
        if self._last is None or self._last[0] is not x:
            out = np.zeros(x.shape[1])
            hub_native.sum_squares(np.ascontiguousarray(x), out)
            self._last = x, out
        return self._last[1]


def stacks(configured: Configured) -> dict[str, int]:
    """Canonical tensors with a matrix for each expert, and how many these are."""
    graph = configured.architecture.graph
    nodes = graph.nodes(configured.evaluate, configured.layers) if graph else ()
    fused = [node for node in nodes if node.op == "fused_experts"]
    return {name: int(node.arguments["count"]) for node in fused for name in node.weights[1:]}


def told(configured: Configured, writer: ImportanceFile, *, output: bool) -> list[Relation]:
    """The tensors that a format tells the importance of, with what they are made of, sorted by name.

    Args:
        output: whether the output matrix is one of them.

    Raises:
        ArchitectureError: the family has no names in that format.
    """
    found = relations(configured, writer.convention)
    covered = [relation for relation in found if relation.make is None and writer.covers(relation.name, output=output)]
    return sorted(covered, key=lambda relation: relation.name.encode())


def sources(found: Sequence[Relation]) -> frozenset[str]:
    """Canonical names of what tensors are made of."""
    return frozenset(source for relation in found for source in relation.sources)


def run(runner: Runner, chunks: Sequence[Ids], *, output: bool, progress: Progress) -> None:
    """Run all chunks.

    Args:
        output: whether the output matrix is run too.

    Raises:
        HubError: they cannot be run, or give numbers that are not finite.
    """
    progress.start("run", sum(map(len, chunks)) * runner.weight_bytes)
    for ids in chunks:
        hidden = runner.hidden(ids)
        for part in head_slices(0, len(hidden) if output else 0, runner.vocab_size):
            runner.head(hidden[part])
        progress.advance(len(ids) * runner.weight_bytes)


def localised(found: Sequence[Relation], moments: Mapping[str, Moments], path: str) -> list[Importance]:
    """What was met under the names of a format, without tensors that nothing met.

    Raises:
        UsageError: nothing met any of them.
        WeightError: activations are not finite, or squared beyond every range.
    """
    out = [joined for relation in found if (joined := _joined(relation, moments)) is not None]
    if not out:
        raise UsageError("the model has no matrix that the format tells the importance of", path=path)
    for item in out:
        if not np.isfinite(item.sums).all():
            raise WeightError("the activations that meet it are not finite", path=path, tensor=item.name)
    return out


def _joined(relation: Relation, moments: Mapping[str, Moments]) -> Importance | None:
    """The sums of a tensor that is made of several: stacked ones keep theirs, any other way they share an input."""
    met = [moments.get(source) for source in relation.sources]
    width = next((one.sums.shape[1] for one in met if one is not None), None)
    if width is None:
        return None
    flow = [(np.zeros((1, width)), np.zeros(1, np.int64)) if one is None else (one.sums, one.counts) for one in met]
    for step in relation.steps:
        count = step.count if isinstance(step, Join) else 1
        groups = [flow[i : i + count] for i in range(0, len(flow), count)]
        if isinstance(step, Stack):
            flow = [tuple(np.concatenate([one[k] for one in group]) for k in (0, 1)) for group in groups]  # type: ignore[misc]
        else:
            flow = [group[0] for group in groups]
    (sums, counts), *_ = flow
    return Importance(relation.name, sums, counts)
