"""Every command on real data, for people and for programs, with its exit status."""

from __future__ import annotations

import json
import re

import pytest
from made_models import TINY, folder, llama_config, llama_shapes, read_gguf, safetensors_bytes, weights

from hub._version import __version__


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("small") / "model", dtype="bf16")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    import hub

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    hub.convert(TINY, path, to="gguf:q4_k_m")
    return path


# ------------------------------------------------------------------------------------------------ help, usage


def test_help_names_every_command(hub):
    text = hub("--help").out
    for command in ("convert", "plan", "inspect", "check", "formats", "plugins", "plugin"):
        assert re.search(rf"^  {command}\b", text, re.MULTILINE), command
    assert hub("-h").out == text
    assert hub("--version").out.split()[-1] == __version__


@pytest.mark.parametrize(
    "command", ["convert", "plan", "inspect", "check", "formats", "plugins", "plugin", "plugin test"]
)
def test_every_command_has_help(hub, command):
    text = hub(*command.split(), "--help").out
    assert text.startswith("Usage: hub")
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"], ["convert", TINY], ["convert", "--to", "gguf"], ["nothing"], ["--odd"], ["convert", "--to",
        "gguf", TINY, "--odd"],
        ["convert", "--to", "gguf:q4_0", TINY, "x", "y"], ["convert", "--to", "nothing", TINY], ["convert", "--to",
        "gguf:q9", TINY],
        ["convert", "--to", "gguf", "--from", "nothing", TINY], ["convert", "--to", "gguf", TINY, "--threads", "0"],
        ["convert", "--to", "gguf", TINY, "--max-memory", "lots"], ["convert", "--to", "gguf", TINY, "--max-memory",
        "1M"],
        ["convert", "--to", "gguf", TINY, "--tensor", "x"], ["convert", "--to", "gguf", TINY, "--tensor", "(=q8_0"],
        ["convert", "--to", "gguf", TINY, "--set", "x"], ["convert", "--to", "gguf", TINY, "--recipe", "purr"],
        ["convert", "--to", "gguf", TINY, "--require", "much"], ["convert", "--to", "gguf", TINY, "--report", "x.txt"],
        ["convert", "--to", "gguf", TINY, "--verify", "some"], ["plan", TINY], ["inspect"], ["check"], ["formats", "x"],
        ["inspect", TINY, "--from", "nothing"],
    ],
    ids=lambda arguments: " ".join("TINY" if a == TINY else a for a in arguments),
)  # fmt: skip
def test_usage_errors_are_status_2_and_one_line(hub, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = hub(*arguments, status=2)
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_no_arguments_print_help_with_status_2(program):
    done = program()
    assert done.status == 2
    assert "Usage:" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "no such file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"hello, world"), "none of the known formats"),
        (lambda path: path.write_bytes(b"GGUF\x03"), "truncated"),
        (lambda path: path.mkdir(), "none of the known formats"),
    ],
)
@pytest.mark.parametrize("command", ["convert", "plan", "inspect", "check"])
def test_bad_input_is_status_1_and_one_line(hub, tmp_path, command, make, message):
    path = tmp_path / "model"
    make(path)
    options = ["--to", "gguf"] if command in ("convert", "plan") else []
    done = hub(command, *options, path, status=1)
    assert message in done.err
    assert str(path) in done.err
    assert done.out == ""


# ------------------------------------------------------------------------------------------------ inspect


def test_inspect_a_folder(hub):
    text = hub("inspect", TINY).out
    assert re.search(
        r"safetensors, architecture LlamaForCausalLM, 57 tensors, 5\.8 M weights, 11\.5 MB in 1 file$", text, re.M
    )
    assert "hidden_size = 256" in text
    assert "companions: " in text
    assert "model.layers.0" not in text
    data = hub("inspect", TINY, "--json").json
    assert (data["tensors"], data["layouts"], data["bytes"]) == (57, {"bf16": 57}, 11540992)
    assert data["config"]["hidden_size"] == 256
    assert "list" not in data


