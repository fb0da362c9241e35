"""Act-order of GPTQ: folded into the rows of gate and up where the graph allows it, told and requantized elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.architecture import configure
from hub.errors import ExactnessError, VerifyError
from hub.folding import foldable
from hub.recipe import Rule
from hub.runner import Runner

sys.path.insert(0, str(Path(__file__).parent.parent))
import made_gptq

DATA = Path(__file__).parent.parent / "data"
FOLDED = "act-order folded into "
STAND = "columns of a group do not stand together (act-order)"
DOWN = r"\.(down_proj|w2)$"
IDS = np.arange(3, 40)


def logits(path):
    with hub.open(path) as model, Runner(model, threads=2) as runner:
        return runner.logits(IDS).astype(np.float64)


def nmse(found, wanted):
    return float(np.square(found - wanted).sum() / np.square(wanted).sum())


def folds(name):
    with hub.open(DATA / "arch" / name) as model:
        return {fold.module: [(feed.module, feed.start) for feed in fold.feeds] for fold in foldable(configure(model))}


def test_what_can_be_folded_by_the_graph():
    def dense(layer):
        mlp = f"model.layers.{layer}.mlp."
        return {f"{mlp}down_proj": [(f"{mlp}gate_proj", 0), (f"{mlp}up_proj", 0)]}

    for name in ("llama3", "mistral", "qwen2", "qwen3", "gemma2"):
        assert folds(name) == dense(0) | dense(1)
    fused = "model.layers.1.mlp.gate_up_proj"
    assert folds("phi3")["model.layers.1.mlp.down_proj"] == [(fused, 0), (fused, 160)]
    expert = "model.layers.1.block_sparse_moe.experts.3."
    assert folds("mixtral")[f"{expert}w2"] == [(f"{expert}w1", 0), (f"{expert}w3", 0)]
    assert len(folds("mixtral")) == 8
    assert folds("gpt2") == {}


@pytest.mark.parametrize("name", ["llama3", "phi3", "gemma3", "qwen3_moe", "mixtral"])
def test_down_alone_stays_exact(name, tmp_path):
    source = made_gptq.write(DATA / "arch" / name, tmp_path / "source", ordered=DOWN)
    report = hub.convert(source, tmp_path / "out.gguf", to="gguf:f32", rules=[Rule("ffn_down", "q4_0")])
    down = [tensor for tensor in report["plan"]["tensors"] if "ffn_down" in tensor["name"]]
    assert down and all((t["route"], t["fidelity"], t["to"]) == ("repack", "exact", "ggml.Q4_0") for t in down)
    assert all(FOLDED in t["why"] for t in down)
    assert all(t["fidelity"] in ("exact", "identical") for t in report["plan"]["tensors"])
    assert any(note.startswith("act-order folded") for note in report["plan"]["notes"])
    assert nmse(logits(tmp_path / "out.gguf"), logits(source)) < 1e-10
    # Whoever compares both files later sees the same weights, in another order.
    verified = hub.verify(source, tmp_path / "out.gguf")
    assert all(t["error"]["max_abs"] < 2**-20 for t in verified["plan"]["tensors"])
    assert any(note.startswith("act-order folded") for note in verified["plan"]["notes"])


def test_all_matrices_ordered(tmp_path):
    source = made_gptq.write(DATA / "arch" / "llama3", tmp_path / "source")
    report = hub.convert(source, tmp_path / "out.gguf", to="gguf:q4_0")
    for tensor in report["plan"]["tensors"]:
        name = tensor["name"]
        if "ffn_down" in name:
            assert (tensor["route"], tensor["fidelity"]) == ("repack", "exact")
            assert tensor["why"] == "act-order folded into gate_proj and up_proj"
        elif ".attn_" in name and "norm" not in name:
            assert (tensor["route"], tensor["why"]) == ("requantize", STAND)
        elif "ffn_gate" in name or "ffn_up" in name:
            assert (tensor["route"], tensor["why"]) == ("requantize", f"{STAND}; rows follow the groups of down_proj")
    hub.verify(source, tmp_path / "out.gguf")
    with pytest.raises(ExactnessError, match="attn_q"):
        hub.convert(source, tmp_path / "refused.gguf", to="gguf:q4_0", require="exact")
    assert not (tmp_path / "refused.gguf").exists()


def test_experts_with_an_index_each_become_one_tensor(tmp_path):
    source = made_gptq.write(DATA / "arch" / "mixtral", tmp_path / "source", still=r"experts\.2\.w2$")
    report = hub.convert(source, tmp_path / "out.gguf", to="gguf:q4_0")
    by = {tensor["name"]: tensor for tensor in report["plan"]["tensors"]}
    assert (by["blk.0.ffn_down_exps.weight"]["fidelity"]) == "exact"
    assert "act-order" in by["blk.0.ffn_gate_exps.weight"]["why"]
    hub.verify(source, tmp_path / "out.gguf")


@pytest.mark.parametrize("to", ["awq:4bit-g32", "compressed-tensors:4bit-g32"])
def test_to_other_checkpoints(to, tmp_path):
    source = made_gptq.write(DATA / "arch" / "llama3", tmp_path / "source", ordered=DOWN)
    report = hub.convert(source, tmp_path / "out", to=to)
    down = [t for t in report["plan"]["tensors"] if "down_proj" in t["name"]]
    assert all(t["fidelity"] == "exact" for t in down)
    assert nmse(logits(tmp_path / "out"), logits(source)) < 1e-10
    hub.verify(source, tmp_path / "out")


def test_a_target_with_an_index_keeps_it(tmp_path):
    source = made_gptq.write(DATA / "arch" / "llama3", tmp_path / "source")
    report = hub.convert(source, tmp_path / "out", to="gptq:4bit-g32")
    assert all(t["fidelity"] == "identical" for t in report["plan"]["tensors"] if "proj" in t["name"])


def test_a_file_that_folds_columns_alone_is_found_out(tmp_path):
    source = made_gptq.write(DATA / "arch" / "llama3", tmp_path / "source", ordered=DOWN)
    hub.convert(source, tmp_path / "right", to="awq:4bit-g32")
    plain = made_gptq.write(DATA / "arch" / "llama3", tmp_path / "plain", ordered="(?!)")
    hub.convert(plain, tmp_path / "wrong", to="awq:4bit-g32")
    from safetensors.numpy import load_file, save_file

    right, wrong = load_file(tmp_path / "right/model.safetensors"), load_file(tmp_path / "wrong/model.safetensors")
    mixed = {name: wrong[name] if "gate_proj" in name else array for name, array in right.items()}
    save_file(mixed, tmp_path / "wrong/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(VerifyError, match="gate_proj"):
        hub.verify(source, tmp_path / "wrong", level="weights")
