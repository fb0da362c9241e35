"""Output that is either whole at its final name or not there.

A file is written beside its final name under a hidden name, preallocated, filled positionally
by any number of threads, its head last (so that a killed run leaves nothing that a reader
accepts), fsynced, and renamed. A folder is written the same way, as one hidden folder.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from hub.errors import OutputError


def _refuse(error: OSError, path: Path) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("no space left on the device", path=path, remedy="free some, or choose another place")
    if error.errno == errno.EFBIG:
        return OutputError("the file would exceed the allowed size", path=path)
    return OutputError(error.strerror or str(error), path=path)


def _appeared(path: Path) -> OutputError:
    return OutputError("another file appeared at the output's name meanwhile", path=path)


def fsync_folder(path: Path) -> None:
    """Make a rename in `path` last through a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _hidden(final: Path, suffix: str) -> Path:
    """A name beside `final` that nothing else has. Names may have 255 bytes, and a character up to four."""
    return final.with_name(f".{final.name[:40]}.{os.getpid()}.{secrets.token_hex(4)}.{suffix}")


class OutputFile:
    """One file of an output, filled by position."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _refuse(error, path) from None
        self._open = True
        try:
            if size:
                os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                self.close()
                raise _refuse(error, path) from None
            self._extend()

    def _extend(self) -> None:
        """The size without the space, where a file system cannot preallocate."""
        try:
            os.ftruncate(self._fd, self.size)
        except OSError as error:
            self.close()
            raise _refuse(error, self.path) from None

    def write(self, data: memoryview | bytes, offset: int) -> None:
        """Write all of `data` at `offset`.

        Raises:
            OutputError: the disk is full or failed; or the range leaves the planned size,
                which would be a bug in a writer.
        """
        view = memoryview(data).cast("B")
        if offset < 0 or offset + len(view) > self.size:
            raise OutputError(
                f"a write of {len(view)} bytes leaves the planned {self.size}", path=self.path, offset=offset
            )
        done = 0
        while done < len(view):
            try:
                done += os.pwrite(self._fd, view[done:], offset + done)
            except OSError as error:
                raise _refuse(error, self.path) from None

    def write_runs(self, data: memoryview, length: int, offset: int, stride: int) -> None:
        """Write `data` as runs of `length` bytes, the first at `offset`, each `stride` bytes after the last.

        Raises:
            OutputError: as `write`.
        """
        import hub_native

        count = len(data) // length if length else 0
        inside = offset >= 0 and offset + (count - 1) * stride + length <= self.size
        done = hub_native.write_runs(self._fd, data, length, offset, stride) if count and inside else 0
        for i in range(done, count):  # what is left fails for a reason
            self.write(data[i * length : (i + 1) * length], offset + i * stride)

    def sync(self) -> None:
        """Raises:
        OutputError: the disk did not take the data.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise _refuse(error, self.path) from None

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._open:
            self._open = False
            os.close(self._fd)