def test_inspect_lists_tensors_when_asked(hub, gguf):
    assert re.search(
        r"^  model\.layers\.0\.\S+ \[256\] bf16 512 bytes at \d+$", hub("inspect", TINY, "--tensors").out, re.M
    )
    (listed,) = [
        t for t in hub("inspect", gguf, "--tensors", "--json").json["list"] if t["name"] == "token_embd.weight"
    ]
    assert (listed["shape"], listed["layout"], listed["bytes"]) == ([2048, 256], "ggml.Q4_K", 2048 * 144)
    _, tensors = read_gguf(gguf)
    raw = gguf.read_bytes()[listed["offset"] :][: listed["bytes"]]
    assert raw == tensors["token_embd.weight"][2][: listed["bytes"]]


def test_inspect_gguf_shortens_arrays(hub, gguf):
    text = hub("inspect", gguf).out
    assert "llama.block_count = 6" in text
    assert re.search(r"tokenizer\.ggml\.tokens = 2048 items, first <unk>, <s>, </s>", text)
    data = hub("inspect", gguf, "--json").json
    assert data["config"]["tokenizer.ggml.tokens"] == {"items": 2048, "first": ["<unk>", "<s>", "</s>"]}
    assert data["header"]["version"] == 3


def test_inspect_a_single_safetensors_file(hub):
    text = hub("inspect", TINY / "model.safetensors").out
    assert "57 tensors" in text
    assert "note: one file without config.json" in text


def test_from_forces_a_format(hub, gguf):
    assert hub("inspect", "--from", "gguf", gguf).out == hub("inspect", gguf).out
    assert "not a GGUF file" in hub("inspect", "--from", "gguf", TINY / "model.safetensors", status=1).err


def test_names_that_would_play_with_the_terminal_are_shown_safely(hub, tmp_path):
    evil = "a\x1b[2J\rb\u202e"
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes({evil: weights({"x": (2, 2)})["x"]}))
    text = hub("inspect", path, "--tensors").out
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\u202e" not in text
    assert r"a\x1b[2J\rb\u202e" in text
    assert hub("inspect", path, "--tensors", "--json").json["list"][0]["name"] == evil


# ------------------------------------------------------------------------------------------------ plan


