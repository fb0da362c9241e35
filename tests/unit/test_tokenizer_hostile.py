"""Tokenizer files made by somebody who means harm, or by accident."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.architecture import known
from hub.errors import ConfigError, FormatError, HubError
from hub.io.folder import Folder
from hub.ir.tokenizer import Tokenizer
from hub_gguf.kv import encode
from hub_gguf.tokenizer import tokenizer_from_kvs, tokenizer_kvs
from hub_safetensors import tokenizer as reading
from hub_safetensors.pretokenizer import Encoded
from hub_safetensors.tokenizer import read_tokenizer

RULE = next(a for a in known() if a.family == "llama").tokenizer
TINY = Path(__file__).parents[1] / "data" / "tiny-llama"


def added(index: Any, content: Any, **more: Any) -> dict[str, Any]:
    return {"id": index, "content": content, "special": False, "normalized": False, **more}


def bpe(**changes: Any) -> dict[str, Any]:
    """A small byte-level tokenizer.json; `changes` go to its model where it has such a member."""
    made: dict[str, Any] = {
        "added_tokens": [added(4, "<|end|>", special=True)],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]},
    }
    for key, value in changes.items():
        (made if key in made else made["model"])[key] = value
    return made


CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|end|>",
    "added_tokens_decoder": {"4": {"content": "<|end|>", "special": True}},
    "chat_template": "{{ x }}",
}


def template(*single: Any, pair: Any = ()) -> dict[str, Any]:
    return {"type": "TemplateProcessing", "single": list(single), "pair": list(pair), "special_tokens": {}}


@pytest.fixture(autouse=True)
def _no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "encode", lambda *_, **__: Encoded(failure="not tried"))


def folder(path: Path, files: dict[str, Any]) -> Folder:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (path / name).write_bytes(content)
        else:
            (path / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return Folder(path)


def read(path: Path, files: dict[str, Any], config: dict[str, Any] | None = None, size: Any = 8) -> Tokenizer | None:
    return read_tokenizer(folder(path, files), rule=RULE, vocab_size=size, config=config or {})


J, C, A, M, S = (
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "tokenizer.model",
    "special_tokens_map.json",
)
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({J: "{"}, "not acceptable JSON"),
    "a list": ({J: "[]"}, "expected a JSON object"),
    "not UTF-8": ({J: b'{"a": "\xff"}'}, "not UTF-8"),
    "a member twice": ({J: '{"model": {}, "model": {}}'}, "stands twice"),
    "a token twice": ({J: '{"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}}}'}, "stands twice"),
    "deep": ({J: '{"a":' * 100 + "1" + "}" * 100}, "nested deeper"),
    "NaN": ({J: '{"a": NaN}'}, "NaN"),
    "a number of many digits": ({J: '{"a": ' + "9" * 5000 + "}"}, "digits"),
    "git-lfs": ({J: "version https://git-lfs.github.com/spec/v1\n"}, "git lfs pull"),
    "git-lfs model": ({M: "version https://git-lfs.github.com/spec/v1\n"}, "git lfs pull"),
    "no model": ({J: {"added_tokens": []}}, "member model must be an object"),
    "model a text": ({J: {"model": "BPE"}}, "member model must be an object"),
    "a type that is no text": ({J: bpe(type=3)}, "model.type must be text"),
    "Unigram": ({J: bpe(type="Unigram")}, "only BPE is"),
    "vocab a list": ({J: bpe(vocab=["a"])}, "model.vocab must be an object"),
    "no vocab": ({J: bpe(vocab=None)}, "model.vocab must be an object"),
    "an id that is text": ({J: bpe(vocab={"a": "0"})}, "must be an id"),
    "an id that is true": ({J: bpe(vocab={"a": True})}, "must be an id"),
    "an id that is 1.0": ({J: bpe(vocab={"a": 1.0})}, "must be an id"),
    "a negative id": ({J: bpe(vocab={"a": -1})}, "id -1"),
    "an id beyond 2^31": ({J: bpe(vocab={"a": 1 << 31})}, "id 2147483648"),
    "a sparse id": ({J: bpe(vocab={"a": 0, "b": 65600})}, "at most 65543"),
    "one id for two tokens": ({J: bpe(vocab={"a": 0, "b": 0})}, "have the same id 0"),
    "an added token with another's id": (
        {J: bpe(vocab={"a": 0, "b": 2}, added_tokens=[added(9, "X")])},
        "which another token has",
    ),
    "half a surrogate pair": (
        {J: '{"model": {"type": "BPE", "vocab": {"\\ud800": 0}, "merges": []}, "added_tokens": []}'},
        "surrogate",
    ),
    "merges an object": ({J: bpe(merges={})}, "model.merges must be a list"),
    "merges of numbers": ({J: bpe(merges=[1])}, "merges must be"),
    "merges of three": ({J: bpe(merges=[["a", "b", "c"]])}, "merges must be"),
    "merges of both spellings": ({J: bpe(merges=["a b", ["a", "b"]])}, "merges must be"),
    "merges of pairs of numbers": ({J: bpe(merges=[["a", 1]])}, "merges must be"),
    "merges with half a surrogate pair": ({J: bpe(merges=["a \ud800"])}, "surrogate"),
    "added tokens an object": ({J: bpe(added_tokens={})}, "added_tokens must be a list"),
    "an added token that is text": ({J: bpe(added_tokens=["x"])}, r"added_tokens\[0\] must be an object"),
    "an added token without content": ({J: bpe(added_tokens=[{"id": 4}])}, r"added_tokens\[0\].content"),
    "an added token with a text for an id": ({J: bpe(added_tokens=[added("4", "x")])}, r"added_tokens\[0\].id"),
    "an added token with a negative id": ({J: bpe(added_tokens=[added(-4, "x")])}, r"added_tokens\[0\].id"),
    "special is 1": ({J: bpe(added_tokens=[added(4, "x", special=1)])}, r"added_tokens\[0\].special"),
    "a normalizer that is a list": ({J: bpe(normalizer=[])}, "normalizer must be an object"),
    "normalizers of text": ({J: bpe(normalizer={"type": "Sequence", "normalizers": ["x"]})}, r"normalizers\[0\]"),
    "lowercase is text": ({J: bpe(normalizer={"type": "BertNormalizer", "lowercase": "yes"})}, "normalizer.lowercase"),
    "a post-processor that is text": ({J: bpe(post_processor="x")}, "post_processor must be an object"),
    "processors that are numbers": (
        {J: bpe(post_processor={"type": "Sequence", "processors": [1]})},
        r"processors\[0\]",
    ),
    "a template of texts": ({J: bpe(post_processor=template("A", "B"))}, r"single\[0\]"),
    "a special token that is text": ({J: bpe(post_processor=template({"SpecialToken": "x"}, {}))}, "SpecialToken"),
    "an id of a special token that is a number": (
        {J: bpe(post_processor=template({"SpecialToken": {"id": 3}}, {}))},
        "SpecialToken.id",
    ),
    "Roberta without a name": (
        {J: bpe(post_processor={"type": "RobertaProcessing", "cls": [], "sep": ["x", 1]}), C: CONFIG},
        "cls",
    ),
    "a decoder that is a number": ({J: bpe(decoder=1)}, "decoder must be an object"),
    "byte_fallback is text": ({J: bpe(byte_fallback="yes")}, "model.byte_fallback"),
    "tokenizer_class is a list": ({J: bpe(), C: {"tokenizer_class": []}}, "tokenizer_class must be text"),
    "bos_token is a number": ({J: bpe(), C: {"bos_token": 1}}, "bos_token must be"),
    "bos_token has no content": ({J: bpe(), C: {"bos_token": {}}}, "bos_token.content"),
    "add_bos_token is text": ({J: bpe(), C: {"add_bos_token": "true"}}, "add_bos_token must be true or false"),
    "add_prefix_space is 1": ({J: bpe(), C: {"add_prefix_space": 1}}, "add_prefix_space must be true or false"),
    "a decoder list": ({J: bpe(), C: {"added_tokens_decoder": []}}, "added_tokens_decoder must be an object"),
    "a decoder id that is text": (
        {J: bpe(), C: {"added_tokens_decoder": {"x": {"content": "y"}}}},
        "an id must be a number",
    ),
    "a decoder id that is negative": (
        {J: bpe(), C: {"added_tokens_decoder": {"-1": {"content": "y"}}}},
        "an id must be a number",
    ),
    "a decoder id beyond 2^31": (
        {J: bpe(), C: {"added_tokens_decoder": {"4294967294": {"content": "y"}}}},
        "an id must be a number",
    ),
    "a decoder id in another script": (
        {J: bpe(), C: {"added_tokens_decoder": {"٣": {"content": "y"}}}},
        "an id must be a number",
    ),
    "a decoder id twice": (
        {J: bpe(), C: {"added_tokens_decoder": {"5": {"content": "y"}, "05": {"content": "z"}}}},
        "stands twice",
    ),
    "a decoder token that is text": ({J: bpe(), C: {"added_tokens_decoder": {"5": "y"}}}, "must be an object"),
    "additional tokens that are numbers": (
        {J: bpe(), C: {"additional_special_tokens": [1]}},
        "additional_special_tokens",
    ),
    "a special map of numbers": ({J: bpe(), S: {"bos_token": 3}}, "bos_token must be"),
    "added_tokens.json with text": ({J: bpe(), A: {"x": "5"}}, "must be an integer"),
    "added_tokens.json with a negative id": ({J: bpe(), A: {"x": -5}}, "an id from 0"),
    "a template that is a number": ({J: bpe(), C: {"chat_template": 5}}, "chat_template must be"),
    "a list of templates that are text": ({J: bpe(), C: {"chat_template": ["x"]}}, r"chat_template\[0\]"),
    "a template's name that is a number": ({J: bpe(), C: {"chat_template": [{"name": 1, "template": "x"}]}}, "name"),
    "a thousand templates": (
        {J: bpe(), C: {"chat_template": [{"name": f"x{i}", "template": "x"} for i in range(1000)]}},
        "at most 256",
    ),
    "a token twice after spelling": (
        {J: bpe(added_tokens=[added(4, "x y"), added(5, "x▁y")])},
        "stands twice, at ids 4 and 5",
    ),
    "tekken only": ({"tekken.json": "{}"}, "tekken.json is the only tokenizer"),
    "vocab.json of a class that is not known": (
        {"vocab.json": {"a": 0}, "merges.txt": "", C: CONFIG},
        "cannot be read without",
    ),
    "merges.txt that is not UTF-8": ({J: bpe(merges=[]), "merges.txt": b"\xff"}, "not UTF-8"),
    "a sentencepiece decoder id": (
        {M: "@tiny", C: {"added_tokens_decoder": {"x": {"content": "y"}}}},
        "an id must be a number",
    ),
    "a sentencepiece decoder token": ({M: "@tiny", C: {"added_tokens_decoder": {"3": None}}}, "must be an object"),
    "a sentencepiece added token twice": ({M: "@tiny", A: {"<s>": 5}}, "stands twice"),
    "a sentencepiece added id": ({M: "@tiny", A: {"x": -1}}, "an id from 0"),
    "a sentencepiece added id that is true": ({M: "@tiny", A: {"x": True}}, "must be an integer"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_with_file_and_member(name: str, tmp_path: Path) -> None:
    files, message = HOSTILE[name]
    files = {
        key: (TINY / "tokenizer.model").read_bytes() if value == "@tiny" else value for key, value in files.items()
    }
    with pytest.raises((FormatError, ConfigError), match=message) as caught:
        read(tmp_path / "m", files, size=64)
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bos_token_id": "1"}, "bos_token_id must be an integer"),
        ({"bos_token_id": True}, "bos_token_id must be an integer"),
        ({"bos_token_id": 1.0}, "bos_token_id must be an integer"),
        ({"bos_token_id": -2}, "impossible id -2"),
        ({"bos_token_id": 1 << 31}, "impossible id"),
        ({"text_config": []}, "text_config must be an object"),
        ({"text_config": {"eos_token_id": {}}}, "text_config.eos_token_id"),
        ({"model_type": []}, "model_type must be text"),
        ({"tokenizer_class": 1}, "tokenizer_class must be text"),
    ],
)
def test_config_json_is_checked(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "m", {J: bpe()}, config)


@pytest.mark.parametrize("size", [0, -1, 1 << 31, 1 << 62, 10**30, 65_600])
def test_a_vocabulary_size_that_cannot_be(size: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vocab_size is"):
        read(tmp_path / "m", {J: bpe()}, size=size)


@pytest.mark.parametrize(
    "config", [{"pad_token_id": -1}, {"eos_token_id": [1, 2]}, {"eos_token_id": None}, {"pad_token_id": 99}]
)
def test_what_the_field_does_is_read(config: dict[str, Any], tmp_path: Path) -> None:
    made = read(tmp_path / "m", {J: bpe()}, config)
    assert made is not None
    assert len(made.tokens) == 8
    if config.get("pad_token_id"):
        assert any("pad" in note for note in made.notes)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(bpe()))
    (tmp_path / "m").mkdir()
    os.symlink(tmp_path / "secret.json", tmp_path / "m" / J)
    with pytest.raises(FormatError, match="outside"):
        read(tmp_path / "m", {})


def test_templates_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.jinja").write_text("secret")
    made = folder(tmp_path / "m", {J: bpe(), C: {"bos_token": None}, "chat_template.jinja": "x"})
    os.symlink(tmp_path / "elsewhere", tmp_path / "m" / "additional_chat_templates")
    with pytest.raises(FormatError, match="outside"):
        read_tokenizer(made, rule=RULE, vocab_size=8, config={})


def test_a_template_is_carried_not_run(tmp_path: Path) -> None:
    source = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for x in range(10**9) %}{% endfor %}"
    made = read(tmp_path / "m", {J: bpe(), C: {**CONFIG, "chat_template": source}})
    assert made is not None
    assert made.chat_template == source


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 40), 1 << 40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=6),
        st.sampled_from(["<|end|>", "a", "BPE", "Sequence", "TemplateProcessing", "Ġ", "<0x00>", "\ud800"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["id", "content", "type", "special", "4", "5", "a", "<|end|>"]), inner, max_size=3
        ),
    ),
    max_leaves=5,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += _places(inner, (*path, index))
    return found


BASE: dict[str, Any] = {
    J: bpe(
        normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}]},
        post_processor=template(
            {"SpecialToken": {"id": "<|end|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            pair=({"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<|end|>"}}, {"Sequence": {"id": "B"}}),
        ),
        byte_fallback=False,
    ),
    C: {
        **CONFIG,
        "add_bos_token": True,
        "add_prefix_space": True,
        "additional_special_tokens": ["x"],
        "sep_token": {"content": "<|end|>"},
        "clean_up_tokenization_spaces": True,
    },
    "config.json": {"bos_token_id": 4, "eos_token_id": [4], "text_config": {"pad_token_id": 1}, "model_type": "llama"},
    A: {"x": 6},
    S: {"pad_token": "<|end|>"},
}
PLACES = [(name, *path) for name, content in BASE.items() for path in _places(content)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.sampled_from(PLACES), anything), min_size=1, max_size=3),
    spm=st.booleans(),
    size=st.one_of(st.none(), st.integers(-2, 80)),
)
def test_any_change_is_read_or_refused(
    changes: list[tuple[tuple[Any, ...], Any]], spm: bool, size: int | None, tmp_path: Path
) -> None:
    files = copy.deepcopy(BASE)
    for (name, *path), value in changes:
        place = files[name]
        try:
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    if spm:
        files[M] = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c\n\x03<s>\x15\0\0\0\0\x18\x03"
    made_folder = folder(tmp_path, files)
    if not spm and (tmp_path / M).exists():
        (tmp_path / M).unlink()
    try:
        config = made_folder.json("config.json")
        made = read_tokenizer(made_folder, rule=RULE, vocab_size=size, config=config)
        kvs = tokenizer_kvs(made, "llama", 8)
        encode(kvs)
    except HubError:
        return
    by_key = {kv.key: kv.value for kv in kvs}
    back = tokenizer_from_kvs(by_key.get)
    assert (back is None) == (made is None)


@settings(max_examples=300, deadline=None)
@given(
    values=st.dictionaries(
        st.sampled_from([
            "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
            "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id",
            "tokenizer.ggml.add_bos_token", "tokenizer.chat_template", "tokenizer.chat_templates",
            "tokenizer.chat_template.x",
        ]),
        st.one_of(
            anything,
            st.lists(st.sampled_from([b"a", b"b", b"\xff", "a", "x"]), max_size=4),
            st.lists(st.integers(-1, 8), max_size=4),
            st.sampled_from(["llama", "gpt2", "none"]),
        ),
    )
)  # fmt: skip
def test_any_key_values_are_read_or_refused(values: dict[str, Any]) -> None:
    try:
        made = tokenizer_from_kvs(values.get)
        encode(tokenizer_kvs(made, "llama", 8))
    except HubError:
        return
