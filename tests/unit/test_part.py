"""Parts: the arithmetic by which any row range of any layout becomes byte runs, and back."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import F16, F32, I32, U8, ArrayPart, FilePart, FileSource, PartSpec, row_count, row_length, rows_spec
from hub.errors import FormatError
from hub.ir.part import GatherPart, row_shape


@pytest.mark.parametrize(
    ("shape", "rows", "length", "row"),
    [((), 1, 1, ()), ((7,), 7, 1, ()), ((3, 4), 3, 4, (4,)), ((2, 3, 4), 6, 4, (4,)), ((0, 4), 0, 4, (4,))],
)
def test_rows_of_shapes(shape, rows, length, row):
    assert (row_count(shape), row_length(shape), row_shape(shape)) == (rows, length, row)
    assert rows_spec(F32, shape).nbytes == 4 * math.prod(shape)


SPECS = st.one_of(
    st.builds(lambda n, k: PartSpec(F16, (n, k)), st.integers(1, 9), st.integers(1, 7)),
    st.builds(lambda n: PartSpec(F32, (n,)), st.integers(1, 30)),
    st.builds(lambda k, n: PartSpec(I32, (k, n), axis=1), st.integers(1, 6), st.integers(1, 9)),
    st.builds(lambda g, n: PartSpec(I32, (g, n), axis=1, per=8), st.integers(1, 4), st.integers(1, 4)),
    st.builds(lambda n, k: PartSpec(F32, (n, k), axis=0, per=4), st.integers(1, 4), st.integers(1, 3)),
    st.builds(
        lambda a, n, b: PartSpec(U8, (a, n, b), axis=1, per=2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)
    ),
    st.builds(lambda n: PartSpec(F32, (n,), axis=None), st.integers(1, 4)),
    st.just(PartSpec(F32, (), axis=None)),
)


def rows_of(spec):
    return 5 if spec.axis is None else spec.shape[spec.axis] * spec.per


def cuts(data, spec):
    """Row ranges that cover everything, at multiples of `per` but for the last: a tensor may have fewer rows than
    places."""
    total, step = rows_of(spec), spec.per
    if spec.axis is not None and step > 1:
        total -= data.draw(st.integers(0, step - 1))
    inner = sorted(data.draw(st.sets(st.integers(1, max(1, total // step)), max_size=4)))
    edges = [0, *(i * step for i in inner if i * step < total), total]
    return list(pairwise(edges))


@given(SPECS, st.data())
def test_tiles_written_by_runs_reassemble_the_whole(spec, data):
    """What the pipeline does: each tile's bytes go to `count` runs, `stride` apart."""
    total = rows_of(spec)
    whole = np.arange(math.prod(spec.shape)).astype(spec.dtype.numpy()).reshape(spec.shape)
    part = ArrayPart(whole, spec)
    out = bytearray(b"\xff" * spec.nbytes)
    written = 0
    for start, stop in cuts(data, spec):
        tile = part.load(start, stop)
        assert tile.shape == spec.tile_shape(start, stop)
        first, length, count, stride = spec.runs(start, stop)
        raw = np.ascontiguousarray(tile).tobytes()
        assert len(raw) == length * count
        for i in range(count):
            out[first + i * stride : first + i * stride + length] = raw[i * length : (i + 1) * length]
        written += len(raw)
    assert bytes(out) == whole.tobytes()
    if spec.axis is not None and total:
        assert written == spec.nbytes


@given(SPECS, st.data())
def test_a_file_part_reads_what_an_array_part_has(tmp_path_factory, spec, data):
    whole = np.random.default_rng(1).integers(0, 200, spec.shape).astype(spec.dtype.numpy())
    path = tmp_path_factory.mktemp("part") / "f"
    path.write_bytes(b"head..." + whole.tobytes() + b"tail")
    with FileSource(path) as source:
        part = FilePart(spec, source, 7)
        assert (part.span.offset, part.span.nbytes) == (7, spec.nbytes)
        for start, stop in cuts(data, spec):
            ours = part.load(start, stop)
            np.testing.assert_array_equal(ours, ArrayPart(whole, spec).load(start, stop))
            assert ours.dtype == spec.dtype.numpy()


@given(st.lists(st.integers(0, 19), min_size=1, max_size=25))
def test_rows_are_gathered_in_the_order_asked_for(rows):
    whole = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.testing.assert_array_equal(ArrayPart(whole, rows_spec(F32, (20, 3))).load_rows(rows), whole[rows])


def test_gathering_reads_neighbours_together():
    """A permuted tile of a file must not become a read per row."""
    calls = []

    class Counting(ArrayPart):
        def load(self, start, stop):
            calls.append((start, stop))
            return super().load(start, stop)

    whole = np.arange(32, dtype=np.float32).reshape(16, 2)
    part = Counting(whole, rows_spec(F32, (16, 2)))
    order = [0, 8, 1, 9, 2, 10, 3, 11]
    np.testing.assert_array_equal(part.load_rows(order), whole[order])
    assert sorted(calls) == [(0, 4), (8, 12)]


def test_a_gather_part_of_a_gather_part():
    whole = np.arange(12, dtype=np.float32).reshape(6, 2)
    spec = rows_spec(F32, (6, 2))
    backwards = GatherPart(ArrayPart(whole, spec), spec, lambda a, b: [5 - row for row in range(a, b)])
    again = GatherPart(backwards, spec, lambda a, b: [5 - row for row in range(a, b)])
    np.testing.assert_array_equal(backwards.load(1, 4), whole[::-1][1:4])
    np.testing.assert_array_equal(again.load(1, 4), whole[1:4])
    assert backwards.span is None


def test_a_part_beyond_the_end_of_its_file_says_so(tmp_path):
    (tmp_path / "f").write_bytes(bytes(10))
    with FileSource(tmp_path / "f") as source, pytest.raises(FormatError, match="ends after 10 bytes"):
        FilePart(rows_spec(F32, (4,)), source, 0).load(0, 4)


@given(SPECS.filter(lambda spec: spec.axis is not None), st.data())
def test_indices_in_any_order(tmp_path_factory, spec, data):
    whole = np.arange(math.prod(spec.shape)).astype(spec.dtype.numpy()).reshape(spec.shape)
    path = tmp_path_factory.getbasetemp() / "indices.bin"
    path.write_bytes(b"head" + whole.tobytes())
    chosen = data.draw(st.lists(st.integers(0, spec.shape[spec.axis] - 1), max_size=12))
    with FileSource(path) as source:
        for part in (FilePart(spec, source, 4), ArrayPart(whole, spec)):
            np.testing.assert_array_equal(part.load_indices(chosen), np.take(whole, np.array(chosen, int), spec.axis))
