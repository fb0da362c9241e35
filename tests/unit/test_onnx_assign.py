"""Which layout tensors get in an ONNX file: codes are kept in the narrowest form, variants and rules are followed."""

from __future__ import annotations

import json
import shutil

import pytest
from made_models import DATA

import hub
from hub.api import HubError, UsageError
from hub.plugins import registry
from hub.recipe import rule
from hub_onnx.carrying import carrying
from hub_onnx.variant import Integers, Variant
from hub_onnx.ways import weight_of

SHAPE = (256, 512)
KEPT = {
    "ggml.Q4_0": ("4bit-g32-signed", "8bit-g32-signed", "4bit-g32"),
    "ggml.Q5_1": ("8bit-g32-offset", "8bit-g32-offset", "8bit-g32-offset"),
    "ggml.Q8_0": ("8bit-g32-signed", "8bit-g32-signed", "8bit-g32"),
    "ggml.Q2_K": ("2bit-g16-offset", "8bit-g16-offset", "2bit-g16-offset"),
    "ggml.Q3_K": ("4bit-g16-signed", "8bit-g16-signed", "4bit-g16"),
    "ggml.Q4_K": ("4bit-g32-offset", "8bit-g32-offset", "4bit-g32-offset"),
    "ggml.Q6_K": ("8bit-g16-signed", "8bit-g16-signed", "8bit-g16"),
    "ggml.IQ4_XS": ("8bit-g32-signed", "8bit-g32-signed", "8bit-g32"),
    "ggml.MXFP4": ("8bit-g32-signed", "8bit-g32-signed", "8bit-g32"),
    "ggml.NVFP4/scaled": ("8bit-g16-signed", "8bit-g16-signed", "8bit-g16"),
    "ggml.TQ1_0": ("2bit-g256-signed", "8bit-g256-signed", "2bit-g256"),
    "ggml.IQ1_S": (None, None, None),
    "gptq.v1/4bit-g128": ("4bit-g128-zero", "8bit-g128-signed", "4bit-g128-zero"),
    "gptq.v1/4bit-g128-sym-order": ("4bit-g128-signed-order", None, "4bit-g128-order"),
    "gptq.v2/8bit-channel": ("8bit-channel-zero", "8bit-g512-zero", "8bit-g256-zero"),
    "awq.gemm/4bit-g64": ("4bit-g64-zero", "8bit-g64-signed", "4bit-g64-zero"),
    "mlx.affine/3bit-g64": ("4bit-g64-offset", "8bit-g64-offset", "4bit-g64-offset"),
    "mlx.nvfp4": ("8bit-g16-signed", "8bit-g16-signed", "8bit-g16"),
    "mlx.mxfp8": ("f8_e4m3-g32", None, None),
    "fp8.block/f8_e4m3-block128x128-f32": ("f8_e4m3-g128", None, None),
}
"""Layout of the source -> what holds it as onnx.dq, onnx.rows and MatMulNBits."""


@pytest.mark.parametrize("source", KEPT)
def test_codes_stay_in_the_narrowest_form(source):
    scheme = registry().layout(source).scheme(SHAPE)
    families = ("onnx.dq", "onnx.rows", "ort.MatMulNBits")
    for family, wanted in zip(families, KEPT[source], strict=True):
        found = carrying(scheme, SHAPE, family)
        assert found == (wanted and f"{family}/{wanted}")
        if found:
            assert registry().layout(found).can_hold(scheme, SHAPE).fidelity in ("exact", "codes")


def test_variants_are_read_as_they_are_spelled():
    assert Variant.parse("") == Variant("std", None)
    assert Variant.parse("genai") == Variant("genai", None)
    assert Variant.parse("weights-f16") == Variant("weights", "f16")
    assert Variant.parse("genai-4bit-g32-asym") == Variant("genai", Integers(4, 32, True))
    assert Variant.parse("8bit-g128-sym") == Variant("std", Integers(8, 128, False))
    for wrong in (
        "4bit",
        "4bit-g48",
        "3bit-g32",
        "genai-",
        "genai-genai",
        "f64",
        "weights-4bit-g32-",
        "4bit-g32-sym-asym",
    ):
        with pytest.raises(UsageError, match="no variant"):
            Variant.parse(wrong)


def planned(source, to, **more):
    with hub.open(source) as model:
        plan = hub.plan(model, to=to, **more)
        return {entry.name: entry.layout for entry in plan.entries}, plan


def test_matrices_tables_and_the_rest():
    layouts, _ = planned(DATA / "arch" / "qwen3_moe", "onnx:4bit-g32")
    assert layouts["model.embed_tokens.weight"] == "onnx.rows/8bit-g32-signed"
    assert layouts["lm_head.weight"] == layouts["model.layers.0.self_attn.q_proj.weight"] == "onnx.dq/4bit-g32-signed"
    assert layouts["model.layers.0.mlp.experts.1.down_proj.weight"] == "onnx.dq/4bit-g32-signed"
    assert layouts["model.layers.0.mlp.gate.weight"] in ("bf16", "f32")  # who is asked decides by small differences
    assert layouts["model.norm.weight"] in ("bf16", "f32")
    layouts, _ = planned(DATA / "arch" / "qwen3_moe", "onnx:genai-8bit-g64-asym")
    assert set(layouts.values()) == {"ort.MatMulNBits/8bit-g64-zero", layouts["model.norm.weight"]}


