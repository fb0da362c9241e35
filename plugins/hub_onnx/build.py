"""A graph in the making: nodes in the order of execution, with names that tell where they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hub_onnx.model import Attribute, Graph, Initializer, Node, ValueInfo
from hub_onnx.proto import DataType

OPSET = 23
"""The version of ONNX's operators that is written where nothing needs a later one."""
IR_VERSIONS = {23: 11, 24: 12, 25: 13}
"""The version of the file format that came with each set of operators."""
_TYPES = {
    np.dtype(np.float32): DataType.FLOAT,
    np.dtype(np.int64): DataType.INT64,
    np.dtype(np.int32): DataType.INT32,
    np.dtype(np.bool_): DataType.BOOL,
    np.dtype(np.uint8): DataType.UINT8,
}


class Build:
    """Takes nodes and small constants.

    Attributes:
        nodes: the nodes so far.
        constants: the constants, as initializers within the file.
        opsets: version of each set of operators that the nodes need, by domain.
        scope: what stands before the names of nodes: the module that they belong to.
        accuracy_level: how onnxruntime's own products with codes compute: 0 in f32, 4 with activations of 8 bits.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: list[Initializer] = []
        self.opsets = {"": OPSET}
        self.scope = ""
        self.accuracy_level = 0
        self._counts: dict[str, int] = {}
        self._known: dict[tuple[Any, ...], str] = {}

    def need(self, version: int, domain: str = "") -> None:
        """Some node needs this version of a domain's operators, or a later one."""
        self.opsets[domain] = max(self.opsets.get(domain, 0), version)

    def emit(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node of one output; its name."""
        (out,) = self.emit_many(op, inputs, 1, domain=domain, **attributes)
        return out

    def emit_many(
        self, op: str, inputs: Sequence[str], outputs: int | Sequence[str], *, domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """A node.

        Args:
            inputs: names of values, "" for those left out.
            outputs: names of what it gives, "" for one that is called like the node; or how many.
            attributes: int, float, str, or sequences of one of these; those that are None are left out.
        """
        name = self._free(f"{self.scope}/{op}" if self.scope else f"/{op}")
        if isinstance(outputs, int):
            outputs = [""] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        outputs = [value or name for value in outputs]
        if domain:
            self.need(1, domain)
        told = {key: _attribute(value) for key, value in attributes.items() if value is not None}
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(Node(op, tuple(inputs), tuple(outputs), told, name, domain))
        return tuple(outputs)

    def choose(
        self,
        condition: str,
        then: Callable[[], str],
        otherwise: Callable[[], str],
        dims: tuple[int | str | None, ...],
    ) -> str:
        """What one of two makes, f32 of shape `dims`; only its nodes are run. Both may use all values so far.

        What either makes once (`once`) is not there for others.
        """
        branches: dict[str, Any] = {}
        for name, make in (("then_branch", then), ("else_branch", otherwise)):
            outside, known = self.nodes, dict(self._known)
            self.nodes = []
            made = make()
            out = ValueInfo(made, DataType.FLOAT, dims)
            branches[name] = Attribute("graph", Graph(name, self.nodes, [], [out], []))
            constants = {key: value for key, value in self._known.items() if key[0] == "constant"}
            self.nodes, self._known = outside, known | constants
        (made,) = self.emit_many("If", [condition], 1, **branches)
        return made

    def house(self, initializers: Sequence[Initializer]) -> list[Initializer]:
        """Those that the graph itself holds. The others go to the branch that alone uses them, where onnxruntime looks
        for weights to make one operator of."""
        branches = [
            (attribute.value, {value for inner in attribute.value.nodes for value in inner.inputs})
            for node in self.nodes
            for attribute in node.attributes.values()
            if attribute.kind == "graph"
        ]
        users: dict[str, list[Graph | None]] = {}
        for graph, used in branches:
            for value in used:
                users.setdefault(value, []).append(graph)
        for node in self.nodes:
            for value in node.inputs:
                users.setdefault(value, []).append(None)
        here = []
        for tensor in initializers:
            match users.get(tensor.name, [None]):
                case [Graph(initializers=list() as inside)]:
                    inside.append(tensor)
                case _:
                    here.append(tensor)
        return here

    def once(self, key: tuple[Any, ...], make: Any) -> str:
        """What `make` gives, made only when it is asked for first; nodes that layers share."""
        if key not in self._known:
            scope, self.scope = self.scope, ""
            self._known[key] = make()
            self.scope = scope
        return self._known[key]

    def constant(self, value: Any, dtype: type[np.generic]) -> str:
        """A few numbers."""
        array = np.asarray(value, dtype)
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = f"constant/{len(self.constants)}"
            self.constants.append(Initializer(name, _TYPES[array.dtype], array.shape, inline=array.tobytes()))
            self._known[key] = name
        return self._known[key]

    def ints(self, *values: int) -> str:
        """A vector of int64: a shape, axes."""
        return self.constant(values, np.int64)

    def scalar(self, value: float) -> str:
        """One f32."""
        return self.constant(value, np.float32)

    def number(self, value: int) -> str:
        """One int64."""
        return self.constant(value, np.int64)

    def _free(self, name: str) -> str:
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return f"{name}_{count}" if count else name


def _attribute(value: Any) -> Attribute:
    if isinstance(value, Attribute):
        return value
    if isinstance(value, (bool, int)):
        return Attribute("int", int(value))
    if isinstance(value, float):
        return Attribute("float", value)
    if isinstance(value, str):
        return Attribute("string", value)
    items = tuple(value)
    if items and isinstance(items[0], float):
        return Attribute("floats", items)
    return Attribute("strings" if items and isinstance(items[0], str) else "ints", items)
