"""compressed-tensors, fp8 checkpoints whose tensors contradict each other or the config: one line each."""

from __future__ import annotations

import shutil
from pathlib import Path

import made_models
import pytest
from hostile_folders import read, write
from hostile_run import accepted, refused

import hub

PREFIX = "model.layers.0.self_attn.k_proj"
TINY = Path(__file__).parents[1] / "data" / "tiny-llama"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    variants = {"int": "compressed-tensors:4bit-g128", "asym": "compressed-tensors:4bit-g64-asym"}
    variants |= {"nvfp4": "compressed-tensors:nvfp4", "fp8": "fp8:block"}
    for name, to in variants.items():
        hub.convert(TINY, root / name, to=to, verify="none")
    return root


def lost(role):
    return lambda _, tensors: tensors.pop(f"{PREFIX}.{role}")


def put(role, dtype=None, shape=None, data=None):
    def change(_, tensors):
        was = tensors[f"{PREFIX}.{role}"]
        tensors[f"{PREFIX}.{role}"] = (
            dtype or was[0],
            was[1] if shape is None else shape,
            was[2] if data is None else data,
        )

    return change


def told(**settings):
    return lambda config, _: config.update(settings)


def of_weights(**settings):
    return lambda config, _: config["config_groups"]["group_0"]["weights"].update(settings)


def first_bytes(role, data):
    def change(_, tensors):
        dtype, shape, was = tensors[f"{PREFIX}.{role}"]
        tensors[f"{PREFIX}.{role}"] = (dtype, shape, data + was[len(data) :])

    return change


def dense(config, tensors):
    """A module of plain numbers where the config says codes."""
    for role in ("weight_packed", "weight_scale", "weight_shape"):
        del tensors[f"{PREFIX}.{role}"]
    tensors[f"{PREFIX}.weight"] = ("BF16", [128, 256], bytes(2 * 128 * 256))


def unsaid(config, _):
    config.clear()


