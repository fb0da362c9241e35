"""The vocabulary that a folder means: tokenizer.json and what the files around it add.

tokenizer.json alone is not what a model is run with. Loaders put the tokens of
tokenizer_config.json, special_tokens_map.json and added_tokens.json on top, and defaults of the
class that the folder names. This module does the same, so that ids and properties of tokens are
those of ``AutoTokenizer.from_pretrained`` of transformers 4.57.6, which llama.cpp's converter uses
(tokenization_utils_base.py, tokenization_utils_fast.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

from hub.api import ConfigError, FormatError, Tokenizer, printable
from hub_safetensors.added_tokens import AddedToken, AddedVocabulary
from hub_safetensors.members import Members
from hub_safetensors.tokenizer_files import (
    ADDED_TOKENS,
    SPECIAL_TOKENS_MAP,
    VOCAB_JSON,
    TokenizerFiles,
    load,
    read_merges,
)

NAMED: Final = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
MORE: Final = "additional_special_tokens"


@cache
def classes() -> Mapping[str, Any]:
    """tokenizer_classes.toml of this package."""
    return tomllib.loads(resources.files(__package__).joinpath("tokenizer_classes.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Vocabulary:
    """A BPE vocabulary with its added tokens.

    Attributes:
        json: the tokenizer.json, or what it would be for a folder with vocab.json and merges.txt.
        base: the model's own vocabulary.
        added: the tokens put on top, with their ids.
        put_on_top: those of them that tokenizer.json does not have, or not so.
        specials: the text of the tokens with a role, in the order of the roles.
        named: the token of each role, ``bos_token`` and so on.
        tokenizer_class: the transformers class, without ``Fast``, or None.
    """

    json: Members
    base: Mapping[str, int]
    added: AddedVocabulary
    put_on_top: tuple[AddedToken, ...]
    specials: tuple[str, ...]
    named: Mapping[str, str]
    tokenizer_class: str | None

    def by_id(self) -> dict[int, str]:
        """The text of every id.

        Raises:
            FormatError: two tokens have one id.
        """
        texts = {index: text for text, index in self.base.items()}
        if len(texts) != len(self.base):
            seen: dict[int, str] = {}
            for text, index in self.base.items():
                if index in seen:
                    raise FormatError(
                        f"tokens '{printable(seen[index], 60)}' and '{printable(text, 60)}' have the same id {index}",
                        path=self.json.path,
                    )
                seen[index] = text
        texts.update((index, token.content) for index, token in self.added.tokens.items())
        return texts


def read_vocabulary(files: TokenizerFiles, default_class: str | None = None) -> Vocabulary:
    """The vocabulary of a folder that has tokenizer.json, or vocab.json and merges.txt.

    Args:
        default_class: the transformers class where neither the folder nor its model_type names one.

    Raises:
        FormatError: a member has the wrong type, an id is impossible, tokens share an id.
        ConfigError: the vocabulary is not of the BPE kind.
    """
    name = files.tokenizer_class
    if name is None:
        model_type = files.model_config.text("model_type")
        name = classes()["model_types"].get(model_type, default_class)
    json = files.json if files.json is not None else _slow_json(files, name)
    base = _base(json)
    added = AddedVocabulary(base, json.path)
    added.add(AddedToken.of(token) for token in json.members("added_tokens"))
    configured = _Configured.read(files, name)
    on_top = configured.on_top_of(added)
    added.add(on_top)
    return Vocabulary(
        json=json,
        base=base,
        added=added,
        put_on_top=tuple(on_top),
        specials=configured.specials,
        named={role: token.content for role, token in configured.named.items()},
        tokenizer_class=name,
    )


def _base(json: Members) -> dict[str, int]:
    model = json.member("model")
    if model is None:
        raise json.refuse("model", "an object")
    kind = model.text("type")
    # Files of before 2021 have no type; only BPE has merges.
    if kind != "BPE" and not (kind is None and model.has("merges")):
        raise ConfigError(f"tokenizer model '{printable(kind)}' is not supported here, only BPE is", path=json.path)
    vocab = model.member("vocab")
    if vocab is None:
        raise model.refuse("vocab", "an object")
    return checked_ids(vocab)


def checked_ids(members: Members) -> dict[str, int]:
    """An object of text and id.

    Raises:
        FormatError: an id is no integer, negative, beyond 2^31, or far beyond the number of tokens.
    """
    values: dict[str, int] = dict(members.values)
    if set(map(type, values.values())) - {int}:
        odd = next(text for text, index in values.items() if type(index) is not int)
        raise members.refuse(odd, "an id")
    allowed = Tokenizer.highest_id(len(values))
    if values and not 0 <= min(values.values()) <= max(values.values()) <= allowed:
        odd = next(text for text, index in values.items() if not 0 <= index <= allowed)
        raise FormatError(
            f"{members.where or 'the vocabulary'}: token '{printable(odd, 60)}' has the id "
            f"{values[odd]}, at most {allowed} is possible for {len(values)} tokens",
            path=members.path,
        )
    return values


@dataclass(frozen=True)
class _Configured:
    """What the files beside tokenizer.json and the class say about added tokens."""

    tokens: tuple[AddedToken, ...]
    named: Mapping[str, AddedToken]
    more: tuple[AddedToken, ...]

    @classmethod
    def read(cls, files: TokenizerFiles, name: str | None) -> _Configured:
        settings = files.config or Members({}, files.folder.root / "tokenizer_config.json")
        listed = settings.has("added_tokens_decoder")
        sources = [settings]
        if not listed:
            # The older way: two files of their own, and special_tokens_map.json wins.
            special_map = load(files.folder, SPECIAL_TOKENS_MAP)
            if special_map is not None:
                sources.append(special_map)
        given: dict[str, AddedToken | None] = {}
        more: list[AddedToken] = []
        for source in sources:
            given |= {role: _token(source, role) for role in NAMED if source.has(role)}
            more += _list(source)
        if listed:
            tokens = _decoder(settings)
        else:
            specials = {token.content for token in [*given.values(), *more] if token is not None}
            tokens = _added_tokens_json(files, specials) | _recorded(files)
        defaults = classes().get(name, {}).get("tokens", {}) if name else {}
        named = {role: AddedToken.named(text, special=True) for role, text in defaults.items()} | given
        by_text = {token.content: token for token in tokens.values()}
        return cls(
            tokens=tuple(tokens[index] for index in sorted(tokens)),
            named={role: by_text.get(token.content, token) for role, token in named.items() if token is not None},
            more=tuple(more),
        )

    @property
    def specials(self) -> tuple[str, ...]:
        """The text of the tokens with a role, each once."""
        ordered = [self.named[role] for role in NAMED if role in self.named]
        return tuple(dict.fromkeys(token.content for token in [*ordered, *self.more]))

    def on_top_of(self, added: AddedVocabulary) -> list[AddedToken]:
        """The tokens that loaders add to `added`.

        Those of the files come even where `added` has them: with their properties, and marked
        special when they have a role.
        """
        new = list(self.tokens)
        texts = {token.content for token in new}
        for token in [*(self.named[role] for role in NAMED if role in self.named), *self.more]:
            if token.content not in added and token.content not in texts:
                new.append(token)
                texts.add(token.content)
        specials = set(self.specials)
        return [replace(token, special=True) if token.content in specials else token for token in new]


def _token(source: Members, key: str) -> AddedToken | None:
    value = source.raw(key)
    if isinstance(value, str):
        return AddedToken.named(value, special=True)
    member = source.member(key)
    return None if member is None else AddedToken.of(member, special=True)


def _list(source: Members) -> list[AddedToken]:
    value = source.raw(MORE)
    # A newer spelling is an object of role and token, for tokens that hub has no role for.
    if isinstance(value, dict):
        source = Members({MORE: list(value.values())}, source.path, source.where)
    made = []
    for index, entry in enumerate(source.items(MORE)):
        if isinstance(entry, str):
            made.append(AddedToken.named(entry, special=True))
        elif isinstance(entry, dict):
            made.append(AddedToken.of(Members(entry, source.path, f"{MORE}[{index}]"), special=True))
        else:
            raise source.refuse(MORE, "a list of tokens")
    return made


def _decoder(settings: Members) -> dict[int, AddedToken]:
    decoder = settings.member("added_tokens_decoder")
    if decoder is None:
        return {}
    tokens = {}
    for key in decoder.values:
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= Tokenizer.MAX_ID):
            raise FormatError(
                f"{printable(decoder.name(key))}: an id must be a number up to {Tokenizer.MAX_ID}", path=settings.path
            )
        member = decoder.member(key)
        if member is None:
            raise decoder.refuse(key, "an object")
        if int(key) in tokens:
            raise FormatError(f"{decoder.where}: the id {int(key)} stands twice", path=settings.path)
        tokens[int(key)] = AddedToken.of(member)
    return tokens


def _added_tokens_json(files: TokenizerFiles, specials: set[str]) -> dict[int, AddedToken]:
    added = load(files.folder, ADDED_TOKENS)
    if added is None:
        return {}
    tokens: dict[int, AddedToken] = {}
    for text in added.values:
        index = added.whole(text)
        if index is None or not 0 <= index <= Tokenizer.MAX_ID:
            raise added.refuse(text, f"an id from 0 to {Tokenizer.MAX_ID}")
        tokens[index] = AddedToken.named(text, special=text in specials)
    return tokens


def _recorded(files: TokenizerFiles) -> dict[int, AddedToken]:
    members = files.json.members("added_tokens") if files.json is not None else []
    return {index: AddedToken.of(token) for token in members if (index := token.whole("id")) is not None}


def _slow_json(files: TokenizerFiles, name: str | None) -> Members:
    """The tokenizer.json that vocab.json and merges.txt stand for."""
    rules = classes()["slow"].get(name)
    vocab = load(files.folder, VOCAB_JSON)
    if rules is None or vocab is None:
        raise ConfigError(
            f"vocab.json and merges.txt of the class '{printable(name)}' cannot be read without tokenizer.json",
            path=files.folder.root,
            remedy="save the tokenizer with a tokenizer.json",
        )
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": checked_ids(vocab),
        "merges": read_merges(files.folder),
    }
    json = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        **rules,
        "model": model,
    }
    return Members(json, files.folder.root / VOCAB_JSON)
