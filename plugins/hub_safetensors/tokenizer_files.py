"""The tokenizer files of a Hugging Face folder, read once and checked for type."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from hub.api import Folder, FormatError, printable, strict_json
from hub_safetensors.members import Members

TOKENIZER_JSON: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
TOKENIZER_MODEL: Final = "tokenizer.model"
ADDED_TOKENS: Final = "added_tokens.json"
SPECIAL_TOKENS_MAP: Final = "special_tokens_map.json"
VOCAB_JSON: Final = "vocab.json"
MERGES: Final = "merges.txt"

_LFS: Final = b"version https://git-lfs"


def checked_bytes(folder: Folder, name: str) -> bytes:
    """The bytes of a file of the folder.

    Raises:
        FormatError: it is too large, or a git-lfs pointer instead of the file.
    """
    data = folder.bytes(name)
    if data.startswith(_LFS):
        raise FormatError("this is a git-lfs pointer, not the file", path=folder.root / name, remedy="run git lfs pull")
    return data


def parsed(data: bytes, folder: Folder, name: str) -> Members:
    """A JSON object whose text was read from the folder.

    Raises:
        FormatError: it is not an acceptable JSON object.
    """
    path = folder.root / name
    return Members(strict_json.load_object(data, path=path), path)


def load(folder: Folder, name: str) -> Members | None:
    """A JSON object of the folder, or None when there is no such file.

    Raises:
        FormatError: it is not an acceptable JSON object.
    """
    if not folder.exists(name):
        return None
    return parsed(checked_bytes(folder, name), folder, name)


def read_merges(folder: Folder) -> list[str]:
    """The merges of merges.txt: pairs of a line each, other lines left out.

    Raises:
        FormatError: it is not UTF-8.
    """
    lines = folder.text(MERGES).splitlines()
    if lines and lines[0].strip().startswith("#"):
        del lines[0]
    pairs = [line.split(None, 3) for line in lines]
    return [f"{pair[0]} {pair[1]}" for pair in pairs if len(pair) == 2]


@dataclass(frozen=True)
class TokenizerFiles:
    """What lies in the folder.

    Attributes:
        folder: where.
        json: tokenizer.json.
        json_text: its bytes, for the process that encodes with it.
        config: tokenizer_config.json; None when absent *or empty*, which readers treat alike.
        model_config: config.json, under whose keys special ids stand.
        slow: whether there is a vocab.json with a merges.txt.
    """

    folder: Folder
    json: Members | None
    json_text: bytes
    config: Members | None
    model_config: Members
    slow: bool

    @classmethod
    def read(cls, folder: Folder, config: dict[str, Any]) -> TokenizerFiles:
        """Read them.

        Raises:
            FormatError: one of them is not acceptable JSON.
        """
        settings = load(folder, TOKENIZER_CONFIG)
        text = checked_bytes(folder, TOKENIZER_JSON) if folder.exists(TOKENIZER_JSON) else b""
        return cls(
            folder=folder,
            json=parsed(text, folder, TOKENIZER_JSON) if folder.exists(TOKENIZER_JSON) else None,
            json_text=text,
            config=settings if settings is not None and settings.values else None,
            model_config=Members(config, os.fspath(folder.root / "config.json")),
            slow=folder.exists(VOCAB_JSON) and folder.exists(MERGES),
        )

    @property
    def tokenizer_class(self) -> str | None:
        """The transformers class that the folder names, without ``Fast``."""
        named = (self.config.text("tokenizer_class") if self.config else None) or (
            self.model_config.text("tokenizer_class")
        )
        return named.removesuffix("Fast") if named else None


def utf8(texts: list[str], path: str | os.PathLike[str]) -> list[bytes]:
    """`texts` in UTF-8.

    Raises:
        FormatError: one holds half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    try:
        return [text.encode("utf-8") for text in texts]
    except UnicodeEncodeError as error:
        raise FormatError(f"token '{printable(error.object, 60)}' holds half of a surrogate pair", path=path) from None
