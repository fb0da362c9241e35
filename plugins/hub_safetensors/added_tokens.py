"""Added tokens and the ids they get, as the `tokenizers` library hands them out.

Ids in a tokenizer.json's added_tokens are a record, not an order: on loading, the library gives a
token that is in the vocabulary that id, and every other the next free one. Where record and order
disagree, models have been run with the latter, so that is what counts
(huggingface/tokenizers, AddedVocabulary::add_tokens).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hub.api import FormatError, Tokenizer, printable
from hub_safetensors.members import Members


@dataclass(frozen=True)
class AddedToken:
    """A token that is looked for in text before anything else happens to the text."""

    content: str
    special: bool = False
    normalized: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False

    @classmethod
    def named(cls, content: str, *, special: bool) -> AddedToken:
        """A token of which only the text is known."""
        return cls(content, special=special, normalized=not special)

    @classmethod
    def of(cls, members: Members, *, special: bool | None = None) -> AddedToken:
        """A token that a file describes.

        Args:
            special: what to take for ``special``, whatever the file says.

        Raises:
            FormatError: it has no content, or a member of the wrong type.
        """
        content = members.text("content")
        if content is None:
            raise members.refuse("content", "text")
        if special is None:
            special = members.flag("special") or False
        normalized = members.flag("normalized")
        return cls(
            content,
            special=special,
            normalized=not special if normalized is None else normalized,
            single_word=members.flag("single_word") or False,
            lstrip=members.flag("lstrip") or False,
            rstrip=members.flag("rstrip") or False,
        )

    def as_json(self) -> dict[str, Any]:
        """The form in which tokenizer.json and the library have it."""
        return dict(vars(self))


class AddedVocabulary:
    """The added tokens of a tokenizer with `base` as the vocabulary of its model."""

    def __init__(self, base: Mapping[str, int], path: str) -> None:
        self.base = base
        self.path = path
        self.ids: dict[str, int] = {}
        self.tokens: dict[int, AddedToken] = {}

    def __contains__(self, content: str) -> bool:
        return content in self.ids

    def add(self, tokens: Iterable[AddedToken]) -> None:
        """Add tokens in one go; one that is there already gets new properties.

        Raises:
            FormatError: a new token would get the id of another one.
        """
        size = len(self.base)
        last = max(self.tokens, default=-1)
        free = last + 1 if last >= size or size == 0 else size
        taken: set[int] | None = None
        for token in tokens:
            if not token.content:
                continue
            index = self.ids.get(token.content, self.base.get(token.content))
            if index is None:
                index = free
                free += 1
                if taken is None:
                    taken = set(self.base.values())
                if index in taken or index > Tokenizer.MAX_ID:
                    raise FormatError(
                        f"added token '{printable(token.content, 60)}' would get the id {index}, "
                        "which another token has",
                        path=self.path,
                    )
            self.ids[token.content] = index
            self.tokens[index] = token
