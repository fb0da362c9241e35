"""Folders of mlx-lm whose tensors contradict each other or config.json: one line each, before any kernel runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hostile_folders import read, write
from hostile_run import accepted, refused

import hub
from hub.graph import Graph

PREFIX = "model.layers.0.self_attn.k_proj"
TINY = Path(__file__).parents[1] / "data" / "tiny-llama"
VARIANTS = ("4bit-g64", "mxfp4", "mxfp8", "nvfp4")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for name in VARIANTS:
        hub.convert(TINY, root / name, to=f"mlx:{name}", verify="none")
    return root


@pytest.fixture
def broken(made, tmp_path):
    """``broken(name, change)``: that folder after ``change(config, tensors)``."""

    def make(name, change):
        folder = tmp_path / "m"
        shutil.copytree(made / name, folder)
        config, tensors = read(folder)
        change(config, tensors)
        return write(folder, config, tensors)

    return make


def lost(*roles):
    def change(_, tensors):
        for role in roles:
            del tensors[f"{PREFIX}.{role}"]

    return change


def reshaped(role, shape):
    def change(_, tensors):
        dtype, _, data = tensors[f"{PREFIX}.{role}"]
        size = int(np.prod(shape)) * {"U32": 4, "BF16": 2, "U8": 1}[dtype]
        tensors[f"{PREFIX}.{role}"] = (dtype, shape, (data * 8)[:size])

    return change


def typed(role, dtype):
    def change(_, tensors):
        _, shape, data = tensors[f"{PREFIX}.{role}"]
        tensors[f"{PREFIX}.{role}"] = (dtype, shape, data)

    return change


def filled(role, word):
    def change(_, tensors):
        dtype, shape, data = tensors[f"{PREFIX}.{role}"]
        tensors[f"{PREFIX}.{role}"] = (dtype, shape, word + data[len(word) :])

    return change


def added(role, dtype, shape, data):
    return lambda _, tensors: tensors.update({f"{PREFIX}.{role}": (dtype, shape, data)})


def told(**settings):
    return lambda config, _: config["quantization"].update(settings)


def listed(value, module=PREFIX):
    return told(**{module: value})


def as_a_list(config, _):
    config["quantization"] = [4, 64]


def not_told(config, _):
    del config["quantization"], config["quantization_config"]


def by_another(config, _):
    del config["quantization"]
    config["quantization_config"] = {"bits": 4, "group_size": 64, "quant_method": "other"}


CASES = {
    "no scales": ("4bit-g64", lost("scales"), ("k_proj", "k_proj.scales", "missing")),
    "no biases": ("4bit-g64", lost("biases"), ("k_proj.biases", "missing")),
    "no codes": ("4bit-g64", lost("weight"), ("k_proj.weight", "missing")),
    "codes alone": ("4bit-g64", lost("scales", "biases"), ("k_proj.scales", "missing")),
    "biases alone": ("4bit-g64", lost("weight", "scales"), ("k_proj.scales", "missing")),
    "codes as signed": ("4bit-g64", typed("weight", "I32"), ("k_proj.weight", "i32", "u32")),
    "codes as floats": ("4bit-g64", typed("weight", "F32"), ("k_proj.weight", "f32", "u32")),
    "scales as integers": ("4bit-g64", typed("scales", "I16"), ("k_proj.scales", "i16")),
    "biases of another type": ("4bit-g64", typed("biases", "F16"), ("k_proj.biases", "f16", "bf16")),
    "wide codes": ("4bit-g64", reshaped("weight", [128, 33]), ("k_proj.scales", "1056 bits")),
    "codes of other rows": ("4bit-g64", reshaped("weight", [64, 32]), ("k_proj.scales", "[64, 32]")),
    "flat codes": ("4bit-g64", reshaped("weight", [4096]), ("k_proj.weight", "axes")),
    "no rows": ("4bit-g64", reshaped("scales", [0, 4]), ("k_proj.scales", "axes")),
    "too few scales": ("4bit-g64", reshaped("scales", [128, 3]), ("k_proj.scales", "3 scales")),
    "too few biases": ("4bit-g64", reshaped("biases", [128, 3]), ("k_proj.biases", "[128, 3]", "[128, 4]")),
    "a list that says other bits": ("4bit-g64", listed({"bits": 3, "group_size": 64}), ("k_proj", "3 bits")),
    "a list that says another group": ("4bit-g64", listed({"bits": 4, "group_size": 32}), ("k_proj", "groups of 32")),
    "a list that says another mode": ("4bit-g64", listed({"mode": "mxfp4"}), ("k_proj", "mode mxfp4")),
    "a list that says not quantized": ("4bit-g64", listed(False), ("k_proj", "not quantized")),
    "a list about a norm": ("4bit-g64", listed({"bits": 4}, "model.norm"), ("model.norm", "scales of it are missing")),
    "a list with a number": ("4bit-g64", listed(4), ("config.json", "k_proj", "must be an object", "int")),
    "a list with nothing": ("4bit-g64", listed(None, "lm_head"), ("config.json", "lm_head", "NoneType")),
    "an unknown mode": ("4bit-g64", told(mode="nf4"), ("'nf4'", "affine, mxfp4, mxfp8, nvfp4")),
    "a list with an unknown mode": ("4bit-g64", listed({"mode": "x"}), (f"quantization.{PREFIX}.mode", "'x'")),
    "bits as text": ("4bit-g64", told(bits="4"), ("quantization.bits", "integer")),
    "huge bits": ("4bit-g64", told(bits=1 << 40), ("bits",)),
    "a negative group": ("4bit-g64", told(group_size=-64), ("-64",)),
    "a list of settings": ("4bit-g64", as_a_list, ("quantization", "object")),
    "nothing is said": ("4bit-g64", not_told, ("no quantization",)),
    "a scale that is no number": ("4bit-g64", filled("scales", b"\xff\x7f"), ("k_proj", "not finite")),
    "a bias that is infinite": ("4bit-g64", filled("biases", b"\x80\x7f"), ("k_proj", "not finite")),
    "mxfp4 with biases": ("mxfp4", added("biases", "BF16", [128, 8], bytes(2048)), ("k_proj.biases", "mxfp4")),
    "mxfp4 with a global scale": (
        "mxfp4",
        added("global_scale", "F32", [1], bytes(4)),
        ("k_proj.global_scale", "mxfp4"),
    ),
    "mxfp4 with scales of floats": ("mxfp4", typed("scales", "F8_E4M3"), ("k_proj.scales", "f8_e4m3")),
    "mxfp8 with a scale that is none": ("mxfp8", filled("scales", b"\xff"), ("k_proj", "0xff")),
    "nvfp4 with a negative scale": ("nvfp4", filled("scales", b"\x80"), ("k_proj", "0x7f")),
    "nvfp4 of other groups": ("nvfp4", reshaped("scales", [128, 5]), ("k_proj.scales", "small floats")),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case, broken, tmp_path):
    name, change, words = CASES[case]
    model = broken(name, change)
    target = ("--from", "mlx", "--to", "safetensors:f32", model, tmp_path / "out")
    refused("convert", *target, names=words, watch=tmp_path)


def test_whole_ones_convert(made, tmp_path):
    for name in VARIANTS:
        accepted("convert", "--to", "safetensors:f32", made / name, tmp_path / name)


def test_settings_of_others_are_no_mlx(broken, tmp_path):
    """A `quant_method` says whose they are; a folder that only seems to be MLX's is not read as such."""
    refused(
        "convert", "--to", "safetensors:f32", broken("4bit-g64", by_another), tmp_path / "out", names=(), watch=tmp_path
    )


