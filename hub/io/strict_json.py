"""JSON as RFC 8259 has it and nothing more.

Python's own `json` keeps the last of two members of the same name, takes NaN, and recurses as
deep as the text does. Two parsers that disagree about one file are how attacks start (Trail of
Bits' audit of safetensors, TOB-SFTN-7), so hub refuses what any of them could read differently.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NoReturn

from hub.errors import FormatError, printable

MAX_DEPTH = 64
"""Deepest nesting; real configs stay below 10."""
MAX_BYTES = 256 << 20
"""Longest text; the largest tokenizer.json in the field is near 35 MB."""
MAX_INT_DIGITS = 20
"""Longest integer that is read as one: every 64-bit one fits. Python's int() is quadratic in the digits."""
MAX_DIGITS = 40
"""Longest integer at all, read as the double that most readers make of it: transformers writes int(1e30) for a
tokenizer without a limit."""

# Possessive, and an open string runs to the end: a text of a million quotes is passed over once, not a million times.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class _Refused(ValueError):
    pass


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Refused(f"member {printable(name)!r} stands twice in one object")
            seen.add(name)
    return out


def _integer(text: str) -> int | float:
    digits = len(text.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise _Refused(f"an integer of {digits} digits, at most {MAX_DIGITS} are allowed")
    if digits > MAX_INT_DIGITS:
        return float(text)
    if text == "-0":
        # Strict readers take it for a float, so it is no count and no offset.
        return -0.0
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _Refused(f"number {printable(text, 40)} is beyond the range of a double")
    return value


def _constant(text: str) -> NoReturn:
    raise _Refused(f"{text} is not JSON")


def _too_deep(data: bytes) -> bool:
    # Strings are cut out first: brackets inside them nest nothing.
    depth = 0
    for byte in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _whole_pairs(value: Any) -> bool:
    # Half of a surrogate pair can be spelled in JSON and in no UTF-8, so it cannot be written again.
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def loads(data: bytes, *, path: str | os.PathLike[str], offset: int = 0, max_bytes: int = MAX_BYTES) -> Any:
    """Parse `data`, which was read from `path` at `offset`.

    Raises:
        FormatError: not UTF-8, a byte order mark, NaN or Infinity, a member twice in an object,
            nesting beyond `MAX_DEPTH`, an integer beyond `MAX_DIGITS`, half of a surrogate pair, or not JSON
            at all.
    """

    def refuse(message: str, at: int = 0) -> FormatError:
        return FormatError(f"not acceptable JSON: {message}", path=path, offset=offset + at)

    if len(data) > max_bytes:
        raise refuse(f"{len(data)} bytes, at most {max_bytes} are allowed")
    if data.startswith(b"\xef\xbb\xbf"):
        raise refuse("it starts with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse("not UTF-8", error.start) from None
    # Scanning costs a tenth of parsing, and only text with many brackets can nest deeply.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _too_deep(data):
        raise refuse(f"nested deeper than {MAX_DEPTH}")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except _Refused as error:
        raise refuse(str(error)) from None
    except json.JSONDecodeError as error:
        raise refuse(error.msg, len(text[: error.pos].encode("utf-8", "replace"))) from None
    except RecursionError:
        raise refuse("nested too deeply") from None
    if _HALF.search(data) and not _whole_pairs(value):
        raise refuse("a string holds half of a surrogate pair")
    return value


def load_object(
    data: bytes, *, path: str | os.PathLike[str], offset: int = 0, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """As `loads`, for text that must be an object.

    Raises:
        FormatError: also when the text is another kind of value.
    """
    value = loads(data, path=path, offset=offset, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object, found {type(value).__name__}", path=path, offset=offset)
    return value
