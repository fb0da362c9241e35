"""Runs of equal length at equal distances: a matrix by columns, read and written some rows at a time."""

from __future__ import annotations

import os

import numpy as np
import pytest

import hub_native
from hub.api import F32, FilePart, FileSource, FormatError, PartSpec
from hub.errors import ChangedError, OutputError
from hub.io.atomic import AtomicOutput

COLUMNS = np.arange(6 * 10, dtype=np.float32).reshape(6, 10)  # (in, out)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "file").write_bytes(b"head" + COLUMNS.tobytes())
    opened = FileSource(tmp_path / "file")
    yield opened
    opened.close()


def test_rows_of_a_matrix_by_columns(source):
    part = FilePart(PartSpec(F32, (6, 10), axis=1), source, 4)
    np.testing.assert_array_equal(part.load(0, 10), COLUMNS)
    np.testing.assert_array_equal(part.load(3, 7), COLUMNS[:, 3:7])
    assert part.load(5, 5).shape == (6, 0)


def test_a_file_that_ends_first(tmp_path):
    (tmp_path / "short").write_bytes(b"head" + COLUMNS.tobytes()[:-8])
    source = FileSource(tmp_path / "short")
    part = FilePart(PartSpec(F32, (6, 10), axis=1), source, 4)
    np.testing.assert_array_equal(part.load(0, 8), COLUMNS[:, :8])
    with pytest.raises(FormatError, match="at byte 232: the file ends after 236 bytes"):
        part.load(7, 10)
    source.close()


def test_a_file_that_becomes_shorter(source):
    part = FilePart(PartSpec(F32, (6, 10), axis=1), source, 4)
    os.truncate(source.path, 100)
    with pytest.raises(ChangedError):
        part.load(0, 2)


def test_written_as_they_are_read(tmp_path):
    with AtomicOutput(tmp_path / "out", folder=False) as output:
        file = output.create("", 4 + COLUMNS.nbytes)
        for start, stop in ((0, 3), (3, 10)):
            tile = np.ascontiguousarray(COLUMNS[:, start:stop])
            file.write_runs(memoryview(tile).cast("B"), 4 * (stop - start), 4 + 4 * start, 40)
        file.write(b"head", 0)
        output.seal()
        output.commit()
    assert (tmp_path / "out").read_bytes() == b"head" + COLUMNS.tobytes()


def test_nothing_is_written_outside_of_the_planned_size(tmp_path):
    with AtomicOutput(tmp_path / "out", folder=False) as output:
        file = output.create("", 100)
        with pytest.raises(OutputError, match="leaves the planned 100"):
            file.write_runs(memoryview(bytes(80)), 40, 0, 61)


@pytest.mark.parametrize(("length", "offset", "stride"), [(0, 0, 8), (7, 0, 8), (8, -1, 8), (8, 0, -8)])
def test_numbers_that_mean_no_runs(length, offset, stride, source):
    with pytest.raises(ValueError, match="runs of"):
        hub_native.read_runs(0, bytearray(16), length, offset, stride)
    with pytest.raises(ValueError, match="runs of"):
        hub_native.write_runs(0, bytes(16), length, offset, stride)
