"""config.json that is wrong in one setting each: types, ranges, contradictions, what no architecture file knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile_build import CONFIG, folder
from hostile_run import refused, run

WRONG_TYPES: list[Any] = ["32", 1.5, True, [], [32], {}, -1, -(10**19), 10**19, ""]
SETTINGS = [
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
    "vocab_size", "max_position_embeddings",
]  # fmt: skip
OUT = ("convert", "--from", "safetensors", "--to", "gguf:q8_0")


def refuse(tmp_path: Path, config: Any, *words: str) -> str:
    model = folder(tmp_path / "m", config=config)
    return refused(*OUT, model, tmp_path / "out.gguf", names=words, watch=tmp_path)


@pytest.mark.parametrize("value", [*WRONG_TYPES, 0], ids=repr)
@pytest.mark.parametrize("name", SETTINGS)
def test_whole_number_of_another_kind(tmp_path: Path, name: str, value: Any) -> None:
    line = refuse(tmp_path, CONFIG | {name: value}, name)
    if value != 0 or name != "head_dim":
        assert "config.json" in line


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("value", [10**9, 2**31, 2**40, 2**40 + 1, 2**53], ids=repr)
def test_whole_number_beyond_reason(tmp_path: Path, name: str, value: int) -> None:
    """Whatever a number would size or count, nothing is allocated and nothing loops for it."""
    if name == "max_position_embeddings" and value < 2**32:
        pytest.skip("a context of that length is odd and harmless")
    refuse(tmp_path, CONFIG | {name: value}, "m")


@pytest.mark.parametrize("value", ["x", True, [], {}, -1.0, 1e300], ids=repr)
@pytest.mark.parametrize("name", ["rms_norm_eps", "rope_theta"])
def test_number_of_another_kind(tmp_path: Path, name: str, value: Any) -> None:
    refuse(tmp_path, CONFIG | {name: value}, "config.json", name)


@pytest.mark.parametrize("value", [0, 1, "yes", [], {}, 0.0], ids=repr)
def test_flag_of_another_kind(tmp_path: Path, value: Any) -> None:
    refuse(tmp_path, CONFIG | {"tie_word_embeddings": value}, "config.json", "tie_word_embeddings")


@pytest.mark.parametrize("value", [1, True, [], {}, "", "gelu", "silu\n", "\x1b[2J"], ids=repr)
def test_word_of_another_kind(tmp_path: Path, value: Any) -> None:
    refuse(tmp_path, CONFIG | {"hidden_act": value}, "config.json", "hidden_act")


ROPES: list[Any] = [
    1, "linear", [], [1], True,
    {"type": "spiral"}, {"rope_type": 1}, {"rope_type": []}, {"rope_type": {}}, {"rope_type": True},
    {"type": "linear"}, {"type": "linear", "factor": None}, {"type": "linear", "factor": "2"},
    {"type": "linear", "factor": -1}, {"type": "linear", "factor": True}, {"type": "linear", "factor": 1e300},
    {"type": "linear", "factor": [2]}, {"type": "linear", "factor": 10**19}, {"type": "linear", "factor": 0},
    {"type": "yarn"}, {"rope_type": "llama3", "factor": "8"}, {"rope_type": "llama3", "low_freq_factor": {}},
    {"rope_type": "llama3", "low_freq_factor": 4.0, "high_freq_factor": 4.0},
    {"rope_type": "llama3", "original_max_position_embeddings": "many"}, {"rope_type": "llama3", "factor": 0},
    {"rope_theta": "x"}, {"rope_theta": -5}, {"rope_theta": 0}, {"rope_type": "llama3", "rope_theta": 0},
    {"rope_type": "x" * 10000}, {"rope_type": "default\n"},
]  # fmt: skip


@pytest.mark.parametrize("member", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("value", ROPES, ids=lambda value: repr(value)[:60])
def test_rope(tmp_path: Path, member: str, value: Any) -> None:
    refuse(tmp_path, CONFIG | {member: value}, "config.json")


@pytest.mark.parametrize("value", ["LlamaForCausalLM", [], [1], [None], {}, 1, [["LlamaForCausalLM"]]], ids=repr)
def test_architectures_of_another_kind(tmp_path: Path, value: Any) -> None:
    refuse(tmp_path, CONFIG | {"architectures": value}, "config.json", "architectures")


@pytest.mark.parametrize("value", ["ZetaForCausalLM", "", "\x1b[2J\n", "x" * 100_000, "../../etc/passwd", "llama", "Ж"])
def test_architecture_without_a_file(tmp_path: Path, value: str) -> None:
    refuse(tmp_path, CONFIG | {"architectures": [value]}, "m", "has no architecture file", "tensor names", "known are")


def test_no_architecture(tmp_path: Path) -> None:
    refuse(tmp_path, {name: value for name, value in CONFIG.items() if name != "architectures"}, "architecture")


@pytest.mark.parametrize(
    "name", ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"]
)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_setting_missing(tmp_path: Path, name: str, how: str) -> None:
    config = {key: value for key, value in CONFIG.items() if key != name}
    refuse(tmp_path, config | ({name: None} if how == "null" else {}), "config.json", name, "missing")


CONTRADICTIONS = {
    "odd head_dim": {"head_dim": 15},
    "heads that kv heads do not divide": {"num_key_value_heads": 3},
    "more kv heads than heads": {"num_key_value_heads": 4},
    "two layers": {"num_hidden_layers": 2},
    "a layer for every tensor": {"num_hidden_layers": 12},
    "more layers than tensors": {"num_hidden_layers": 13},
    "wider": {"hidden_size": 64},
    "narrower": {"hidden_size": 16},
    "more heads": {"num_attention_heads": 4},
    "another vocabulary": {"vocab_size": 63},
    "another head_dim": {"head_dim": 32},
    "no head_dim, and the heads do not divide": {"head_dim": None, "num_attention_heads": 3, "num_key_value_heads": 1},
    "tied, with a head of its own": None,
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions(tmp_path: Path, name: str) -> None:
    change = CONTRADICTIONS[name]
    if change is None:
        # What transformers does: the stored head is used where there is one.
        assert run("inspect", folder(tmp_path / "m", config=CONFIG | {"tie_word_embeddings": True})).status == 0
        return
    refuse(tmp_path, {key: value for key, value in (CONFIG | change).items() if value is not None}, "m")


TEXTS = {
    "empty": b"",
    "spaces": b"   ",
    "null": b"null",
    "a list": b"[]",
    "a number": b"12",
    "cut": json.dumps(CONFIG).encode()[:-1],
    "twice a member": json.dumps(CONFIG).encode()[:-1] + b', "hidden_size": 64}',
    "twice a member, escaped": json.dumps(CONFIG).encode()[:-1] + b', "hidden\\u005fsize": 64}',
    "twice a member inside": b'{"rope_scaling": {"factor": 1, "factor": 2}}',
    "NaN": b'{"rms_norm_eps": NaN}',
    "minus Infinity": b'{"rms_norm_eps": -Infinity}',
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(CONFIG).encode(),
    "UTF-16": json.dumps(CONFIG).encode("utf-16"),
    "Latin-1": b'{"a": "caf\xe9"}',
    "nested": b'{"a":' * 100 + b"1" + b"}" * 100,
    "nested a million deep": b"[" * 1_000_000,
    "a number of a million digits": b'{"hidden_size": ' + b"9" * 1_000_000 + b"}",
    "a float of a million digits": b'{"rms_norm_eps": 1' + b"0" * 1_000_000 + b".0}",
    "lone surrogate": b'{"architectures": ["\\ud800"]}',
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "HTML": b"<!DOCTYPE html><html></html>",
    "pickle": b"\x80\x04}.",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(tmp_path: Path, name: str) -> None:
    refuse(tmp_path, TEXTS[name], "config.json")


def test_lfs_pointer_is_told(tmp_path: Path) -> None:
    assert "git lfs pull" in refuse(tmp_path, TEXTS["git-lfs pointer"], "config.json")


def test_a_config_that_is_too_large(tmp_path: Path) -> None:
    """Sparse, so it costs the test nothing; nor does it cost hub anything."""
    model = folder(tmp_path / "m")
    with (model / "config.json").open("r+b") as file:
        file.truncate(1 << 40)
    refused(*OUT, model, tmp_path / "out.gguf", names=["config.json", "at most"])


OTHERS = {
    "num_local_experts": 10**9,
    "quantization_config": {"bits": 0, "group_size": -1},
    "auto_map": {"AutoModel": "modeling.Model"},
    "torch_dtype": {"a": []},
    "_name_or_path": "../../../etc",
    "\x1b[2J": "\x07",
    "transformers_version": 5,
    "bos_token_id": "x",
    "eos_token_id": [[]],
    "sliding_window": "wide",
}


@pytest.mark.parametrize("name", OTHERS)
def test_settings_that_nothing_needs(tmp_path: Path, name: str) -> None:
    """Converted or refused, but never a traceback, and shown without escape codes."""
    model = folder(tmp_path / "m", config=CONFIG | {name: OTHERS[name]})
    outcome = run(*OUT, model, tmp_path / "out.gguf")
    assert outcome.status in (0, 1)
    assert "internal error" not in outcome.err
    shown = run("inspect", model)
    assert shown.status == 0
    assert (shown.out + outcome.out + outcome.err).replace("\n", "").isprintable()
