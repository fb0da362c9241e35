"""Text to ids and back, for every tokenizer that the IR tells whole.

Ids are those of llama.cpp (llama_tokenize, 0.3.36 of llama-cpp-python), which is what perplexities are compared
with: its order of merges where two are equal, its default ids and flags, its way of looking for special tokens.
Nothing here runs what a file brings: regexes come from hub's own table, merges and tokens are data.
"""

from __future__ import annotations

import heapq
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from itertools import pairwise
from typing import Any, Final

from hub.errors import ConfigError, printable
from hub.ir.tokenizer import Tokenizer, TokenType
from hub.tokens.pretokenizers import DEFAULT, PreTokenizer, means_one_way, pre_tokenizer

SPACE: Final = "\u2581"
"""What sentencepiece writes for a space."""
_MOST_CHARACTERS: Final = 1 << 24
"""Most characters of all tokens that are looked at for neighbours; real vocabularies have some 2^21."""
_ASCII_SPACES: Final = " \t\n\v\f\r"
_CACHE: Final = 1 << 16
"""Most pieces whose ids are remembered; texts repeat a few thousand words."""

_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")

_SPECIAL: Final = (TokenType.CONTROL, TokenType.UNKNOWN)


@cache
def _token_texts() -> Mapping[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("token_texts.toml").read_text("utf-8"))


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte (openai/gpt-2, encoder.py, bytes_to_unicode)."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in set(kept)]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + index) for index, byte in enumerate(moved)}


def texts_of(tokenizer: Tokenizer) -> list[str]:
    """The tokens as text; one that is not UTF-8 cannot come out of text and is spelled with its bytes in it."""
    return [token.decode("utf-8", "backslashreplace") for token in tokenizer.tokens]


def rule_of(tokenizer: Tokenizer) -> PreTokenizer | None:
    """The rule for cutting text; None for a sentencepiece BPE, which does not cut.

    Raises:
        ConfigError: a kind of tokenizer, or a way of cutting, that hub does not know.
    """
    if tokenizer.model == Tokenizer.SENTENCEPIECE_BPE:
        return None
    name = tokenizer.model if means_one_way(tokenizer.model) else tokenizer.pre or DEFAULT
    if tokenizer.model != Tokenizer.BYTE_LEVEL_BPE and name != tokenizer.model:
        raise ConfigError(
            f"a tokenizer of kind {printable(tokenizer.model, 60)!r}, hub encodes with "
            f"{Tokenizer.SENTENCEPIECE_BPE} and {Tokenizer.BYTE_LEVEL_BPE}"
        )
    rule = pre_tokenizer(name)
    if rule is None:
        raise ConfigError(f"pre-tokenizer {printable(name, 60)!r} is not known")
    return rule


