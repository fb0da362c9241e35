"""The messages of onnx.proto by field number: what `hub_onnx.encode` writes and `hub_onnx.decode` reads.

Numbers are those of onnx.proto (IR versions 3 to 14, which only ever added fields); a test compares them with the
descriptors of the onnx package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

FieldKind = Literal["int", "float", "double", "bytes", "string", "message"]


class DataType(IntEnum):
    """Number types of tensors (TensorProto.DataType)."""

    UNDEFINED = 0
    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    UINT16 = 4
    INT16 = 5
    INT32 = 6
    INT64 = 7
    STRING = 8
    BOOL = 9
    FLOAT16 = 10
    DOUBLE = 11
    UINT32 = 12
    UINT64 = 13
    COMPLEX64 = 14
    COMPLEX128 = 15
    BFLOAT16 = 16
    FLOAT8E4M3FN = 17
    FLOAT8E4M3FNUZ = 18
    FLOAT8E5M2 = 19
    FLOAT8E5M2FNUZ = 20
    UINT4 = 21
    INT4 = 22
    FLOAT4E2M1 = 23
    FLOAT8E8M0 = 24
    UINT2 = 25
    INT2 = 26


BITS: Mapping[int, int] = {
    DataType.FLOAT: 32,
    DataType.UINT8: 8,
    DataType.INT8: 8,
    DataType.UINT16: 16,
    DataType.INT16: 16,
    DataType.INT32: 32,
    DataType.INT64: 64,
    DataType.BOOL: 8,
    DataType.FLOAT16: 16,
    DataType.DOUBLE: 64,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.COMPLEX64: 64,
    DataType.COMPLEX128: 128,
    DataType.BFLOAT16: 16,
    DataType.FLOAT8E4M3FN: 8,
    DataType.FLOAT8E4M3FNUZ: 8,
    DataType.FLOAT8E5M2: 8,
    DataType.FLOAT8E5M2FNUZ: 8,
    DataType.UINT4: 4,
    DataType.INT4: 4,
    DataType.FLOAT4E2M1: 4,
    DataType.FLOAT8E8M0: 8,
    DataType.UINT2: 2,
    DataType.INT2: 2,
}
"""Bits of one number; a tensor of n has ceil(n * bits / 8) bytes."""


@dataclass(frozen=True)
class Field:
    """A field of a message.

    Attributes:
        number: its number.
        kind: `int` is a varint of two's complement (int32, int64, enums), `float` and `double` are 4 and 8 bytes.
        repeated: whether it may stand more than once; numbers may then be packed.
        message: for messages, which one.
    """

    number: int
    kind: FieldKind
    repeated: bool = False
    message: str = ""


def _message(name: str, number: int, *, repeated: bool = False) -> Field:
    return Field(number, "message", repeated, name)


def _many(kind: FieldKind, number: int) -> Field:
    return Field(number, kind, True)


MESSAGES: Mapping[str, Mapping[str, Field]] = {
    "ModelProto": {
        "ir_version": Field(1, "int"),
        "producer_name": Field(2, "string"),
        "producer_version": Field(3, "string"),
        "domain": Field(4, "string"),
        "model_version": Field(5, "int"),
        "doc_string": Field(6, "string"),
        "graph": _message("GraphProto", 7),
        "opset_import": _message("OperatorSetIdProto", 8, repeated=True),
        "metadata_props": _message("StringStringEntryProto", 14, repeated=True),
        "functions": _message("FunctionProto", 25, repeated=True),
    },
    "OperatorSetIdProto": {"domain": Field(1, "string"), "version": Field(2, "int")},
    "StringStringEntryProto": {"key": Field(1, "string"), "value": Field(2, "string")},
    "FunctionProto": {"name": Field(1, "string"), "domain": Field(10, "string")},
    "GraphProto": {
        "node": _message("NodeProto", 1, repeated=True),
        "name": Field(2, "string"),
        "initializer": _message("TensorProto", 5, repeated=True),
        "doc_string": Field(10, "string"),
        "input": _message("ValueInfoProto", 11, repeated=True),
        "output": _message("ValueInfoProto", 12, repeated=True),
        "value_info": _message("ValueInfoProto", 13, repeated=True),
        "sparse_initializer": _many("bytes", 15),
    },
    "NodeProto": {
        "input": _many("string", 1),
        "output": _many("string", 2),
        "name": Field(3, "string"),
        "op_type": Field(4, "string"),
        "attribute": _message("AttributeProto", 5, repeated=True),
        "doc_string": Field(6, "string"),
        "domain": Field(7, "string"),
        "overload": Field(8, "string"),
        "metadata_props": _message("StringStringEntryProto", 9, repeated=True),
    },
    "AttributeProto": {
        "name": Field(1, "string"),
        "f": Field(2, "float"),
        "i": Field(3, "int"),
        "s": Field(4, "bytes"),
        "t": _message("TensorProto", 5),
        "g": _message("GraphProto", 6),
        "floats": _many("float", 7),
        "ints": _many("int", 8),
        "strings": _many("bytes", 9),
        "type": Field(20, "int"),
        "ref_attr_name": Field(21, "string"),
    },
    "TensorProto": {
        "dims": _many("int", 1),
        "data_type": Field(2, "int"),
        "segment": Field(3, "bytes"),
        "float_data": _many("float", 4),
        "int32_data": _many("int", 5),
        "string_data": _many("bytes", 6),
        "int64_data": _many("int", 7),
        "name": Field(8, "string"),
        "raw_data": Field(9, "bytes"),
        "double_data": _many("double", 10),
        "uint64_data": _many("int", 11),
        "external_data": _message("StringStringEntryProto", 13, repeated=True),
        "data_location": Field(14, "int"),
    },
    "ValueInfoProto": {"name": Field(1, "string"), "type": _message("TypeProto", 2), "doc_string": Field(3, "string")},
    "TypeProto": {"tensor_type": _message("TypeProto.Tensor", 1)},
    "TypeProto.Tensor": {"elem_type": Field(1, "int"), "shape": _message("TensorShapeProto", 2)},
    "TensorShapeProto": {"dim": _message("TensorShapeProto.Dimension", 1, repeated=True)},
    "TensorShapeProto.Dimension": {"dim_value": Field(1, "int"), "dim_param": Field(2, "string")},
}
"""Fields by message and name."""

ATTRIBUTES: Mapping[str, tuple[str, int]] = {
    "float": ("f", 1),
    "int": ("i", 2),
    "string": ("s", 3),
    "tensor": ("t", 4),
    "graph": ("g", 5),
    "floats": ("floats", 6),
    "ints": ("ints", 7),
    "strings": ("strings", 8),
}
"""Kinds of attributes: the field of AttributeProto that holds it, and the code of `type`."""

EXTERNAL = 1
"""`data_location` of a tensor that lies outside the file."""
MAX_MESSAGE = (1 << 31) - 1
"""Bytes that a protobuf message may have."""
