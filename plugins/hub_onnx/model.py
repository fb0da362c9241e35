"""What an ONNX file holds, as plain data: the writer builds it and encodes it, the reader decodes it.

Only what models of weights need is told. Names follow onnx.proto (ONNX IR specification, `onnx/onnx.proto`), where the
messages are called ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto and ValueInfoProto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

AttributeKind = Literal["float", "int", "string", "tensor", "graph", "floats", "ints", "strings"]
"""The kinds of attributes that occur in models; any other is refused by the reader."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Attribute:
    """A constant of a node.

    Attributes:
        kind: which field of AttributeProto it is.
        value: float, int, str, `Initializer`, `Graph`, or a tuple of floats, ints or strs, by `kind`.
    """

    kind: AttributeKind
    value: Any


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        op: its type, as ``MatMul``.
        inputs: names of values; "" for one that is left out.
        outputs: names of what it gives; "" for one that is not wanted.
        attributes: by name.
        name: its own name, which tells where in the network it stands.
        domain: "" for ONNX's own operators, or as ``com.microsoft``.
        metadata: what the exporter says of it; not written.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, default: _T) -> Any | _T:
        """The value of an attribute, or `default`."""
        found = self.attributes.get(name)
        return default if found is None else found.value


class External(NamedTuple):
    """Where a tensor lies outside the model's file.

    Attributes:
        location: a path, relative to the folder of the model.
        offset: of its first byte.
        length: in bytes; None where the file leaves it out, which means as many as type and shape need.
    """

    location: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Initializer:
    """A constant tensor, of the graph or in an attribute; one of `inline`, `at` and `external` says where it is.

    Attributes:
        name: the value's name; "" in attributes.
        data_type: code of the number type, see `hub_onnx.proto.DataType`.
        dims: its shape.
        inline: its bytes as `raw_data` has them: row-major, little-endian, small numbers packed from the low bits on.
        at: where such bytes stand in the model's file, if they are too many to be held.
        external: where they stand in another file.
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    inline: bytes | None = None
    at: int | None = None
    external: External | None = None


@dataclass(frozen=True)
class ValueInfo:
    """Type and shape of a graph's input or output.

    Attributes:
        dims: a number, a name (of a dimension that differs from run to run), or None where nothing is said; None in
            the place of all of them where even their number is not told.
    """

    name: str
    elem_type: int
    dims: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Graph:
    """Operators in the order of execution, and what goes in and out."""

    name: str
    nodes: Sequence[Node]
    inputs: Sequence[ValueInfo]
    outputs: Sequence[ValueInfo]
    initializers: Sequence[Initializer]
    value_info: Sequence[ValueInfo] = ()


@dataclass(frozen=True)
class ModelProto:
    """A file.

    Attributes:
        ir_version: version of the file format.
        opsets: version of every set of operators, by domain; "" is ONNX's own.
        metadata: what `metadata_props` says, in order.
        functions: names of operators that the file defines itself.
    """

    ir_version: int
    opsets: Mapping[str, int]
    graph: Graph
    metadata: Mapping[str, str] = field(default_factory=dict)
    producer: str = ""
    producer_version: str = ""
    functions: Sequence[str] = ()
