"""Archives of arrays: what NumPy reads of ours, and what is refused of strangers'."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest

from hub.errors import HubError, OutputError
from hub.io import npz


@pytest.mark.parametrize("dtype", ["i8", "i4", "u2", "u8", ">i4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, dtype, save):
    ids = np.arange(12).astype(dtype).reshape(1, 12)
    save(tmp_path / "a.npz", other=np.ones(3), input_ids=ids)
    np.testing.assert_array_equal(npz.read_integers(tmp_path / "a.npz", "input_ids"), ids)


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


GOOD = b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n"


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (npy(GOOD, bytes(8)), "another size"),
        (npy(GOOD.replace(b"(2,)", b"(2305843009213693952, 8)"), bytes(16)), "another size"),
        (npy(GOOD.replace(b"(2,)", b"(-1, -2)"), bytes(16)), "no array in NumPy's format"),
        (npy(GOOD.replace(b"<i8", b"<f8"), bytes(16)), "integers are needed"),
        (npy(GOOD.replace(b"<i8", b"|O"), bytes(16)), "integers are needed"),
        (npy(b"__import__('os').system('true')\n"), "no array in NumPy's format"),
        (npy(b"(" * 3000), "no array in NumPy's format"),
        (npy(b"{" + b" " * 9000 + b"}"), "no array in NumPy's format"),
        (b"", "no array in NumPy's format"),
        (b"\x93NUMPY\7\0" + bytes(20), "no array in NumPy's format"),
    ],
)  # fmt: skip
def test_refuses_arrays_that_are_none(tmp_path, member, says):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("input_ids.npy", member)
    with pytest.raises(HubError, match=says):
        npz.read_integers(tmp_path / "a.npz", "input_ids")


def test_refuses_what_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", input_ids=np.zeros(1 << 20, np.int64))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 16
    with pytest.raises(HubError, match="more than 1048576 bytes"):
        npz.read_integers(tmp_path / "a.npz", "input_ids")
    (tmp_path / "b.npz").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(HubError, match="at most 1048576"):
        npz.read_integers(tmp_path / "b.npz", "input_ids")


def test_no_damage_escapes(tmp_path):
    """Every byte of a small archive changed, and every length cut: it is read, or refused with one line."""
    np.savez_compressed(tmp_path / "a.npz", input_ids=np.arange(9))
    raw = (tmp_path / "a.npz").read_bytes()
    damaged = [raw[:i] for i in range(0, len(raw), 3)]
    damaged += [raw[:i] + bytes([raw[i] ^ bit]) + raw[i + 1 :] for i in range(len(raw)) for bit in (1, 128)]
    path = tmp_path / "b.npz"
    for data in damaged:
        path.write_bytes(data)
        try:
            found = npz.read_integers(path, "input_ids")
        except HubError as error:
            assert "\n" not in str(error)
        else:
            assert found.dtype.kind in "iu"


def test_numpy_reads_what_is_written(tmp_path):
    path, rows = tmp_path / "a.npz", np.arange(35, dtype=np.float32).reshape(7, 5)
    with npz.NpzOutput(path, {"ids": ((3,), "i8"), "rows": ((7, 5), "f4")}, force=False) as file:
        file.append("ids", np.array([1, 2, 3]))
        for start in range(0, 7, 2):
            file.append("rows", rows[start : start + 2])
        assert not path.exists()
        file.commit()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.namelist() == ["ids.npy", "rows.npy"]
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["ids"], [1, 2, 3])
        assert found["ids"].dtype == np.int64
        np.testing.assert_array_equal(found["rows"], rows)
        assert found["rows"].dtype == np.float32
    with pytest.raises(OutputError, match="exists already"):
        npz.NpzOutput(path, {"ids": ((3,), "i8")}, force=False)


def test_nothing_is_left_of_one_that_was_not_finished(tmp_path):
    with (
        pytest.raises(ValueError, match="on the way"),
        npz.NpzOutput(tmp_path / "a.npz", {"ids": ((3,), "i8")}, force=False) as file,
    ):
        file.append("ids", np.array([1]))
        raise ValueError("on the way")
    assert not list(tmp_path.iterdir())
