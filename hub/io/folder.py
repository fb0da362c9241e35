"""A model folder, and the rule that nothing outside it is read.

Names of files come from inside model files (an index, a split, a config), so they are hostile
until shown otherwise: a name must be relative, must not climb, and what it leads to must be a
regular file inside the folder. Hugging Face caches are the one exception, because their
snapshots consist of links: ``models--X/snapshots/REV/f`` may lead into ``models--X/blobs``, and so may a file in a
folder of the snapshot.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hub.errors import FormatError, HubError, printable
from hub.io import strict_json
from hub.io.source import FileSource, os_error
from hub.io.strangers import refuse_strangers

MAX_TEXT = 64 << 20
"""Longest text file read whole (a chat template, a README)."""


class Folder:
    """A folder whose files are opened by contained names.

    Raises:
        HubError: `root` is not a folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        try:
            self._real = Path(os.path.realpath(self.root, strict=True))
        except OSError as error:
            raise os_error(error, os.fspath(self.root)) from None
        except ValueError:
            raise HubError("the name holds a NUL character", path=os.fspath(self.root)) from None
        if not self._real.is_dir():
            raise HubError("expected a folder, this is a file", path=os.fspath(self.root))
        self._allowed = [self._real]
        for folder in (self._real, *self._real.parents):
            if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
                self._allowed.append(folder.parent.parent / "blobs")
                break

    def path(self, name: str, *, named_in: str | None = None) -> Path:
        """The path of `name`, checked for containment.

        Args:
            named_in: the file that the name was read from, for the message.

        Raises:
            FormatError: the name is empty, absolute, climbs, or leads outside the folder.
        """
        where = named_in or os.fspath(self.root)
        parts = name.replace("\\", "/").split("/")
        if (
            not name
            or "\0" in name
            or os.path.isabs(name)
            or any(part in ("", ".", "..") for part in parts)
            or (len(parts[0]) > 1 and parts[0][1] == ":")
        ):
            raise FormatError(
                f"file name {printable(name)!r} leaves the model folder or is not a plain name", path=where
            )
        full = self.root / name
        real = Path(os.path.realpath(full))
        if not any(real.is_relative_to(allowed) for allowed in self._allowed):
            raise FormatError(
                f"file {printable(name)!r} leads outside the model folder, to {printable(real, 200)}",
                path=where,
            )
        return full

    def exists(self, name: str) -> bool:
        """Whether `name` is there, be it a file or a dangling link."""
        return os.path.lexists(self.root / name)

    def names(self) -> list[str]:
        """The names in the folder itself, sorted."""
        try:
            return sorted(os.listdir(self.root))
        except OSError as error:
            raise os_error(error, os.fspath(self.root)) from None

    def open(self, name: str, *, named_in: str | None = None) -> FileSource:
        """Open a contained file.

        Raises:
            FormatError: as `path`.
            HubError: it is not there or not a regular file.
        """
        path = self.path(name, named_in=named_in)
        source = FileSource(path)
        # The name was checked before opening; checking what was opened closes the gap between.
        real = Path(os.path.realpath(path))
        try:
            st = os.stat(real)
            same = (st.st_dev, st.st_ino) == (source.identity.device, source.identity.inode)
        except OSError:
            same = False
        if not same or not any(real.is_relative_to(allowed) for allowed in self._allowed):
            source.close()
            raise FormatError("the file was swapped while it was opened", path=path)
        return source

    def bytes(self, name: str, *, max_bytes: int = strict_json.MAX_BYTES) -> bytes:
        """The whole of a contained file of at most `max_bytes`.

        Raises:
            FormatError: it is larger.
        """
        with self.open(name) as source:
            if source.size > max_bytes:
                raise FormatError(f"{source.size} bytes, at most {max_bytes} are allowed", path=source.path)
            return source.read(0, source.size)

    def text(self, name: str) -> str:
        """A contained UTF-8 file.

        Raises:
            FormatError: not UTF-8, or larger than `MAX_TEXT`.
        """
        data = self.bytes(name, max_bytes=MAX_TEXT)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError("not UTF-8", path=self.root / name, offset=error.start) from None

    def json(self, name: str) -> dict[str, Any]:
        """A contained JSON object.

        Raises:
            FormatError: as `hub.io.strict_json.load_object`.
        """
        data = self.bytes(name)
        refuse_strangers(self.root / name, data[:64])
        return strict_json.load_object(data, path=self.root / name)
