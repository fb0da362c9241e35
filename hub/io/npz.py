"""NumPy's archives: ids out of one that a stranger may have made, large arrays into one row by row.

Reading takes one small member and nothing that could run code. Writing knows every offset beforehand, so an archive is
filled by position like any other output, with its first bytes last (APPNOTE.TXT of PKWARE, stored members, zip64).
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np

from hub.errors import FormatError, HubError, printable
from hub.io.atomic import AtomicOutput
from hub.io.source import FileSource

MAX_BYTES: Final = 64 << 20
"""Largest archive, and largest member, that is read."""
_MAX_HEADER: Final = 4096
_HEADER: Final = re.compile(
    r"\{'descr': '?(?P<dtype>[^']{1,200})'?, 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(\d{1,20}, ?)*(\d{1,20})?)\), ?\}\s*"
)
_INTEGER: Final = re.compile(r"[<>|=][iu][1248]")
_ZIP64: Final = 0xFFFFFFFF

Array = np.ndarray[Any, Any]


def read_integers(path: str | os.PathLike[str], name: str) -> Array:
    """The array of integers called `name`, of any shape.

    Raises:
        HubError: no such file, not an archive, too large, no such array, or it holds anything but integers.
    """
    source = FileSource(path)
    try:
        if source.size > MAX_BYTES:
            raise FormatError(f"{source.size} bytes, an .npz of ids has at most {MAX_BYTES}", path=path)
        raw = source.read(0, source.size)
    finally:
        source.close()
    try:
        return _array(_member(raw, name), name)
    except HubError as error:
        raise error.at(path=path) from None


def _member(raw: bytes, name: str) -> bytes:
    try:
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            names = archive.namelist()
            if f"{name}.npy" not in names:
                has = ", ".join(printable(n.removesuffix(".npy"), 40) for n in names[:5]) or "nothing"
                raise FormatError(f"no array {name} in it, it has {has}")
            with archive.open(f"{name}.npy") as member:
                data = member.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise FormatError(f"not an .npz archive that can be read: {printable(error, 80)}") from None
    except (ValueError, IndexError, OverflowError, zlib.error) as error:
        raise FormatError(f"a damaged .npz archive: {printable(error, 80)}") from None
    if len(data) > MAX_BYTES:
        raise FormatError(f"array {name} has more than {MAX_BYTES} bytes")
    return data


def _array(data: bytes, name: str) -> Array:
    """The array in a member, by numpy.lib.format; its header is matched and not evaluated."""
    wide = data[6:7] != b"\1"  # version 1 counts its header in two bytes, later ones in four
    start = 12 if wide else 10
    size = int.from_bytes(data[8:start], "little")
    header = data[start : start + size].decode("latin-1") if size <= _MAX_HEADER else ""
    match = _HEADER.fullmatch(header)
    if data[:6] != b"\x93NUMPY" or match is None:
        raise FormatError(f"array {name} is no array in NumPy's format")
    if not _INTEGER.fullmatch(match["dtype"]):
        raise FormatError(f"array {name} has type {printable(match['dtype'], 40)}, integers are needed")
    dtype, rest, count = np.dtype(match["dtype"]), data[start + size :], 1
    shape = tuple(int(axis) for axis in match["shape"].replace(",", " ").split())
    for axis in shape:
        count *= axis
    # An axis without items lets others be any size, which no array of NumPy's is.
    if count * dtype.itemsize != len(rest) or len(shape) > 32 or any(axis > MAX_BYTES for axis in shape):
        raise FormatError(f"array {name} has {len(rest)} bytes, its shape {printable(shape, 60)} is another size")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if match["fortran"] == "True" else "C")


class NpzOutput:
    """An .npz archive on its way to its final name; enter it, fill it, `commit`.

    Args:
        final: the name it shall have.
        arrays: shape and type of each array, in order; the last axis is contiguous.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: it cannot be written there.
    """

    def __init__(
        self, final: str | os.PathLike[str], arrays: Mapping[str, tuple[tuple[int, ...], str]], *, force: bool
    ) -> None:
        self._members = {name: _Member(name, shape, np.dtype(dtype)) for name, (shape, dtype) in arrays.items()}
        position = 0
        for member in self._members.values():
            member.offset = position
            position = member.end
        directory = sum(len(member.entry()) for member in self._members.values())
        self._end = position
        self._output = AtomicOutput(final, folder=False, force=force)
        try:
            self._file = self._output.create("", position + directory + len(_tail(0, 0, 0)))
        except BaseException:  # nobody has entered it yet who would leave it
            self._output.discard()
            raise

    def __enter__(self) -> NpzOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self._output.discard()

    def append(self, name: str, array: Array) -> None:
        """The next rows of an array."""
        member = self._members[name]
        data = np.ascontiguousarray(array, member.dtype).tobytes()
        self._file.write(data, member.start + member.done)
        member.done += len(data)
        member.crc = zlib.crc32(data, member.crc)

    def commit(self) -> None:
        """Write what stands around the data, and give the archive its name."""
        members = list(self._members.values())
        directory = b"".join(member.entry() for member in members)
        self._file.write(directory + _tail(len(members), len(directory), self._end), self._end)
        for member in reversed(members):
            if member.done != member.size:
                raise AssertionError(f"array {member.title} has {member.done} of {member.size} bytes")
            self._file.write(member.local() + member.head, member.offset)
        self._output.seal()
        self._output.commit()


class _Member:
    """One array in an archive: header of the archive, header of the array, data."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.title, self.name, self.dtype = name, f"{name}.npy".encode(), dtype
        stream = BytesIO()
        np.lib.format.write_array_header_1_0(
            stream, {"descr": dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape}
        )
        self.head = stream.getvalue()
        self.size = dtype.itemsize
        for axis in shape:
            self.size *= axis
        self.offset = self.done = 0
        # The array's own header is part of the member that the checksum is of.
        self.crc = zlib.crc32(self.head)

    @property
    def start(self) -> int:
        return self.offset + len(self.local()) + len(self.head)

    @property
    def end(self) -> int:
        return self.start + self.size

    def _common(self, extra: bytes) -> bytes:
        return _words((45, 2), (0, 2), (0, 2), (0, 2), (0x21, 2), (self.crc, 4), (_ZIP64, 4), (_ZIP64, 4),
                      (len(self.name), 2), (len(extra), 2))  # fmt: skip

    def local(self) -> bytes:
        """What stands in front of the member."""
        total = len(self.head) + self.size
        extra = _words((1, 2), (16, 2), (total, 8), (total, 8))
        return b"PK\3\4" + self._common(extra) + self.name + extra

    def entry(self) -> bytes:
        """What the directory says of it."""
        total = len(self.head) + self.size
        extra = _words((1, 2), (24, 2), (total, 8), (total, 8), (self.offset, 8))
        rest = _words((0, 2), (0, 2), (0, 2), (0, 4), (_ZIP64, 4))
        return b"PK\1\2" + _words((45, 2)) + self._common(extra) + rest + self.name + extra


def _tail(members: int, directory: int, offset: int) -> bytes:
    """What ends an archive, in both sizes of numbers."""
    wide = b"PK\6\6" + _words((44, 8), (45, 2), (45, 2), (0, 4), (0, 4), (members, 8), (members, 8), (directory, 8),
                              (offset, 8))  # fmt: skip
    locator = b"PK\6\7" + _words((0, 4), (offset + directory, 8), (1, 4))
    short = b"PK\5\6" + _words((0, 2), (0, 2), (0xFFFF, 2), (0xFFFF, 2), (_ZIP64, 4), (_ZIP64, 4), (0, 2))
    return wide + locator + short


def _words(*numbers: tuple[int, int]) -> bytes:
    """Numbers, each in so many bytes, little-endian."""
    return b"".join(value.to_bytes(size, "little") for value, size in numbers)
