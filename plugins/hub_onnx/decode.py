"""The bytes of a file as a `ModelProto`: read by ranges, so that large tensors inside the file are never held.

Protocol buffers are decoded as protobuf.dev's "Encoding" tells: fields in any order, unknown ones passed over, repeated
numbers packed or one by one. Nothing is allocated by a length before it was compared with the bytes that there are, and
messages nest as deep as onnx.proto lets them: subgraphs in attributes are the only recursion, and are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hub.api import FileSource, FormatError, checked_product, printable
from hub_onnx.model import Attribute, AttributeKind, External, Graph, Initializer, ModelProto, Node, ValueInfo
from hub_onnx.proto import ATTRIBUTES, BITS, EXTERNAL, MESSAGES, DataType, Field
from hub_onnx.wire import BYTES, FIXED32, FIXED64, VARINT

MAX_DEPTH: Final = 16
"""Most subgraphs inside one another; merged decoders have two."""
MAX_TEXT: Final = 1 << 20
"""Longest name or other text kept; longer ones (documentation) are passed over or refused."""
MAX_METADATA: Final = 64 << 20
"""Longest value of metadata_props."""
MAX_FIELDS: Final = 4_000_000
"""Most fields of all messages: a graph of a hundred thousand nodes has a tenth of that."""
MAX_NUMBERS: Final = 64 << 20
"""Most numbers that a tensor may have one by one in int32_data and the like; they have to be held."""
MAX_RANK: Final = 64
SMALL: Final = 4096
"""Tensors of up to so many bytes inside the file are held, larger ones are read when they are asked for."""
_WINDOW: Final = 1 << 20
_KIND_OF: Final[Mapping[int, AttributeKind]] = {code: kind for kind, (_, code) in ATTRIBUTES.items()}  # type: ignore[misc]
_WIRE: Final = {"int": VARINT, "float": FIXED32, "double": FIXED64}
_DATA: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_HOLDS: Final = {
    "float_data": {DataType.FLOAT, DataType.COMPLEX64},
    "double_data": {DataType.DOUBLE, DataType.COMPLEX128},
}
"""Data that has the bytes of `raw_data`, and of which types."""
_WHOLE: Final = {"int64_data": {DataType.INT64}, "uint64_data": {DataType.UINT32, DataType.UINT64}}
_HELD_ELSEWHERE: Final = {
    "int32_data": {DataType.FLOAT, DataType.DOUBLE, DataType.COMPLEX64, DataType.COMPLEX128, DataType.INT64,
                   DataType.UINT32, DataType.UINT64},
}  # fmt: skip
"""Types that have, and that have not, their numbers in such fields; int32_data has all small ones."""

Span = tuple[int, int]
"""Where the bytes of a field begin and end."""


def decode(source: FileSource) -> ModelProto:
    """The model that a file holds.

    Raises:
        FormatError: it is none, is cut off, or holds what onnx.proto does not allow; names file, tensor and offset.
    """
    return _Decoder(source).model()


class _Decoder:
    """Reads messages of one file; offsets are the file's."""

    def __init__(self, source: FileSource) -> None:
        self.source = source
        self.window = b""
        self.start = 0
        self.fields_left = MAX_FIELDS
        self.by_number = {
            message: {field.number: (name, field) for name, field in fields.items()}
            for message, fields in MESSAGES.items()
        }

    def fail(self, message: str, offset: int, tensor: str | None = None) -> FormatError:
        return FormatError(message, path=self.source.path, offset=offset, tensor=tensor)

    # Bytes

    def bytes(self, begin: int, end: int) -> bytes:
        """Bytes of the file, out of the window where it has them."""
        low = begin - self.start
        if low < 0 or end - self.start > len(self.window):
            if end - begin > _WINDOW:
                return self.source.read(begin, end - begin)
            self.start, low = begin, 0
            self.window = self.source.read(begin, min(_WINDOW, self.source.size - begin))
        return self.window[low : low + end - begin]

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """An unsigned number of up to 64 bits, and where it ends."""
        data = self.bytes(at, min(at + 10, end))
        value = shift = 0
        for i, byte in enumerate(data):
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & ((1 << 64) - 1), at + i + 1
            shift += 7
        raise self.fail("not an ONNX file, or a damaged one: a number that does not end", at)

    def fields(self, begin: int, end: int) -> Iterator[tuple[int, int, int | Span]]:
        """Every field between two offsets: number, wire type, and its number or where its bytes are."""
        at = begin
        while at < end:
            self.fields_left -= 1
            if self.fields_left < 0:
                raise self.fail(f"more than {MAX_FIELDS} fields, no model has so many", at)
            tag, after = self.varint(at, end)
            number, wire_type = tag >> 3, tag & 7
            if number == 0:
                raise self.fail("not an ONNX file, or a damaged one: a field of number 0", at)
            if wire_type == VARINT:
                value, at = self.varint(after, end)
                yield number, wire_type, value
                continue
            if wire_type == BYTES:
                length, after = self.varint(after, end)
            elif wire_type in (FIXED32, FIXED64):
                length = 4 if wire_type == FIXED32 else 8
            else:
                raise self.fail(f"not an ONNX file, or a damaged one: a field of wire type {wire_type}", at)
            if length > end - after:
                raise self.fail(f"truncated: a field of {length} bytes begins here, {end - after} are left", at)
            yield number, wire_type, (after, after + length)
            at = after + length

    def message(self, name: str, span: Span) -> dict[str, Any]:
        """The fields of a message by name: a number, or a span; lists of them where the field is repeated."""
        known = self.by_number[name]
        out: dict[str, Any] = {}
        for number, wire_type, value in self.fields(*span):
            found = known.get(number)
            if found is None:
                continue
            key, field = found
            wanted = _WIRE.get(field.kind, BYTES)
            if wire_type != wanted and not (field.repeated and wire_type == BYTES):
                at = value[0] if isinstance(value, tuple) else span[0]
                raise self.fail(f"{key} of {name} has wire type {wire_type}, it must be {wanted}", at)
            if field.repeated:
                out.setdefault(key, []).append(value)
                continue
            if field.message and key in out:
                # Readers are to make one message of all of them, and some take the last.
                raise self.fail(f"{name} has two messages {key}, one is allowed", span[0])
            out[key] = value
        return out

    def text(self, span: Span | None, what: str, limit: int = MAX_TEXT) -> str:
        if span is None:
            return ""
        begin, end = span
        if end - begin > limit:
            raise self.fail(f"{what} of {end - begin} bytes, at most {limit} are allowed", begin)
        try:
            return self.bytes(begin, end).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8", begin) from None

    def short(self, span: Span | None, what: str) -> str:
        """A text that counts for nothing, cut off where it is long."""
        if span is None:
            return ""
        begin, end = span
        return self.bytes(begin, min(end, begin + 200)).decode("utf-8", "replace")

    def integers(self, values: Sequence[int | Span], what: str, limit: int = MAX_NUMBERS) -> list[int]:
        """A repeated field of integers, packed or not, as signed numbers of 64 bits."""
        out: list[int] = []
        for value in values:
            if isinstance(value, int):
                out.append(value)
            else:
                at, end = value
                if end - at > 10 * limit:
                    raise self.fail(f"{what} of {end - at} bytes, at most {limit} numbers are allowed", at)
                while at < end:
                    item, at = self.varint(at, end)
                    out.append(item)
            if len(out) > limit:
                raise self.fail(f"more than {limit} numbers in {what}", value[0] if isinstance(value, tuple) else 0)
        return [_signed(value) for value in out]

    def floats(self, values: Sequence[Span], what: str) -> tuple[float, ...]:
        out: list[float] = []
        for begin, end in values:
            if (end - begin) % 4 or end - begin > MAX_TEXT:
                raise self.fail(f"{what} of {end - begin} bytes, these are no numbers of 4", begin)
            out += struct.unpack(f"<{(end - begin) // 4}f", self.bytes(begin, end))
        return tuple(out)

    # Messages

    def model(self) -> ModelProto:
        told = self.message("ModelProto", (0, self.source.size))
        if "graph" not in told or "opset_import" not in told:
            raise self.fail("not an ONNX model: it has no graph, or does not say its operator set", 0)
        opsets: dict[str, int] = {}
        for span in told["opset_import"]:
            entry = self.message("OperatorSetIdProto", span)
            domain = self.text(entry.get("domain"), "a domain")
            opsets["" if domain == "ai.onnx" else domain] = _signed(entry.get("version", 0))
        functions = [
            self.text(self.message("FunctionProto", span).get("name"), "a function's name")
            for span in told.get("functions", ())
        ]
        return ModelProto(
            _signed(told.get("ir_version", 0)),
            opsets,
            self.graph(told["graph"], 0),
            self.metadata(told.get("metadata_props", ()), MAX_METADATA),
            self.short(told.get("producer_name"), "producer_name"),
            self.short(told.get("producer_version"), "producer_version"),
            functions,
        )

    def metadata(self, spans: Sequence[Span], limit: int) -> dict[str, str]:
        out: dict[str, str] = {}
        for span in spans:
            entry = self.message("StringStringEntryProto", span)
            key = self.text(entry.get("key"), "a key of the metadata")
            out[key] = self.text(entry.get("value"), f"the value of {printable(key, 40)}", limit)
        return out

    def graph(self, span: Span, depth: int) -> Graph:
        if depth > MAX_DEPTH:
            raise self.fail(f"subgraphs more than {MAX_DEPTH} deep", span[0])
        told = self.message("GraphProto", span)
        if "sparse_initializer" in told:
            raise self.fail("sparse initializers are not supported", told["sparse_initializer"][0][0])
        return Graph(
            self.text(told.get("name"), "a graph's name"),
            [self.node(one, depth) for one in told.get("node", ())],
            [self.value_info(one) for one in told.get("input", ())],
            [self.value_info(one) for one in told.get("output", ())],
            [self.initializer(one) for one in told.get("initializer", ())],
        )

    def node(self, span: Span, depth: int) -> Node:
        told = self.message("NodeProto", span)
        attributes: dict[str, Attribute] = {}
        named = set()
        for one in told.get("attribute", ()):
            name, attribute = self.attribute(one, depth)
            if name in named:
                raise self.fail(
                    f"attribute {printable(name, 40)!r} is there twice; which is meant cannot be known", one[0]
                )
            named.add(name)
            if attribute is not None:
                attributes[name] = attribute
        domain = self.text(told.get("domain"), "a domain")
        op = self.text(told.get("op_type"), "an operator's type")
        if not op:
            raise self.fail("a node without an operator", span[0])
        return Node(
            op,
            tuple(self.text(one, "the name of a value") for one in told.get("input", ())),
            tuple(self.text(one, "the name of a value") for one in told.get("output", ())),
            attributes,
            self.text(told.get("name"), "a node's name"),
            "" if domain == "ai.onnx" else domain,
            self.metadata(told.get("metadata_props", ()), MAX_TEXT),
        )

    def attribute(self, span: Span, depth: int) -> tuple[str, Attribute | None]:
        told = self.message("AttributeProto", span)
        name = self.text(told.get("name"), "an attribute's name")
        kind = _KIND_OF.get(_signed(told.get("type", 0)))
        if kind is None and "type" not in told:
            # Files of the first versions leave the type out.
            kind = next((kind for kind in _KIND_OF.values() if ATTRIBUTES[kind][0] in told), None)
        if kind is None:
            return name, None
        value = told.get(ATTRIBUTES[kind][0])
        made: Any
        match kind:
            case "int":
                made = _signed(value or 0)
            case "float":
                made = 0.0 if value is None else self.floats([value], name)[0]
            case "string":
                made = self.loose(value)
            case "ints":
                made = tuple(self.integers(value or (), name, MAX_TEXT))
            case "floats":
                made = self.floats(value or (), name)
            case "strings":
                made = tuple(self.loose(one) for one in value or ())
            case "tensor":
                made = None if value is None else self.tensor(value)
            case "graph":
                made = None if value is None else self.graph(value, depth + 1)
        return name, None if made is None else Attribute(kind, made)

    def loose(self, span: Span | None) -> str:
        """A string attribute; it may hold any bytes, and none that hub looks at are long or not UTF-8."""
        if span is None:
            return ""
        begin, end = span
        return self.bytes(begin, min(end, begin + MAX_TEXT)).decode("utf-8", "replace")

    def value_info(self, span: Span) -> ValueInfo:
        told = self.message("ValueInfoProto", span)
        name = self.text(told.get("name"), "the name of a value")
        kind = self.message("TypeProto", told["type"]) if "type" in told else {}
        if "tensor_type" not in kind:
            return ValueInfo(name, DataType.UNDEFINED, None)
        tensor = self.message("TypeProto.Tensor", kind["tensor_type"])
        dims: list[int | str | None] | None = None
        if "shape" in tensor:
            dims = []
            for one in self.message("TensorShapeProto", tensor["shape"]).get("dim", ()):
                dim = self.message("TensorShapeProto.Dimension", one)
                if "dim_value" in dim:
                    dims.append(_signed(dim["dim_value"]))
                else:
                    dims.append(self.text(dim.get("dim_param"), "the name of an axis") or None)
        return ValueInfo(name, _signed(tensor.get("elem_type", 0)), None if dims is None else tuple(dims))

    # Tensors

    def initializer(self, span: Span) -> Initializer:
        made = self.tensor(span)
        if not made.name:
            raise self.fail("an initializer without a name", span[0])
        return made

    def tensor(self, span: Span) -> Initializer:
        told = self.message("TensorProto", span)
        name = self.text(told.get("name"), "a tensor's name")

        def refuse(message: str, at: int = span[0]) -> FormatError:
            return self.fail(message, at, name or None)

        dims = tuple(self.integers(told.get("dims", ()), "dims", MAX_RANK + 1))
        if len(dims) > MAX_RANK or any(dim < 0 for dim in dims):
            raise refuse(f"the shape {list(dims[:8])} has negative sizes or more than {MAX_RANK} axes")
        data_type = _signed(told.get("data_type", 0))
        tensor = Initializer(name, data_type, dims)
        if data_type == DataType.STRING:
            return tensor
        if "segment" in told:
            raise refuse("its data lies in segments, which no tool writes")
        bits = BITS.get(data_type)
        if bits is None:
            raise refuse(f"number type {data_type}, known are {min(BITS)} to {max(BITS)}")
        count = checked_product(list(dims), (1 << 63) // 128)
        if count is None:
            raise refuse(f"shape {list(dims)} has more numbers than any file")
        size = -(-count * bits // 8)
        location = told.get("data_location", 0)
        if location not in (0, EXTERNAL):
            raise refuse(f"data_location is {location}, known are 0 and {EXTERNAL}")
        if location == EXTERNAL:
            if "raw_data" in told or any(key in told for key in _DATA):
                raise refuse("it lies in another file, and has data here, too; which is meant cannot be known")
            return replace(tensor, external=self.external(told.get("external_data", ()), refuse))
        given = [key for key in ("raw_data", *_DATA) if key in told]
        if len(given) > 1:
            raise refuse(f"it has data twice, as {' and '.join(given)}; which is meant cannot be known")
        if not given:
            if size:
                raise refuse(f"it has no data, shape {list(dims)} needs {size} bytes")
            return replace(tensor, inline=b"")
        if given == ["raw_data"]:
            return self.placed(tensor, told["raw_data"], size, refuse)
        return self.typed(tensor, given[0], told[given[0]], count, size, refuse)

    def placed(self, tensor: Initializer, span: Span, size: int, refuse: Any) -> Initializer:
        """A tensor whose bytes stand in the file as `raw_data` has them."""
        begin, end = span
        if end - begin != size:
            raise refuse(f"{end - begin} bytes of data, shape {list(tensor.dims)} needs {size}", begin)
        if size <= SMALL:
            return replace(tensor, inline=self.bytes(begin, end))
        return replace(tensor, at=begin)

    def typed(self, tensor: Initializer, key: str, values: Any, count: int, size: int, refuse: Any) -> Initializer:
        """A tensor with its numbers in a field of their type."""
        if key in _HOLDS:
            if tensor.data_type not in _HOLDS[key]:
                raise refuse(f"number type {tensor.data_type} has no place in {key}")
            if len(values) == 1:
                return self.placed(tensor, values[0], size, refuse)
            if sum(end - begin for begin, end in values) != size:
                raise refuse(f"{key} has another number of numbers than shape {list(tensor.dims)}")
            return replace(tensor, inline=b"".join(self.bytes(begin, end) for begin, end in values))
        if key == "string_data":
            raise refuse(f"number type {tensor.data_type} has no place in {key}")
        field: Field = MESSAGES["TensorProto"][key]
        assert field.kind == "int"
        if count > MAX_NUMBERS:
            raise refuse(f"{count} numbers in {key}, at most {MAX_NUMBERS} are read so; save it with raw_data")
        numbers = np.concatenate([self.many(value) for value in values] or [np.empty(0, np.uint64)])
        bits = BITS[tensor.data_type]
        if tensor.data_type in _HELD_ELSEWHERE.get(key, ()) or tensor.data_type not in _WHOLE.get(key, BITS):
            raise refuse(f"number type {tensor.data_type} has no place in {key}")
        # Small numbers stand packed in bytes, each byte one number of int32_data.
        width = max(8, bits)
        if len(numbers) != -(-count * bits // width):
            raise refuse(f"{len(numbers)} numbers in {key}, shape {list(tensor.dims)} needs {count}")
        return replace(tensor, inline=numbers.astype(f"<u{width // 8}").tobytes())

    def many(self, value: int | Span) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Varints as numbers, packed ones all at once."""
        if isinstance(value, int):
            return np.array([value], np.uint64)
        begin, end = value
        if end - begin > 10 * MAX_NUMBERS:
            raise self.fail(f"{end - begin} bytes of numbers, save them with raw_data", begin)
        data = np.frombuffer(self.bytes(begin, end), np.uint8)
        if not len(data):
            return np.empty(0, np.uint64)
        last = np.flatnonzero(data < 0x80)
        if not len(last) or last[-1] != len(data) - 1:
            raise self.fail("truncated: numbers that do not end", begin)
        first = np.concatenate([[0], last[:-1] + 1])
        if (last - first).max() > 9:
            raise self.fail("a number of more than 10 bytes", begin)
        which = np.repeat(first, last - first + 1)
        shift = (np.arange(len(data)) - which).astype(np.uint64) * np.uint64(7)
        return np.add.reduceat((data & 0x7F).astype(np.uint64) << shift, first)

    def external(self, spans: Sequence[Span], refuse: Any) -> External:
        entries: dict[str, str] = {}
        for span in spans:
            told = self.message("StringStringEntryProto", span)
            key = self.text(told.get("key"), "a key of external_data")
            if key in entries:
                raise refuse(f"external_data says {printable(key, 40)} twice")
            entries[key] = self.text(told.get("value"), "a value of external_data")
        if not entries.get("location"):
            raise refuse("it lies in another file, and external_data does not say in which")
        numbers: dict[str, int] = {}
        for key in ("offset", "length"):
            text = entries.get(key, "")
            if text and not (text.isascii() and text.isdigit() and len(text) <= 19):
                raise refuse(f"external_data says {key} {printable(text, 40)!r}, it must be a number of bytes")
            if text:
                numbers[key] = int(text)
        return External(entries["location"], numbers.get("offset", 0), numbers.get("length"))


def _signed(value: int) -> int:
    """A varint as the two's complement of 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
