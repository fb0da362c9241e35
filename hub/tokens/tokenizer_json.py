"""A tokenizer of the IR in the form of the `tokenizers` library: what a tokenizer.json holds.

Text is cut and merged as `hub.tokens.encoder` does it, told in that library's parts. Where its rules cannot be the
same - it looks for special tokens whatever the caller says, and orders merges of one score by a list - the models' own
files decide (transformers, convert_slow_tokenizer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.ir.tokenizer import Tokenizer, TokenType
from hub.tokens.encoder import SPACE, Encoder, rule_of

MAX_PIECE: Final = 1024
"""Longest piece, in characters, that merges are looked for; every cut of it is tried."""
NAMED: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""Roles that the library's users know by name, as ``bos_token`` and so on."""
_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ADDED: Final = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer.json of a tokenizer, as plain data.

    Raises:
        ConfigError: a kind of tokenizer, or a way of cutting text, that hub does not know.
    """
    encoder = Encoder(tokenizer)
    texts = unique_texts(tokenizer)
    vocab = {text: index for index, text in enumerate(texts)}
    spaced = encoder.rule is None
    made = _sentencepiece(encoder, vocab) if spaced else _byte_level(encoder, vocab)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, **token} for index, token in added_tokens(tokenizer).items()],
        **made,
    }


def unique_texts(tokenizer: Tokenizer) -> list[str]:
    """The text of each id, no two the same: JSON has no bytes, and what is not UTF-8 or empty gets another name."""
    texts: list[str] = []
    seen = set()
    for index, token in enumerate(tokenizer.tokens):
        text = token.decode("utf-8", "backslashreplace") if token else f"[EMPTY_{index}]"
        while text in seen:
            text += "\\"
        seen.add(text)
        texts.append(text)
    return texts


def added_tokens(tokenizer: Tokenizer) -> dict[int, dict[str, Any]]:
    """The tokens that are looked for in text before anything else happens to it, by id."""
    types = Encoder(tokenizer).types
    texts = unique_texts(tokenizer)
    return {
        index: {
            "content": texts[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": index in tokenizer.strips_after,
            "normalized": False,
            "special": kind != TokenType.USER_DEFINED,
        }
        for index, kind in enumerate(types)
        if kind in _ADDED
    }


def named_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The text of each role's token, as ``{"bos_token": "<s>"}``.

    A token that stands in ordinary text keeps its role's id only: named, it would be cut out of every text.
    """
    encoder, added, texts = Encoder(tokenizer), added_tokens(tokenizer), unique_texts(tokenizer)
    ids = {role: tokenizer.special_ids[role] for role in NAMED if role in tokenizer.special_ids}
    if encoder.add_bos and encoder.bos is not None:
        ids["bos"] = encoder.bos
    if encoder.add_eos and encoder.eos is not None:
        ids["eos"] = encoder.eos
    if encoder.rule is None:
        ids |= {role: index for role, index in (("bos", encoder.bos), ("eos", encoder.eos)) if index is not None}
        if (unknown := _unknown(encoder)) is not None:
            ids["unk"] = unknown
    return {f"{role}_token": texts[ids[role]] for role in NAMED if ids.get(role) in added}


def _unknown(encoder: Encoder) -> int | None:
    tokenizer = encoder.tokenizer
    by_type = [index for index, kind in enumerate(tokenizer.types) if kind == TokenType.UNKNOWN]
    index = tokenizer.special_ids.get("unk", by_type[0] if by_type else 0)
    return index if index < len(tokenizer.tokens) else None


def _sentencepiece(encoder: Encoder, vocab: Mapping[str, int]) -> dict[str, Any]:
    texts = list(vocab)
    unknown = _unknown(encoder)
    spaces = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    prefix = [{"type": "Prepend", "prepend": SPACE}] if encoder.space_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if encoder.space_prefix else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, *spaces]},
        "pre_tokenizer": None,
        "post_processor": _around(encoder, texts),
        "decoder": {"type": "Sequence", "decoders": [*_unspelled(), *strip]},
        "model": {
            **_model(vocab, _score_merges(encoder, texts)),
            "unk_token": None if unknown is None else texts[unknown],
            "fuse_unk": True,
            "byte_fallback": True,
        },
    }


def _byte_level(encoder: Encoder, vocab: Mapping[str, int]) -> dict[str, Any]:
    rule = rule_of(encoder.tokenizer)
    assert rule is not None
    texts = list(vocab)
    merges = [pair for pair in encoder.ranks if pair[0] in vocab and pair[1] in vocab and pair[0] + pair[1] in vocab]
    model = _model(vocab, merges, ignore_merges=rule.ignore_merges)
    splits = [
        {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False} for regex in rule.json
    ]
    around = _around(encoder, texts)
    if rule.raw:
        return {
            "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
            "post_processor": around,
            "decoder": {"type": "Sequence", "decoders": _unspelled()},
            "model": {**model, "fuse_unk": True, "byte_fallback": True},
        }
    own = rule.split == (_GPT2,)
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": own}
    last = {**bytes_, "trim_offsets": False}
    return {
        "normalizer": {"type": rule.normalizer} if rule.normalizer else None,
        "pre_tokenizer": bytes_ if own else {"type": "Sequence", "pretokenizers": [*splits, bytes_]},
        "post_processor": {"type": "Sequence", "processors": [last, around]} if around else last,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": model,
    }


def _unspelled() -> list[dict[str, Any]]:
    """From pieces back to text: spaces, bytes, all in one."""
    return [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]


def _model(
    vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], *, ignore_merges: bool = False
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": dict(vocab),
        "merges": [list(pair) for pair in merges],
    }


def _around(encoder: Encoder, texts: Sequence[str]) -> dict[str, Any] | None:
    """What puts bos and eos around a text; None where the model wants neither."""
    bos = encoder.bos if encoder.add_bos else None
    eos = encoder.eos if encoder.add_eos else None
    if bos is None and eos is None:
        return None

    def one(sequence: str, kind: int) -> list[dict[str, Any]]:
        return [
            *([] if bos is None else [{"SpecialToken": {"id": texts[bos], "type_id": kind}}]),
            {"Sequence": {"id": sequence, "type_id": kind}},
            *([] if eos is None else [{"SpecialToken": {"id": texts[eos], "type_id": kind}}]),
        ]

    return {
        "type": "TemplateProcessing",
        "single": one("A", 0),
        "pair": [*one("A", 0), *one("B", 1)],
        "special_tokens": {
            texts[index]: {"id": texts[index], "ids": [index], "tokens": [texts[index]]}
            for index in (bos, eos)
            if index is not None
        },
    }


def _score_merges(encoder: Encoder, texts: Sequence[str]) -> list[tuple[str, str]]:
    """The list of merges that scores stand for: every cut of a token into two tokens, the highest score first.

    Of one score the token that comes first in the vocabulary is merged first: where scores say nothing, ids do.
    """
    tokenizer, types = encoder.tokenizer, encoder.types
    ids = {text: index for index, text in enumerate(texts)}
    scores = tokenizer.scores
    ranked = [
        (-(scores[index] if scores is not None else 0.0), index)
        for index, text in enumerate(texts)
        if 1 < len(text) <= MAX_PIECE and types[index] not in _ADDED
    ]
    ranked.sort()
    merges = []
    for _, index in ranked:
        text = texts[index]
        cuts = [(text[:at], text[at:]) for at in range(1, len(text))]
        found = [(ids[left], ids[right]) for left, right in cuts if left in ids and right in ids]
        merges += [(texts[left], texts[right]) for left, right in sorted(found)]
    return merges
