"""Decoding ONNX: numbers in every field that they may stand in, and what is kept of large tensors. The onnx package, where it is
installed, sees the same in files of its own."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from hub.api import FileSource, FormatError
from hub_onnx import wire
from hub_onnx.decode import SMALL, decode
from hub_onnx.files import nbytes
from hub_onnx.model import External
from hub_onnx.proto import BITS, DataType

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "onnx"


def model(*tensors: bytes) -> bytes:
    graph = b"".join(wire.data(5, tensor) for tensor in tensors)
    return wire.integer(1, 10) + wire.data(7, graph) + wire.data(8, wire.integer(2, 21))


def tensor(data_type, dims, *fields: bytes, name="t") -> bytes:
    return b"".join(fields) + wire.integers(1, dims) + wire.integer(2, int(data_type)) + wire.text(8, name)


def decoded(tmp_path, data: bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with FileSource(path) as source:
        return decode(source)


def only(tmp_path, *args):
    (found,) = decoded(tmp_path, model(tensor(*args))).graph.initializers
    return found


def one_by_one(number, values):
    """A repeated field of integers, not packed."""
    return b"".join(wire.integer(number, value) for value in values)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("data_type", "number", "values", "array"),
    [
        (DataType.INT32, 5, [1, -2, 1 << 30], np.array([1, -2, 1 << 30], np.int32)),
        (DataType.INT8, 5, [1, -2, 127], np.array([1, -2, 127], np.int8)),
        (DataType.FLOAT16, 5, [0x3C00, 0xC000], np.array([1, -2], np.float16)),
        (DataType.BOOL, 5, [1, 0, 1], np.array([True, False, True])),
        (DataType.INT64, 7, [1, -2, 1 << 62], np.array([1, -2, 1 << 62], np.int64)),
        (DataType.UINT64, 11, [(1 << 64) - 1, 3], np.array([(1 << 64) - 1, 3], np.uint64)),
    ],
)
def test_numbers_in_fields_of_their_type(tmp_path, packed, data_type, number, values, array):
    field = wire.integers(number, values) if packed else one_by_one(number, values)
    found = only(tmp_path, data_type, [len(values)], field)
    assert found.inline == array.tobytes()


def test_packed_codes_of_four_bits(tmp_path):
    """Each item of int32_data is a byte of two codes."""
    assert only(tmp_path, DataType.UINT4, [3], wire.integers(5, [0x21, 0x08])).inline == b"\x21\x08"


def test_floats_are_raw_data_already(tmp_path):
    numbers = np.arange(5000, dtype="<f4")
    large = only(tmp_path, DataType.FLOAT, [5000], wire.data(4, numbers.tobytes()))
    assert large.inline is None
    assert (tmp_path / "m.onnx").read_bytes()[large.at : large.at + numbers.nbytes] == numbers.tobytes()
    parts = [wire.tag(4, wire.FIXED32) + struct.pack("<f", value) for value in (1.5, -2)]
    assert only(tmp_path, DataType.FLOAT, [2], *parts).inline == struct.pack("<2f", 1.5, -2)


def test_large_tensors_are_not_held(tmp_path):
    for size, held in ((SMALL, True), (SMALL + 1, False)):
        found = only(tmp_path, DataType.UINT8, [size], wire.data(9, bytes(size)))
        assert (found.inline is not None) == held


def test_external_data(tmp_path):
    entries = [wire.data(13, wire.text(1, key) + wire.text(2, value))
               for key, value in (("location", "w.bin"), ("offset", "4096"), ("checksum", "x"))]  # fmt: skip
    found = only(tmp_path, DataType.FLOAT, [2, 3], *entries, wire.integer(14, 1))
    assert found.external == External("w.bin", 4096, None)
    assert nbytes(found) == 24


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((DataType.FLOAT, [2], wire.data(9, bytes(7))), "7 bytes of data, shape"),
        ((DataType.FLOAT, [2]), "it has no data"),
        ((DataType.FLOAT, [2], wire.data(9, bytes(8)), wire.data(4, bytes(8))), "data twice"),
        ((DataType.INT32, [2], wire.integers(5, [1])), "1 numbers in int32_data"),
        ((DataType.FLOAT, [2], wire.integers(5, [1, 2])), "has no place in int32_data"),
        ((DataType.INT64, [1], wire.integers(5, [1])), "has no place in int32_data"),
        ((DataType.UINT8, [1], wire.data(4, bytes(4))), "has no place in float_data"),
        ((DataType.INT32, [1], wire.data(5, b"\x80")), "numbers that do not end"),
        ((DataType.INT32, [1], wire.data(5, b"\x80" * 11 + b"\x01")), "more than 10 bytes"),
        ((DataType.FLOAT, [1 << 40, 1 << 40], wire.data(9, b"")), "more numbers than any file"),
        ((DataType.FLOAT, [1], wire.integer(14, 1)), "does not say in which"),
        ((DataType.FLOAT, [1], wire.integer(14, 1), wire.data(9, bytes(4))), "data here, too"),
    ],
)
def test_what_contradicts_itself(tmp_path, arguments, words):
    with pytest.raises(FormatError, match=words):
        only(tmp_path, *arguments)


def test_fields_in_any_order_and_unknown_ones(tmp_path):
    told = decoded(
        tmp_path,
        wire.data(99, b"anything") + wire.data(8, wire.integer(2, 21)) + wire.data(7, b"") + wire.integer(1, 9),
    )
    assert (told.ir_version, told.opsets) == (9, {"": 21})


@pytest.mark.consumers
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/*.onnx")), ids=lambda path: path.parent.name)
def test_the_onnx_package_sees_the_same(path):
    onnx = pytest.importorskip("onnx")
    theirs = onnx.load(path, load_external_data=False)
    with FileSource(path) as source:
        ours = decode(source)
        waiting = [(theirs.graph, ours.graph)]
        while waiting:
            a, b = waiting.pop()
            assert [(n.op_type, n.domain, n.name, tuple(n.input), tuple(n.output)) for n in a.node] == [
                (n.op, n.domain, n.name, n.inputs, n.outputs) for n in b.nodes
            ]
            for one, other in zip(a.node, b.nodes, strict=True):
                for attribute in one.attribute:
                    value = onnx.helper.get_attribute_value(attribute)
                    made = other.attributes[attribute.name].value
                    if isinstance(value, onnx.GraphProto):
                        waiting.append((value, made))
                    elif not isinstance(value, onnx.TensorProto):
                        assert (value.decode() if isinstance(value, bytes) else value) == (
                            list(made) if isinstance(made, tuple) else made
                        )
            for one, other in zip(a.initializer, b.initializers, strict=True):
                assert (one.name, one.data_type, tuple(one.dims)) == (other.name, other.data_type, other.dims)
                if other.external is None and BITS[other.data_type] >= 8:
                    held = other.inline if other.at is None else source.read(other.at, nbytes(other))
                    assert held == onnx.numpy_helper.to_array(one).tobytes()
