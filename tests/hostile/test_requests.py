"""Requests that make no sense: options, recipes, layouts, overrides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile_build import folder
from hostile_run import accepted, one_line, refused, run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("requests") / "m")


def convert(model: Path, *options: str) -> tuple[object, ...]:
    return ("convert", *options, model, model.parent / "out.gguf")


TO = ("--to", "gguf:q8_0")
NESTED_GROUPS = "(" * 480 + ")" * 480

USAGE = {
    "no format": ("--to", ""),
    "colon only": ("--to", ":"),
    "no variant behind the colon": ("--to", "gguf:"),
    "unknown format": ("--to", "zeta"),
    "unknown variant": ("--to", "gguf:q9_k"),
    "format with escape codes": ("--to", "\x1b[2J\n:x"),
    "format of 10000 characters": ("--to", "g" * 10000),
    "format in another script": ("--to", "формат"),
    "bytes that are not UTF-8": ("--to", "gguf:\udcff\udcfe"),
    "unknown source format": (*TO, "--from", "zeta"),
    "no --to": (),
    "unknown option": (*TO, "--zeta"),
    "unknown option with escape codes": (*TO, "--z\x1b[2J\n"),
    "verify unknown": (*TO, "--verify", "maybe"),
    "require unknown": (*TO, "--require", "lossy"),
    "0 threads": (*TO, "--threads", "0"),
    "-1 threads": (*TO, "--threads", "-1"),
    "10^9 threads": (*TO, "--threads", "1000000000"),
    "threads in another script": (*TO, "--threads", "٣é"),
    "threads as text": (*TO, "--threads", "many\x1b"),
    "no memory": (*TO, "--max-memory", "0"),
    "little memory": (*TO, "--max-memory", "1M"),
    "memory negative": (*TO, "--max-memory", "-1G"),
    "memory as text": (*TO, "--max-memory", "lots"),
    "memory of 100 digits": (*TO, "--max-memory", "9" * 100),
    "rule without =": (*TO, "--tensor", "abc"),
    "rule without layout": (*TO, "--tensor", "abc="),
    "rule without pattern": (*TO, "--tensor", "=q8_0"),
    "rule empty": (*TO, "--tensor", ""),
    "rule with an open bracket": (*TO, "--tensor", "[=q8_0"),
    "rule that repeats nothing": (*TO, "--tensor", "*=q8_0"),
    "rule with a huge repeat": (*TO, "--tensor", "a{99999999999999999999}=q8_0"),
    "rule nested 480 deep": (*TO, "--tensor", NESTED_GROUPS + "=q8_0"),
    "rule of 2000 characters": (*TO, "--tensor", "a" * 2000 + "=q8_0"),
    "rule with an unknown layout": (*TO, "--tensor", ".=q9_9"),
    "rule with a layout in another script": (*TO, "--tensor", ".=ж"),
    "rule not UTF-8": (*TO, "--tensor", "\udcff[=q8_0"),
    "set without =": (*TO, "--set", "general.name"),
    "set without key": (*TO, "--set", "=x"),
    "set empty": (*TO, "--set", ""),
    "set a key with NUL": (*TO, "--set", "a\0b=1"),
    "set a key with escape codes": (*TO, "--set", "\x1b[2J=1"),
    "set a key in another script": (*TO, "--set", "ключ=1"),
    "set text where a number is": (*TO, "--set", "llama.block_count=many"),
    "set -1 where u32 is": (*TO, "--set", "llama.block_count=-1"),
    "set 2^32 where u32 is": (*TO, "--set", "llama.block_count=4294967296"),
    "set an unknown type": (*TO, "--set", "x=arr[zeta]:[1]"),
    "set a list that is none": (*TO, "--set", "x=arr[u32]:{}"),
    "set a list with NaN": (*TO, "--set", "x=arr[f32]:[NaN]"),
    "set a list nested 1000 deep": (*TO, "--set", "x=arr[u32]:" + "[" * 1000),
    "set a list that does not fit": (*TO, "--set", "x=arr[u8]:[256]"),
    "set f32 beyond its range": (*TO, "--set", "x=f32:1e39"),
    "set the alignment": (*TO, "--set", "general.alignment=64"),
    "set the alignment to text": (*TO, "--set", "general.alignment=str:x"),
    "recipe that is not there": (*TO, "--recipe", "nowhere.toml"),
    "report not .json": (*TO, "--report", "report.txt"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(model: Path, name: str) -> None:
    refused(*convert(model, *USAGE[name]), status=2, watch=model.parent)


def test_no_source(tmp_path: Path) -> None:
    one_line(run("convert", "--to", "gguf"), 2)
    one_line(run("inspect"), 2)
    one_line(run("zeta"), 2)
    one_line(run("inspect", tmp_path, "one", "too many"), 2)


RECIPES = {
    "empty.json": "",
    "list.json": "[]",
    "twice.json": '{"pure": true, "pure": false}',
    "nan.json": '{"set": {"a": NaN}}',
    "nested.json": "[" * 10_000,
    "bom.json": "\ufeff{}",
    "unknown.json": '{"zeta": 1}',
    "pure.json": '{"pure": 1}',
    "tensors.json": '{"tensors": {}}',
    "rule.json": '{"tensors": [1]}',
    "rule-members.json": '{"tensors": [{"match": "a"}]}',
    "rule-more.json": '{"tensors": [{"match": "a", "layout": "q8_0", "x": 1}]}',
    "rule-types.json": '{"tensors": [{"match": "a", "layout": 8}]}',
    "set.json": '{"set": []}',
    "set-null.json": '{"set": {"a": null}}',
    "set-list.json": '{"set": {"a": [1]}}',
    "not.toml": "= = =",
    "date.toml": "pure = 2021-13-45",
    "digits.toml": "a = " + "9" * 6000,
    "nested.toml": "a = " + "[" * 10_000,
    "tables.toml": "[" + ".".join("a" * 5000) + "]\nb = 1",
    "inline.toml": "a = " + "{b = " * 5000,
    "twice.toml": "pure = true\npure = true",
    "unknown.toml": "zeta = 1",
    "escape.toml": '"\\u001b[2J" = 1',
    "time.toml": "[set]\na = 2021-01-01",
    "latin.toml": "# caf\udce9",
    "nul.toml": "a = \0",
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(model: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(RECIPES[name].encode("utf-8", "surrogateescape"))
    refused(*convert(model, *TO, "--recipe", str(path)), names=[name], watch=tmp_path)


def test_recipe_that_is_no_file(model: Path, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo.toml")
    refused(*convert(model, *TO, "--recipe", str(tmp_path / "fifo.toml")), names=["fifo.toml"])
    refused(*convert(model, *TO, "--recipe", str(tmp_path)), names=[tmp_path.name])


def test_recipe_that_is_too_large(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(*convert(model, *TO, "--recipe", str(path)), names=["large.toml", "at most"])


@pytest.mark.parametrize("pattern", ["a{99999999999999999999}", NESTED_GROUPS, "["])
def test_recipe_with_a_pattern_that_is_none(model: Path, tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"tensors": [{"match": pattern, "layout": "q8_0"}]}))
    refused(*convert(model, *TO, "--recipe", str(path)), names=["regular expression"], status=2)


def test_recipe_with_settings_that_cannot_be(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    for text in ("[set]\n'llama.block_count' = -1", "[set]\n'llama.rope.freq_base' = nan", "[set]\n'\\u0000' = 1",
                 "[set]\n'llama.block_count' = true", "[set]\n'general.name=x' = 'y'"):  # fmt: skip
        path.write_text(text)
        outcome = run(*convert(model, *TO, "--recipe", str(path)))
        assert outcome.status in (0, 1, 2)
        assert "internal error" not in outcome.err
        (model.parent / "out.gguf").unlink(missing_ok=True)


def test_odd_and_right(model: Path, tmp_path: Path) -> None:
    """Strange requests that mean something."""
    out = tmp_path / "o.gguf"
    for options in (
        ("--set", "general.name="),
        ("--set", "general.name=имя"),
        ("--set", "general.name=\x1b[2J"),
        ("--set", "x=arr[str]:[]"),
        ("--tensor", "[[a]x=q8_0"),
        ("--tensor", "(?P<a>.)nothing=q8_0"),
        ("--tensor", "lm_head|output=f16"),
        ("--from", "", "--recipe", ""),
        ("--threads", "1024", "--max-memory", "900T"),
    ):
        assert accepted("convert", *TO, *options, "--force", model, out).isascii()


def test_set_of_bytes_that_are_not_utf8(model: Path, tmp_path: Path) -> None:
    outcome = run("convert", *TO, "--set", "general.name=\udcff", model, tmp_path / "o.gguf")
    assert outcome.status in (0, 2)
    assert "internal error" not in outcome.err


def test_require_says_which(model: Path, tmp_path: Path) -> None:
    line = refused(*convert(model, *TO, "--require", "exact"), watch=model.parent)
    assert "9 of 12 tensors cannot stay exact" in line
