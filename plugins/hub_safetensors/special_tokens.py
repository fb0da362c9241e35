"""Which ids are special and which are put around text, as the files of a folder say.

Three files have a say, and they disagree in the field. The precedence here is that of gguf-py's
SpecialVocab as vendored with llama.cpp 0c1e570 (gguf-py/gguf/vocab.py), fixed by its behaviour:

- the post-processor of tokenizer.json decides what is added; flags of tokenizer_config.json fill in;
- ids come from ``*_token`` members looked up among tokenizer.json's added tokens, then from
  ``*_token_id`` members of config.json; the first found wins, and the order found is kept;
- a template that ends in another token than eos_token makes that one the end of sequence, and the
  named one the end of turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from hub.api import FormatError, Tokenizer
from hub_safetensors.members import Members
from hub_safetensors.tokenizer_files import TokenizerFiles

ROLES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass
class SpecialTokens:
    """What was found; see `hub.ir.tokenizer.Tokenizer` for the members."""

    ids: dict[str, int] = field(default_factory=dict)
    add: dict[str, bool] = field(default_factory=dict)
    lowercase: bool | None = None
    strip_accents: bool | None = None
    notes: list[str] = field(default_factory=list)


def read_special_tokens(
    files: TokenizerFiles, *, tokens: int, strict: bool, roles: tuple[str, ...] = ROLES
) -> SpecialTokens:
    """Read them.

    Args:
        tokens: how many ids there are.
        strict: whether an id beyond them is left out; either way there is a note. llama.cpp's
            converter leaves it out or not by kind of tokenizer, and llama.cpp ignores it.
        roles: the roles to look for, in this order.

    Raises:
        FormatError: a member has the wrong type, or an id is negative (-1 in config.json, an old
            way to say "none", is left out with a note) or beyond 2^31.
    """
    return _Search(files, tokens, strict, roles).run()


class _Search:
    def __init__(self, files: TokenizerFiles, tokens: int, strict: bool, roles: tuple[str, ...]) -> None:
        self.files = files
        self.tokens = tokens
        self.strict = strict
        self.roles = list(roles)
        self.found = SpecialTokens()
        # What tokenizer_config.json says, amended by what the post-processor implies. Values stay
        # as they are, text or an object with "content": a template's token never equals an object,
        # and that inequality is part of the behaviour.
        self.config: dict[str, Any] | None = dict(files.config.values) if files.config else None

    def run(self) -> SpecialTokens:
        added: dict[str, int | None] = {}
        if self.files.json is not None:
            normalizer = self.files.json.member("normalizer")
            if normalizer is not None:
                self.normalizer(normalizer)
            for token in self.files.json.members("added_tokens"):
                content = token.text("content")
                if content is not None:
                    added.setdefault(content, token.whole("id"))
            self.post_processor(self.files.json)
        if self.config is not None:
            self.from_config(added)
        self.from_model_config()
        return self.found

    def normalizer(self, members: Members) -> None:
        kind = members.text("type")
        if kind == "Lowercase":
            self.found.lowercase = True
        elif kind == "StripAccents":
            self.found.strip_accents = True
        elif kind == "BertNormalizer":
            if members.has("lowercase"):
                self.found.lowercase = members.flag("lowercase")
            if members.has("strip_accents"):
                self.found.strip_accents = members.flag("strip_accents")
        elif kind == "Sequence":
            for inner in members.members("normalizers"):
                self.normalizer(inner)

    def post_processor(self, json: Members) -> None:
        whole = json.member("post_processor")
        named = self.config or {}
        bos, eos, cls, sep = (named.get(f"{role}_token") for role in ("bos", "eos", "cls", "sep"))
        if self.config is not None:
            # BERT's names stand in for missing ones.
            if not bos and cls:
                self.config["bos_token"] = bos = cls
            if not eos and sep:
                self.config["eos_token"] = eos = sep
        if whole is None or not whole.values:
            return
        template = _Template(self, bos, eos, cls, sep)
        for part in whole.members("processors") if whole.has("processors") else [whole]:
            kind = part.text("type")
            if kind == "ByteLevel":
                self.found.add.setdefault("bos", False)
                self.found.add.setdefault("eos", False)
            elif kind == "RobertaProcessing":
                template.roberta(part)
            elif kind == "TemplateProcessing":
                template.read(part)

    def demote_eos(self, old: Any, new: str) -> None:
        """`new` ends sequences; what the configuration called eos ends turns, if that role is free."""
        assert self.config is not None
        for role in ("eot", "eom"):
            if role not in self.roles:
                self.roles.append(role)
                self.config[f"{role}_token"] = old
                break
        self.config["eos_token"] = new

    def from_config(self, added: dict[str, int | None]) -> None:
        assert self.config is not None and self.files.config is not None
        members = Members(self.config, self.files.config.path)
        for role in self.roles:
            flag = members.flag(f"add_{role}_token")
            if flag is not None:
                self.found.add.setdefault(role, flag)
            entry = members.raw(f"{role}_token")
            if isinstance(entry, dict):
                inner = members.member(f"{role}_token")
                entry = inner.text("content") if inner is not None else None
            elif entry is not None and not isinstance(entry, str):
                raise members.refuse(f"{role}_token", "text or an object")
            if entry is not None:
                self.set(role, added.get(entry), "tokenizer.json: added_tokens", members.path)

    def from_model_config(self) -> None:
        config = self.files.model_config
        nested = config.member("text_config") if config.has("text_config") else None
        for role in self.roles:
            key = f"{role}_token_id"
            place = config if nested is None or config.raw(key) is not None else nested
            value = place.raw(key)
            # A list of ends (Llama 3.1) has no single id; tokenizer_config.json names that.
            if value is None or isinstance(value, list):
                continue
            if value == -1 and type(value) is int:
                self.found.notes.append(f"config.json: {place.name(key)} is -1, read as none")
                continue
            self.set(role, place.whole(key), f"config.json: {place.name(key)}", place.path)

    def set(self, role: str, index: int | None, where: str, path: str) -> None:
        if index is None:
            return
        if not 0 <= index <= Tokenizer.MAX_ID:
            raise FormatError(f"{where} gives the {role} token the impossible id {index}", path=path)
        if index >= self.tokens:
            what = "left out" if self.strict else "llama.cpp ignores it"
            self.found.notes.append(
                f"{where} gives the {role} token the id {index}, there are {self.tokens} tokens; {what}"
            )
            if self.strict:
                return
        self.found.ids.setdefault(role, index)


class _Template:
    """Reads the templates of a post-processor against the names of the configuration."""

    def __init__(self, search: _Search, bos: Any, eos: Any, cls: Any, sep: Any) -> None:
        self.search = search
        self.bos = bos
        self.eos = eos
        self.cls = cls
        self.sep = sep

    def roberta(self, part: Members) -> None:
        add = self.search.found.add
        add["bos"] = add["eos"] = add["sep"] = True
        config = self.search.config
        if config is None:
            return
        if not self.cls:
            self.cls = config["cls_token"] = _first(part, "cls", self.bos)
        if not self.sep:
            self.sep = config["sep_token"] = _first(part, "sep", self.eos)

    def read(self, part: Members) -> None:
        single = part.members("single")
        first = last = None
        if len(single) > 1:
            first = _special(single[0])
            last = _special(single[-1])
        if first:
            self.leading(first)
        if last:
            self.trailing(last)
        self.pair(part.members("pair"), first, last)

    def leading(self, first: str) -> None:
        config = self.search.config
        if config is None:
            self.bos = first
        elif first not in (self.bos, self.cls):
            if not self.bos:
                self.bos = config["bos_token"] = first
            if not self.cls:
                self.cls = config["cls_token"] = first
        self.search.found.add["bos"] = first in (self.bos, self.cls)

    def trailing(self, last: str) -> None:
        if self.search.config is not None and last != self.eos:
            self.search.demote_eos(self.eos, last)
        self.eos = last
        self.search.found.add["eos"] = True

    def pair(self, pair: list[Members], first: str | None, last: str | None) -> None:
        """Whether a separator stands between A and B of the template for two texts."""
        if pair and first and _special(pair[0]) == first:
            # The last entry is looked at before the first is cut off, so both may be the same.
            ends_too = bool(last) and _special(pair[-1]) == last
            pair = pair[1:-1] if ends_too else pair[1:]
        elif pair and last and _special(pair[-1]) == last:
            pair = pair[:-1]
        if not pair or _sequence(pair[0]) != "A" or _sequence(pair[-1]) != "B":
            return
        middle = [_special(entry) for entry in pair[1:-1]]
        if not middle:
            return
        separators = (self.sep, self.eos)
        add = middle[0] is not None and middle[0] in separators and not last
        if len(middle) == 2 and middle[1] is not None and middle[1] in separators:
            add = True
        self.search.found.add["sep"] = add
        if add and not self.sep and self.search.config is not None:
            self.search.config["sep_token"] = self.eos


def _first(part: Members, key: str, otherwise: Any) -> Any:
    """The text of a ``["<s>", 0]`` pair."""
    if not part.has(key):
        return otherwise
    pair = part.items(key)
    if not pair or not isinstance(pair[0], str):
        raise part.refuse(key, "a pair of text and id")
    return pair[0]


def _special(entry: Members) -> str | None:
    inner = entry.member("SpecialToken")
    return (inner.text("id") or None) if inner is not None else None


def _sequence(entry: Members) -> str | None:
    inner = entry.member("Sequence")
    return inner.text("id") if inner is not None else None
