"""Importance: out of files, by way of canonical names, to rows of tensors."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from made_models import folder

import hub
from hub import calibration
from hub.api import CalibrationText, Importance
from hub.errors import ConfigError, FormatError, HubError, UsageError
from hub.mapping import Relation
from hub.transforms import Concat, Stack
from hub_gguf.imatrix import Imatrix

TEXT = CalibrationText("a text", 3, 512)


def item(name="blk.0.attn_q.weight", width=256, matrices=1, counts=4, sums=None):
    sums = np.full((matrices, width), 8.0) if sums is None else sums
    return Importance(name, sums, np.full(matrices, counts))


def write(path: Path, *items: Importance) -> Path:
    path.write_bytes(b"".join(Imatrix().encode(items, TEXT)))
    return path


def test_what_is_written_is_read(tmp_path):
    found, text = Imatrix().decode(str(write(tmp_path / "i.gguf", item("a", 5), item("b", 7, 3))))
    assert text == TEXT
    assert [one.name for one in found] == ["a", "b"]
    assert [one.sums.shape for one in found] == [(1, 5), (3, 7)]
    np.testing.assert_array_equal(calibration.means(found[1]), np.full(21, 2.0, np.float32))


def test_the_older_file_is_read(tmp_path):
    """Entries of name, chunks, means times chunks; then the number of chunks and the name of the text."""
    name = b"blk.0.attn_q.weight"
    numbers = np.arange(4, dtype="<f4")
    data = struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 2, 4) + numbers.tobytes()
    (tmp_path / "i.dat").write_bytes(data + struct.pack("<ii", 2, 4) + b"text")
    (found,), text = Imatrix().decode(str(tmp_path / "i.dat"))
    assert (found.name, text.name, text.chunks) == ("blk.0.attn_q.weight", "text", 2)
    np.testing.assert_array_equal(calibration.means(found), numbers / 2)


def test_a_matrix_that_nothing_met_weighs_one():
    given = Importance("x", np.array([[3.0, 6.0], [5.0, 5.0]]), np.array([3, 0]))
    np.testing.assert_array_equal(calibration.means(given), [1, 2, 1, 1])


@pytest.mark.parametrize("number", [-1.0, np.nan, np.inf])
def test_numbers_that_are_no_importance(number):
    with pytest.raises(UsageError, match="negative or no number"):
        calibration.means(Importance("x", np.array([[1.0, number]]), np.array([1])))


def test_matrices_of_a_joined_tensor():
    def relation(*steps, count):
        return Relation("x", tuple(f"s{i}" for i in range(count)), steps, "g")

    assert calibration.members(relation(count=1)) == [[0]]
    assert calibration.members(relation(Concat(3), count=3)) == [[0, 1, 2]]
    assert calibration.members(relation(Stack(3), count=3)) == [[0], [1], [2]]
    assert calibration.members(relation(Concat(2), Stack(2), count=4)) == [[0, 1], [2, 3]]
    assert calibration.members(relation(Stack(2), Concat(2), count=4)) == [[0, 2], [1, 3]]


def test_rows_are_cut_where_matrices_end():
    figures = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    cut = [(low, high, int(weight[0])) for low, high, weight in calibration.of_rows(figures, 5, 12, 4)]
    assert cut == [(5, 8, 2), (8, 12, 4)]


def test_figures_that_do_not_fit_name_file_and_tensor(tmp_path):
    model, given = folder(tmp_path / "m"), write(tmp_path / "i.gguf", item(width=255))
    with hub.open(model) as opened, pytest.raises(ConfigError, match=r"of 255 numbers.*\[256, 256\]") as caught:
        hub.plan(opened, to="gguf:q4_k_m", importance=given)
    assert (caught.value.path, caught.value.tensor) == (str(given), "blk.0.attn_q.weight")


def test_tensors_without_figures_are_told(tmp_path):
    model, given = folder(tmp_path / "m"), write(tmp_path / "i.gguf", item(), item("strange", 3))
    with hub.open(model) as opened:
        made = hub.plan(opened, to="gguf:q4_k_m", importance=given)
    assert [entry.name for entry in made.entries if entry.importance is not None] == ["blk.0.attn_q.weight"]
    assert any("quantized without importance" in note for note in made.notes)
    told = {key: value for key, value in made.metadata.items() if key.startswith("quantize.imatrix.")}
    assert told["quantize.imatrix.entries_count"] == 2


@pytest.mark.parametrize(("data", "words"), [
    (b"", "truncated"),
    (b"GGUF", "truncated"),
    (b"\xff\xff\xff\x7f" + bytes(20), "impossible count"),
    (struct.pack("<ii", 1, 1 << 30), "impossible count"),
    (struct.pack("<iic", 1, 1, b"x") + struct.pack("<ii", 1, 1 << 29), "impossible count"),
    (struct.pack("<i", 2) + (struct.pack("<iic", 1, 1, b"x")[4:] + struct.pack("<iif", 1, 1, 1)) * 2, "twice"),
    (struct.pack("<i", 0), "tells of no tensor"),
])  # fmt: skip
def test_damaged_files_are_refused_by_name(data, words, tmp_path):
    path = tmp_path / "i.dat"
    path.write_bytes(data)
    with hub.open(folder(tmp_path / "m")) as opened, pytest.raises(HubError, match=words) as caught:
        hub.plan(opened, to="gguf:q4_k_m", importance=path)
    assert caught.value.path == str(path)


def test_a_model_is_no_importance_matrix(tmp_path):
    hub.convert(folder(tmp_path / "m"), tmp_path / "m.gguf", to="gguf:f16", verify="none")
    with hub.open(tmp_path / "m") as opened, pytest.raises(FormatError, match="no importance matrix"):
        hub.plan(opened, to="gguf:q4_k_m", importance=tmp_path / "m.gguf")


def test_sums_without_counts(tmp_path):
    data = write(tmp_path / "i.gguf", item("ab", 5)).read_bytes()
    (tmp_path / "i.gguf").write_bytes(data.replace(b"ab.counts", b"xy.counts"))
    with pytest.raises(FormatError, match=r"ab.counts, which belongs to it, is missing|in_sum2 is missing"):
        Imatrix().decode(str(tmp_path / "i.gguf"))
