"""ONNX models of other tools, read: logits of the weights that they hold, names, settings, and the ways to other formats."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_models import DATA

import hub
from hub.architecture import configure
from hub.errors import HubError
from hub.runner import Runner

GOLDEN = DATA / "golden" / "onnx"
WITH_LOGITS = sorted(path.parent.name for path in GOLDEN.glob("*/golden.npz"))


def logits(path: Path, ids: np.ndarray) -> np.ndarray:
    with hub.open(path) as model, Runner(model, threads=2) as runner:
        return runner.logits(ids)


def error(path: Path, name: str) -> float:
    with np.load(GOLDEN / name / "golden.npz") as golden:
        wanted = golden["logits"].astype(np.float64)
        return float(np.linalg.norm(logits(path, golden["input_ids"]) - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", WITH_LOGITS)
def test_weights_give_the_logits_of_the_file(name):
    assert error(GOLDEN / name, name) < 2e-6


@pytest.mark.parametrize(
    ("name", "to"),
    [("genai-int4", "gguf"), ("genai-qdq", "gguf"), ("olive-qdq", "gguf"), ("genai-tied", "onnx"), ("dynamic-llama", "onnx"),
     ("merged-llama", "safetensors"), ("static-llama", "safetensors"), ("dynamic-gpt2", "gguf:f32"), ("dynamo-gemma2", "gguf:f32")],
)  # fmt: skip
def test_other_formats_hold_the_same_model(name, to, tmp_path):
    hub.convert(GOLDEN / name, tmp_path / "out", to=to, verify="weights")
    # Scales of GGUF's types are f16.
    assert error(tmp_path / "out", name) < (2e-3 if to == "gguf" else 2e-6)


@pytest.mark.parametrize(
    ("name", "layout", "count"),
    [
        ("genai-int4", "ort.MatMulNBits/4bit-g32", 15),
        ("genai-qdq", "onnx.dq/4bit-g32-zero", 15),
        ("genai-tied", "ort.MatMulNBits/4bit-g32", 15),
        ("olive-qdq", "onnx.rows/4bit-g32-zero-signed", 15),
        ("dynamic-llama", "onnx.dq/8bit-channel-zero-signed", 15),
        ("fused-llama", "onnx.dq/8bit-channel-zero-signed", 15),
        ("merged-llama", "onnx.columns/f32", 15),
        ("optimum-gpt2", "f32", 28),
    ],
)
def test_codes_stay_codes(name, layout, count):
    with hub.open(GOLDEN / name) as model:
        assert [tensor.layout for tensor in model.tensors.values()].count(layout) == count


def test_settings_come_from_the_graph_where_there_is_no_config():
    with hub.open(GOLDEN / "genai-int4") as model:
        values = configure(model).values
    assert (values["intermediate_size"], values["rms_norm_eps"], values["rope.theta"]) == (96, 1e-6, 500000.0)
    assert (values["rope.type"], values["rope.factor"]) == ("llama3", 8.0)
    assert values["rope.original_max_position_embeddings"] == 64
    with hub.open(GOLDEN / "genai-gemma2") as model:
        values = configure(model).values
    assert (values["attn_logit_softcapping"], values["final_logit_softcapping"]) == (50.0, 30.0)
    assert values["layer_types"] == ["sliding_attention", "full_attention"]
    assert (values["sliding_window"], values["query_pre_attn_scalar"]) == (8, 16)


def test_one_table_for_embedding_and_output_is_one_tensor():
    with hub.open(GOLDEN / "genai-tied") as model:
        assert "lm_head.weight" not in model.tensors
        assert model.tensors["model.embed_tokens.weight"].stored_name == "lm_head.MatMul.weight_Q4"


def test_norms_of_gemma_are_less_one():
    """The graph multiplies with w + 1, folded into a nameless constant or stored under the norm's own name."""
    for name in ("genai-gemma2", "dynamo-gemma2"):
        with hub.open(GOLDEN / name) as model:
            tensor = model.tensors["model.layers.0.input_layernorm.weight"]
            assert "add" in tensor.derived
            numbers = next(iter(tensor.parts.values())).load(0, 64)
        assert abs(float(numbers.mean())) < 0.1


def test_what_activations_are_is_told():
    for name, words in (("dynamic-llama", "int8 at run time"), ("genai-int4", "int8 activations in MatMulNBits"),
                        ("static-llama", "scales of its own")):  # fmt: skip
        with hub.open(GOLDEN / name) as model:
            assert any(words in note for note in model.notes)


def test_a_model_in_a_snapshot_of_a_cache(tmp_path):
    """All files are links into a folder of blobs, the model in a folder of its own, config.json above it."""
    root = tmp_path / "models--org--name"
    snapshot = root / "snapshots" / "abc"
    (root / "blobs").mkdir(parents=True)
    (snapshot / "onnx").mkdir(parents=True)
    for i, (name, at) in enumerate((("model.onnx", "onnx/"), ("model.onnx.data", "onnx/"), ("config.json", ""))):
        shutil.copy(GOLDEN / "dynamo-gemma2" / name, root / "blobs" / str(i))
        up = "../../../" if at else "../../"
        (snapshot / f"{at}{name}").symlink_to(f"{up}blobs/{i}")
    for path in (snapshot, snapshot / "onnx", snapshot / "onnx" / "model.onnx"):
        assert error(path, "dynamo-gemma2") < 2e-6
    shutil.copy(root / "blobs" / "1", tmp_path / "outside")
    (snapshot / "onnx" / "model.onnx.data").unlink()
    (snapshot / "onnx" / "model.onnx.data").symlink_to("../../../../outside")
    with pytest.raises(HubError, match="leads outside the model folder"):
        hub.open(snapshot)


def test_hard_links_are_files(tmp_path):
    for file in (GOLDEN / "genai-int4").iterdir():
        shutil.copy(file, tmp_path / f"kept-{file.name}")
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / "m" / file.name).hardlink_to(tmp_path / f"kept-{file.name}")
    assert error(tmp_path / "m", "genai-int4") < 2e-6


def test_a_graph_without_windows_has_none_whatever_its_family_has_by_default(tmp_path):
    """The Llama told as a Mistral, whose config.json means 4096 by leaving the window out."""
    shutil.copytree(GOLDEN / "genai-int4", tmp_path / "m")
    path = tmp_path / "m" / "genai_config.json"
    path.write_text(path.read_text().replace('"llama"', '"mistral"'))
    with hub.open(tmp_path / "m") as model:
        assert model.config["sliding_window"] is None
