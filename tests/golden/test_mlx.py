"""Folders that mlx-lm made, and folders for mlx-lm: names, settings, files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_models import DATA, TINY, family_shapes, folder, read_safetensors, safetensors_bytes, weights

import hub
from hub.architecture import configure
from hub.errors import ConfigError, UsageError
from hub.recipe import Recipe, rule
from hub.runner import Runner

GOLDEN = DATA / "golden" / "mlx"
FOLDERS = ("llama-mixed", "qwen3-moe-mxfp4")
NORM = "model.layers.0.input_layernorm"


def logits(path: Path, ids: np.ndarray) -> np.ndarray:
    with hub.open(path) as model, Runner(model, threads=2) as runner:
        return runner.logits(ids)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def config_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "config.json").read_text())


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_mlx_lm_give_its_logits(name):
    with np.load(GOLDEN / name / "golden.npz") as golden:
        assert error(logits(GOLDEN / name, golden["input_ids"]), golden["logits"]) < 1e-5


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("to", ["safetensors:f32", "gguf"])
def test_they_go_to_other_formats_and_stay_what_they_are(name, to, tmp_path):
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    hub.convert(GOLDEN / name, out, to=to, require="exact", verify="weights")
    with np.load(GOLDEN / name / "golden.npz") as golden:
        assert error(logits(out, golden["input_ids"]), golden["logits"]) < 1e-5


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_written_again_has_the_same_tensors(name, tmp_path):
    hub.convert(GOLDEN / name, tmp_path / "out", to="mlx", require="identical", verify="weights")
    ours, theirs = (read_safetensors(path / "model.safetensors") for path in (tmp_path / "out", GOLDEN / name))
    assert ours.keys() == theirs.keys()
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in theirs)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index == json.loads((GOLDEN / name / "model.safetensors.index.json").read_text())


def test_a_mixture_gives_each_matrix_what_mlx_lm_gives_it():
    told = config_of(GOLDEN / "llama-mixed")["quantization"]
    with hub.open(GOLDEN / "llama-mixed") as model:
        made = hub.plan(model, to="mlx:mixed_3_6")
        layouts = {entry.name.removesuffix(".weight"): entry.layout for entry in made.entries}
        pure = hub.plan(model, to="mlx:mixed_3_6", recipe=Recipe(pure=True))
    for module, own in told.items():
        if isinstance(own, dict):
            assert layouts[module].startswith(f"mlx.affine/{own['bits']}bit-g64"), module
    assert {entry.layout for entry in pure.entries} == {"bf16", "mlx.affine/3bit-g64-bf16"}


def test_settings_as_tools_for_quantizing_write_them(tmp_path):
    """awq lists every module, norms with `false`, without modes; so do others of mlx-lm's."""
    path = shutil.copytree(GOLDEN / "llama-mixed", tmp_path / "m")
    config = config_of(path)
    listed = {key: value for key, value in config["quantization"].items() if isinstance(value, dict)}
    for value in listed.values():
        value["group_size"] = 64
        del value["mode"]
    config["quantization"] = {
        "group_size": 64,
        "bits": 3,
        **listed,
        NORM: False,
        "model.layers.0.self_attn.rope": False,
    }
    del config["quantization_config"]
    (path / "config.json").write_text(json.dumps(config))
    with hub.open(path) as model, hub.open(GOLDEN / "llama-mixed") as whole:
        assert {n: t.layout for n, t in model.tensors.items()} == {n: t.layout for n, t in whole.tensors.items()}


def test_modules_that_are_not_listed_are_told_by_their_shapes(tmp_path):
    path = shutil.copytree(GOLDEN / "llama-mixed", tmp_path / "m")
    config = config_of(path)
    config["quantization"] = config["quantization_config"] = {"group_size": 64, "bits": 4, "mode": "affine"}
    (path / "config.json").write_text(json.dumps(config))
    with hub.open(path) as model, hub.open(GOLDEN / "llama-mixed") as whole:
        assert {n: t.layout for n, t in model.tensors.items()} == {n: t.layout for n, t in whole.tensors.items()}


# ------------------------------------------------------------------------------------------------ which format it is


