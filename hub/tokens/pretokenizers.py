"""How text is cut before byte-level BPE: `pretokenizers.toml`, and its regexes in Python's own dialect.

A piece of text is cut by one regex after the other; what a regex does not match stays a piece of its own. The
categories of characters are a table (`unicode_categories.toml`), so that ids do not depend on Python's version.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final

_WHITE_SPACE: Final = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
"""Unicode's White_Space; Python's own class has four control characters more."""
_HAN: Final = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2EBEF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""What llama.cpp takes for Han (unicode_cpt_is_han): blocks, not the script."""
DEFAULT: Final = "default"


@dataclass(frozen=True)
class PreTokenizer:
    """One rule of `pretokenizers.toml`; the keys are described there."""

    names: tuple[str, ...]
    split: tuple[str, ...]
    json: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    normalizer: str | None = None
    ignore_merges: bool = False
    whole_newlines: bool = False
    add_bos: bool = False
    always_bos: bool = False
    no_bos: bool = False
    raw: bool = False

    @cached_property
    def _compiled(self) -> tuple[tuple[re.Pattern[str], bool], ...]:
        # A regex that spells characters out sees a vertical tab for all white space beyond ASCII (unicode_regex_split).
        return tuple((re.compile(python_regex(pattern)), not pattern.isascii()) for pattern in self.split)

    def pieces(self, text: str) -> Sequence[str]:
        """`text` cut into the pieces that are merged on their own."""
        pieces = [text] if text else []
        for pattern, flat in self._compiled:
            cut = []
            for piece in pieces:
                position = 0
                for match in pattern.finditer(piece.translate(_flat()) if flat else piece):
                    start, end = match.span()
                    if start > position:
                        cut.append(piece[position:start])
                    if end > start:
                        cut.append(piece[start:end])
                    position = end
                if position < len(piece):
                    cut.append(piece[position:])
            pieces = cut
        return pieces


@cache
def _flat() -> Mapping[int, str]:
    spaces = re.compile(f"[{_WHITE_SPACE}]")
    return {code: "\v" for code in range(0x80, 0x3001) if spaces.match(chr(code))}


@cache
def _by_name() -> Mapping[str, PreTokenizer]:
    text = resources.files(__package__).joinpath("pretokenizers.toml").read_text("utf-8")
    rules = [_rule(table) for table in tomllib.loads(text)["rules"]]
    by_kind = {kind: rule for rule in rules for kind in rule.kinds}
    return {name: rule for rule in rules for name in rule.names} | by_kind


def _rule(table: Mapping[str, Any]) -> PreTokenizer:
    tuples = {key: tuple(table.get(key, ())) for key in ("names", "split", "json", "kinds")}
    tuples["json"] = tuples["json"] or tuples["split"]
    return PreTokenizer(**{**table, **tuples})


def pre_tokenizer(name: str) -> PreTokenizer | None:
    """The rule of a name, or of a kind of tokenizer that has one way only; None when it is not known."""
    return _by_name().get(name)


def means_one_way(kind: str) -> bool:
    """Whether tokenizers of this kind are all cut in the same way."""
    rule = _by_name().get(kind)
    return rule is not None and kind in rule.kinds


def python_regex(pattern: str) -> str:
    r"""A regex of the table for Python's `re`, which has no ``\p{..}`` and other ideas of ``\s``, ``\d`` and ``$``."""
    out = []
    inside = False
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\":
            if pattern.startswith("\\p{", index):
                end = pattern.index("}", index)
                members = _members(pattern[index + 3 : end])
                index = end + 1
            else:
                members = {"s": _WHITE_SPACE, "S": "^" + _WHITE_SPACE, "d": "0-9"}.get(pattern[index + 1], "")
                index += 2
            out.append((members if inside else f"[{members}]") if members else pattern[index - 2 : index])
            continue
        if inside:
            inside = char != "]"
            out.append("\\" + char if char in "[&~|" else char)
        elif char == "[":
            inside = True
            out.append(char)
        else:
            out.append("\\Z" if char == "$" else char)
        index += 1
    return "".join(out)


@cache
def _members(category: str) -> str:
    r"""The ranges of a category for the inside of brackets; ``Lu`` and its like are taken for all of ``L``, as
    llama.cpp does."""
    ranges = _ranges(category[0])
    if category == "Han":
        ranges = _HAN
    elif category == "LnotHan":
        ranges = _without(ranges, _HAN)
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


@cache
def _ranges(letter: str) -> tuple[tuple[int, int], ...]:
    return tuple(
        (int(first, 16), int(last or first, 16))
        for first, _, last in (one.partition("-") for one in _categories().get(letter, "").split())
    )


@cache
def _categories() -> Mapping[str, str]:
    return tomllib.loads(resources.files(__package__).joinpath("unicode_categories.toml").read_text("utf-8"))


def _without(ranges: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    kept = list(ranges)
    for low, high in others:
        kept = [
            (start, stop)
            for first, last in kept
            for start, stop in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if start <= stop
        ]
    return tuple(kept)
