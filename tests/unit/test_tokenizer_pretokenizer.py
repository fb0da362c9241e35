"""Naming the pre-tokenizer: the table, and a child process that cannot hurt."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hub.io.folder import Folder
from hub.ir.tokenizer import TokenizerRule
from hub_safetensors.pretokenizer import encode, fingerprint, table
from hub_safetensors.tokenizer import read_tokenizer
from hub_safetensors.tokenizer_files import TokenizerFiles
from hub_safetensors.vocabulary import classes, read_vocabulary

TOKENIZERS = Path(__file__).parents[1] / "data" / "tokenizers"


def folder(path: Path, json_text: dict[str, Any] | bytes, settings: dict[str, Any] | None = None) -> Folder:
    path.mkdir()
    raw = json_text if isinstance(json_text, bytes) else json.dumps(json_text).encode()
    (path / "tokenizer.json").write_bytes(raw)
    if settings is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return Folder(path)


@pytest.fixture(scope="module")
def gpt2() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(gzip.decompress((TOKENIZERS / "gpt-2" / "tokenizer.json.gz").read_bytes()))
    return made


def test_the_table_is_llama_cpps() -> None:
    names = table()["names"]
    assert len(names) == 95  # 97 entries, two hashes stand twice and the last counts
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in names)
    # The digest of llama.cpp 0c1e570's table, taken from its conversion/base.py and not from ours.
    lines = "".join(f"{digest} {name}\n" for digest, name in sorted(names.items()))
    assert (
        hashlib.sha256(lines.encode()).hexdigest() == "2c8f23fc85624116a110d22be72e433594886afe8591f2f137126c684705e092"
    )
    text = table()["check_text"]
    assert len(text) == 350
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "a36179c1e2b1cfcfbfad1dc779addad2ffc778201e4cf0d538bddeafa2c526da"
    assert names["0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5"] == "llama-bpe"
    assert names["b6dc8df998e1cfbdc4eac8243701a65afe638679230920b50d6f17d81c098166"] == "olmo"  # not mpt
    assert names["0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f"] == "jina-v2-en"  # not bert-bge


@pytest.mark.parametrize("name", ["gpt-2", "qwen2"])
def test_known_tokenizers_are_named(name: str, tmp_path: Path) -> None:
    raw = gzip.decompress((TOKENIZERS / name / "tokenizer.json.gz").read_bytes())
    files = TokenizerFiles.read(folder(tmp_path / "m", raw), {})
    found = encode(read_vocabulary(files), files, ["<|endoftext|>"])
    assert found.pre == name
    assert table()["names"][found.pre_hash] == name
    assert found.decoded == {"<|endoftext|>": "<|endoftext|>"}


def test_special_tokens_around_the_text_do_not_hide_the_name(gpt2: dict[str, Any], tmp_path: Path) -> None:
    around = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [50256], "tokens": ["<|endoftext|>"]}},
    }
    made = folder(tmp_path / "m", {**gpt2, "post_processor": around})
    tokenizer = read_tokenizer(made, rule=TokenizerRule(("byte-level",)), vocab_size=None, config={})
    assert tokenizer is not None
    assert tokenizer.pre == "gpt-2"


def test_an_unknown_one_is_a_note_with_its_hash(gpt2: dict[str, Any], tmp_path: Path) -> None:
    made = folder(tmp_path / "m", {**gpt2, "pre_tokenizer": {"type": "Digits", "individual_digits": True}})
    tokenizer = read_tokenizer(made, rule=TokenizerRule(("byte-level",)), vocab_size=None, config={})
    assert tokenizer is not None
    assert tokenizer.pre is None
    assert tokenizer.pre_hash is not None
    (note,) = tokenizer.notes
    assert tokenizer.pre_hash in note
    assert "--set tokenizer.ggml.pre=NAME" in note


def test_a_slow_one_is_given_up(gpt2: dict[str, Any], tmp_path: Path) -> None:
    made = folder(tmp_path / "m", gpt2)
    begin = time.monotonic()
    tokenizer = read_tokenizer(made, rule=TokenizerRule(("byte-level",)), vocab_size=None, config={}, timeout=0.01)
    assert time.monotonic() - begin < 10
    assert tokenizer is not None
    assert tokenizer.notes[0].startswith("pre-tokenizer not identified: timed out")
    assert tokenizer.pre is None
    assert tokenizer.pre_hash is None
    assert tokenizer.tokens[-1] == b"<|endoftext|>"


def test_a_pattern_that_backtracks_for_ever_is_killed(gpt2: dict[str, Any], tmp_path: Path) -> None:
    pattern = {"type": "Split", "pattern": {"Regex": "(([3 .]+)+)+$x"}, "behavior": "Isolated", "invert": False}
    files = TokenizerFiles.read(folder(tmp_path / "m", {**gpt2, "pre_tokenizer": pattern}), {})
    begin = time.monotonic()
    found = encode(read_vocabulary(files), files, [], timeout=3)
    assert time.monotonic() - begin < 20
    assert found.failure is not None or found.pre is None


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "Nonsense"}},
        {"pre_tokenizer": 5},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
        {"decoder": {"type": "Nonsense"}},
    ],
)
def test_what_the_library_refuses_is_a_note(change: dict[str, Any], gpt2: dict[str, Any], tmp_path: Path) -> None:
    files = TokenizerFiles.read(folder(tmp_path / "m", {**gpt2, **change}), {})
    found = encode(read_vocabulary(files), files, [])
    assert found.failure == "the tokenizers library refused tokenizer.json"


def test_without_the_library_there_is_a_note(
    gpt2: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "tokenizers.py").write_text("raise ImportError")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "empty"), *sys.path])
    files = TokenizerFiles.read(folder(tmp_path / "m", gpt2), {})
    found = encode(read_vocabulary(files), files, [])
    assert found.failure == "the package tokenizers is not installed"


def test_no_python_no_name(gpt2: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    files = TokenizerFiles.read(folder(tmp_path / "m", gpt2), {})
    found = encode(read_vocabulary(files), files, [])
    assert found.failure is not None
    assert found.failure.startswith("no process could be started")


def test_the_current_folder_is_not_imported_from(
    gpt2: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tokenizers.py", "json.py", "resource.py"):
        (tmp_path / name).write_text("open('canary', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    files = TokenizerFiles.read(folder(tmp_path / "m", gpt2), {})
    assert encode(read_vocabulary(files), files, []).pre == "gpt-2"
    assert not (tmp_path / "canary").exists()


def test_the_fingerprint_is_of_the_lists_text() -> None:
    assert fingerprint([1, 2]) == hashlib.sha256(b"[1, 2]").hexdigest()


def test_classes_of_the_table_are_there() -> None:
    data = classes()
    for name in {*data["model_types"].values(), *data["slow"]}:
        assert "tokens" in data[name]