def test_floats_are_mlxs_where_the_file_says_so(tmp_path):
    hub.convert(DATA / "arch" / "mixtral", tmp_path / "mlx", to="mlx:bf16", verify="none")
    hub.convert(tmp_path / "mlx", tmp_path / "hf", to="safetensors", verify="weights", require="exact")
    for name, format in (("mlx", "mlx"), ("hf", "safetensors")):
        with hub.open(tmp_path / name) as model:
            assert model.format == format
    assert "quantization" not in config_of(tmp_path / "mlx")


@pytest.mark.parametrize("other", ["gptq:4bit-g64", "compressed-tensors:nvfp4"])
def test_settings_of_others_go_and_settings_of_mlx_go(other, tmp_path):
    """config.json of one format says nothing of the other's once it is converted."""
    hub.convert(TINY, tmp_path / "1", to=other, verify="none")
    hub.convert(tmp_path / "1", tmp_path / "2", to="mlx:4bit", verify="none")
    told = config_of(tmp_path / "2")
    assert told["quantization"] == told["quantization_config"]
    assert "quant_method" not in told["quantization"]
    hub.convert(tmp_path / "2", tmp_path / "3", to=other, verify="none")
    told = config_of(tmp_path / "3")
    assert "quantization" not in told and "quant_method" in told["quantization_config"]
    for name, format in (("1", other.partition(":")[0]), ("2", "mlx"), ("3", other.partition(":")[0])):
        with hub.open(tmp_path / name) as model:
            assert model.format == format


# ------------------------------------------------------------------------------------------------ names, settings, files


def test_experts_of_older_folders_are_read_one_by_one_and_written_as_one(tmp_path):
    hub.convert(DATA / "arch" / "mixtral", tmp_path / "new", to="mlx:4bit-g32", verify="none")
    arrays, old = read_safetensors(tmp_path / "new" / "model.safetensors"), {}
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    for name, array in arrays.items():
        before, found, rest = name.partition("switch_mlp.")
        if not found:
            old[name] = array
            continue
        matrix, _, role = rest.partition(".")
        old |= {f"{before}experts.{e}.{names[matrix]}.{role}": one for e, one in enumerate(array)}
    path = shutil.copytree(tmp_path / "new", tmp_path / "old")
    (path / "model.safetensors").write_bytes(safetensors_bytes(old))
    (path / "model.safetensors.index.json").unlink()
    hub.convert(path, tmp_path / "again", to="mlx", require="exact")
    again = read_safetensors(tmp_path / "again" / "model.safetensors")
    assert again.keys() == arrays.keys()
    assert all(again[key].tobytes() == arrays[key].tobytes() for key in arrays)


def test_config_json_has_what_mlx_lm_looks_for(tmp_path):
    """transformers 5 says rope_parameters and dtype, and leaves out what is usual."""
    hub.convert(DATA / "arch" / "llama3", tmp_path / "llama", to="mlx:4bit-g32", verify="none")
    told = config_of(tmp_path / "llama")
    assert (told["rope_theta"], told["rope_scaling"]["rope_type"]) == (500000.0, "llama3")
    assert (told["torch_dtype"], told["tie_word_embeddings"]) == ("bfloat16", False)
    assert told["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine"}
    hub.convert(DATA / "arch" / "gemma3", tmp_path / "gemma", to="mlx:8bit", verify="none")
    told = config_of(tmp_path / "gemma")
    assert (told["sliding_window_pattern"], told["rope_local_base_freq"], told["rope_theta"]) == (6, 1e4, 1e6)
    assert "_sliding_window_pattern" not in told
    hub.convert(DATA / "arch" / "qwen3_moe", tmp_path / "moe", to="mlx:4bit", verify="none")
    told = config_of(tmp_path / "moe")
    assert (told["num_experts"], told["mlp_only_layers"], told["head_dim"]) == (8, [], 32)
    router = {"group_size": 64, "bits": 8, "mode": "affine"}
    assert told["quantization"]["model.layers.1.mlp.gate"] == router


def test_a_tied_output_is_left_out(tmp_path):
    config = config_of(DATA / "arch" / "qwen2")
    shapes = family_shapes(config)
    arrays = weights(shapes, "bf16")
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"]
    source = folder(tmp_path / "source", config, arrays)
    hub.convert(source, tmp_path / "out", to="mlx:4bit-g64", verify="none")
    assert not any(name.startswith("lm_head") for name in read_safetensors(tmp_path / "out" / "model.safetensors"))


