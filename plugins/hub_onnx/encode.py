"""A `ModelProto` as the bytes of a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hub.api import UsageError

from . import wire
from .model import Attribute, Graph, Initializer, ModelProto, Node, ValueInfo
from .proto import ATTRIBUTES, EXTERNAL, MAX_MESSAGE, MESSAGES


def encode(model: ModelProto) -> bytes:
    """The bytes of a model; fields in the order of their numbers, so that equal models are equal bytes.

    Raises:
        UsageError: it would be larger than a protobuf message can be (2 GiB).
    """
    out = _encoded(
        "ModelProto",
        ir_version=model.ir_version,
        producer_name=model.producer,
        producer_version=model.producer_version,
        graph=_graph(model.graph),
        opset_import=[
            _encoded("OperatorSetIdProto", domain=domain, version=version) for domain, version in model.opsets.items()
        ],
        metadata_props=[_entry(key, value) for key, value in model.metadata.items()],
    )
    if len(out) > MAX_MESSAGE:
        raise UsageError(f"the graph alone needs {len(out)} bytes, an ONNX file can have {MAX_MESSAGE}")
    return out


def _encoded(message: str, **values: Any) -> bytes:
    """A message; None and empty values are left out, as proto3 does."""
    fields = MESSAGES[message]
    out = []
    for name, field in sorted(fields.items(), key=lambda item: item[1].number):
        value = values.pop(name, None)
        if value is None or (not isinstance(value, (int, float)) and not len(value)):
            continue
        out.append(_field(field.number, field.kind, field.repeated, value))
    assert not values, f"{message} has no {list(values)}"
    return b"".join(out)


def _field(number: int, kind: str, repeated: bool, value: Any) -> bytes:
    match kind, repeated:
        case "int", True:
            return wire.integers(number, value)
        case "float", True:
            return wire.reals(number, value)
        case _, True:
            return b"".join(_field(number, kind, False, item) for item in value)
        case "int", _:
            return wire.integer(number, value)
        case "float", _:
            return wire.real(number, value)
        case "string", _:
            return wire.text(number, value)
        case _:
            return wire.data(number, value)


def _entry(key: str, value: str) -> bytes:
    return _encoded("StringStringEntryProto", key=key, value=value)


def _graph(graph: Graph) -> bytes:
    return _encoded(
        "GraphProto",
        node=_all(_node, graph.nodes),
        name=graph.name,
        initializer=_all(_tensor, graph.initializers),
        input=_all(_value_info, graph.inputs),
        output=_all(_value_info, graph.outputs),
        value_info=_all(_value_info, graph.value_info),
    )


def _all(encode: Any, items: Iterable[Any]) -> list[bytes]:
    return [encode(item) for item in items]


def _node(node: Node) -> bytes:
    return _encoded(
        "NodeProto",
        input=node.inputs,
        output=node.outputs,
        name=node.name,
        op_type=node.op,
        attribute=[_attribute(name, value) for name, value in node.attributes.items()],
        domain=node.domain,
    )


def _attribute(name: str, attribute: Attribute) -> bytes:
    field, code = ATTRIBUTES[attribute.kind]
    value: Any = attribute.value
    match attribute.kind:
        case "string":
            value = value.encode()
        case "strings":
            value = [item.encode() for item in value]
        case "tensor":
            value = _tensor(value)
        case "graph":
            value = _graph(value)
    return _encoded("AttributeProto", name=name, **{field: value}, type=code)


def _tensor(tensor: Initializer) -> bytes:
    external = tensor.external
    entries = None
    if external is not None:
        told = {"location": external.location, "offset": str(external.offset)}
        if external.length is not None:
            told["length"] = str(external.length)
        entries = [_entry(key, value) for key, value in told.items()]
    return _encoded(
        "TensorProto",
        dims=tensor.dims,
        data_type=int(tensor.data_type),
        name=tensor.name,
        raw_data=tensor.inline,
        external_data=entries,
        data_location=EXTERNAL if external is not None else None,
    )


def _value_info(value: ValueInfo) -> bytes:
    shape = None
    if value.dims is not None:
        shape = _encoded("TensorShapeProto", dim=[_dimension(item) for item in value.dims])
    inner = wire.integer(1, int(value.elem_type)) + (wire.data(2, shape) if shape is not None else b"")
    return _encoded("ValueInfoProto", name=value.name, type=_encoded("TypeProto", tensor_type=inner))


def _dimension(item: int | str | None) -> bytes:
    if item is None:
        return b""
    return wire.integer(1, item) if isinstance(item, int) else wire.text(2, item)
