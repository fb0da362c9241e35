"""Where the numbers of a graph's values come from: the way back from an operator to the tensors that it is given.

`Scope` knows who makes a value and who uses it. `follow` walks back from an input through operators that only move
numbers, or widen them, and through DequantizeLinear, to the constant behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from hub.api import Shape
from hub_onnx.check import subgraphs
from hub_onnx.files import FLOATS
from hub_onnx.model import Graph, Initializer, Node
from hub_onnx.proto import DataType

MAX_STEPS: Final = 64
"""Most operators between a constant and the one that uses it."""


class Scope:
    """A graph's values by name; those of graphs around it are seen from inside.

    Attributes:
        outer: the graph around this one.
    """

    def __init__(self, graph: Graph, outer: Scope | None = None) -> None:
        self.graph, self.outer = graph, outer
        self._tensors = {tensor.name: tensor for tensor in graph.initializers}
        self._makers: dict[str, Node] = {}
        self._users: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in filter(None, node.outputs):
                self._makers[name] = node
            for name in filter(None, node.inputs):
                self._users.setdefault(name, []).append(node)

    def constant(self, name: str) -> Initializer | None:
        """The tensor that a value is, if it is a constant one."""
        found = self._tensors.get(name)
        if found is not None:
            return found
        node = self._makers.get(name)
        if node is not None:
            value = node.get("value", None) if node.op == "Constant" else None
            return replace(value, name=name) if isinstance(value, Initializer) else None
        return self.outer.constant(name) if self.outer else None

    def maker(self, name: str) -> Node | None:
        """The node that gives a value."""
        found = self._makers.get(name)
        return found if found is not None or self.outer is None else self.outer.maker(name)

    def users(self, name: str) -> list[Node]:
        """The nodes of this graph that take a value."""
        return self._users.get(name, [])


def scopes(graph: Graph) -> Iterator[Scope]:
    """A graph and all graphs inside it, outer ones first."""
    waiting = [Scope(graph)]
    while waiting:
        scope = waiting.pop(0)
        yield scope
        for node in scope.graph.nodes:
            waiting += [Scope(inner, scope) for inner in subgraphs(node)]


@dataclass(frozen=True)
class Scaled:
    """How codes become numbers.

    Attributes:
        scale: one number, or one for each index or block along `axis`.
        zero: the same in the codes' type, or None.
        axis: of the stored codes.
        block: numbers that share a scale along `axis`; 0 where each index has its own.
    """

    scale: Initializer
    zero: Initializer | None
    axis: int
    block: int = 0


@dataclass(frozen=True)
class Traced:
    """A constant behind an input.

    Attributes:
        tensor: the numbers, or the codes.
        dims: its shape, less what operators on the way added or dropped.
        turned: whether the input has its two axes swapped.
        scaled: how codes become numbers; None for plain numbers.
        added: constants that were added to it on the way.
        narrowed: whether its numbers are rounded on the way.
    """

    tensor: Initializer
    dims: Shape
    turned: bool = False
    scaled: Scaled | None = None
    added: tuple[Initializer, ...] = ()
    narrowed: bool = False


def follow(scope: Scope, name: str) -> Traced | None:
    """The constant behind a value; None where there is none, or something else is done with it on the way."""
    turned = narrowed = False
    scaled: Scaled | None = None
    added: list[Initializer] = []
    shapes: list[tuple[int, ...]] = []
    for _ in range(MAX_STEPS):
        tensor = scope.constant(name)
        if tensor is not None:
            dims = matrix(tensor.dims)
            if any(_ones_dropped(shape) != _ones_dropped(dims) for shape in shapes):
                return None
            return Traced(tensor, dims, turned, scaled, tuple(added), narrowed)
        node = scope.maker(name)
        if node is None:
            return None
        name = node.inputs[0] if node.inputs else ""
        match node.op:
            case "Identity" | "Squeeze" | "Unsqueeze":
                pass
            case "Reshape":
                shape = integers(scope, node.inputs[1]) if len(node.inputs) > 1 else None
                if shape is None or -1 in shape or 0 in shape:
                    return None
                shapes.append(shape[::-1] if turned else shape)
            case "Cast":
                to = node.get("to", 0)
                if to not in FLOATS:
                    return None
                narrowed |= scaled is None and to in (DataType.FLOAT16, DataType.BFLOAT16)
            case "Transpose":
                order = node.get("perm", None)
                if order is not None and order == tuple(range(len(order))):
                    continue
                if scaled is not None or not (order is None or _swaps(order)):
                    return None
                turned = not turned
            case "DequantizeLinear" if scaled is None:
                scaled = scaling(scope, node)
                if scaled is None:
                    return None
            case "Add" if scaled is None:
                found = single(scope, node)
                if found is None:
                    return None
                which, constant = found
                added.append(constant)
                name = node.inputs[1 - which]
            case _:
                return None
    return None


def scaling(scope: Scope, node: Node) -> Scaled | None:
    """The constants of a DequantizeLinear."""
    scale = follow(scope, node.inputs[1]) if len(node.inputs) > 1 else None
    if scale is None or scale.turned or scale.scaled or scale.added:
        return None
    zero = None
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = scope.constant(node.inputs[2])
        if zero is None:
            return None
    return Scaled(scale.tensor, zero, node.get("axis", 1), node.get("block_size", 0))


def integers(scope: Scope, name: str) -> tuple[int, ...] | None:
    """The numbers of a small constant of 64-bit integers, as shapes are."""
    tensor = scope.constant(name)
    if tensor is None or tensor.data_type != DataType.INT64 or tensor.inline is None:
        return None
    data = tensor.inline
    return tuple(int.from_bytes(data[i : i + 8], "little", signed=True) for i in range(0, len(data) - 7, 8))


def matrix(dims: tuple[int, ...]) -> Shape:
    """A shape without leading axes of length 1 beyond the second last."""
    while len(dims) > 2 and dims[0] == 1:
        dims = dims[1:]
    return dims


def single(scope: Scope, node: Node) -> tuple[int, Initializer] | None:
    """Which input of a node of two inputs is one constant number, and that number; None where neither is."""
    if len(node.inputs) != 2:
        return None
    for which, name in enumerate(node.inputs):
        found = scope.constant(name)
        if found is not None and all(dim == 1 for dim in found.dims):
            return which, found
    return None


def _ones_dropped(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dim for dim in shape if dim != 1)


def _swaps(order: tuple[int, ...]) -> bool:
    """Whether axes in that order are those of a matrix the other way round."""
    return order[-2:] == (len(order) - 1, len(order) - 2) and order[:-2] == tuple(range(len(order) - 2))
