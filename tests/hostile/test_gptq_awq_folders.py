"""GPTQ and AWQ checkpoints whose tensors contradict each other or the settings: one line each, before any kernel runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hostile_folders import read, write
from hostile_run import accepted, refused

import hub

PREFIX = "model.layers.0.self_attn.k_proj"
TINY = Path(__file__).parents[1] / "data" / "tiny-llama"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole checkpoint of each format."""
    root = tmp_path_factory.mktemp("whole")
    for name, to in (("gptq", "gptq:4bit-g128"), ("asym", "gptq:4bit-g64-asym"), ("awq", "awq:4bit-g128")):
        hub.convert(TINY, root / name, to=to, verify="none")
    return root


@pytest.fixture
def broken(made, tmp_path):
    """``broken(name, change)``: that checkpoint after ``change(config, tensors)``."""

    def make(name, change):
        folder = tmp_path / "m"
        shutil.copytree(made / name, folder)
        config, tensors = read(folder)
        change(config["quantization_config"], tensors)
        return write(folder, config, tensors)

    return make


def lost(role):
    return lambda _, tensors: tensors.pop(f"{PREFIX}.{role}")


def reshaped(role, shape):
    def change(_, tensors):
        dtype, _, data = tensors[f"{PREFIX}.{role}"]
        size = int(np.prod(shape)) * (2 if dtype == "F16" else 4)
        tensors[f"{PREFIX}.{role}"] = (dtype, shape, (data * 8)[:size])

    return change


def typed(role, dtype):
    def change(_, tensors):
        _, shape, data = tensors[f"{PREFIX}.{role}"]
        tensors[f"{PREFIX}.{role}"] = (dtype, shape, data)

    return change


def told(**settings):
    return lambda config, _: config.update(settings)


def index(value):
    def change(_, tensors):
        g_idx = np.frombuffer(tensors[f"{PREFIX}.g_idx"][2], "<i4").copy()
        g_idx[5] = value
        tensors[f"{PREFIX}.g_idx"] = ("I32", [len(g_idx)], g_idx.tobytes())

    return change


def doubled(_, tensors):
    tensors[f"{PREFIX}.weight"] = ("F16", [128, 256], bytes(2 * 128 * 256))


def not_a_number(_, tensors):
    dtype, shape, data = tensors[f"{PREFIX}.scales"]
    tensors[f"{PREFIX}.scales"] = (dtype, shape, b"\xff\x7f" + data[2:])


def activation(value):
    def change(_, tensors):
        tensors["model.layers.0.mlp.act.scales"] = ("F16", [256], np.full(256, value, "<f2").tobytes())

    return change


def only_dense(_, tensors):
    for name in [n for n in tensors if n.endswith(("qweight", "qzeros", "scales", "g_idx"))]:
        del tensors[name]


CASES = {
    "no scales": ("gptq", lost("scales"), ("k_proj.scales", "missing")),
    "no zero points": ("gptq", lost("qzeros"), ("k_proj.qzeros", "missing")),
    "no codes": ("gptq", lost("qweight"), ("k_proj.qweight", "missing")),
    "narrow codes": ("gptq", reshaped("qweight", [16, 128]), ("qweight", "[16, 128]", "[32, 128]")),
    "narrow zero points": ("gptq", reshaped("qzeros", [2, 8]), ("qzeros", "[2, 8]", "[2, 16]")),
    "flat zero points": ("gptq", reshaped("qzeros", [32]), ("qzeros", "axes")),
    "no rows": ("gptq", reshaped("scales", [2, 0]), ("scales", "axes")),
    "scales of other rows": ("gptq", reshaped("scales", [2, 64]), ("k_proj.qweight", "[32, 64]")),
    "scales as integers": ("gptq", typed("scales", "I16"), ("scales", "i16")),
    "codes as unsigned": ("gptq", typed("qweight", "U32"), ("qweight", "u32")),
    "group beyond": ("gptq", index(2), ("g_idx", "column 5", "group 2")),
    "negative group": ("gptq", index(-1), ("g_idx", "group -1")),
    "other bits": ("gptq", told(bits=8), ("8 bits", "settings")),
    "other group": ("gptq", told(group_size=64), ("groups of 64", "settings")),
    "five bits": ("gptq", told(bits=5), ("5 bits",)),
    "no bits": ("gptq", told(bits=None), ("how many bits",)),
    "bits as text": ("gptq", told(bits="4"), ("bits", "integer")),
    "group of zero": ("gptq", told(group_size=0), ("groups of 0",)),
    "planes": ("gptq", told(checkpoint_format="gptq_p"), ("gptq_p",)),
    "marlin as a format": ("gptq", told(checkpoint_format="marlin", format="marlin"), ("'marlin'", "gptq, gptq_v2")),
    "marlin": ("gptq", told(is_marlin_format=True), ("Marlin",)),
    "other words": ("gptq", told(pack_dtype="int16"), ("int16",)),
    "dynamic as list": ("gptq", told(dynamic=[1]), ("dynamic",)),
    "both": ("gptq", doubled, ("k_proj.weight", "quantized, too")),
    "nothing quantized": ("gptq", only_dense, (".qweight",)),
    "scale that is no number": ("gptq", not_a_number, ("k_proj", "not finite")),
    "awq without scales": ("awq", lost("scales"), ("k_proj.scales", "missing")),
    "awq without zero points": ("awq", lost("qzeros"), ("k_proj.qzeros", "missing")),
    "awq zero points": ("awq", reshaped("qzeros", [2, 8]), ("qzeros", "[2, 8]")),
    "awq bits": ("awq", told(bits=3), ("3bit", "settings")),
    "awq wide bits": ("awq", told(bits=9), ("9 bits",)),
    "awq gemv of 8 bits": ("awq", told(version="gemv", bits=8), ("8 bits", "read are 4")),
    "awq activation": ("awq", activation(2.0), ("mlp.act.scales", "divided")),
    "awq group": ("awq", told(group_size=64), ("settings",)),
    "awq marlin": ("awq", told(version="marlin"), ("marlin",)),
    "awq gemv": ("awq", told(version="gemv"), ("awq.gemv",)),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case, broken, tmp_path):
    name, change, words = CASES[case]
    model = broken(name, change)
    refused("convert", "--to", "gguf:q8_0", model, tmp_path / "out.gguf", names=words, watch=tmp_path)


