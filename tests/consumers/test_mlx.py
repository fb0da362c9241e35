"""Folders for mlx-lm, in mlx-lm: it loads them strictly and computes hub's logits, and hub's codes are its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_models import DATA, TINY, family_shapes, folder, read_safetensors, safetensors_bytes, weights
from mlx_peer import ask, error, logits, needs_mlx_lm

import hub
from hub.recipe import Recipe, rule
from hub.runner import Runner

pytestmark = [pytest.mark.consumers, needs_mlx_lm()]
FAMILIES = ("llama3", "qwen2", "qwen3", "gemma3", "mixtral", "qwen3_moe")
OTHERS = ("mistral", "gemma2", "phi3", "gpt2", "gpt_oss")
FORMS = [f"{bits}bit-g{group}" for bits in (1, 2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
MODES = ("mxfp4", "mxfp8", "nvfp4")
DENSE = ("f32", "bf16", "f16")
MIXTURES = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
IDS = np.random.default_rng(7).integers(0, 256, 12, np.int32)
LIMIT = 1e-5


def config(family: str, **changes: Any) -> dict[str, Any]:
    """config.json of a small model whose rows all groups divide. Gemma's root of the width is one that bf16 has, as
    mlx-lm takes it."""
    hidden = 256 if family.startswith("gemma") else 128
    made = json.loads((DATA / "arch" / family / "config.json").read_text())
    made |= {"vocab_size": 256, "hidden_size": hidden, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 32}
    if family == "gpt2":
        made |= {"n_embd": hidden, "n_layer": 2}
        made.pop("intermediate_size")
    if family == "qwen3_moe":
        made |= {"moe_intermediate_size": 128}
    if family == "gpt_oss":  # mlx-lm knows whole bounds of yarn only
        made |= {"num_hidden_layers": 3, "rope_parameters": {"rope_theta": 150000.0, "rope_type": "default"}}
    if family == "gemma3":
        made["layer_types"] = ["sliding_attention", "full_attention"]
    if family in ("phi3", "qwen2", "mistral", "mixtral", "llama3"):
        made.pop("head_dim")
    return made | changes


def model(path: Path, family: str, dtype: str = "bf16", **changes: Any) -> Path:
    """Such a model, with groups of zeros, of one number, and of one sign."""
    made = config(family, **changes)
    arrays = weights(family_shapes(made), dtype)
    for name, array in arrays.items():
        if array.ndim > 1 and name.endswith("weight"):
            array[0, :], array[1, :], array[2, :] = 0, array[1, 0], np.abs(array[2, :])
            array[3, :64] = 0
    # mlx-lm knows GPT-2 as it was first saved, without its head.
    arrays = {name.removeprefix("transformer."): array for name, array in arrays.items()}
    for name in arrays:
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            arrays[name] = np.ascontiguousarray(arrays[name].swapaxes(1, 2))  # gpt-oss' floats are (in, out)
    return folder(path, made, arrays)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: model(root / family, family) for family in (*FAMILIES, *OTHERS)}


def ours(path: Path, ids: np.ndarray) -> np.ndarray:
    with hub.open(path) as opened, Runner(opened, threads=2) as runner:
        return runner.logits(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_width_group_and_mode_gives_hubs_logits(family, models, tmp_path):
    variants = [*FORMS, *MODES, *DENSE, "4bit-g64-f32", "4bit-g64-f16"]
    check(models[family], [f"mlx:{variant}" for variant in variants], tmp_path)


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_give_hubs_logits(family, models, tmp_path):
    # Small floats decode to bf16 in mlx-lm, and GPT-2 adds its positions to that before anything is f32.
    modes = ["mlx:mxfp4"] if family != "gpt2" else []
    check(models[family], ["mlx:f32", "mlx:4bit", "mlx:3bit-g128", *modes], tmp_path)


def check(source: Path, targets: list[str], work: Path) -> None:
    outs = [work / to.partition(":")[2] for to in targets]
    for to, out in zip(targets, outs, strict=True):
        hub.convert(source, out, to=to, verify="none")
    for out, theirs in zip(outs, logits(outs, [IDS] * len(outs), work), strict=True):
        assert not isinstance(theirs, str), f"{out.name}: {theirs}"
        assert error(theirs, ours(out, IDS)) < LIMIT, out.name


# ------------------------------------------------------------------------------------------------ bytes


def arguments(variant: str) -> dict[str, Any]:
    """What mlx-lm is told to make the same."""
    if variant in MODES:
        return {"mode": variant}
    word, _, group = variant.partition("-g")
    told: dict[str, Any] = {"group": int(group or 64)}
    return told | ({"predicate": word} if word.startswith("mixed") else {"bits": int(word.removesuffix("bit"))})


def settings(path: Path, modules: set[str]) -> dict[str, tuple[int, int, str]]:
    """How each module is quantized, as config.json says."""
    told = json.loads((path / "config.json").read_text())
    assert told["quantization"] == told["quantization_config"]
    usual = {key: told["quantization"][key] for key in ("bits", "group_size", "mode")}
    each = {module: {"mode": "affine", **told["quantization"].get(module, usual)} for module in modules}
    return {module: (own["bits"], own["group_size"], own["mode"]) for module, own in each.items()}


def compare(source: Path, variants: list[str], work: Path) -> None:
    own = json.loads((source / "config.json").read_text())
    missing = {"rope_theta": 1e4, "rope_scaling": None, "n_ctx": 64, "num_experts": own.get("num_local_experts")}
    theirs = [work / f"theirs-{variant}" for variant in variants]
    jobs = [
        {"quantize": str(source), "config": missing, "out": str(out), **arguments(variant)}
        for out, variant in zip(theirs, variants, strict=True)
    ]
    assert ask(jobs) == [None] * len(jobs)
    for variant, their in zip(variants, theirs, strict=True):
        mine = work / f"ours-{variant}"
        hub.convert(source, mine, to=f"mlx:{variant}", verify="none")
        wanted, found = (read_safetensors(path / "model.safetensors") for path in (their, mine))
        assert set(found) == set(wanted), variant
        for name, array in wanted.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), (variant, name)
            assert found[name].tobytes() == array.tobytes(), (variant, name)
        modules = {name.removesuffix(".scales") for name in wanted if name.endswith(".scales")}
        assert modules and settings(mine, modules) == settings(their, modules), variant
        totals = [json.loads((path / "model.safetensors.index.json").read_text()) for path in (mine, their)]
        assert totals[0] == totals[1], variant


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_codes_are_the_very_bytes_of_mlx_lms(dtype, tmp_path):
    compare(model(tmp_path / "model", "llama3", dtype), [*FORMS, *MODES], tmp_path)


@pytest.mark.parametrize("family", [*FAMILIES[1:], *OTHERS])
def test_families_are_quantized_as_mlx_lm_does(family, models, tmp_path):
    source, mixtures = models[family], MIXTURES[:2] if family != "gpt2" else ()
    if family == "gpt_oss":  # mlx-lm takes its floats for (out, in)
        source = tmp_path / "source"
        hub.convert(models[family], source, to="mlx:bf16", verify="none")
    compare(source, ["4bit-g64", "6bit-g32", *MODES, *mixtures], tmp_path)


def test_mixtures_are_mlx_lms(tmp_path):
    """Of a model with so many layers that all of the rule counts."""
    deep = model(tmp_path / "model", "llama3", num_hidden_layers=17, hidden_size=64, intermediate_size=64)
    compare(deep, [*MIXTURES, "mixed_3_6-g32"], tmp_path)


def test_rows_that_are_no_groups_stay_floats_as_mlx_lm_leaves_them(tmp_path):
    narrow = model(tmp_path / "model", "qwen3_moe", intermediate_size=160, moe_intermediate_size=96)
    compare(narrow, ["4bit-g64", "4bit-g32", "4bit-g128", "mxfp4"], tmp_path)


@pytest.mark.parametrize("said", ["bfloat16", "float16"])
def test_numbers_are_cast_to_what_config_json_says_as_mlx_lm_does(said, tmp_path):
    source = model(tmp_path / "model", "llama3", "f32", torch_dtype=said)
    arrays = read_safetensors(source / "model.safetensors")
    noise = np.random.default_rng(3)
    for name in arrays:  # numbers that neither type of 16 bits has
        arrays[name] = (arrays[name] * noise.uniform(0.9, 1.1, arrays[name].shape)).astype(np.float32)
    folder(source, json.loads((source / "config.json").read_text()), arrays)
    compare(source, ["4bit-g64", "mxfp4", "nvfp4"], tmp_path)


# ------------------------------------------------------------------------------------------------ tokens, folders


def test_it_goes_on_from_a_prompt(tmp_path):
    targets = ["4bit-g64", "mxfp4"]
    for to in targets:
        hub.convert(TINY, tmp_path / to, to=f"mlx:{to}", verify="none")
    for answer in ask([{"generate": str(tmp_path / to)} for to in targets]):
        assert isinstance(answer, str) and answer


def test_folders_of_mlx_lm_convert_read_back_to_the_same_logits(tmp_path):
    cases = {
        "affine": {"quantize": True},
        "narrow": {"quantize": True, "q_bits": 3, "q_group_size": 32, "dtype": "float16"},
        "mixed": {"quantize": True, "quant_predicate": "mixed_2_6"},  # with groups that are null
        "mxfp4": {"quantize": True, "q_mode": "mxfp4"},
        "nvfp4": {"quantize": True, "q_mode": "nvfp4"},
        "mxfp8": {"quantize": True, "q_mode": "mxfp8"},
        "dense": {"dtype": "bfloat16"},
    }
    made = [tmp_path / name for name in cases]
    jobs = [
        {"convert": {"hf_path": str(TINY), "mlx_path": str(tmp_path / name), **told}} for name, told in cases.items()
    ]
    assert ask(jobs) == [None] * len(jobs)
    for path, theirs in zip(made, logits(made, [IDS] * len(made), tmp_path), strict=True):
        with hub.open(path) as opened:
            assert opened.format == "mlx", path.name
        assert error(theirs, ours(path, IDS)) < LIMIT, path.name
        again = tmp_path / f"{path.name}-again"
        hub.convert(path, again, to="mlx" if path.name != "dense" else "mlx:bf16", require="identical")
        assert (
            read_safetensors(again / "model.safetensors").keys() == read_safetensors(path / "model.safetensors").keys()
        )


def test_experts_with_a_global_scale_each(models, tmp_path):
    """mlx runs such on a GPU only, and says so once they are loaded."""
    job = {"quantize": str(models["mixtral"]), "config": {"rope_theta": 1e6}, "mode": "nvfp4", "global_scale": True}
    made, again, mixed = tmp_path / "made", tmp_path / "again", tmp_path / "mixed"
    assert ask([{**job, "out": str(made)}]) == [None]
    hub.convert(made, again, to="mlx", require="identical", verify="full")
    hub.convert(made, mixed, to="mlx", rules=[rule("self_attn|embed|lm_head|gate.weight=4bit-g32")], verify="weights")
    told = json.loads((mixed / "config.json").read_text())["quantization"]
    assert told["model.layers.0.block_sparse_moe.switch_mlp.up_proj"]["global_scale"] is True
    for theirs in logits([made, again, mixed], [IDS] * 3, tmp_path):
        assert isinstance(theirs, str) and "only supported on the GPU" in theirs
    hub.convert(made, tmp_path / "back", to="safetensors:f32", require="exact", verify="full")


# ------------------------------------------------------------------------------------------------ codes of other formats

CODES = {
    "gguf:q8_0": "exact", "gguf:q4_0": "exact", "gguf:q4_1": "exact", "gguf:q5_0": "exact", "gguf:q5_1": "exact",
    "gptq:4bit-g64-asym": "exact", "gptq:8bit-g32-sym": "exact", "awq:4bit-g128-asym": "exact",
    "compressed-tensors:4bit-g32-asym": "exact", "compressed-tensors:mxfp4": "exact", "compressed-tensors:8bit": "exact",
}  # fmt: skip


@pytest.mark.parametrize("family", ["llama3", "qwen3_moe"])
def test_codes_of_other_formats_are_moved_and_run(family, models, tmp_path):
    outs = []
    for to, least in CODES.items():
        name = to.replace(":", "-")
        between, out = tmp_path / (f"{name}.gguf" if to.startswith("gguf") else name), tmp_path / f"{name}-mlx"
        # llama.cpp's file types give the output 6 bits in groups of 16, which MLX does not have.
        rules = [rule("output.weight=q8_0"), rule("token_embd=q8_0")] if to.startswith("gguf") else []
        hub.convert(models[family], between, to=to, rules=rules, recipe=Recipe(pure=True), verify="none")
        hub.convert(between, out, to="mlx", require=least, verify="weights")
        outs.append(out)
    for out, theirs in zip(outs, logits(outs, [IDS] * len(outs), tmp_path), strict=True):
        assert not isinstance(theirs, str), f"{out.name}: {theirs}"
        assert error(theirs, ours(out, IDS)) < LIMIT, out.name


# ------------------------------------------------------------------------------------------------ planted faults


def biases_of_the_wrong_sign(arrays: dict[str, np.ndarray]) -> None:
    for name in arrays:
        if name.endswith("k_proj.biases"):
            arrays[name] = -arrays[name]


def nibbles_swapped(arrays: dict[str, np.ndarray]) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    data = arrays[name].view(np.uint8)
    arrays[name] = (data << 4 | data >> 4).view(np.uint32)


def scales_transposed(arrays: dict[str, np.ndarray]) -> None:
    name = "model.layers.1.mlp.up_proj.scales"
    arrays[name] = np.ascontiguousarray(arrays[name].T).reshape(arrays[name].shape)


def scales_made_positive(arrays: dict[str, np.ndarray]) -> None:
    for name in arrays:
        if name.endswith("o_proj.scales"):
            arrays[name] = np.abs(arrays[name])


def output_dropped(arrays: dict[str, np.ndarray]) -> None:
    for role in ("weight", "scales", "biases"):
        del arrays[f"lm_head.{role}"]


FAULTS = (biases_of_the_wrong_sign, nibbles_swapped, scales_transposed, scales_made_positive, output_dropped)


def test_planted_faults_do_not_pass(models, tmp_path):
    whole = tmp_path / "whole"
    hub.convert(models["llama3"], whole, to="mlx:4bit-g32", verify="none")
    broken = []
    for fault in FAULTS:
        path = shutil.copytree(whole, tmp_path / fault.__name__)
        arrays = read_safetensors(path / "model.safetensors")
        fault(arrays)
        (path / "model.safetensors").write_bytes(safetensors_bytes(arrays))
        broken.append(path)
    right = ours(whole, IDS)
    for path, theirs in zip(broken, logits(broken, [IDS] * len(broken), tmp_path), strict=True):
        assert isinstance(theirs, str) or error(theirs, right) > 100 * LIMIT, path.name
