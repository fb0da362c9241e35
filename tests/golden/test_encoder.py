"""Text to ids: against the ids that llama.cpp ships with its vocabularies, and rules of its source on small ones."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library

import hub
from hub.api import Encoder, Tokenizer, TokenType, added_tokens, named_tokens, tokenizer_json, unique_texts
from hub.errors import ConfigError
from hub.tokens.encoder import byte_alphabet, merged
from hub.tokens.pretokenizers import _by_name, pre_tokenizer, python_regex

DATA = Path(__file__).parents[1] / "data"
TOKENIZERS = DATA / "tokenizers"
NAMES = ("gpt-2", "llama-spm", "qwen2")
NORMAL, CONTROL, USER = TokenType.NORMAL, TokenType.CONTROL, TokenType.USER_DEFINED


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory):
    @cache
    def read(name: str) -> Tokenizer:
        path = tmp_path_factory.mktemp(name) / "vocab.gguf"
        path.write_bytes(gzip.decompress((TOKENIZERS / name / "vocab.gguf.gz").read_bytes()))
        with hub.open(path) as model:
            tokenizer = model.load_tokenizer(None)
        assert tokenizer is not None
        return tokenizer

    return read


def texts(name: str) -> list[tuple[str, list[int]]]:
    given = (TOKENIZERS / name / "texts.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = (TOKENIZERS / name / "texts.out").read_text().split("\n")
    return [(text, [int(word) for word in ids.split()]) for text, ids in zip(given, wanted, strict=False)]


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_vocabulary(vocabulary, name: str) -> None:
    encoder = Encoder(vocabulary(name))
    assert len(texts(name)) > 40
    for text, wanted in texts(name):
        assert encoder.encode(text, add_bos=False) == wanted, text


@pytest.mark.parametrize("name", NAMES)
def test_rebuilt_tokenizer_json_gives_the_same_ids(vocabulary, name: str) -> None:
    library = Library.from_str(json.dumps(tokenizer_json(vocabulary(name))))
    for text, wanted in texts(name):
        assert library.encode(text, add_special_tokens=False).ids == wanted, text


@pytest.mark.parametrize("name", ["gpt-2", "qwen2"])
def test_rebuilt_tokenizer_json_means_the_original(vocabulary, name: str) -> None:
    original = Library.from_str(gzip.decompress((TOKENIZERS / name / "tokenizer.json.gz").read_bytes()).decode())
    rebuilt = Library.from_str(json.dumps(tokenizer_json(vocabulary(name))))
    text = (DATA / "tiny-llama" / "eval.txt").read_text("utf-8")[:20000] + "e\u0301 <|endoftext|> \u212b 12345 it's'"
    ids = original.encode(text).ids
    assert rebuilt.encode(text).ids == ids
    assert rebuilt.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_gives_the_text_back(vocabulary, name: str) -> None:
    encoder = Encoder(vocabulary(name))
    for text, _ in texts(name):
        assert encoder.decode(encoder.encode(text)) == text


def test_tiny_llama_from_its_folder_and_from_its_json() -> None:
    text = (DATA / "tiny-llama" / "eval.txt").read_text("utf-8")
    original = Library.from_file(str(DATA / "tiny-llama" / "tokenizer.json"))
    with hub.open(DATA / "tiny-llama") as model:
        tokenizer = model.load_tokenizer(None)
    wanted = original.encode(text).ids
    assert Encoder(tokenizer).encode(text) == wanted
    assert Library.from_str(json.dumps(tokenizer_json(tokenizer))).encode(text).ids == wanted


# Small vocabularies with the oddities that no shipped one has.


def sentencepiece(pieces: dict[str, float], types: dict[str, TokenType] | None = None, **more) -> Tokenizer:
    given = types or {}
    tokens = ["<unk>", "<s>", "</s>", *pieces]
    kinds = {"<unk>": TokenType.UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, **given}
    return Tokenizer(
        Tokenizer.SENTENCEPIECE_BPE,
        [token.encode() for token in tokens],
        [kinds.get(token, NORMAL) for token in tokens],
        [pieces.get(token, 0.0) for token in tokens],
        **more,
    )


def pieces_of(tokenizer: Tokenizer, text: str, **options) -> list[str]:
    encoder = Encoder(tokenizer)
    return [encoder.texts[index] for index in encoder.encode(text, **options)]


def test_the_highest_score_is_merged_first_and_the_leftmost_of_equals() -> None:
    ties = sentencepiece({"a": -9.0, "aa": -1.0}, add_space_prefix=False)
    assert pieces_of(ties, "aaa", add_bos=False) == ["aa", "a"]
    ranked = sentencepiece({"a": -9.0, "b": -9.0, "c": -9.0, "ab": -2.0, "bc": -1.0}, add_space_prefix=False)
    assert pieces_of(ranked, "abc", add_bos=False) == ["a", "bc"]


def test_merges_go_through_tokens_of_any_type() -> None:
    odd = sentencepiece({"<": -5.0, "s": -5.0, ">": -5.0, "<s": -4.0}, add_space_prefix=False)
    assert pieces_of(odd, "<s>", add_bos=False) == ["<s>"]
    assert pieces_of(odd, "<s>", add_bos=False, special=True) == ["<s>"]


def test_a_vocabulary_too_large_to_look_through_gives_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sentencepiece({"\u2581": -5.0, "a": -6.0, "b": -6.0, "\u2581a": -1.0, "ab": -0.5})
    wanted = pieces_of(made, "ab a b")
    monkeypatch.setattr("hub.tokens.encoder._MOST_CHARACTERS", 3)
    assert pieces_of(made, "ab a b") == wanted


def test_unknown_characters_are_bytes_or_the_unknown_token() -> None:
    with_bytes = sentencepiece({f"<0x{byte:02X}>": 0.0 for byte in range(256)} | {"a": -1.0}, add_space_prefix=False)
    assert pieces_of(with_bytes, "a\u00e9", add_bos=False) == ["a", "<0xC3>", "<0xA9>"]
    assert pieces_of(sentencepiece({"a": -1.0}, add_space_prefix=False), "a\u00e9", add_bos=False)[0] == "a"
    assert pieces_of(sentencepiece({"a": -1.0}, add_space_prefix=False), "\u00e9", add_bos=False) == ["<unk>", "<unk>"]


def test_a_space_is_put_before_text_and_after_every_special_token() -> None:
    plain = {"\u2581": -5.0, "a": -6.0, "\u2581a": -1.0, "<x>": -1000.0}
    made = sentencepiece(plain, {"<x>": USER})
    assert pieces_of(made, "a<x>a") == ["<s>", "\u2581a", "<x>", "\u2581a"]
    assert pieces_of(made, "") == ["<s>"]
    assert pieces_of(sentencepiece(plain, {"<x>": USER}, add_space_prefix=False), "a<x>a")[1:] == ["a", "<x>", "a"]


def test_control_tokens_are_text_unless_asked_for_and_longer_ones_win() -> None:
    pieces = {"<": -1.0, "c": -1.0, ">": -1.0, "\u2581": -1.0, "<c>": 0.0, "<c><c>": 0.0}
    made = sentencepiece(pieces, {"<c>": CONTROL, "<c><c>": CONTROL}, add_space_prefix=False)
    assert pieces_of(made, "<c>", add_bos=False) == ["<", "c", ">"]
    assert pieces_of(made, "<c><c><c>", add_bos=False, special=True) == ["<c><c>", "<c>"]


def test_tokens_that_take_white_space_with_them() -> None:
    pieces = {"\u2581": -2.0, "a": -2.0, "<x>": 0.0}
    made = sentencepiece(pieces, {"<x>": USER}, add_space_prefix=False, strips_after=frozenset({5}))
    assert pieces_of(made, "<x> \n a", add_bos=False) == ["<x>", "a"]
    assert added_tokens(made)[5]["rstrip"]


def test_bos_and_eos_are_put_around_as_the_model_wants() -> None:
    both = sentencepiece({"a": -1.0}, add={"bos": True, "eos": True}, add_space_prefix=False)
    assert pieces_of(both, "a") == ["<s>", "a", "</s>"]
    assert pieces_of(both, "a", add_bos=False) == ["a"]
    none = sentencepiece({"a": -1.0}, add={"bos": False}, add_space_prefix=False)
    assert pieces_of(none, "a") == ["a"]
    assert pieces_of(none, "a", add_bos=True) == ["<s>", "a"]
    library = Library.from_str(json.dumps(tokenizer_json(both)))
    assert library.encode("a").tokens == ["<s>", "a", "</s>"]
    assert named_tokens(both) == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def byte_level(merges: list[str], pre: str | None, extra: dict[str, TokenType] | None = None, **more) -> Tokenizer:
    tokens = [*byte_alphabet().values(), *dict.fromkeys(merge.replace(" ", "") for merge in merges), *(extra or {})]
    kinds = extra or {}
    return Tokenizer(
        Tokenizer.BYTE_LEVEL_BPE,
        [token.encode() for token in tokens],
        [kinds.get(token, NORMAL) for token in tokens],
        merges=merges,
        pre=pre,
        **more,
    )


@pytest.mark.parametrize("name", sorted({name for rule in _by_name().values() for name in rule.names}))
def test_every_way_of_cutting_is_told_to_the_library_too(name: str) -> None:
    rule = pre_tokenizer(name)
    assert rule is not None
    for text in ("it's 12345 \u00e9t\u00e9  \n\n x\ty'LL!? \u4f60\u597d", " a  b\r\n", "\u3000", "a1b22\u0301"):
        pieces = rule.pieces(text)
        assert "".join(pieces) == text and all(pieces)
    made = byte_level(["h e", "l l"], name)
    library = Library.from_str(json.dumps(tokenizer_json(made)))
    ordinary = "hello there, it's 1234 o'clock  and\n\nwell " if not rule.raw else "hello"
    assert library.encode(ordinary, add_special_tokens=False).ids == Encoder(made).encode(ordinary, add_bos=False)


def test_a_piece_that_is_a_token_is_taken_whole_where_merges_are_ignored() -> None:
    whole = byte_level([], "llama-bpe", {"abc": NORMAL})
    assert pieces_of(whole, "abc", add_bos=False) == ["abc"]
    assert pieces_of(byte_level([], "gpt-2", {"abc": NORMAL}), "abc", add_bos=False) == ["a", "b", "c"]


def test_merges_come_in_the_order_of_the_list_and_the_first_of_two_counts() -> None:
    made = byte_level(["b c", "a b", "b c"], "gpt-2")
    assert pieces_of(made, "abc", add_bos=False) == ["a", "bc"]


def test_unknown_names_and_kinds_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="pre-tokenizer 'nobody' is not known"):
        Encoder(byte_level([], "nobody"))
    with pytest.raises(ConfigError, match="kind 'bert'"):
        tokenizer_json(Tokenizer("bert"))


def test_without_a_name_text_is_cut_as_llama_cpp_does_by_default() -> None:
    assert pre_tokenizer("default") is Encoder(byte_level([], None)).rule


def test_tokens_that_json_cannot_spell_get_names_of_their_own() -> None:
    tokens = [b"a", b"\xff", b"\\xff", b""]
    odd = Tokenizer(Tokenizer.BYTE_LEVEL_BPE, tokens, [NORMAL] * 4, pre="gpt-2")
    assert unique_texts(odd) == ["a", "\\xff", "\\xff\\", "[EMPTY_3]"]
    Library.from_str(json.dumps(tokenizer_json(odd)))
    assert Encoder(odd).encode("a\udc80b") == [0]


def test_a_role_of_an_ordinary_token_is_an_id_only() -> None:
    made = byte_level([], "gpt-2", {"<e>": CONTROL}, special_ids={"bos": 11, "eos": 256})
    assert named_tokens(made) == {"eos_token": "<e>"}


def test_a_long_text_without_a_cut_is_merged_in_good_time() -> None:
    assert "".join(merged("ab" * 50_000, lambda left, right: 0.0 if left + right == "ab" else None)) == "ab" * 50_000


def test_regexes_of_the_table_are_python_ones() -> None:
    assert re.fullmatch(python_regex(r"[\p{L}\s]+"), "a\u00e9\u4f60 \u3000\n")
    assert not re.fullmatch(python_regex(r"\s"), "\x1c"), "Python's own \\s, not Unicode's White_Space"
    assert not re.fullmatch(python_regex(r"\d"), "\u0663")
    assert not re.search(python_regex("a$"), "a\n")
    assert re.fullmatch(python_regex(r"\p{LnotHan}"), "a") and not re.fullmatch(python_regex(r"\p{LnotHan}"), "\u4f60")
