"""The small files of a Hugging Face folder that go along unchanged: tokenizer, templates, licence, model card, code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from hub.api import Folder, HubError, Model, printable
from hub_safetensors.chat_template import MORE

MAX_FILE: Final = 64 << 20
"""Longest file that goes along; the longest tokenizer.json in the field have some 2^25 bytes."""
MAX_ALL: Final = 128 << 20
"""Most bytes of all of them."""
MAX_FILES: Final = 768
"""Most of them; all files of an output are open at once, and a process may open some 1000."""
_SUFFIXES: Final = (
    ".json", ".jinja", ".md", ".txt", ".model", ".py", ".tiktoken", ".vocab", ".bpe", ".spm", ".yaml", ".yml", ".rst",
)  # fmt: skip
_INDEX: Final = ".index.json"


def companion_files(model: Model, *, but: Sequence[str] = ()) -> tuple[dict[str, bytes], list[str]]:
    """The files beside a folder's weights, by name, and notes on those that were left out.

    Args:
        but: names of files that are written anew.

    Raises:
        HubError: a file cannot be read, or leads outside the folder.
    """
    folder = Folder(model.path)
    names = [name for name in model.companions if _goes_along(name) and name not in but]
    if MORE in model.companions and os.path.isdir(folder.path(MORE)):
        names += [f"{MORE}/{name}" for name in Folder(folder.path(MORE)).names() if name.endswith(".jinja")]
    files: dict[str, bytes] = {}
    notes = []
    room = MAX_ALL
    if len(names) > MAX_FILES:
        notes.append(f"{len(names) - MAX_FILES} of {len(names)} small files do not go along, at most {MAX_FILES} do")
    for name in names[:MAX_FILES]:
        try:
            files[name] = folder.bytes(name, max_bytes=min(MAX_FILE, room))
        except HubError as error:
            notes.append(f"{printable(name, 80)} does not go along: {error.message}")
        else:
            room -= len(files[name])
    return files, notes


def _goes_along(name: str) -> bool:
    """Texts, by their names; an index of other weight files would lie."""
    if name.startswith(".") or name.endswith(_INDEX):
        return False
    return name.endswith(_SUFFIXES) or "." not in name.removesuffix(".txt")