@pytest.mark.parametrize("family", ["llama3", "qwen2"])
def test_settings_that_are_left_out_mean_what_they_mean_to_mlx_lm(family, tmp_path):
    hub.convert(DATA / "arch" / family, tmp_path / "out", to="mlx:8bit-g32", verify="none")
    before = logits(tmp_path / "out", np.arange(8, dtype=np.int32))
    config = config_of(tmp_path / "out")
    del config["tie_word_embeddings"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(logits(tmp_path / "out", np.arange(8, dtype=np.int32)), before)
    hub.convert(tmp_path / "out", tmp_path / "again", to="mlx", verify="none")
    assert config_of(tmp_path / "again")["tie_word_embeddings"] is (family == "qwen2")


@pytest.mark.parametrize(("family", "changes"), [
    ("llama3", {"rope_theta": 12345.0}),
    ("gemma3", {"rope_theta": 12345.0, "rope_local_base_freq": 777.0}),
])  # fmt: skip
def test_of_two_spellings_of_rope_the_one_that_mlx_lm_reads_counts(family, changes, tmp_path):
    hub.convert(DATA / "arch" / family, tmp_path / "out", to="mlx:8bit-g32", verify="none")
    config = config_of(tmp_path / "out")
    assert "rope_parameters" in config
    (tmp_path / "out" / "config.json").write_text(json.dumps(config | changes))
    with hub.open(tmp_path / "out") as model:
        values = configure(model).values
    assert values["rope.theta"] == 12345.0
    assert values.get("rope.local_theta", 777.0) == 777.0


def test_a_model_of_gguf_gets_a_whole_folder(tmp_path):
    hub.convert(TINY, tmp_path / "t.gguf", to="gguf:q8_0", verify="none")
    hub.convert(tmp_path / "t.gguf", tmp_path / "out", to="mlx", require="exact")
    told = config_of(tmp_path / "out")
    assert (told["model_type"], told["torch_dtype"], told["quantization"]["bits"]) == ("llama", "float16", 8)
    assert {"tokenizer.json", "tokenizer_config.json", "README.md"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }


def test_files_are_cut_and_indexed(tmp_path, monkeypatch):
    monkeypatch.setattr("hub_mlx.writer.MAX_SHARD", 1_000_000)
    hub.convert(TINY, tmp_path / "out", to="mlx:4bit-g64", verify="weights")
    names = sorted(file.name for file in (tmp_path / "out").glob("*.safetensors"))
    assert len(names) > 2 and names[0] == f"model-00001-of-{len(names):05}.safetensors"
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_parameters"] == sum(
        map(np.size, read_safetensors(TINY / "model.safetensors").values())
    )
    assert set(index["weight_map"].values()) == set(names)
    head = (tmp_path / "out" / names[0]).read_bytes()[8:]
    assert json.JSONDecoder().raw_decode(head.decode("latin-1"))[0]["__metadata__"] == {"format": "mlx"}


def test_the_card_says_mlx_and_keeps_what_it_said(tmp_path):
    source = shutil.copytree(TINY, tmp_path / "source")
    (source / "README.md").write_text("---\nlicense: mit\ntags:\n- chat\n---\n# A model\n\nIts text.\n")
    hub.convert(source, tmp_path / "out", to="mlx:8bit", verify="none")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.endswith("---\n# A model\n\nIts text.\n")
    for line in ("license: mit", "library_name: mlx", "pipeline_tag: text-generation", "- chat", "- mlx"):
        assert f"\n{line}\n" in card


def test_without_codes_the_usual_variant_is_taken_and_told():
    with hub.open(TINY) as model:
        made = hub.plan(model, to="mlx")
    assert {entry.layout for entry in made.entries} == {"bf16", "mlx.affine/4bit-g64-bf16"}
    assert any("4bit-g64" in note for note in made.notes)


def test_codes_that_mlx_does_not_hold_are_quantized_anew_beside_those_that_it_does(tmp_path):
    hub.convert(TINY, tmp_path / "t.gguf", to="gguf:q4_k_m", verify="none")
    with hub.open(tmp_path / "t.gguf") as model:
        made = hub.plan(model, to="mlx")
    found = {(entry.tensor.layout, entry.layout, entry.fidelity) for entry in made.entries}
    assert found == {
        ("f32", "f32", "identical"),
        ("ggml.Q4_K", "mlx.affine/4bit-g32-f32", "exact"),
        ("ggml.Q6_K", "mlx.affine/8bit-g64", "lossy"),
    }
    assert any("scales in f32" in note for note in made.notes)
    with hub.open(tmp_path / "t.gguf") as model:
        made = hub.plan(model, to="mlx:4bit-g32-f16")
    found = {(entry.tensor.layout, entry.layout, entry.fidelity) for entry in made.entries}
    assert ("ggml.Q4_K", "mlx.affine/4bit-g32", "codes") in found
    assert not any("scales in f32" in note for note in made.notes)