def test_an_output_matrix_that_is_the_embedding():
    source = DATA / "arch" / "gemma3"
    layouts, plan = planned(source, "onnx:4bit-g32")
    assert layouts["lm_head.weight"] == "onnx.dq/4bit-g32-signed"
    assert layouts["model.embed_tokens.weight"] == "onnx.rows/8bit-g32-signed"
    assert plan.metadata["tie_word_embeddings"] is False
    assert any("of its own" in note for note in plan.notes)
    for to in ("onnx:f16", "onnx:genai-4bit-g32"):
        layouts, plan = planned(source, to)
        assert "lm_head.weight" not in layouts
        assert plan.metadata["tie_word_embeddings"] is True
    assert layouts["model.embed_tokens.weight"] == "ort.MatMulNBits/4bit-g32"


def test_rules_of_the_user():
    source = DATA / "arch" / "llama3"
    rules = [rule(text) for text in ("down_proj=8bit-g64-asym", "lm_head=f16", "norm=f32")]
    layouts, _ = planned(source, "onnx:4bit-g32", rules=rules)
    assert layouts["model.layers.1.mlp.down_proj.weight"] == "onnx.dq/8bit-g64-zero"
    assert layouts["lm_head.weight"] == "onnx.columns/f16"
    assert layouts["model.norm.weight"] == "f32"
    assert layouts["model.layers.1.mlp.up_proj.weight"] == "onnx.dq/4bit-g32-signed"
    for wrong, why in (
        ("norm=4bit-g32", "only matrices"),
        ("lm_head=q4_0", "no layout"),
        ("lm_head=3bit-g32", "no layout"),
    ):
        with pytest.raises(UsageError, match=why):
            planned(source, "onnx:4bit-g32", rules=[rule(wrong)])
    with pytest.raises(UsageError, match="accuracy_level"):
        planned(source, "onnx:genai-4bit-g32", settings={"accuracy_level": "7"})


def test_rows_shorter_than_a_group(tmp_path):
    shutil.copytree(DATA / "arch" / "llama3", tmp_path / "source")
    hidden = json.loads((tmp_path / "source" / "config.json").read_text())["hidden_size"]
    assert hidden == 64
    for flavour, family in (("", "onnx.dq"), ("genai-", "ort.MatMulNBits")):
        layouts, plan = planned(tmp_path / "source", f"onnx:{flavour}4bit-g128-asym")
        assert layouts["model.layers.0.mlp.up_proj.weight"] == f"{family}/4bit-g64-zero"
        assert layouts["model.layers.0.mlp.down_proj.weight"] == f"{family}/4bit-g128-zero"
        assert any(entry.fallback and "no longer" in entry.why for entry in plan.entries)


def told(source, to, **more):
    """genai_config.json of a plan."""
    _, plan = planned(source, to, **more)
    (file,) = [file for file in plan.files if file.name == "genai_config.json"]
    return json.loads(file.literals[0][1])


def test_what_onnxruntime_genai_is_told():
    source = DATA / "arch" / "qwen3"
    plain, own = told(source, "onnx:4bit-g32"), told(source, "onnx:genai-4bit-g32", settings={"accuracy_level": "4"})
    config = json.loads((source / "config.json").read_text())
    assert plain["model"]["type"] == own["model"]["type"] == "qwen3"
    decoder = plain["model"]["decoder"]
    assert decoder["head_size"] == config["head_dim"]
    assert decoder["num_hidden_layers"] == config["num_hidden_layers"]
    assert decoder["num_key_value_heads"] == config["num_key_value_heads"]
    assert plain["model"]["eos_token_id"] == config["eos_token_id"]
    assert plain["search"]["past_present_share_buffer"] is False
    assert own["search"]["past_present_share_buffer"] is True
    level = "session.qdq_matmulnbits_accuracy_level"
    assert decoder["session_options"][level] == "1"
    assert own["model"]["decoder"]["session_options"][level] == "4"
    assert told(DATA / "arch" / "mixtral", "onnx")["model"]["type"] == "decoder"  # it has no name for that


def test_a_warning_where_exact_products_are_slow():
    source = DATA / "arch" / "qwen3"
    for to, level, warned in (
        ("8bit-g32", 0, True),
        ("genai-8bit-g32", 0, True),
        ("genai-8bit-g32", 4, False),
        ("4bit-g32", 0, False),
    ):
        _, plan = planned(source, f"onnx:{to}", settings={"accuracy_level": level})
        assert any("slow in f32" in note for note in plan.notes) == warned


@pytest.mark.parametrize(
    "layout", ["", "onnx.columns", "onnx.columns/x", "ggml.Q4_0", "onnx.dq", "onnx.dq/4bit-g32-order-zero"]
)
def test_layouts_that_no_graph_uses_are_refused(layout):
    """Files name layouts, too, in their metadata."""
    with pytest.raises(HubError):
        weight_of("w", (32, 32), layout)
