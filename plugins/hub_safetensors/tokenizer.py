"""The tokenizer of a Hugging Face folder, with the meaning that llama.cpp's converter gives it.

Three kinds of folder are read; the architecture says which to look for, and the first that is
there is taken:

- ``sentencepiece``: tokenizer.model, with added_tokens.json and tokenizer_config.json on top;
- ``llama-hf``: tokenizer.json holding a sentencepiece BPE (one that falls back to bytes);
- ``byte-level``: tokenizer.json, or vocab.json with merges.txt, of the GPT-2 kind.

Facts come from llama.cpp 0c1e570 (conversion/base.py, conversion/llama.py, gguf-py/gguf/vocab.py).
hub refuses what would make llama.cpp abort (a token twice), and goes on with a note where the
converter stops for want of a fact that the user can give (an unknown pre-tokenizer).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from hub.api import ConfigError, Folder, FormatError, Tokenizer, TokenizerRule, TokenType, printable
from hub_safetensors import sentencepiece_model
from hub_safetensors.added_tokens import AddedToken
from hub_safetensors.chat_template import read_chat_templates
from hub_safetensors.members import Members
from hub_safetensors.pretokenizer import TIMEOUT, encode
from hub_safetensors.special_tokens import read_special_tokens
from hub_safetensors.tokenizer_files import (
    ADDED_TOKENS,
    MERGES,
    TOKENIZER_MODEL,
    TokenizerFiles,
    checked_bytes,
    load,
    read_merges,
    utf8,
)
from hub_safetensors.vocabulary import Vocabulary, read_vocabulary

ADDED_SCORE: Final = -1000.0
PADDING_SCORE: Final = -10000.0
MAX_NOTES: Final = 20

_BYTE_PIECE = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_TYPES: Final = {int(kind): kind for kind in TokenType}


def read_tokenizer(
    folder: Folder,
    *,
    rule: TokenizerRule,
    vocab_size: int | None,
    config: dict[str, Any],
    timeout: float = TIMEOUT,
) -> Tokenizer | None:
    """Read the tokenizer of a folder.

    Args:
        rule: how the architecture's folders are read.
        vocab_size: rows of the model's embedding; None takes the tokenizer's own size.
        config: config.json, whose ``*_token_id`` members count.
        timeout: seconds for identifying the pre-tokenizer.

    Returns:
        The tokenizer, or None when the folder has none.

    Raises:
        FormatError: a file is damaged or hostile; the error names file and member.
        ConfigError: the tokenizer is of a kind that the architecture does not have.
    """
    files = TokenizerFiles.read(folder, config)
    reading = _Reading(files, rule, vocab_size, timeout)
    for kind in rule.kinds:
        if kind == "sentencepiece" and folder.exists(TOKENIZER_MODEL):
            return reading.finish(reading.sentencepiece())
        if kind == "llama-hf" and files.json is not None and _is_llama_hf(files.json):
            return reading.finish(reading.llama_hf())
        if kind == "byte-level" and files.json is not None and _is_llama_hf(files.json):
            reading.notes.append(
                "tokenizer.json falls back to bytes, so it is read as a sentencepiece BPE; "
                "llama.cpp's converter refuses this architecture with it"
            )
            return reading.finish(reading.llama_hf())
        if kind == "byte-level" and (files.json is not None or files.slow):
            return reading.finish(reading.byte_level())
    for name in (TOKENIZER_MODEL, "tokenizer.json", "tekken.json", "tiktoken.model", "vocab.txt"):
        if folder.exists(name):
            raise ConfigError(
                f"{name} is the only tokenizer, the architecture is read from {', '.join(rule.kinds)}",
                path=folder.root / name,
                remedy="save the tokenizer with a tokenizer.json",
            )
    return None


def looks_special(text: str) -> bool:
    """Whether an added token is a control token by its looks, whatever its file says.

    The list is that of llama.cpp's converter (TextModel.does_token_look_special): models of the
    field leave the flag out.
    """
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def _is_llama_hf(json: Members) -> bool:
    model = json.member("model")
    decoder = json.member("decoder")
    return (
        model is not None
        and model.text("type") == "BPE"
        and model.flag("byte_fallback") is True
        and decoder is not None
        and decoder.text("type") == "Sequence"
    )


def _strips_after(vocabulary: Vocabulary, size: int) -> frozenset[int]:
    tokens = vocabulary.added.tokens
    return frozenset(index for index, token in tokens.items() if token.rstrip and index < size)


class _Reading:
    """One folder being read: the facts all kinds share."""

    def __init__(self, files: TokenizerFiles, rule: TokenizerRule, vocab_size: int | None, timeout: float) -> None:
        self.files = files
        self.folder = files.folder
        self.rule = rule
        self.vocab_size = vocab_size
        self.timeout = timeout
        self.notes: list[str] = []

    def size(self, present: int, highest: int, path: str) -> int:
        """How many ids the tokenizer shall have: the model's rows, or what it has itself."""
        if self.vocab_size is None:
            return max(present, highest + 1)
        if not 0 < self.vocab_size <= Tokenizer.highest_id(present) + 1:
            raise ConfigError(
                f"vocab_size is {self.vocab_size}, the tokenizer has {present} tokens; "
                f"at most {Tokenizer.highest_id(present) + 1} can belong to it",
                path=path,
            )
        return self.vocab_size

    def beyond(self, ids: Iterable[int], size: int, file: str) -> None:
        """Note the ids that the model has no row for."""
        left_out = [index for index in ids if index >= size]
        if left_out:
            self.notes.append(
                f"{file}: {len(left_out)} tokens from id {min(left_out)} on are left out, the model has {size} rows"
            )

    def sentencepiece(self) -> Tokenizer:
        path = self.folder.root / TOKENIZER_MODEL
        model = sentencepiece_model.parse(checked_bytes(self.folder, TOKENIZER_MODEL), path=path)
        count = len(model.pieces)
        size = self.size(count, count - 1, str(path))
        self.beyond(range(count), size, TOKENIZER_MODEL)
        if model.unigram:
            self.notes.append(
                "tokenizer.model is a unigram model; llama.cpp merges its pieces by score, "
                "so texts can come out in other tokens"
            )
        tokens = model.pieces[:size]
        scores = model.scores[:size]
        # "User defined" is a property for training; to readers such a piece is one like the others.
        types: list[TokenType] = [
            TokenType.NORMAL if kind is TokenType.USER_DEFINED else kind for kind in model.types[:size]
        ]
        tokens += [b"[PAD%d]" % index for index in range(len(tokens), size)]
        scores += [PADDING_SCORE] * (size - len(scores))
        types += [TokenType.UNUSED] * (size - len(types))

        def put(index: int, text: str, kind: TokenType, path: str) -> None:
            (tokens[index],) = utf8([text], path)
            scores[index] = ADDED_SCORE
            types[index] = kind

        added = load(self.folder, ADDED_TOKENS)
        if added is not None:
            ids = {text: _id(added, text) for text in added.values}
            self.beyond(ids.values(), size, ADDED_TOKENS)
            for text, index in ids.items():
                if index < size:
                    put(index, text, TokenType.USER_DEFINED, added.path)
        strips_after: set[int] = set()
        settings = self.files.config
        decoder = settings.member("added_tokens_decoder") if settings is not None else None
        if decoder is not None:
            entries = {_decimal(decoder, key): decoder.member(key) for key in decoder.values}
            self.beyond(entries, size, "tokenizer_config.json")
            for index, entry in entries.items():
                if entry is None:
                    raise decoder.refuse(str(index), "an object")
                token = AddedToken.of(entry)
                if index >= size:
                    continue
                if token.rstrip:
                    strips_after.add(index)
                if self.rule.as_flagged:
                    kind = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
                    put(index, token.content, kind, decoder.path)
                elif token.special or looks_special(token.content):
                    put(index, token.content, TokenType.CONTROL, decoder.path)
                else:
                    put(index, token.content.replace("▁", " "), TokenType.USER_DEFINED, decoder.path)
        if self.rule.as_flagged and self.files.json is not None:
            for entry in self.files.json.members("added_tokens"):
                index, token = _id(entry, "id"), AddedToken.of(entry)
                if index < size:
                    kind = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
                    put(index, token.content, kind, self.files.json.path)
        return Tokenizer(
            Tokenizer.SENTENCEPIECE_BPE,
            tokens,
            types,
            scores,
            pre="default",
            remove_extra_whitespaces=None,
            strips_after=frozenset(strips_after),
        )

    def llama_hf(self) -> Tokenizer:
        vocabulary = read_vocabulary(self.files, self.rule.tokenizer_class)
        path = vocabulary.json.path
        texts = vocabulary.by_id()
        base = len(vocabulary.base)
        size = self.size(len(texts), max(texts, default=0), path)
        self.beyond(texts, size, "tokenizer.json")
        specials = {
            index
            for text in vocabulary.specials
            if (index := vocabulary.added.ids.get(text, vocabulary.base.get(text))) is not None
        }
        ids = range(size)
        tokens = utf8([texts.get(index) or f"[PAD{index}]" for index in ids], path)
        types = [TokenType.NORMAL] * size
        for index, token in enumerate(tokens):
            if index not in texts:
                types[index] = TokenType.UNUSED
            elif index < base and _BYTE_PIECE.fullmatch(token):
                types[index] = TokenType.BYTE
            elif index in specials:
                types[index] = TokenType.CONTROL
            elif index >= base:
                types[index] = TokenType.USER_DEFINED
        gaps = sum(index not in texts for index in ids)
        if gaps:
            self.notes.append(f"tokenizer.json: {gaps} of {size} ids have no token and were filled")
        self.notes.append(
            "tokenizer.json has no scores, all are -1000 as in llama.cpp's converter; "
            "texts can come out in other tokens than from tokenizer.model"
        )
        scores = [ADDED_SCORE] * size
        return Tokenizer(
            Tokenizer.SENTENCEPIECE_BPE,
            tokens,
            types,
            scores,
            pre="default",
            strips_after=_strips_after(vocabulary, size),
            approximate=True,
        )

    def byte_level(self) -> Tokenizer:
        vocabulary = read_vocabulary(self.files, self.rule.tokenizer_class)
        path = vocabulary.json.path
        texts = vocabulary.by_id()
        size = self.size(len(texts), max(texts, default=0), path)
        self.beyond(texts, size, "tokenizer.json")
        self._moved(vocabulary)
        added = {index: token for index, token in vocabulary.added.tokens.items() if index < size}
        # llama.cpp looks for these tokens in text as they stand, so they must be spelled as in text.
        raw = [token.content for token in added.values() if not token.normalized]
        encoded = encode(vocabulary, self.files, raw, timeout=self.timeout)
        tidy = self.files.config is not None and self.files.config.flag("clean_up_tokenization_spaces")
        types = [TokenType.NORMAL if index in texts else TokenType.UNUSED for index in range(size)]
        for index, token in added.items():
            text = token.content
            if not token.normalized:
                text = encoded.decoded.get(text, text)
                text = _tidied(text) if tidy else text
            if token.special or looks_special(text):
                types[index] = TokenType.CONTROL
            else:
                types[index] = TokenType.USER_DEFINED
                text = text.replace("▁", " ")
            texts[index] = text
        tokens = utf8([texts.get(index, f"[PAD{index}]") for index in range(size)], path)
        if encoded.failure:
            self.notes.append(f"pre-tokenizer not identified: {encoded.failure}; {_REMEDY}")
        elif encoded.pre is None:
            self.notes.append(f"pre-tokenizer not known to llama.cpp, its hash is {encoded.pre_hash}; {_REMEDY}")
        return Tokenizer(
            Tokenizer.BYTE_LEVEL_BPE,
            tokens,
            types,
            merges=self._merges(vocabulary),
            pre=encoded.pre,
            pre_hash=encoded.pre_hash,
            strips_after=_strips_after(vocabulary, size),
        )

    def _moved(self, vocabulary: Vocabulary) -> None:
        for token in vocabulary.json.members("added_tokens"):
            recorded = token.whole("id")
            if recorded is None or not 0 <= recorded <= Tokenizer.MAX_ID:
                raise token.refuse("id", f"an id from 0 to {Tokenizer.MAX_ID}")
            given = vocabulary.added.ids.get(token.text("content") or "")
            if given is not None and given != recorded and len(self.notes) < MAX_NOTES:
                self.notes.append(
                    f"tokenizer.json: added token '{printable(token.text('content'), 60)}' is recorded "
                    f"under id {recorded}, loaders give it {given}; taken is {given}"
                )

    def _merges(self, vocabulary: Vocabulary) -> list[str]:
        merges: list[str] = []
        if self.files.json is not None:
            model = self.files.json.member("model")
            merges = _spelled(model) if model is not None else []
        if not merges and self.folder.exists(MERGES):
            merges = read_merges(self.folder)
        if not merges:
            self.notes.append("the tokenizer has no merges, llama.cpp needs them")
        utf8(merges, vocabulary.json.path)
        return merges

    def finish(self, tokenizer: Tokenizer) -> Tokenizer:
        """`tokenizer` with what all kinds share: special ids, flags, templates."""
        files = self.files
        count = len(tokenizer.tokens)
        strict = tokenizer.model == Tokenizer.SENTENCEPIECE_BPE
        special = read_special_tokens(files, tokens=count, strict=strict)
        templates = read_chat_templates(self.folder, files.config)
        ids, add = special.ids, special.add
        imposed: set[tuple[str, str]] = set()
        for case in self.rule.sizes:
            if case.vocab_size != self.vocab_size:
                continue
            if case.special_ids:
                roles = tuple(case.special_ids)
                again = read_special_tokens(files, tokens=count, strict=False, roles=roles)
                found = {**case.special_ids, **again.ids}
                imposed |= {("id", role) for role in found if role not in ids}
                ids |= found
            imposed |= {("add", role) for role in case.add if role not in add}
            add |= case.add
        space_prefix = self.rule.add_space_prefix if tokenizer.model == Tokenizer.SENTENCEPIECE_BPE else None
        if self.rule.space_prefix and files.config is not None:
            space_prefix = files.config.flag("add_prefix_space")
        made = replace(
            tokenizer,
            special_ids=ids,
            add=add,
            imposed=frozenset(imposed),
            add_space_prefix=space_prefix,
            chat_template=templates.default,
            chat_templates=templates.named,
            normalizer_lowercase=special.lowercase,
            normalizer_strip_accents=special.strip_accents,
            notes=tuple(dict.fromkeys([*self.notes, *special.notes, *templates.notes])),
        )
        made.check(str(self.folder.root))
        return made


