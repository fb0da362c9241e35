"""Rules of architecture files, and the checks of a Tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from hub.errors import ConfigError, FormatError
from hub.ir.tokenizer import SizeRule, Tokenizer, TokenizerRule, TokenType


def test_a_rule_is_read_from_its_table() -> None:
    table = {
        "kinds": ["sentencepiece", "llama-hf", "byte-level"],
        "space_prefix": True,
        "tokenizer_class": "LlamaTokenizer",
        "sizes": [{"vocab_size": 32016, "special_ids": {"eot": 32010}}, {"vocab_size": 49152, "add": {"bos": False}}],
    }
    made = TokenizerRule.from_table(table, "llama.toml")
    assert made.sizes == (SizeRule(32016, {"eot": 32010}), SizeRule(49152, {}, {"bos": False}))
    assert made.tokenizer_class == "LlamaTokenizer"
    assert made.space_prefix
    assert TokenizerRule.from_table({}, "x") == TokenizerRule()


@pytest.mark.parametrize(
    "table",
    [
        {"kind": []},
        {"kinds": "byte-level"},
        {"kinds": []},
        {"kinds": ["wordpiece"]},
        {"space_prefix": 1},
        {"tokenizer_class": 1},
        {"sizes": {}},
        {"sizes": [1]},
        {"sizes": [{}]},
        {"sizes": [{"vocab_size": True}]},
        {"sizes": [{"vocab_size": 1, "x": 2}]},
        {"sizes": [{"vocab_size": 1, "special_ids": {"eot": -1}}]},
        {"sizes": [{"vocab_size": 1, "special_ids": []}]},
        {"sizes": [{"vocab_size": 1, "add": {"bos": 1}}]},
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^llama.toml: tokenizer: "):
        TokenizerRule.from_table(table, "llama.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"types": [TokenType.NORMAL]}, "2 tokens, but 1 token types"),
        ({"scores": [0.0]}, "2 tokens, but 1 scores"),
        ({"tokens": [b"a", b"a"]}, "token 'a' stands twice, at ids 0 and 1"),
        ({"tokens": [b"\xff\x1b", b"\xff\x1b"]}, "stands twice"),
        ({"special_ids": {"bos": -1}}, "impossible id -1"),
        ({"special_ids": {"bos": 1 << 31}}, "impossible id"),
    ],
)
def test_what_consumers_rely_on_is_checked(changes: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"tokens": [b"a", b"b"], "types": [TokenType.NORMAL] * 2, "special_ids": {"bos": 5}}
    Tokenizer(Tokenizer.BYTE_LEVEL_BPE, **whole).check("m")
    with pytest.raises(FormatError, match=message):
        Tokenizer(Tokenizer.BYTE_LEVEL_BPE, **{**whole, **changes}).check("m")


def test_ids_may_have_gaps_but_not_of_any_size() -> None:
    assert Tokenizer.highest_id(0) == 65535
    assert Tokenizer.highest_id(150_000) == 665_535
    assert Tokenizer.highest_id(1 << 40) == (1 << 31) - 1


def test_rules_of_families_that_flag_or_prefix():
    assert TokenizerRule.from_table({"add_space_prefix": False, "as_flagged": True}, "x") == TokenizerRule(
        add_space_prefix=False, as_flagged=True
    )
    for key in ("add_space_prefix", "as_flagged"):
        with pytest.raises(ConfigError, match=key):
            TokenizerRule.from_table({key: 1}, "x")
