"""Which format lies at a path."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hub.errors import FormatError
from hub.format import Format
from hub.io.folder import Folder
from hub.io.source import read_head
from hub.plugins import resolve

_STRANGERS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the model itself", "run: git lfs pull"),
    (b"<!DOCTYPE", "an HTML page, not a model", "download the file itself"),
    (b"<html", "an HTML page, not a model", "download the file itself"),
    (b"PK\x03\x04", "a zip archive (perhaps a PyTorch pickle)", "hub never unpickles; get the safetensors"),
    (b"\x80\x02", "a Python pickle", "hub never unpickles; get the safetensors"),
)


def refuse_strangers(path: str, head: bytes) -> None:
    """Raises:
    FormatError: the file is one of the things that people hand to converters by mistake.
    """
    if not head:
        raise FormatError("the file is empty", path=path)
    for magic, what, remedy in _STRANGERS:
        if head.startswith(magic):
            raise FormatError(f"this is {what}", path=path, offset=0, remedy=remedy)


def detect(formats: Iterable[Format], path: str) -> Format:
    """The one format that is surest of `path`.

    Raises:
        FormatError: no format knows it, or two are equally sure.
    """
    if os.path.isdir(path):
        head, names = b"", Folder(path).names()
    else:
        head, names = read_head(path), []
        refuse_strangers(path, head)
    scores = sorted(
        ((int(resolve(f.detect)(path, head, names)), f.name, f) for f in formats if f.reader),
        key=lambda score: score[:2],
        reverse=True,
    )
    if not scores or scores[0][0] <= 0:
        known = ", ".join(sorted(name for _, name, _ in scores))
        raise FormatError(f"none of the known formats ({known})", path=path, remedy="say which with --from")
    if len(scores) > 1 and scores[1][0] == scores[0][0]:
        raise FormatError(
            f"could be {scores[0][1]} or {scores[1][1]}", path=path, remedy="say which with --from"
        )
    return scores[0][2]
