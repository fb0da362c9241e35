"""A file opened for reading by byte ranges: never read short, and mapped only to run it."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import ChangedError, FormatError, HubError

if TYPE_CHECKING:
    from hub_native import MappedFile


@dataclass(frozen=True)
class Identity:
    """What must not change about a file between opening and closing it."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def _identity(fd: int) -> Identity:
    st = os.fstat(fd)
    return Identity(st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns)


def os_error(error: OSError, path: str) -> HubError:
    """The one-line form of an operating system error on `path`."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return HubError("no such file", path=path)
    if error.errno == errno.EACCES:
        return HubError("no permission to read it", path=path)
    if error.errno == errno.ELOOP:
        return FormatError("symbolic links form a loop", path=path)
    return HubError(error.strerror or str(error), path=path)


class FileSource:
    """A regular file, read by `pread`.

    Reading instead of mapping is deliberate: a mapped file that shrinks kills the process, a
    `pread` past the end is an error that names the file.

    Raises:
        HubError: the file does not exist, cannot be read, or is not a regular file.
    """

    def __init__(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
        self.path = os.fspath(path)
        try:
            # O_NONBLOCK: opening a FIFO must not wait for a writer.
            self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        except OSError as error:
            raise os_error(error, self.path) from None
        except ValueError:
            raise HubError("the name holds a NUL character", path=self.path) from None
        mode = os.fstat(self._fd).st_mode
        if not stat.S_ISREG(mode):
            os.close(self._fd)
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise HubError(f"expected a file, this is {kind}", path=self.path)
        self.identity = _identity(self._fd)
        self._open = True
        self._map: MappedFile | None = None

    @property
    def size(self) -> int:
        """Size in bytes when it was opened."""
        return self.identity.size

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from `offset`.

        Raises:
            FormatError: the file ends first.
            ChangedError: it ends first because it has become shorter.
        """
        view = buffer.cast("B")
        done = 0
        while done < len(view):
            try:
                n = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise os_error(error, self.path) from None
            if n == 0:
                self.check_unchanged()
                raise FormatError(
                    f"the file ends after {self.size} bytes, {len(view)} were wanted from here",
                    path=self.path,
                    offset=offset,
                )
            done += n

    def read_runs(self, buffer: memoryview, length: int, offset: int, stride: int) -> None:
        """Fill `buffer` with runs of `length` bytes, the first from `offset`, each `stride` bytes after the last.

        Raises:
            FormatError, ChangedError: as `read_into`.
        """
        import hub_native

        view = buffer.cast("B")
        count = len(view) // length if length else 0
        done = hub_native.read_runs(self._fd, view, length, offset, stride) if count else 0
        for i in range(done, count):  # what is left fails for a reason
            self.read_into(view[i * length : (i + 1) * length], offset + i * stride)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; the range is checked against the file before anything is allocated.

        Raises:
            FormatError: the range leaves the file.
        """
        if size < 0 or offset < 0 or offset + size > self.size:
            raise FormatError(
                f"{size} bytes are wanted from here, the file has {self.size} in all",
                path=self.path,
                offset=offset,
            )
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise os_error(error, self.path) from None
        if len(data) == size:
            return data
        # Cut short by a limit of the system, or by a file that shrank: read_into tells the two apart.
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), offset)
        return bytes(buffer)

    def map(self) -> memoryview:
        """The whole file as read-only memory, mapped once; it lives as long as anything that looks at it.

        For the runner, which goes over all weights again and again. A file that shrinks reads as zeros then, which
        `check_unchanged` finds; who maps must ask it before the results are used.

        Raises:
            HubError: it cannot be mapped.
        """
        from hub_native import MappedFile

        if self._map is None:
            try:
                self._map = MappedFile(self._fd, self.size)
            except OSError as error:
                raise HubError(f"it cannot be mapped: {error.strerror}", path=self.path) from None
        return memoryview(self._map)

    def sha256(self) -> str:
        """The SHA-256 of the whole file, in hexadecimal."""
        import hashlib

        digest, buffer, offset = hashlib.sha256(), memoryview(bytearray(1 << 20)), 0
        while offset < self.size:
            piece = buffer[: min(len(buffer), self.size - offset)]
            self.read_into(piece, offset)
            digest.update(piece)
            offset += len(piece)
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Raises:
        ChangedError: the file is not the one that was opened any more.
        """
        now = _identity(self._fd)
        if now != self.identity:
            raise ChangedError(
                f"the file changed while it was read (size {self.identity.size} then, {now.size} now)",
                path=self.path,
                remedy="let whatever writes it finish, then run again",
            )
        if self._map is not None and self._map.lost:
            raise HubError("a part of it could not be read", path=self.path)

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._open:
            self._open = False
            self._map = None
            os.close(self._fd)

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_head(path: str | os.PathLike[str], size: int = 512) -> bytes:
    """The first bytes of a file, fewer if it is shorter; what detection looks at."""
    with FileSource(path) as source:
        return source.read(0, min(size, source.size))
