"""Experts that each have a factor of their own (NVFP4) become one tensor with a factor for each, and come apart again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_models import DATA, read_gguf, read_safetensors, safetensors_bytes

import hub
from hub.architecture import configure
from hub.errors import ConfigError
from hub.mapping import canonical
from hub.pipeline import weights
from hub.plugins import registry
from hub.runner import Runner
from hub.transforms import Concat

NVFP4 = 40


def numbers(path: Path) -> dict[str, np.ndarray]:
    with hub.open(path) as model:
        found = canonical(model, configure(model)).tensors
        return {
            name: weights(tensor, registry().layout(tensor.layout), 0, tensor.rows).view(np.uint32)
            for name, tensor in found.items()
        }


def logits(path: Path) -> np.ndarray:
    with hub.open(path) as model, Runner(model) as runner:
        return runner.logits(list(range(3, 40)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small Mixtral with experts of unlike sizes, as compressed-tensors' NVFP4."""
    base = tmp_path_factory.mktemp("experts")
    arrays = read_safetensors(DATA / "arch" / "mixtral" / "model.safetensors")
    for name, array in arrays.items():
        if ".experts." in name:
            expert = int(name.split(".experts.")[1].split(".")[0])
            arrays[name] = (array.astype(np.float32) * 1.5**expert).astype(array.dtype)
    (base / "floats").mkdir()
    config = json.loads((DATA / "arch" / "mixtral" / "config.json").read_text())
    (base / "floats" / "config.json").write_text(json.dumps(config))
    (base / "floats" / "model.safetensors").write_bytes(safetensors_bytes(arrays))
    hub.convert(base / "floats", base / "ct", to="compressed-tensors:nvfp4", verify="weights")
    # Divisors that are no powers of two, as other tools write them.
    made = read_safetensors(base / "ct" / "model.safetensors")
    for i, name in enumerate(name for name in made if name.endswith("weight_global_scale")):
        made[name] = made[name] * np.float32(1 + i / 64)
    (base / "ct" / "model.safetensors").write_bytes(safetensors_bytes(made))
    return base / "ct"


def test_a_factor_for_each_expert(source: Path, tmp_path: Path) -> None:
    with hub.open(source) as model:
        planned = {entry.name: entry for entry in hub.plan(model, to="gguf").entries}
    up = planned["blk.0.ffn_up_exps.weight"]
    assert (up.layout, up.route, up.fidelity) == ("ggml.NVFP4/scaled", "repack", "exact")
    hub.convert(source, tmp_path / "a.gguf", to="gguf", verify="weights")
    _, tensors = read_gguf(tmp_path / "a.gguf")
    divisors = read_safetensors(source / "model.safetensors")
    for stem, own in (("gate", "w1"), ("up", "w3")):
        assert tensors[f"blk.1.ffn_{stem}_exps.weight"][0] == NVFP4
        _, shape, raw = tensors[f"blk.1.ffn_{stem}_exps.scale"]
        found = np.frombuffer(raw, np.float32)[: shape[0]]
        each = [
            divisors[f"model.layers.1.block_sparse_moe.experts.{expert}.{own}.weight_global_scale"]
            for expert in range(shape[0])
        ]
        assert np.array_equal(found, np.float32(1) / np.concatenate(each))
        assert len(set(found.tolist())) == len(found) > 2
    before, after = numbers(source), numbers(tmp_path / "a.gguf")
    assert before.keys() == after.keys()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []
    assert np.array_equal(logits(source), logits(tmp_path / "a.gguf"))


def test_and_back(source: Path, tmp_path: Path) -> None:
    """A reciprocal of a reciprocal is not always what it was, and then the plan says so; codes and bytes of scale are."""
    hub.convert(source, tmp_path / "a.gguf", to="gguf", verify="weights")
    hub.convert(tmp_path / "a.gguf", tmp_path / "back", to="compressed-tensors", verify="weights")
    wanted, found = (
        read_safetensors(source / "model.safetensors"),
        read_safetensors(tmp_path / "back" / "model.safetensors"),
    )
    packed = {name for name in wanted if name.endswith(("weight_packed", "weight_scale"))} & found.keys()
    assert len(packed) > 30
    assert [
        name for name in packed if not np.array_equal(wanted[name].view(np.uint8), found[name].view(np.uint8))
    ] == []
    for name in {name for name in wanted if name.endswith("global_scale")} & found.keys():
        np.testing.assert_array_max_ulp(found[name], wanted[name], 1)


def test_few_threads_and_little_memory_make_the_same_file(source: Path, tmp_path: Path) -> None:
    for name, threads in (("a", 1), ("b", 3)):
        hub.convert(source, tmp_path / name, to="gguf", threads=threads, verify="none")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_rows_of_unlike_tensors_do_not_become_one(source: Path) -> None:
    with hub.open(source) as model:
        stem = "model.layers.0.block_sparse_moe.experts"
        pair = [model.tensors[f"{stem}.{expert}.w1.weight"] for expert in (0, 1)]
        with pytest.raises(ConfigError, match="a scale of its own"):
            Concat(2).forward(pair)