def test_single_tensors_as_the_user_wants():
    with hub.open(TINY) as model:
        rules = [rule(r"v_proj=8bit-g32"), rule(r"embed=bf16"), rule(r"k_proj=mxfp4")]
        made = {entry.name: entry.layout for entry in hub.plan(model, to="mlx:4bit", rules=rules).entries}
        assert made["model.layers.0.self_attn.v_proj.weight"] == "mlx.affine/8bit-g32-bf16"
        assert (made["model.embed_tokens.weight"], made["model.layers.3.self_attn.k_proj.weight"]) == (
            "bf16",
            "mlx.mxfp4",
        )
        with pytest.raises(UsageError, match="no matrix"):
            hub.plan(model, to="mlx:4bit", rules=[rule("model.norm=4bit")])


@pytest.mark.parametrize("variant", ["7bit", "4bit-g48", "mixed_5_6", "9bit-g64", "int4"])
def test_no_other_variants(variant):
    with hub.open(TINY) as model, pytest.raises(UsageError, match="4bit-g64"):
        hub.plan(model, to=f"mlx:{variant}")


def test_a_folder_that_names_no_class_is_known_by_its_model_type(tmp_path):
    """mlx-lm looks at nothing else."""
    path = shutil.copytree(GOLDEN / "llama-mixed", tmp_path / "m")
    config = config_of(path)
    del config["architectures"]
    (path / "config.json").write_text(json.dumps(config))
    with np.load(GOLDEN / "llama-mixed" / "golden.npz") as golden:
        assert error(logits(path, golden["input_ids"]), golden["logits"]) < 1e-5


def test_what_mlx_lm_cannot_run_is_refused_and_what_it_runs_otherwise_is_told():
    with hub.open(DATA / "arch" / "gpt2") as model, pytest.raises(UsageError, match="down_proj"):
        hub.plan(model, to="mlx:mixed_3_6")
    with hub.open(DATA / "arch" / "gemma2") as model:
        assert any("window" in note for note in hub.plan(model, to="mlx:4bit").notes)
        model.config = {**model.config, "attn_logit_softcapping": None}
        model.hyperparameters = lambda _: model.config
        with pytest.raises(ConfigError, match="softcapping"):
            hub.plan(model, to="mlx:4bit")


def test_codes_go_to_the_type_of_gguf_that_their_numbers_allow(tmp_path):
    """Offsets that are eight scales throughout need no type with offsets."""
    hub.convert(TINY, tmp_path / "q4_0.gguf", to="gguf:q4_0", recipe=Recipe(pure=True), verify="none")
    hub.convert(tmp_path / "q4_0.gguf", tmp_path / "from-q4_0", to="mlx", require="exact", verify="none")
    hub.convert(TINY, tmp_path / "own", to="mlx:4bit-g32", verify="none")
    for name, kind in (("from-q4_0", "ggml.Q4_0"), ("own", "ggml.Q4_1")):
        with hub.open(tmp_path / name) as model:
            entries = hub.plan(model, to="gguf").entries
        assert {(e.layout, e.fidelity) for e in entries if len(e.tensor.shape) > 1} == {(kind, "exact")}


@pytest.mark.parametrize("other", ["gptq:4bit-g64-asym", "awq:4bit-g64-asym", "compressed-tensors:4bit-g64-asym"])
def test_zero_points_come_back_from_biases(other, tmp_path):
    hub.convert(TINY, tmp_path / "1", to=other, verify="none")
    hub.convert(tmp_path / "1", tmp_path / "2", to="mlx", require="exact", verify="none")
    hub.convert(tmp_path / "2", tmp_path / "3", to=other.partition(":")[0], require="exact", verify="weights")
    with hub.open(tmp_path / "1") as first, hub.open(tmp_path / "3") as last:
        assert {n: t.layout for n, t in first.tensors.items()} == {n: t.layout for n, t in last.tensors.items()}
