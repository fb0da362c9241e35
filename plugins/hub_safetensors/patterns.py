r"""Regular expressions out of a model's config, matched against names of modules in bounded time.

Python's own matcher tries every way to read a name, which a hostile pattern makes take for ever. Here the set of places
that a match can have reached is carried through the pattern, so each place is looked at once per item; groups capture
nothing, and what would need that (backreferences) is refused. Which names match is the same.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

from hub.api import FormatError, printable

MAX_PATTERN: Final = 1000
"""Longest pattern in characters."""
MAX_STEPS: Final = 200_000
"""Places looked at for one name, above which a pattern is refused; real ones take some hundreds."""

Places = frozenset[int]


class Pattern:
    """A regular expression.

    Args:
        text: in Python's syntax.
        path: the file that it stands in.

    Raises:
        FormatError: it is not a regular expression, or one that captures are needed for.
    """

    def __init__(self, text: str, path: str = "") -> None:
        self.text, self.path = text, path
        if len(text) > MAX_PATTERN:
            raise self._refuse(f"has {len(text)} characters, at most {MAX_PATTERN} are allowed")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._tree = parser.parse(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise self._refuse(f"is not one: {printable(error, 60)}") from None
        self._ignore_case = bool(self._tree.state.flags & re.IGNORECASE)
        if self._tree.state.flags & ~(re.IGNORECASE | re.UNICODE):
            raise self._refuse("sets flags that hub does not know")
        self._check(self._tree)

    def match(self, name: str) -> bool:
        """Whether `name` begins with a match, as `re.match`.

        Raises:
            FormatError: the pattern takes too many steps.
        """
        return bool(_Run(self, name).after(self._tree, frozenset((0,))))

    def search(self, name: str) -> bool:
        """Whether a match begins anywhere in `name`, as `re.search`."""
        return bool(_Run(self, name).after(self._tree, frozenset(range(len(name) + 1))))

    def _check(self, items: Iterable[tuple[Any, Any]]) -> None:
        """Refuse what `_Run` does not know, before any name is looked at."""
        for kind, value in items:
            if kind is op.SUBPATTERN and not value[1] and not value[2]:
                self._check(value[3])
            elif kind is op.BRANCH:
                for branch in value[1]:
                    self._check(branch)
            elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
                self._check(value[2])
            elif kind in (op.ASSERT, op.ASSERT_NOT) and value[0] > 0:
                self._check(value[1])
            elif kind is op.IN:
                known = (member in _CATEGORIES for what, member in value if what is op.CATEGORY)
                if not all(known):
                    raise self._refuse("holds a class of characters that hub does not know")
            elif not (kind in _SINGLE or (kind is op.AT and value in _PLACES)):
                raise self._refuse("refers to what it captured, looks behind or sets flags; hub knows none of these")

    def _refuse(self, why: str) -> FormatError:
        return FormatError(f"regular expression {printable(self.text, 80)!r} {why}", path=self.path or None)


class _Run:
    """One name met by one pattern."""

    def __init__(self, pattern: Pattern, name: str) -> None:
        self.pattern = pattern
        self.name = name.casefold() if pattern._ignore_case else name
        self.fold: Callable[[str], str] = str.casefold if pattern._ignore_case else str
        self.steps = 0

    def after(self, items: Iterable[tuple[Any, Any]], places: Places) -> Places:
        """Where matches of `items` can end that begin at `places`."""
        for kind, value in items:
            places = self._step(kind, value, places)
        return places

    def _step(self, kind: Any, value: Any, places: Places) -> Places:
        self.steps += len(places)
        if self.steps > MAX_STEPS:
            raise self.pattern._refuse("takes too long")
        if kind is op.SUBPATTERN:
            return self.after(value[-1], places)
        if kind is op.BRANCH:
            return frozenset().union(*(self.after(branch, places) for branch in value[1]))
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, inner = value
            return self._repeat(least, most, inner, places)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            ahead = (p for p in places if bool(self.after(value[1], frozenset((p,)))) == (kind is op.ASSERT))
            return frozenset(ahead)
        if kind is op.AT:
            return frozenset(p for p in places if self._at(value, p))
        return frozenset(p + 1 for p in places if p < len(self.name) and self._one(kind, value, self.name[p]))

    def _repeat(self, least: int, most: Any, inner: Sequence[Any], places: Places) -> Places:
        reached: Collection[int] = places
        for _ in range(min(least, len(self.name) + 1)):  # more rounds than characters match nothing but empty text
            reached = self.after(inner, frozenset(reached))
        seen, new = set(reached), frozenset(reached)
        rounds = least
        while new and (most is op.MAXREPEAT or rounds < most):
            new = frozenset(self.after(inner, new) - seen)
            seen |= new
            rounds += 1
        return frozenset(seen)

    def _at(self, where: Any, place: int) -> bool:
        if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return place == 0
        if where is op.AT_END_STRING:
            return place == len(self.name)
        if where is op.AT_END:
            return place == len(self.name) or self.name[place:] == "\n"
        before = place > 0 and _is_word(self.name[place - 1])
        behind = place < len(self.name) and _is_word(self.name[place])
        return (before != behind) == (where is op.AT_BOUNDARY)

    def _one(self, kind: Any, value: Any, char: str) -> bool:
        if kind is op.LITERAL:
            return self.fold(chr(value)) == char
        if kind is op.NOT_LITERAL:
            return self.fold(chr(value)) != char
        if kind is op.ANY:
            return char != "\n"
        negated = value[0][0] is op.NEGATE
        return any(self._member(what, member, char) for what, member in value[negated:]) != negated

    def _member(self, kind: Any, value: Any, char: str) -> bool:
        if kind is op.LITERAL:
            return self.fold(chr(value)) == char
        if kind is op.RANGE:
            low, high = value
            return low <= ord(char) <= high or (self.pattern._ignore_case and low <= ord(char.upper()) <= high)
        return _CATEGORIES[value](char)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_NOT_DIGIT: lambda char: not char.isdecimal(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    op.CATEGORY_WORD: _is_word,
    op.CATEGORY_NOT_WORD: lambda char: not _is_word(char),
}

_SINGLE: Final = (op.LITERAL, op.NOT_LITERAL, op.ANY)
_PLACES: Final = (
    op.AT_BEGINNING, op.AT_BEGINNING_STRING, op.AT_END, op.AT_END_STRING, op.AT_BOUNDARY, op.AT_NON_BOUNDARY,
)  # fmt: skip
