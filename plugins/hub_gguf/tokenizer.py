"""Tokenizer to ``tokenizer.*`` key-values and back.

Keys, types and their order are those of llama.cpp's converter (0c1e570: conversion/base.py,
gguf-py/gguf/vocab.py and gguf_writer.py), including its habit to leave empty values out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hub.api import FormatError, Tokenizer, TokenType, printable
from hub_gguf.kv import Kv, KvType, merge, text, texts

GGML: Final = "tokenizer.ggml."
TEMPLATE: Final = "tokenizer.chat_template"
TEMPLATES: Final = "tokenizer.chat_templates"

MODELS: Final = {Tokenizer.SENTENCEPIECE_BPE: "llama", Tokenizer.BYTE_LEVEL_BPE: "gpt2", Tokenizer.NONE: "none"}
"""hub's name of a kind of tokenizer -> GGUF's; others have one name in both."""

ID_KEYS: Final = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # sic
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "fim_pre": "fim_pre_token_id",
    "fim_suf": "fim_suf_token_id",
    "fim_mid": "fim_mid_token_id",
    "fim_pad": "fim_pad_token_id",
    "fim_rep": "fim_rep_token_id",
    "fim_sep": "fim_sep_token_id",
}
"""Role of a special token -> key. A role without a key ("cls") is left out."""
OLD_ID_KEYS: Final = {
    "fim_pre": "prefix_token_id",
    "fim_suf": "suffix_token_id",
    "fim_mid": "middle_token_id",
}
"""Keys of before October 2024, read only."""
ADD_KEYS: Final = {"bos": "add_bos_token", "eos": "add_eos_token", "sep": "add_sep_token"}

_PREFIX_LAST: Final = frozenset({"gemma", "gemma2", "gemma3", "gemma3n", "plamo", "plamo2"})
"""Architectures whose converter writes add_space_prefix after everything else."""
_TYPES: Final = {int(kind): kind for kind in TokenType}


def tokenizer_kvs(tokenizer: Tokenizer | None, arch: str, vocab_size: int) -> list[Kv]:
    """The key-values of a tokenizer, each once.

    Args:
        arch: the value of general.architecture.
        vocab_size: rows of the embedding; written only for a model without a tokenizer, which
            llama.cpp cannot load otherwise.
    """
    if tokenizer is None or tokenizer.model == Tokenizer.NONE:
        return [text(GGML + "model", "none"), Kv(f"{arch}.vocab_size", KvType.U32, vocab_size)]
    prefix = [_flag("add_space_prefix", tokenizer.add_space_prefix)]
    early = arch not in _PREFIX_LAST
    kvs = [
        *(prefix if early else ()),
        text(GGML + "model", MODELS.get(tokenizer.model, tokenizer.model)),
        text(GGML + "pre", tokenizer.pre or "default"),
        texts(GGML + "tokens", tokenizer.tokens),
        Kv(GGML + "scores", KvType.ARRAY, tokenizer.scores or (), KvType.F32),
        Kv(GGML + "token_type", KvType.ARRAY, tokenizer.types, KvType.I32),
        texts(GGML + "merges", tokenizer.merges),
        *_special(tokenizer, imposed=False),
        *_templates(tokenizer),
        _flag("normalizer.lowercase", tokenizer.normalizer_lowercase),
        _flag("normalizer.strip_accents", tokenizer.normalizer_strip_accents),
        _flag("remove_extra_whitespaces", tokenizer.remove_extra_whitespaces),
        *_special(tokenizer, imposed=True),
        *(prefix if not early else ()),
    ]
    return merge(kv for kv in kvs if kv is not None and not _empty(kv))


def _empty(kv: Kv) -> bool:
    return kv.type in (KvType.STRING, KvType.ARRAY) and len(kv.value) == 0


def _flag(name: str, value: bool | None) -> Kv | None:
    return None if value is None else Kv(GGML + name, KvType.BOOL, value)


def _special(tokenizer: Tokenizer, *, imposed: bool) -> list[Kv]:
    """Ids and flags that the folder gave, or those that the architecture added."""
    return [
        Kv(GGML + ID_KEYS[role], KvType.U32, index)
        for role, index in tokenizer.special_ids.items()
        if role in ID_KEYS and (("id", role) in tokenizer.imposed) == imposed
    ] + [
        Kv(GGML + ADD_KEYS[role], KvType.BOOL, flag)
        for role, flag in tokenizer.add.items()
        if role in ADD_KEYS and (("add", role) in tokenizer.imposed) == imposed
    ]


def _templates(tokenizer: Tokenizer) -> list[Kv]:
    named = [text(f"{TEMPLATE}.{name}", source) for name, source in tokenizer.chat_templates.items()]
    return [
        *named,
        texts(TEMPLATES, list(tokenizer.chat_templates)),
        text(TEMPLATE, tokenizer.chat_template or ""),
    ]


def tokenizer_from_kvs(get: Callable[[str], Any]) -> Tokenizer | None:
    """The tokenizer that a file's key-values describe.

    Args:
        get: the value of a key, None when it is absent. Values are asked for once and only when
            needed. Items of string arrays may be bytes or str.

    Returns:
        The tokenizer, or None when the file has none.

    Raises:
        FormatError: a value has the wrong type, lists differ in length, a token type is unknown,
            a token stands twice.
    """
    return _Values(get).tokenizer()


class _Values:
    """Typed access to the key-values of a tokenizer."""

    def __init__(self, get: Callable[[str], Any]) -> None:
        self.get = get
        self.notes: list[str] = []

    def refuse(self, key: str, wanted: str, found: Any) -> FormatError:
        return FormatError(f"key {key} must be {wanted}, found {type(found).__name__}")

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.refuse(key, "a string", value)
        return value

    def flag(self, name: str) -> bool | None:
        value = self.get(GGML + name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(GGML + name, "a boolean", value)
        return value

    def array(self, key: str) -> Sequence[Any]:
        value = self.get(key)
        if value is None:
            return ()
        if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
            raise self.refuse(key, "an array", value)
        items: Sequence[Any] = value.tolist() if hasattr(value, "tolist") else value
        return items

    def strings(self, key: str) -> list[bytes]:
        items = self.array(key)
        kinds = set(map(type, items))
        if kinds <= {bytes}:
            return list(items)
        if kinds <= {bytes, str}:
            return [_bytes(item) for item in items]
        raise self.refuse(key, "an array of strings", next(i for i in items if type(i) not in (str, bytes)))

    def index(self, name: str) -> int | None:
        value = self.get(GGML + name)
        if value is not None and type(value) is not int:
            raise self.refuse(GGML + name, "an integer", value)
        return value

    def tokenizer(self) -> Tokenizer | None:
        model = self.text(GGML + "model")
        if model is None or model == "none":
            return None
        tokens = self.strings(GGML + "tokens")
        if not tokens:
            raise FormatError(f"key {GGML}tokens is missing or empty, the tokenizer is of model {printable(model)}")
        named = [_str(name, TEMPLATES) for name in self.strings(TEMPLATES)]
        templates = {name: self.text(f"{TEMPLATE}.{name}") for name in named}
        merges = [_str(merge, GGML + "merges") for merge in self.strings(GGML + "merges")]
        made = Tokenizer(
            model={gguf: name for name, gguf in MODELS.items()}.get(model, model),
            tokens=tokens,
            types=self.types(len(tokens)),
            scores=self.scores(),
            merges=merges,
            pre=self.text(GGML + "pre"),
            special_ids=self.special_ids(len(tokens)),
            add={role: flag for role, key in ADD_KEYS.items() if (flag := self.flag(key)) is not None},
            add_space_prefix=self.flag("add_space_prefix"),
            remove_extra_whitespaces=self.flag("remove_extra_whitespaces"),
            strips_after=self.strips_after(tokens),
            chat_template=self.text(TEMPLATE),
            chat_templates={name: source for name, source in templates.items() if source is not None},
            normalizer_lowercase=self.flag("normalizer.lowercase"),
            normalizer_strip_accents=self.flag("normalizer.strip_accents"),
            notes=tuple(self.notes),
        )
        made.check(f"{GGML}*")
        return made

    def types(self, count: int) -> list[TokenType]:
        items = self.array(GGML + "token_type")
        if not len(items):
            return [TokenType.NORMAL] * count
        try:
            return [_TYPES[item] for item in items]
        except (KeyError, TypeError):
            odd = next(item for item in items if type(item) is not int or item not in _TYPES)
            raise FormatError(f"key {GGML}token_type has the type {printable(odd, 40)}, 1 to 6 are known") from None

    def strips_after(self, tokens: Sequence[bytes]) -> frozenset[int]:
        """Which special tokens take white space with them: a property without a key, that llama.cpp knows of Phi-3 by
        the model's name (llama-vocab.cpp, llama_vocab::impl::load)."""
        name = self.get("general.name")
        if not isinstance(name, str) or not re.search("phi-?3", name.lower()):
            return frozenset()
        special = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
        return frozenset(
            index
            for index, (token, kind) in enumerate(zip(tokens, self.types(len(tokens)), strict=False))
            if (kind in special or token == b"</s>") and token not in (b"<unk>", b"<s>", b"<|endoftext|>")
        )

    def scores(self) -> list[float] | None:
        items = self.array(GGML + "scores")
        if not len(items):
            return None
        if set(map(type, items)) - {float, int}:
            raise self.refuse(GGML + "scores", "an array of numbers", items[0])
        return [float(item) for item in items]

    def special_ids(self, count: int) -> dict[str, int]:
        ids: dict[str, int] = {}
        for role, key in [*ID_KEYS.items(), *OLD_ID_KEYS.items()]:
            index = self.index(key)
            if index is None or role in ids:
                continue
            ids[role] = index
            if index >= count:
                self.notes.append(f"key {GGML}{key} is {index}, there are {count} tokens; llama.cpp ignores it")
        return ids


def _bytes(item: str | bytes) -> bytes:
    return item if isinstance(item, bytes) else item.encode("utf-8", "surrogateescape")


def _str(item: bytes, key: str) -> str:
    try:
        return item.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"key {key} has an item that is not UTF-8: {printable(item[:60])}") from None
