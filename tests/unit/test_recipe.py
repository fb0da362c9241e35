"""Recipes: rules and settings from files and from the command line."""

from __future__ import annotations

import json

import pytest

from hub.errors import FormatError, UsageError
from hub.recipe import MAX_PATTERN, MAX_RECIPE, Recipe, from_data, load, rule, setting

TOML = """
pure = true
[[tensors]]
match = '^output\\.weight$'
layout = "q8_0"
[[tensors]]
match = 'attn_[qk]'
layout = "q6_k"
[set]
"general.name" = "My model"
"general.file_type" = 7
"""
DATA = {
    "pure": True,
    "tensors": [{"match": r"^output\.weight$", "layout": "q8_0"}, {"match": "attn_[qk]", "layout": "q6_k"}],
    "set": {"general.name": "My model", "general.file_type": 7},
}


def test_toml_and_json_say_the_same(tmp_path):
    (tmp_path / "r.toml").write_text(TOML)
    (tmp_path / "r.json").write_text(json.dumps(DATA))
    made = [load(str(tmp_path / name)) for name in ("r.toml", "r.json")]
    for recipe in made:
        assert recipe.pure
        assert recipe.layout_for("output.weight") == "q8_0"
        assert recipe.layout_for("blk.0.attn_k.weight") == "q6_k"
        assert recipe.layout_for("blk.0.attn_v.weight") is None
        assert recipe.settings == DATA["set"]
    assert made[0].rules == made[1].rules


def test_the_first_rule_that_matches_wins_and_the_command_line_comes_first():
    recipe = from_data(DATA, name="r", path="r").joined([rule("attn_q=f16")], {"general.name": "Other"})
    assert recipe.layout_for("attn_q") == "f16"
    assert recipe.layout_for("attn_k") == "q6_k"
    assert recipe.settings == {"general.name": "Other", "general.file_type": 7}
    assert recipe.pure


def test_any_of_several_names_may_match():
    assert Recipe(rules=[rule("lm_head=q8_0")]).layout_for("output.weight", "lm_head.weight") == "q8_0"


def test_pure_is_built_in():
    assert load("pure").pure
    assert not load("pure").rules


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"odd": 1}, "unknown member 'odd'"),
        ({"pure": 1}, "true or false"),
        ({"tensors": {}}, "must be a list"),
        ({"tensors": [1]}, "match and layout"),
        ({"tensors": [{"match": "x"}]}, "match and layout"),
        ({"tensors": [{"match": "x", "layout": "y", "z": 1}]}, "match and layout"),
        ({"tensors": [{"match": "x", "layout": 1}]}, "both strings"),
        ({"set": []}, "a table"),
        ({"set": {"a": [1]}}, "values in set"),
        ({"set": {"a": None}}, "values in set"),
    ],
)
def test_what_is_no_recipe(tmp_path, data, message):
    with pytest.raises(FormatError, match=message):
        from_data(data, name="r", path="r.json")
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(FormatError, match=message) as caught:
        load(str(tmp_path / "r.json"))
    assert caught.value.path == str(tmp_path / "r.json")


@pytest.mark.parametrize(
    "raw", [b"pure = ", b"\xff", b"pure = true\npure = true", b"a = 99999999999999999999999999999"]
)
def test_what_is_no_toml(tmp_path, raw):
    (tmp_path / "r.toml").write_bytes(raw)
    with pytest.raises(FormatError):
        load(str(tmp_path / "r.toml"))


def test_a_file_that_is_too_long_or_not_there(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"#" * (MAX_RECIPE + 1))
    with pytest.raises(FormatError, match="at most"):
        load(str(tmp_path / "r.toml"))
    with pytest.raises(UsageError, match="neither a file nor one of pure"):
        load("purr")


@pytest.mark.parametrize("text", ["", "=", "a", "a=", "=a", "(=q8_0", "[z-a]=q8_0", "x" * (MAX_PATTERN + 1) + "=q8_0"])
def test_rules_that_are_none(text):
    with pytest.raises(UsageError):
        rule(text)


def test_an_equals_sign_belongs_to_the_pattern():
    assert (rule("a=b=q8_0").match, rule("a=b=q8_0").layout) == ("a=b", "q8_0")


def test_settings():
    assert setting("general.name=a=b") == ("general.name", "a=b")
    assert setting("k=") == ("k", "")
    for text in ("", "=v", "k"):
        with pytest.raises(UsageError):
            setting(text)
