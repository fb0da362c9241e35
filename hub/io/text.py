"""Text that a user gives: UTF-8, of limited size."""

from __future__ import annotations

import os

from hub.errors import FormatError, UsageError
from hub.io.source import FileSource


def text_file(path: str | os.PathLike[str], most: int, *, beginning: bool = False) -> str:
    """The text of a file.

    Args:
        most: bytes that are read.
        beginning: whether a longer text is cut there; otherwise it is refused.

    Raises:
        HubError: it cannot be read, is too long, or is not UTF-8.
        UsageError: it is empty.
    """
    with FileSource(path) as source:
        if source.size > most and not beginning:
            raise FormatError(f"a text of {source.size} bytes, at most {most} are read", path=path)
        raw = source.read(0, min(source.size, most))
        cut = source.size > most
    try:
        text = raw.decode("utf-8", "ignore" if cut else "strict")
    except UnicodeDecodeError as error:
        raise FormatError("the text is not UTF-8", path=path, offset=error.start) from None
    if not text.strip():
        raise UsageError("the text is empty", path=path)
    return text
