"""What must hold for a graph before anything in it is believed: versions, one name for one value, no cycles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from typing import Final

from hub.api import FormatError, printable
from hub_onnx.model import Graph, ModelProto, Node

OPSETS: Final = range(1, 29)
"""Versions of ONNX's own operators that hub knows; 28 came with onnx 1.23."""
IR_VERSIONS: Final = range(3, 15)
_KINDS: Final = {
    "int": (
        "axis", "block_size", "K", "N", "bits", "transA", "transB", "to", "weight_prepacked", "gather_axis",
        "quantize_axis", "accuracy_level", "local_window_size",
    ),
    "float": ("alpha", "beta", "epsilon", "scale", "softcap"),
    "ints": ("perm",),
}  # fmt: skip
"""Attributes that hub looks at, by what they must be."""
_KIND_OF: Final = {name: kind for kind, names in _KINDS.items() for name in names}
_LEAST: Final = {
    "MatMulNBits": 3, "GatherBlockQuantized": 3, "QLinearMatMul": 5,
    **dict.fromkeys(("MatMul", "FusedMatMul", "Gemm", "Gather", "DequantizeLinear", "QuantizeLinear", "MatMulInteger",
                     "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "Mul", "Add", "Attention"), 2),
    **dict.fromkeys(("RMSNormalization", "LayerNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization",
                     "SkipSimplifiedLayerNormalization", "GroupQueryAttention", "MultiHeadAttention"), 2),
    **dict.fromkeys(("Cast", "Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze"), 1),
}  # fmt: skip
"""Fewest inputs of operators that weights go through."""


def check(model: ModelProto, path: str) -> None:
    """Check versions and all graphs of a model.

    Raises:
        FormatError: a version that is not known, a value that is made twice or nowhere, a cycle.
    """
    if model.ir_version not in IR_VERSIONS:
        raise FormatError(
            f"IR version {model.ir_version}, known are {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}", path=path, offset=0
        )
    version = model.opsets.get("")
    if version is None:
        raise FormatError("it does not say its version of ONNX's operators", path=path)
    if version not in OPSETS:
        raise FormatError(
            f"operator set {version}, known are {OPSETS[0]} to {OPSETS[-1]}",
            path=path,
            remedy="convert it with onnx.version_converter",
        )
    waiting: list[tuple[Graph, frozenset[str]]] = [(model.graph, frozenset())]
    while waiting:
        graph, outside = waiting.pop()
        known = outside | _check_graph(graph, outside, path)
        for node in graph.nodes:
            waiting += [(inner, known) for inner in subgraphs(node)]


def subgraphs(node: Node) -> list[Graph]:
    """The graphs in a node's attributes: branches of If, bodies of Loop."""
    return [attribute.value for attribute in node.attributes.values() if attribute.kind == "graph"]


def named(node: Node) -> str:
    """A node for a message."""
    return f"node {printable(node.name or node.op, 120)} ({printable(node.op, 40)})"


def _check_graph(graph: Graph, outside: Set[str], path: str) -> frozenset[str]:
    """The names of all values of a graph."""
    known: set[str] = set()
    for tensor in graph.initializers:
        if not tensor.name:
            raise FormatError("an initializer without a name", path=path)
        if tensor.name in known:
            raise FormatError("two initializers have this name", path=path, tensor=tensor.name)
        known.add(tensor.name)
    _take((value.name for value in graph.inputs), set(), "input", path)
    known |= {value.name for value in graph.inputs}
    made = set(known)
    for node in graph.nodes:
        _check_node(node, path)
        _take((name for name in node.outputs if name), made, f"output of {named(node)}", path)
    _check_order(graph, known | outside, made | outside, path)
    for value in graph.outputs:
        if value.name not in made and value.name not in outside:
            raise FormatError(f"nothing makes output {printable(value.name, 80)!r}", path=path)
    return frozenset(made)


def _check_node(node: Node, path: str) -> None:
    """Inputs and attributes that are not what the operator has; of those that weights go through."""
    least = _LEAST.get(node.op)
    if least is None or node.domain not in ("", "com.microsoft"):
        return
    if len(node.inputs) < least or not node.outputs:
        raise FormatError(
            f"{named(node)} has {len(node.inputs)} inputs and {len(node.outputs)} outputs, it needs {least} and 1",
            path=path,
        )
    for name, attribute in node.attributes.items():
        wanted = _KIND_OF.get(name)
        if wanted is not None and attribute.kind != wanted:
            raise FormatError(f"{named(node)}: attribute {name} is of kind {attribute.kind}, not {wanted}", path=path)


def _take(names: Iterable[str], taken: set[str], what: str, path: str) -> None:
    for name in names:
        if name in taken:
            raise FormatError(f"{what} {printable(name, 80)!r} is a value that is there already", path=path)
        taken.add(name)


def _check_order(graph: Graph, known: Set[str], made: Set[str], path: str) -> None:
    """Refuse what is made nowhere, and nodes that wait for one another; nodes in another order are fine."""
    ready = set(known)
    needs: dict[int, int] = {}
    users: dict[str, list[int]] = {}
    queue: deque[int] = deque()
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name and name not in made:
                raise FormatError(f"nothing makes {printable(name, 80)!r}, an input of {named(node)}", path=path)
        missing = {name for name in node.inputs if name and name not in ready}
        if not missing:
            # Nodes come in order as a rule, and then this is all.
            ready.update(node.outputs)
            continue
        needs[i] = len(missing)
        for name in missing:
            users.setdefault(name, []).append(i)
    queue.extend(i for i, node in enumerate(graph.nodes) if i not in needs)
    while queue:
        for name in graph.nodes[queue.popleft()].outputs:
            for user in users.pop(name, ()):
                needs[user] -= 1
                if not needs[user]:
                    del needs[user]
                    queue.append(user)
    if needs:
        raise FormatError(f"the graph has a cycle, {named(graph.nodes[min(needs)])} is part of it", path=path)
