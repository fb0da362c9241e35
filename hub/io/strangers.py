"""Files that people hand to a converter by mistake, told by their first bytes."""

from __future__ import annotations

import os

from hub.errors import FormatError

_LFS = "run: git lfs pull"
PICKLE_REMEDY = "hub never unpickles; get the weights in a format that is nothing but data"
_STRANGERS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", _LFS),
    (b"<!doctype", "an HTML page, not a model", "download the file itself"),
    (b"<html", "an HTML page, not a model", "download the file itself"),
    (b"pk\x03\x04", "a zip archive (perhaps a PyTorch pickle)", PICKLE_REMEDY),
    (b"pk\x05\x06", "an empty zip archive", "download it again"),
    *((b"\x80" + bytes([protocol]), "a Python pickle", PICKLE_REMEDY) for protocol in range(2, 6)),
    (b"\x1f\x8b", "a gzip archive, not a model", "unpack it first"),
)


def refuse_strangers(path: str | os.PathLike[str], head: bytes) -> None:
    """Look at the first bytes of a file.

    Raises:
        FormatError: it is empty, or one of those things.
    """
    if not head:
        raise FormatError("the file is empty", path=path)
    start = head[:64].lower().lstrip()
    for magic, what, remedy in _STRANGERS:
        if start.startswith(magic):
            raise FormatError(f"this is {what}", path=path, offset=0, remedy=remedy)
