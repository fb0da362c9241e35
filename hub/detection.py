"""Which format lies at a path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from hub.errors import FormatError, printable
from hub.format import Format
from hub.io.folder import Folder
from hub.io.source import read_head
from hub.io.strangers import PICKLE_REMEDY, refuse_strangers
from hub.plugins import resolve

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def _score(format: Format, path: str, head: bytes, names: Sequence[str]) -> int:
    try:
        return int(resolve(format.detect)(path, head, names))
    except Exception:  # a fault of one plugin must not keep the others from finding what is theirs
        return 0


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
        ((_score(f, path, head, names), f.name, f) for f in formats if f.reader),
        key=lambda score: score[:2],
        reverse=True,
    )
    if not scores or scores[0][0] <= 0:
        known = ", ".join(sorted(name for _, name, _ in scores))
        pickle = next((name for name in names if name.endswith(_PICKLES)), None)
        if pickle is not None:
            raise FormatError(
                f"none of the known formats ({known}); {printable(pickle)} is a Python pickle",
                path=path,
                remedy=PICKLE_REMEDY,
            )
        raise FormatError(f"none of the known formats ({known})", path=path, remedy="say which with --from")
    if len(scores) > 1 and scores[1][0] == scores[0][0]:
        raise FormatError(f"could be {scores[0][1]} or {scores[1][1]}", path=path, remedy="say which with --from")
    return scores[0][2]