def test_plan_prints_and_writes_nothing(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = hub("plan", "--to", "gguf:q4_k_m", TINY, "out.gguf").out
    assert re.search(r"^to gguf:q4_k_m: [\d.]+ MB, 4\.87 bits per weight$", text, re.M)
    assert re.search(r"^ +bf16 -> Q4_K +quantize +lossy +39 tensors$", text, re.M)
    assert "blk.0.attn_q" not in text
    assert (
        "blk.0.attn_q.weight [256, 256] bf16 -> Q4_K quantize lossy"
        in hub("plan", "--to", "gguf:q4_k_m", TINY, "-v").out
    )
    assert list(tmp_path.iterdir()) == []


def test_plan_says_the_size_that_convert_writes(hub, tmp_path):
    for variant in ("q4_k_m", "q8_0", "f16", "f32"):
        out = tmp_path / f"{variant}.gguf"
        planned = hub("plan", "--to", f"gguf:{variant}", "--json", TINY).json["size"]
        hub("convert", "--to", f"gguf:{variant}", TINY, out, "-q", "--verify", "none")
        assert out.stat().st_size == planned


def test_plan_tells_fallbacks(hub, tmp_path):
    model = folder(tmp_path / "m", llama_config(hidden_size=96, num_attention_heads=2, num_key_value_heads=1))
    text = hub("plan", "--to", "gguf:q4_k_m", model).out
    assert re.search(r"^fallback: \d+ tensors, first \S+: rows of 96 are not whole blocks", text, re.M)


@pytest.mark.parametrize("command", ["plan", "convert"])
def test_require_refuses_before_anything_is_written(hub, tmp_path, command):
    for least, count in (("identical", 57), ("exact", 44), ("codes", 44)):
        done = hub(command, "--to", "gguf:q4_k_m", "--require", least, TINY, tmp_path / "x.gguf", status=1)
        assert f"{count} of 57 tensors cannot stay {least}" in done.err
        assert len(done.err.splitlines()) == 1
        told = done.out.splitlines()
        assert len(told) == count
        assert any(
            re.fullmatch(r"  blk.0.attn_v.weight \S+ -> Q\d_K lossy: floats are .* \d bits", line) for line in told
        )
        done = hub(command, "--json", "--to", "gguf:q4_k_m", "--require", least, TINY, status=1)
        assert len(json.loads(done.out)["tensors"]) == count
        assert list(tmp_path.iterdir()) == []
    done = hub(command, "--to", "gguf:f32", "--require", "identical", TINY, tmp_path / "x.gguf", status=1)
    assert "cannot stay identical" in done.err
    hub(command, "--to", "gguf:f32", "--require", "exact", TINY, tmp_path / "x.gguf")


# ------------------------------------------------------------------------------------------------ check


def test_check_a_good_model(hub, gguf):
    for path in (TINY, gguf):
        text = hub("check", path).out
        assert text.endswith("no faults\n")
        assert "checked tokenizer" in text
        assert "checked data of every tensor" in text
        data = hub("check", path, "--json").json
        assert data["faults"] == []
        assert data["seconds"] >= 0


def test_check_counts_weights_that_are_no_numbers(hub, tmp_path):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.norm.weight"][7] = float("nan")
    arrays["model.layers.1.mlp.up_proj.weight"][3, 5] = float("inf")
    path = folder(tmp_path / "m", arrays=arrays)
    text = hub("check", path, status=1).out
    assert "tensor model.norm.weight: 1 weights are not finite, the first is number 7" in text
    assert (
        f"tensor model.layers.1.mlp.up_proj.weight: 1 weights are not finite, the first is number {3 * 256 + 5}" in text
    )
    assert text.endswith("2 faults\n")
    assert len(hub("check", path, "--json", status=1).json["faults"]) == 2


def test_check_settings_against_tensors(hub, tmp_path):
    model = folder(tmp_path / "m", llama_config(num_hidden_layers=2))
    config = json.loads((model / "config.json").read_text()) | {"num_hidden_layers": 3}
    (model / "config.json").write_text(json.dumps(config))
    found = hub("check", model, "--json", status=1).json
    assert any("model.layers.2." in fault for fault in found["faults"])


def test_a_model_of_an_unknown_architecture_is_still_checked(hub, tmp_path):
    model = folder(tmp_path / "m", llama_config(architectures=["Llama9ForCausalLM"]))
    found = hub("check", model, "--json").json
    assert any("Llama9ForCausalLM" in note for note in found["notes"])
    assert "data of every tensor" in found["checked"]


# ------------------------------------------------------------------------------------------------ formats, plugins


def test_formats(hub):
    text = hub("formats").out
    assert re.search(r"^gguf: .*\(reads and writes\)$", text, re.M)
    assert re.search(r"^  gguf:q4_k_m +4\.89 bits", text, re.M)
    found = {item["name"]: item for item in hub("formats", "--json").json}
    assert found["gguf"]["reads"]
    assert found["gguf"]["writes"]
    assert len(found["gguf"]["variants"]) == 18
    assert found["safetensors"]["reads"]


def test_plugins(hub):
    text = hub("plugins").out
    assert f"gguf (weighthub {__version__}): loaded" in text
    found = {item["name"]: item for item in hub("plugins", "--json").json}
    assert found["gguf"]["error"] is None
    assert found["gguf"]["formats"] == ["gguf"]
    assert "ggml.Q4_K" in found["gguf"]["layouts"]
