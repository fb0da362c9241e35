"""NumPy's archives: ids out of one that a stranger may have made, large arrays into and out of one row by row.

Reading takes integers from a small member, or rows of f32 from a stored one, and nothing that could run code. Writing
knows every offset beforehand, so an archive is filled by position like any other output, with its first bytes last
(APPNOTE.TXT of PKWARE, stored members, zip64).
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from io import SEEK_CUR, SEEK_END, BufferedReader, BytesIO, RawIOBase
from typing import IO, Any, Final

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
_F32: Final = re.compile(r"<f4")
_FAULTS: Final = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError)
_DAMAGE: Final = (ValueError, IndexError, OverflowError, zlib.error)
"""What the library raises for archives that are none, and for damaged ones."""
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
        with zipfile.ZipFile(BytesIO(raw)) as archive, archive.open(_entry(archive, name)) as member:
            data = member.read(MAX_BYTES + 1)
    except _FAULTS as error:
        raise FormatError(f"not an .npz archive that can be read: {printable(error, 80)}") from None
    except _DAMAGE as error:
        raise FormatError(f"a damaged .npz archive: {printable(error, 80)}") from None
    if len(data) > MAX_BYTES:
        raise FormatError(f"array {name} has more than {MAX_BYTES} bytes")
    return data


def _entry(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    names = archive.namelist()
    if f"{name}.npy" not in names:
        has = ", ".join(printable(n.removesuffix(".npy"), 40) for n in names[:5]) or "nothing"
        raise FormatError(f"no array {name} in it, it has {has}")
    return archive.getinfo(f"{name}.npy")


def _array(data: bytes, name: str) -> Array:
    """The array in a member, by numpy.lib.format."""
    dtype, shape, fortran, start = _header(data[: _MAX_HEADER + 12], name, _INTEGER, "integers are needed")
    rest = data[start:]
    # An axis without items lets others be any size, which no array of NumPy's is.
    if _count(shape) * dtype.itemsize != len(rest) or len(shape) > 32 or any(axis > MAX_BYTES for axis in shape):
        raise FormatError(f"array {name} has {len(rest)} bytes, its shape {printable(shape, 60)} is another size")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")


def _header(
    data: bytes, name: str, wanted: re.Pattern[str], want: str
) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Type, shape, order and first byte of an array, from a header that is matched and not evaluated."""
    wide = data[6:7] != b"\1"  # version 1 counts its header in two bytes, later ones in four
    start = 12 if wide else 10
    size = int.from_bytes(data[8:start], "little")
    header = data[start : start + size].decode("latin-1") if size <= _MAX_HEADER else ""
    match = _HEADER.fullmatch(header)
    if data[:6] != b"\x93NUMPY" or match is None:
        raise FormatError(f"array {name} is no array in NumPy's format")
    if not wanted.fullmatch(match["dtype"]):
        raise FormatError(f"array {name} has type {printable(match['dtype'], 40)}, {want}")
    shape = tuple(int(axis) for axis in match["shape"].replace(",", " ").split())
    return np.dtype(match["dtype"]), shape, match["fortran"] == "True", start + size


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for axis in shape:
        count *= axis
    return count


class _Bytes(RawIOBase):
    """A FileSource as the library wants a file."""

    def __init__(self, source: FileSource) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + {SEEK_CUR: self._at, SEEK_END: self._source.size}.get(whence, 0))
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._source.size - self._at))
        self._source.read_into(view[:count], self._at)
        self._at += count
        return count


class NpzRows:
    """Matrices of f32 in an .npz archive, from the first row on; a context manager.

    Raises:
        HubError: no such file, or not an archive.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._source = FileSource(path)
        self._member: IO[bytes] | None = None
        try:
            self._archive = zipfile.ZipFile(BufferedReader(_Bytes(self._source)))
        except (*_FAULTS, *_DAMAGE) as error:
            self._source.close()
            raise FormatError(f"not an .npz archive that can be read: {printable(error, 80)}", path=path) from None

    def __enter__(self) -> NpzRows:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._member is not None:
            self._member.close()
        self._archive.close()
        self._source.close()

    def select(self, name: str, shape: tuple[int, int]) -> None:
        """Begin with an array.

        Raises:
            HubError: there is none of that name, of that shape, in f32 and not compressed.
        """
        try:
            entry = _entry(self._archive, name)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise FormatError(f"array {name} is compressed")
            self._member = self._archive.open(entry)
            head = self._member.read(10)
            size = int.from_bytes(head[8:10], "little")
            head += self._member.read(min(size, _MAX_HEADER))
            _, found, fortran, start = _header(head, name, _F32, "f32 is needed")
        except HubError as error:
            raise error.at(path=self._path) from None
        except (*_FAULTS, *_DAMAGE) as error:
            raise FormatError(f"a damaged .npz archive: {printable(error, 80)}", path=self._path) from None
        if found != shape or fortran or entry.file_size != start + 4 * _count(shape):
            raise FormatError(
                f"array {name} has shape {printable(list(found), 60)} and {entry.file_size} bytes, "
                f"{list(shape)} is needed",
                path=self._path,
            )
        self._width = shape[1]

    def rows(self, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The next `count` rows of the array, (count, width)."""
        assert self._member is not None
        size = 4 * count * self._width
        try:
            data = self._member.read(size)
        except (*_FAULTS, *_DAMAGE) as error:
            raise FormatError(f"a damaged .npz archive: {printable(error, 80)}", path=self._path) from None
        if len(data) != size:
            raise FormatError(f"the array ends {size - len(data)} bytes too early", path=self._path)
        return np.frombuffer(data, "<f4").reshape(count, self._width)


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
