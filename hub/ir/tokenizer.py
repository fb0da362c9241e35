"""Tokenizer: the vocabulary of a model, in no format's words.

A reader fills it from a Hugging Face folder or from GGUF key-values; a writer turns it into either.
It says what text the ids stand for and which ids are special; it never tokenizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Final

from hub.errors import ConfigError, FormatError, printable


class TokenType(IntEnum):
    """What a token is for. The numbers are those of sentencepiece and GGUF."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and how text is turned into it.

    Attributes:
        model: one of the three kinds below, or the name that a format uses for a kind which hub
            only carries.
        tokens: the text of each id, UTF-8: pieces as sentencepiece spells them, byte-level tokens
            in the byte-level alphabet, added tokens as they stand in text. Ids without a token are
            filled with ``[PADi]``.
        types: of each id.
        scores: of each id; None where the order of merges is in `merges`.
        merges: ``left right`` pairs, most important first; a space inside a part is spelled U+0120.
        pre: the name under which llama.cpp knows the way text is cut before merging; None when
            it is not known.
        pre_hash: what identifies that way: the SHA-256 by which `pre` was looked up.
        special_ids: by role, in the order found: ``bos eos unk sep pad cls mask eot eom`` and
            ``fim_pre fim_suf fim_mid fim_pad fim_rep fim_sep``. Files do name ids beyond the last token;
            consumers ignore those.
        add: which of ``bos eos sep`` are put around text, in the order found.
        imposed: entries of `special_ids` and `add` that the architecture imposed on the folder, as
            ``("id", role)`` and ``("add", role)``.
        add_space_prefix: whether a space is put before text; None when nothing says so.
        remove_extra_whitespaces: whether runs of spaces are made one.
        strips_after: ids of special tokens that take the white space after them with them.
        chat_template: the default template; an opaque string that hub never renders.
        chat_templates: further templates by name.
        normalizer_lowercase: whether text is put in lower case first.
        normalizer_strip_accents: whether accents are removed first.
        approximate: whether text comes out in other tokens here than in programs that use the model's own files,
            because what orders the merges could not be had from them.
        notes: what the user should know about this tokenizer, for the plan and the report.
    """

    SENTENCEPIECE_BPE: ClassVar[str] = "sentencepiece-bpe"
    """Pieces with U+2581 for a space, and scores that order the merges; unknown characters fall
    back to bytes."""
    BYTE_LEVEL_BPE: ClassVar[str] = "byte-level-bpe"
    """Tokens in GPT-2's alphabet of 256 printable characters, one for each byte, and merges."""
    NONE: ClassVar[str] = "none"
    """The model has no tokenizer of its own."""
    MAX_ID: ClassVar[int] = (1 << 31) - 1
    """Largest token id: every consumer holds ids in 32 signed bits."""

    model: str
    tokens: Sequence[bytes] = ()
    types: Sequence[TokenType] = ()
    scores: Sequence[float] | None = None
    merges: Sequence[str] = ()
    pre: str | None = None
    pre_hash: str | None = None
    special_ids: Mapping[str, int] = field(default_factory=dict)
    add: Mapping[str, bool] = field(default_factory=dict)
    imposed: frozenset[tuple[str, str]] = frozenset()
    add_space_prefix: bool | None = None
    remove_extra_whitespaces: bool | None = None
    strips_after: frozenset[int] = frozenset()
    chat_template: str | None = None
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    normalizer_lowercase: bool | None = None
    normalizer_strip_accents: bool | None = None
    approximate: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def highest_id(cls, count: int) -> int:
        """The highest id that a vocabulary of `count` tokens may have.

        One token with the id 4294967294 must not make anybody allocate a list up to it; real
        vocabularies have gaps and padding, but never several times their size.
        """
        return min(cls.MAX_ID, 4 * count + 65535)

    def check(self, path: str) -> None:
        """Check what every consumer relies on.

        Args:
            path: the file to name in the error.

        Raises:
            FormatError: lists of different length, a token twice, an empty token, or an
                impossible special id.
        """
        count = len(self.tokens)
        if len(self.types) != count:
            raise FormatError(f"{count} tokens, but {len(self.types)} token types", path=path)
        if self.scores is not None and len(self.scores) != count:
            raise FormatError(f"{count} tokens, but {len(self.scores)} scores", path=path)
        if len(set(self.tokens)) != count:
            seen: dict[bytes, int] = {}
            for index, token in enumerate(self.tokens):
                if token in seen:
                    raise FormatError(
                        f"token {_shown(token)} stands twice, at ids {seen[token]} and {index}; "
                        "llama.cpp refuses such a vocabulary",
                        path=path,
                    )
                seen[token] = index
        for role, index in self.special_ids.items():
            if not 0 <= index <= self.MAX_ID:
                raise FormatError(f"the {role} token has the impossible id {index}", path=path)