def test_modules_that_are_not_there_are_told(broken):
    """mlx-lm passes over them; what else the settings say of them does no harm."""
    with hub.open(broken("4bit-g64", listed({"bits": 4, "group_size": 64}, "model.vision"))) as model:
        assert any("model.vision" in note for note in model.notes)


@pytest.mark.parametrize("value", [False, True, 7, "x", None])
def test_entries_that_say_nothing_are_passed_over(value, broken):
    """Tools list every module of a model, norms with `false`; and there are words of their own among the settings."""
    with hub.open(broken("4bit-g64", listed(value, "model.layers.0.self_attn.rope"))) as model:
        assert model.tensors[f"{PREFIX}.weight"].layout == "mlx.affine/4bit-g64-bf16"


def test_settings_that_are_wrong_of_unlisted_modules_do_not_count(broken, made):
    """Shapes tell more than they, as mlx-lm reads it."""
    with hub.open(broken("4bit-g64", told(bits=8, group_size=32))) as model, hub.open(made / "4bit-g64") as whole:
        assert {n: t.layout for n, t in model.tensors.items()} == {n: t.layout for n, t in whole.tensors.items()}


def test_without_mode_or_with_groups_that_are_null(broken, made):
    """Older tools say no mode, and mixed recipes say null for the usual group."""

    def change(config, _):
        config["quantization"] = {"bits": 4, "group_size": None, PREFIX: {"bits": 4, "group_size": None}}

    with hub.open(broken("4bit-g64", change)) as model:
        assert model.tensors[f"{PREFIX}.weight"].layout == "mlx.affine/4bit-g64-bf16"


def test_experts_on_their_way_into_another_stack_name_their_file(tmp_path):
    hub.convert(TINY.parent / "arch" / "qwen3_moe", tmp_path / "m", to="mlx:nvfp4", verify="none")
    module = "model.layers.1.mlp.switch_mlp.gate_proj"
    config, tensors = read(tmp_path / "m")
    dtype, shape, data = tensors[f"{module}.scales"]
    tensors[f"{module}.scales"] = (dtype, shape, data[:9] + b"\x7f" + data[10:])
    write(tmp_path / "m", config, tensors)
    line = refused(
        "convert", "-q", "--to", "gguf:q8_0", tmp_path / "m", tmp_path / "out.gguf", tensor=f"{module}.weight"
    )
    assert "model.safetensors: tensor" in line
    assert not (tmp_path / "out.gguf").exists()


def test_many_layers_are_not_spelled_out(broken, monkeypatch):
    """Headers are read at once, whatever config.json says."""
    model = broken("4bit-g64", lambda config, _: config.update(num_hidden_layers=90_000))
    monkeypatch.setattr(Graph, "nodes", lambda *_: pytest.fail("the graph is walked"))
    accepted("inspect", model)
    refused("plan", "--to", "gguf", model, names=["the settings say 90000 layers"])