CASES = {
    "plain numbers": ("int", dense, ("k_proj.weight", "plain numbers", "ignore")),
    "no settings": ("int", unsaid, ("weight_packed", "no quantization_config")),
    "fp8 without settings": ("fp8", unsaid, ("weight_scale_inv", "no quantization_config")),
    "no scales": ("int", lost("weight_scale"), ("weight_scale", "missing")),
    "no codes": ("int", lost("weight_packed"), ("weight_packed", "missing")),
    "no shape": ("int", lost("weight_shape"), ("weight_shape", "missing")),
    "no zero points": ("asym", lost("weight_zero_point"), ("weight_zero_point", "missing")),
    "narrow codes": (
        "int",
        put("weight_packed", shape=[128, 16], data=bytes(4 * 128 * 16)),
        ("[128, 16]", "[128, 32]"),
    ),
    "no rows": ("int", put("weight_packed", shape=[0, 32], data=b""), ("[0, 32]",)),
    "shape of zeros": ("int", put("weight_shape", data=bytes(16)), ("0 x 0",)),
    "scales as integers": ("int", put("weight_scale", dtype="I16"), ("i16",)),
    "not a number": ("int", first_bytes("weight_scale", b"\xc0\x7f"), ("k_proj", "not finite")),
    "other bits": ("int", of_weights(num_bits=8), ("8 bits",)),
    "other groups": ("int", of_weights(group_size=64), ("weight_scale", "64")),
    "asymmetric": ("int", of_weights(symmetric=False), ("weight_zero_point", "missing")),
    "symmetric": ("asym", of_weights(symmetric=True), ("zero points", "symmetric")),
    "ignored": ("int", told(ignore=["re:.*k_proj"]), ("ignore list",)),
    "for no group": ("int", lambda c, _: c["config_groups"]["group_0"].update(targets=["re:x"]), ("no group",)),
    "hostile pattern": ("int", told(ignore=["re:(a*)*(?<=b)"]), ("regular expression",)),
    "no groups": ("int", told(config_groups={}), ("config_groups",)),
    "unknown format": ("int", lambda c, _: c["config_groups"]["group_0"].update(format="marlin-24"), ("marlin-24",)),
    "sparse": ("int", told(sparsity_config={"format": "sparse-bitmask"}), ("sparse",)),
    "frozen": ("int", told(quantization_status="frozen"), ("frozen",)),
    "groups as a list": ("int", told(config_groups=[1]), ("config_groups", "object")),
    "no global scale": ("nvfp4", lost("weight_global_scale"), ("weight_global_scale", "missing")),
    "global scale of zero": ("nvfp4", put("weight_global_scale", data=bytes(4)), ("k_proj", "weight_global_scale")),
    "NaN in E4M3": ("nvfp4", first_bytes("weight_scale", b"\x7f"), ("k_proj", "weight_scale")),
    "fp8 without scales": ("fp8", lost("weight_scale_inv"), ("weight_scale_inv", "missing")),
    "fp8 in other squares": ("fp8", told(weight_block_size=[64, 64]), ("weight_scale_inv", "[64, 64]")),
    "fp8 with no sizes": ("fp8", told(weight_block_size=[0, 128]), ("weight_block_size",)),
    "fp8 not a number": ("fp8", first_bytes("weight_scale_inv", b"\x00\x00\xc0\x7f"), ("k_proj", "not finite")),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line(made, tmp_path, name: str) -> None:
    source, change, words = CASES[name]
    folder = tmp_path / "m"
    shutil.copytree(made / source, folder)
    config, tensors = read(folder)
    change(config["quantization_config"], tensors)
    write(folder, config, tensors)
    if not config["quantization_config"]:
        del config["quantization_config"]
        write(folder, config, tensors)
    refused(
        "convert", folder, tmp_path / "out", "--to", "safetensors:f32", "--verify", "none", names=words, watch=folder
    )


def test_asked_for_by_name(made, tmp_path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(made / "int", folder)
    config, tensors = read(folder)
    del config["quantization_config"]
    write(folder, config, tensors)
    accepted("inspect", folder)
    told = ("weight_packed", "no quantization_config")
    refused("convert", folder, tmp_path / "out", "--from", "compressed-tensors", "--to", "safetensors:f32", names=told)
    told = ("weight_packed", "names the format")
    refused("convert", made / "int", tmp_path / "out", "--from", "safetensors", "--to", "safetensors:f32", names=told)


def test_a_module_that_is_ignored_may_be_plain(made, tmp_path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(made / "int", folder)
    config, tensors = read(folder)
    dense(config, tensors)
    config["quantization_config"]["ignore"].append(PREFIX)
    write(folder, config, tensors)
    accepted("convert", folder, tmp_path / "out", "--to", "safetensors:keep", "--require", "exact")


@pytest.mark.parametrize("to", ["4bit-channel", "4bit-channel-asym", "3bit-channel-sym", "8bit-channel-asym"])
def test_rows_that_fill_no_whole_words(to, tmp_path) -> None:
    """100 codes of 4 bits take 12 words and a half; so do zero points of 100 rows."""
    sizes = {"hidden_size": 100, "intermediate_size": 150, "num_attention_heads": 2, "num_key_value_heads": 1}
    source = made_models.folder(tmp_path / "m", made_models.llama_config(**sizes))
    accepted("convert", source, tmp_path / "ct", "--to", f"compressed-tensors:{to}", "--verify", "weights")
    with hub.open(tmp_path / "ct") as model:
        assert sum(tensor.layout.startswith("ct.pack/") for tensor in model.tensors.values()) == 14
    accepted("convert", tmp_path / "ct", tmp_path / "again", "--to", "compressed-tensors", "--require", "identical")
    accepted("convert", tmp_path / "ct", tmp_path / "f32", "--to", "safetensors:keep", "--require", "exact")