_REMEDY: Final = "written as default, give the right one with --set tokenizer.ggml.pre=NAME"


def _id(members: Members, key: str) -> int:
    index = members.whole(key)
    if index is None or not 0 <= index <= Tokenizer.MAX_ID:
        raise members.refuse(key, f"an id from 0 to {Tokenizer.MAX_ID}")
    return index


def _decimal(members: Members, key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= Tokenizer.MAX_ID):
        raise FormatError(
            f"{printable(members.name(key))}: an id must be a number up to {Tokenizer.MAX_ID}", path=members.path
        )
    return int(key)


def _spelled(model: Members) -> list[str]:
    """The merges as one text each; a list of pairs is the spelling since transformers 4.45."""
    merges = model.items("merges")
    kinds = set(map(type, merges))
    if kinds <= {str}:
        return merges
    refused = model.refuse("merges", "a list of texts, or of pairs of texts")
    if kinds != {list} or set(map(len, merges)) != {2}:
        raise refused
    if set(map(type, chain.from_iterable(merges))) != {str}:
        raise refused
    joined = [f"{left} {right}" for left, right in merges]
    if "".join(joined).count(" ") != len(joined):
        # The space that parts a pair must be the only one, so others are spelled as in GPT-2's alphabet.
        joined = [f"{left.replace(' ', 'Ġ')} {right.replace(' ', 'Ġ')}" for left, right in merges]
    return joined


def _tidied(text: str) -> str:
    """What clean_up_tokenization_spaces makes of a text (transformers, tokenization_utils_base.py)."""
    for mark in (" .", " ?", " !", " ,"):
        text = text.replace(mark, mark[1:])
    text = text.replace(" ' ", "'")
    for ending in (" n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(ending, ending[1:])
    return text