class AtomicOutput:
    """The output of one conversion: `create` files, then `commit` them to `final` in one rename.

    Args:
        final: the name the output shall have.
        folder: whether the output is a folder of files or one file.
        force: whether an existing output may be replaced. The old one stays until the new one is
            complete.

    Raises:
        OutputError: `final` exists and `force` was not given, or its folder does not exist.
    """

    def __init__(self, final: str | os.PathLike[str], *, folder: bool, force: bool = False) -> None:
        # A link at the final name is replaced where it points, not by a file beside its target.
        self.final = Path(os.path.realpath(final)) if os.path.islink(final) else Path(os.path.abspath(final))
        self.folder = folder
        self.force = force
        check_free(self.final, folder=folder, force=force)
        self._temp = _hidden(self.final, "partial")
        self._files: list[OutputFile] = []
        self._done = False
        if folder:
            try:
                self._temp.mkdir()
            except OSError as error:
                raise _refuse(error, self.final) from None

    @property
    def path(self) -> Path:
        """Where the output lies until it is committed."""
        return self._temp

    def create(self, name: str, size: int) -> OutputFile:
        """Create and preallocate a file; `name` is relative to a folder output, and ignored otherwise."""
        if self.folder:
            target = self._temp / name
            target.parent.mkdir(parents=True, exist_ok=True)
        else:
            target = self._temp
        made = OutputFile(target, size)
        self._files.append(made)
        return made

    def seal(self) -> None:
        """Flush everything to the disk and close it; what is at `path` is complete after this."""
        for made in self._files:
            made.sync()
            made.close()
        if self.folder:
            fsync_folder(self._temp)

    def commit(self) -> Path:
        """Give the output its final name, replacing an old one when `force` allows it."""
        return self._rename(self.final)

    def reject(self) -> Path:
        """Keep the output under its final name plus ``.rejected``, replacing an earlier reject."""
        return self._rename(self.final.with_name(self.final.name + ".rejected"), force=True)

    def _rename(self, target: Path, *, force: bool | None = None) -> Path:
        force = self.force if force is None else force
        old: Path | None = None
        try:
            if not force and not self.folder:
                # link() fails where rename() would silently replace a file that appeared meanwhile.
                try:
                    os.link(self._temp, target)
                except FileExistsError:
                    raise _appeared(target) from None
                except OSError:
                    self._claim_and_rename(target)
                else:
                    os.unlink(self._temp)
            else:
                if force and os.path.lexists(target) and (self.folder or target.is_dir()):
                    old = _hidden(target, "old")
                    os.rename(target, old)
                os.rename(self._temp, target)
            self._done = True
            fsync_folder(target.parent)
        except OSError as error:
            if old is not None and not os.path.lexists(target):
                os.rename(old, target)
            raise _refuse(error, target) from None
        if old is not None:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        return target

    def _claim_and_rename(self, target: Path) -> None:
        """For file systems without hard links: an empty file, which nothing reads as a model, takes the name until the
        rename replaces it."""
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        except FileExistsError:
            raise _appeared(target) from None
        try:
            os.rename(self._temp, target)
        except OSError:
            os.unlink(target)
            raise

    def discard(self) -> None:
        """Remove what was written, unless it was committed or kept."""
        for made in self._files:
            made.close()
        if self._done:
            return
        if self.folder:
            shutil.rmtree(self._temp, ignore_errors=True)
        else:
            self._temp.unlink(missing_ok=True)

    def __enter__(self) -> AtomicOutput:
        return self

    def __exit__(self, *exc: object) -> None:
        self.discard()


def check_free(final: str | os.PathLike[str], *, folder: bool, force: bool) -> None:
    """Raises:
    OutputError: something is at `final` that may not be replaced, or its folder does not exist.
    """
    path = Path(final)
    if not path.parent.is_dir():
        raise OutputError("the folder of the output does not exist", path=path.parent, remedy="create it first")
    try:
        os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refuse(error, path) from None
    if path.is_dir() and not folder:
        raise OutputError("this is a folder, the output is a file", path=path, remedy="give the name of a file in it")
    if not force:
        raise OutputError("it exists already", path=path, remedy="give another name, or --force to replace it")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return  # a link to nothing: its target is what will be written
    except OSError as error:
        raise _refuse(error, path) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise OutputError("it exists and is neither a file nor a folder", path=path, remedy="give another name")
    if stat.S_ISDIR(mode) != folder:
        kind = "folder" if stat.S_ISDIR(mode) else "file"
        raise OutputError(f"it exists and is a {kind}, the output is not", path=path)


def check_room(final: str | os.PathLike[str], need: int) -> None:
    """Raises:
    OutputError: the file system of `final` has less than `need` bytes free.
    """
    folder = Path(final).parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _refuse(error, folder) from None
    if free < need:
        raise OutputError(f"{need} bytes are needed there, {free} are free", path=folder, remedy="free some space")


def write_pieces(path: str | os.PathLike[str], pieces: Sequence[bytes], *, force: bool) -> int:
    """Write a file whose bytes are all known, whole or not at all.

    Returns:
        Its size in bytes.

    Raises:
        OutputError: it exists and `force` was not given, or cannot be written.
    """
    size = sum(map(len, pieces))
    with AtomicOutput(path, folder=False, force=force) as output:
        file, offset = output.create("", size), 0
        for piece in pieces:
            file.write(piece, offset)
            offset += len(piece)
        output.seal()
        output.commit()
    return size


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a small text file (a report) whole or not at all, replacing an old one."""
    data = text.encode("utf-8")
    with AtomicOutput(path, folder=False, force=True) as output:
        output.create("", len(data)).write(data, 0)
        output.seal()
        output.commit()