def test_whole_ones_convert(made, tmp_path):
    for name in ("gptq", "asym", "awq"):
        accepted("convert", "--to", "gguf:q8_0", made / name, tmp_path / f"{name}.gguf")


def test_activations_divided_by_one(broken, tmp_path):
    """AutoAWQ's loaders make such numbers where a file has none."""
    accepted("convert", "--to", "gguf:q8_0", broken("awq", activation(1.0)), tmp_path / "out.gguf")


def test_without_index_and_with_flat_settings(made, tmp_path, broken):
    """g_idx need not be there; settings may stand in quantize_config.json alone, with AutoGPTQ's names, and so may weights."""

    def change(config, tensors):
        for name in [n for n in tensors if n.endswith("g_idx")]:
            del tensors[name]

    model = broken("gptq", change)
    (model / "model.safetensors").rename(model / "gptq_model-4bit-128g.safetensors")
    config = json.loads((model / "config.json").read_text())
    del config["quantization_config"]
    (model / "config.json").write_text(json.dumps(config))
    (model / "quantize_config.json").write_text(json.dumps({"wbits": 4, "group_size": 128, "desc_act": False}))
    with hub.open(model) as found, hub.open(made / "gptq") as whole:
        assert found.format == "gptq"
        assert {n: t.layout for n, t in found.tensors.items()} == {n: t.layout for n, t in whole.tensors.items()}


def test_a_label_that_lies_about_the_version(made, broken):
    """Zero points of 8 throughout are version 2, whatever the settings say."""

    def change(config, tensors):
        for name in [n for n in tensors if n.endswith("qzeros")]:
            dtype, shape, data = tensors[name]
            tensors[name] = (dtype, shape, b"\x88" * len(data))

    with hub.open(broken("gptq", change)) as model:
        assert model.tensors[f"{PREFIX}.weight"].layout == "gptq.v2/4bit-g128-sym"
        assert any("version 2" in note for note in model.notes)


def test_minus_one_is_told(broken):
    """A field of 15 in version 1 is a zero point that tools read in different ways."""

    def change(config, tensors):
        config.update(checkpoint_format="gptq", format="gptq", meta={"quantizer": ["gptqmodel:7.7.0"]})
        dtype, shape, data = tensors[f"{PREFIX}.qzeros"]
        tensors[f"{PREFIX}.qzeros"] = (dtype, shape, b"\x4f\x6f" + data[2:])

    with hub.open(broken("asym", change)) as model:
        assert model.tensors[f"{PREFIX}.weight"].layout == "gptq.v1words/4bit-g64"
        assert any("-1" in note for note in model.notes)


def test_biases_of_zeros_are_no_weights(broken, tmp_path):
    """AutoGPTQ wrote them for layers that have none."""

    def change(_, tensors):
        tensors[f"{PREFIX}.bias"] = ("F16", [128], bytes(256))

    accepted("convert", "--to", "gguf:q8_0", broken("gptq", change), tmp_path / "out.gguf")


def test_rules_of_single_modules(broken):
    """`dynamic` may give a module other groups; its shapes tell which rule it follows, no pattern is matched."""

    def change(config, tensors):
        config["dynamic"] = {"+:(a+)+$": {"group_size": 256}}
        for role in ("scales", "qzeros"):
            dtype, (groups, width), data = tensors[f"{PREFIX}.{role}"]
            tensors[f"{PREFIX}.{role}"] = (dtype, [1, width], data[: len(data) // groups])
        tensors[f"{PREFIX}.g_idx"] = ("I32", [256], bytes(1024))

    with hub.open(broken("gptq", change)) as model:
        assert model.tensors[f"{PREFIX}.weight"].layout == "gptq.v1/4bit-g256-sym"