def _shown(token: bytes) -> str:
    return repr(printable(token.decode("utf-8", "backslashreplace"), 60))


@dataclass(frozen=True)
class SizeRule:
    """What an architecture imposes on folders whose vocabulary has one certain size.

    Attributes:
        vocab_size: the size.
        special_ids: roles whose id is set where the folder names none.
        add: flags that are set whatever the folder says.
    """

    vocab_size: int
    special_ids: Mapping[str, int] = field(default_factory=dict)
    add: Mapping[str, bool] = field(default_factory=dict)


KINDS: Final = ("sentencepiece", "llama-hf", "byte-level")


@dataclass(frozen=True)
class TokenizerRule:
    """How an architecture's folders are read; data of its architecture file.

    Attributes:
        kinds: what to look for, first match wins: ``sentencepiece`` (tokenizer.model),
            ``llama-hf`` (tokenizer.json with a BPE that falls back to bytes), ``byte-level``.
        space_prefix: whether tokenizer_config.json's add_prefix_space is a fact about the model.
        add_space_prefix: whether vocabularies of the sentencepiece kind put a space before text, for families where
            the folder need not say it.
        as_flagged: whether added tokens beside a tokenizer.model are just what their files flag them as, those of
            tokenizer.json too, and not also what they look like.
        tokenizer_class: the transformers class where the folder names none; its defaults count.
        sizes: special cases by vocabulary size.
    """

    kinds: tuple[str, ...] = ("sentencepiece", "byte-level")
    space_prefix: bool = False
    add_space_prefix: bool | None = None
    as_flagged: bool = False
    tokenizer_class: str | None = None
    sizes: tuple[SizeRule, ...] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any], path: str) -> TokenizerRule:
        """The rule that a table of an architecture file describes; its keys are the attributes.

        Raises:
            ConfigError: an unknown key or kind, or a value of the wrong type.
        """

        def refuse(message: str) -> ConfigError:
            return ConfigError(f"tokenizer: {message}", path=path)

        unknown = set(table) - {"kinds", "space_prefix", "add_space_prefix", "as_flagged", "tokenizer_class", "sizes"}
        if unknown:
            raise refuse(f"unknown key '{printable(min(unknown))}'")
        kinds = table.get("kinds", list(cls.kinds))
        if not isinstance(kinds, list) or not kinds or any(kind not in KINDS for kind in kinds):
            raise refuse(f"kinds must be a list of {', '.join(KINDS)}")
        space_prefix = table.get("space_prefix", False)
        if not isinstance(space_prefix, bool):
            raise refuse("space_prefix must be true or false")
        as_flagged = table.get("as_flagged", False)
        if not isinstance(as_flagged, bool):
            raise refuse("as_flagged must be true or false")
        add_space_prefix = table.get("add_space_prefix")
        if add_space_prefix is not None and not isinstance(add_space_prefix, bool):
            raise refuse("add_space_prefix must be true or false")
        tokenizer_class = table.get("tokenizer_class")
        if tokenizer_class is not None and not isinstance(tokenizer_class, str):
            raise refuse("tokenizer_class must be text")
        sizes = table.get("sizes", [])
        if not isinstance(sizes, list):
            raise refuse("sizes must be a list of tables")
        rules = []
        for entry in sizes:
            ids = entry.get("special_ids", {}) if isinstance(entry, dict) else None
            add = entry.get("add", {}) if isinstance(entry, dict) else None
            if (
                not isinstance(ids, dict)
                or not isinstance(add, dict)
                or set(entry) - {"vocab_size", "special_ids", "add"}
                or type(entry.get("vocab_size")) is not int
                or any(type(value) is not int or value < 0 for value in ids.values())
                or any(not isinstance(value, bool) for value in add.values())
            ):
                raise refuse("a table of sizes needs vocab_size, and may have special_ids and add")
            rules.append(SizeRule(entry["vocab_size"], dict(ids), dict(add)))
        return cls(tuple(kinds), space_prefix, add_space_prefix, as_flagged, tokenizer_class, tuple(rules))