class Encoder:
    """Turns text into the ids of one tokenizer, and back.

    Attributes:
        tokenizer: the tokenizer.
        bos, eos: ids of the tokens around a text, None when there is none.
        add_bos, add_eos: whether the model wants them.

    Raises:
        ConfigError: a kind of tokenizer, or a way of cutting text, that hub does not know.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.rule = rule_of(tokenizer)
        self.spaced = self.rule is None
        self.raw = self.rule is None or self.rule.raw
        self.texts = texts_of(tokenizer)
        count = len(self.texts)
        self.ids: Mapping[str, int] = {text: index for index, text in enumerate(self.texts) if text}
        self.bos, self.eos = (_id(tokenizer, role, default, count) for role, default in self._defaults())
        wanted = tokenizer.add.get("bos", self.spaced if self.rule is None else self.rule.add_bos)
        always = self.rule is not None and self.rule.always_bos
        self.add_bos = (wanted or always) and self.bos is not None
        self.add_eos = tokenizer.add.get("eos", False) and self.eos is not None
        self.space_prefix = self.spaced if tokenizer.add_space_prefix is None else tokenizer.add_space_prefix
        self._known: dict[str, list[int]] = {}
        self._longest = max(map(len, self.texts), default=0)

    def _defaults(self) -> tuple[tuple[str, int | None], tuple[str, int | None]]:
        """The ids that llama.cpp takes where a file names none."""
        if self.rule is None:
            return ("bos", 1), ("eos", 2)
        if self.rule.kinds:
            return ("bos", None), ("eos", None)
        return ("bos", None if self.rule.no_bos else 11), ("eos", 11)

    def encode(self, text: str, *, special: bool = False, add_bos: bool | None = None) -> list[int]:
        """The ids of a text.

        Args:
            special: whether text that spells a control token is that token; user-defined tokens always are.
            add_bos: whether bos (and, unless False, eos where the model wants it) are put around the text;
                None for what the model wants.

        Raises:
            ConfigError: the tokenizer has no token for a byte of the text, and none for the unknown.
        """
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        out: list[int] = []
        if self.bos is not None and (self.add_bos if add_bos is None else add_bos):
            out.append(self.bos)
        after_special = True
        for fragment in self._fragments(text, special):
            if isinstance(fragment, int):
                out.append(fragment)
            elif self.spaced:
                prefix = " " if self.space_prefix and after_special else ""
                self._sentencepiece((prefix + fragment).replace(" ", SPACE), out)
            else:
                self._byte_level(fragment, out)
            after_special = isinstance(fragment, int)
        if self.eos is not None and self.add_eos and add_bos is not False:
            out.append(self.eos)
        return out

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            special: whether control tokens are spelled out.
        """
        data = b"".join(self.piece(index, special=special) for index in ids)
        if self.space_prefix and data.startswith(b" "):
            data = data[1:]
        return data.decode("utf-8", "replace")

    def piece(self, index: int, *, special: bool = False) -> bytes:
        """The bytes that one id stands for."""
        if not 0 <= index < len(self.texts):
            return b""
        kind, text = self.types[index], self.texts[index]
        if kind in _SPECIAL:
            return text.encode() if special else b""
        if kind == TokenType.UNUSED:
            return b""
        if kind == TokenType.BYTE and (match := _BYTE.fullmatch(text)):
            return bytes([int(match[1], 16)])
        if kind == TokenType.USER_DEFINED:
            return text.encode()
        if self.raw:
            return self.tokenizer.tokens[index].replace(SPACE.encode(), b" ")
        return b"".join(self._bytes.get(char, char.encode()) for char in text)

    @cached_property
    def types(self) -> Sequence[TokenType]:
        """The type of each id, as llama.cpp corrects them by the tokens' text."""
        types, ids, known = list(self.tokenizer.types), self.ids, _token_texts()
        for text in known["control"]:
            if text in ids:
                types[ids[text]] = TokenType.CONTROL
        for role, texts in known["infill"].items():
            named = [ids[text] for text in texts if text in ids]
            if named and _id(self.tokenizer, role, None, len(types)) is None:
                types[min(named)] = TokenType.CONTROL
        for text in known["user_defined"]:
            if text in ids:
                types[ids[text]] = TokenType.USER_DEFINED
        for case in known["unless"]:
            if case["token"] in ids and all(any(text in ids for text in texts) for texts in case["with"]):
                types[ids[case["token"]]] = TokenType[case["type"].upper()]
        return types

    @cached_property
    def _wanted(self) -> tuple[list[int], list[int]]:
        """Tokens to look for in text, longest first: those looked for always, and all."""
        found = [
            index
            for index, kind in enumerate(self.types)
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN) and self.texts[index]
        ]
        found.sort(key=lambda index: -len(self.tokenizer.tokens[index]))
        return [index for index in found if self.types[index] == TokenType.USER_DEFINED], found

    def _fragments(self, text: str, special: bool) -> Sequence[str | int]:
        """`text` with special tokens cut out as ids; a longer token wins over an earlier one."""
        fragments: list[str | int] = [text] if text else []
        for index in self._wanted[1 if special else 0]:
            token = self.texts[index]
            if token not in text:
                continue
            cut: list[str | int] = []
            for fragment in fragments:
                if isinstance(fragment, int) or token not in fragment:
                    cut.append(fragment)
                    continue
                first, *others = fragment.split(token)
                if index in self.tokenizer.strips_after:
                    others = [other.lstrip(_ASCII_SPACES) for other in others]
                cut += [first] if first else []
                for other in others:
                    cut += [index, other] if other else [index]
            fragments = cut
        return fragments

    # Sentencepiece: the neighbours whose concatenation is the token of the highest score are merged first.

    @cached_property
    def _neighbours(self) -> frozenset[tuple[str, str]] | None:
        """Characters that stand side by side in some token; text can be cut between all others. None for a vocabulary
        so large that it is no real one, whose text is not cut."""
        if sum(map(len, self.ids)) > _MOST_CHARACTERS:
            return None
        pairs: set[tuple[str, str]] = set()
        for text in self.ids:
            pairs.update(pairwise(text))
        return frozenset(pairs)

    def _sentencepiece(self, text: str, out: list[int]) -> None:
        scores = self.tokenizer.scores

        def rank(left: str, right: str) -> float | None:
            if len(left) + len(right) > self._longest:
                return None
            index = self.ids.get(left + right)
            return None if index is None else -(scores[index] if scores is not None else 0.0)

        joined = self._neighbours
        start = 0
        for end in range(1, len(text) + 1):
            if end < len(text) and (joined is None or (text[end - 1], text[end]) in joined):
                continue
            out += self._merged(text[start:end], rank, self._spelled)
            start = end

    def _spelled(self, char: str) -> list[int]:
        """The ids of a character that is no token: one for each byte."""
        ids = []
        for byte in char.encode():
            index = self.ids.get(f"<0x{byte:02X}>", self.ids.get(chr(byte)) if byte < 128 else None)
            if index is None:
                index = _id(self.tokenizer, "unk", 0, len(self.texts))
            if index is None:
                raise ConfigError(f"the tokenizer has no token for byte 0x{byte:02X}, and none for the unknown")
            ids.append(index)
        return ids

    # Byte-level: pieces of text in the byte alphabet, merged in the order of the list of merges.

    @cached_property
    def _alphabet(self) -> Mapping[int, str]:
        return byte_alphabet()

    @cached_property
    def _bytes(self) -> Mapping[str, bytes]:
        return {char: bytes([byte]) for byte, char in self._alphabet.items()}

    @cached_property
    def ranks(self) -> Mapping[tuple[str, str], int]:
        """The place of each pair in the list of merges, in that order."""
        ranks: dict[tuple[str, str], int] = {}
        for index, merge in enumerate(self.tokenizer.merges):
            space = merge.find(" ", 1)
            if space > 0:
                ranks.setdefault((merge[:space], merge[space + 1 :]), index)
        return ranks

    def _byte_level(self, text: str, out: list[int]) -> None:
        assert self.rule is not None
        ranks = self.ranks

        def rank(left: str, right: str) -> float | None:
            return ranks.get((left, right))

        if self.rule.raw:
            text = text.replace(" ", SPACE)
        alphabet = self._alphabet
        for piece in self.rule.pieces(text):
            word = piece if self.rule.raw else "".join([alphabet[byte] for byte in piece.encode()])
            asked = self.rule.ignore_merges or (self.rule.whole_newlines and not word.strip("\n"))
            whole = self.ids.get(word) if asked else None
            out += [whole] if whole is not None else self._merged(word, rank, self._unmerged)

    def _unmerged(self, symbol: str) -> list[int]:
        """The ids of a symbol that is no token; what has none is left out, as llama.cpp does."""
        spellings = [f"<0x{byte:02X}>" for byte in symbol.encode()] if self.raw else list(symbol)
        # Bytes beyond ASCII are looked up one by one there, which never finds their two-byte characters.
        return [self.ids[s] for s in spellings if (self.raw or s.isascii()) and s in self.ids]

    def _merged(
        self, piece: str, rank: Callable[[str, str], float | None], unknown: Callable[[str], list[int]]
    ) -> list[int]:
        found = self._known.get(piece)
        if found is None:
            found = []
            for symbol in merged(piece, rank):
                index = self.ids.get(symbol)
                found += unknown(symbol) if index is None else [index]
            if len(self._known) >= _CACHE:
                self._known.clear()
            self._known[piece] = found
        return found


def merged(piece: str, rank: Callable[[str, str], float | None]) -> list[str]:
    """The symbols that are left of a piece when no two neighbours can be merged any more.

    Args:
        rank: of two neighbours; the lowest is merged first, the leftmost of equal ones; None where they cannot be.
    """
    symbols: list[str] = list(piece)
    count = len(symbols)
    after = [*range(1, count), -1]
    before = list(range(-1, count - 1))
    queue: list[tuple[float, int, str, str]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right >= 0:
            value = rank(symbols[left], symbols[right])
            if value is not None:
                heapq.heappush(queue, (value, left, symbols[left], symbols[right]))

    for index in range(count - 1):
        offer(index, index + 1)
    while queue:
        _, left, one, other = heapq.heappop(queue)
        right = after[left]
        if symbols[left] != one or right < 0 or symbols[right] != other:
            continue  # one of the two has been merged since
        symbols[left] = one + other
        symbols[right] = ""
        after[left] = after[right]
        if after[left] >= 0:
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [symbol for symbol in symbols if symbol]


def _id(tokenizer: Tokenizer, role: str, default: Any, count: int) -> int | None:
    index = tokenizer.special_ids.get(role, default)
    if index is not None and index >= count:
        index = default
    return index if index is not None and index < count else None
