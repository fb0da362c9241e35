"""What is written as ONNX, looked at without any ONNX library: bytes, names, operators, places of weights."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.api import FileSource, UsageError
from hub.planner import make
from hub.plugins import registry
from hub.recipe import Recipe
from hub_onnx import encode as encoding
from hub_onnx.decode import decode
from hub_onnx.encode import encode
from hub_onnx.model import Attribute, External, Graph, Initializer, ModelProto, Node, ValueInfo
from hub_onnx.proto import DataType

ARCH = Path(__file__).parent.parent / "data" / "arch"
FAMILIES = sorted(path.name for path in ARCH.iterdir())


def planned(source, variant):
    with hub.open(source) as model:
        return make(model, "onnx", variant, Recipe(), registry())


def graph_of(source, variant, tmp_path):
    """The model that a plan would write."""
    (file,) = [file for file in planned(source, variant).files if file.name == "model.onnx"]
    path = tmp_path / "model.onnx"
    path.write_bytes(file.literals[0][1])
    source = FileSource(path)
    try:
        return decode(source)
    finally:
        source.close()


def small(**more):
    graph = Graph(
        "g",
        [Node("MatMul", ("x", "w"), ("y",), {"alpha": Attribute("float", 0.5), "axes": Attribute("ints", (0, -1))}, "n", "d")],
        [ValueInfo("x", 1, ("batch", 2, None))],
        [ValueInfo("y", DataType.FLOAT16, None)],
        [Initializer("w", 1, (2, 1), inline=bytes(range(8))), Initializer("v", 21, (4,), external=External("f", 4096, 2))],
    )  # fmt: skip
    return ModelProto(11, {"": 23, "d": 1}, graph, {"key": "value"}, "hub", "0", **more)


def test_bytes_are_those_of_protocol_buffers():
    """Made by hand from onnx.proto: tags are ``number << 3 | wire type``, integers varints, messages have a length."""
    node = Node("Flatten", ("x",), ("y",), {"axis": Attribute("int", -1)})
    value = ValueInfo("x", 1, (300,))
    model = ModelProto(11, {"": 23}, Graph("g", [node], [value], [], []))
    attribute = b"\x0a\x04axis" + b"\x18" + b"\xff" * 9 + b"\x01" + b"\xa0\x01\x02"
    flatten = b"\x0a\x01x" + b"\x12\x01y" + b"\x22\x07Flatten" + b"\x2a" + bytes([len(attribute)]) + attribute
    shape = b"\x0a\x03\x08\xac\x02"
    tensor = b"\x08\x01" + b"\x12" + bytes([len(shape)]) + shape
    kind = b"\x0a" + bytes([len(tensor)]) + tensor
    info = b"\x0a\x01x" + b"\x12" + bytes([len(kind)]) + kind
    graph = b"\x0a" + bytes([len(flatten)]) + flatten + b"\x12\x01g" + b"\x5a" + bytes([len(info)]) + info
    wanted = b"\x08\x0b" + b"\x3a" + bytes([len(graph)]) + graph + b"\x42\x02\x10\x17"
    assert encode(model) == wanted


def test_what_is_encoded_is_decoded(tmp_path):
    (tmp_path / "m.onnx").write_bytes(encode(small()))
    source = FileSource(tmp_path / "m.onnx")
    found = decode(source)
    source.close()
    model = small()
    assert (found.ir_version, dict(found.opsets), dict(found.metadata)) == (11, {"": 23, "d": 1}, {"key": "value"})
    assert list(found.graph.nodes) == list(model.graph.nodes)
    assert list(found.graph.inputs) == list(model.graph.inputs)
    assert list(found.graph.outputs) == list(model.graph.outputs)
    assert list(found.graph.initializers) == list(model.graph.initializers)


def test_a_graph_that_no_message_can_be_is_refused(monkeypatch):
    monkeypatch.setattr(encoding, "MAX_MESSAGE", 100)
    with pytest.raises(UsageError, match=r"the graph alone needs [0-9]+ bytes, an ONNX file can have 100"):
        encode(small())


LAYER = """
input_layernorm/RMSNormalization: /Add model.layers.1.input_layernorm.weight
self_attn.q_proj/MatMul: input_layernorm/RMSNormalization self_attn.q_proj.weight
RotaryEmbedding: self_attn.q_proj/MatMul /Cos /Sin
self_attn.k_proj/MatMul: input_layernorm/RMSNormalization self_attn.k_proj.weight
RotaryEmbedding_1: self_attn.k_proj/MatMul /Cos /Sin
self_attn.v_proj/MatMul: input_layernorm/RMSNormalization self_attn.v_proj.weight
Attention: RotaryEmbedding RotaryEmbedding_1 self_attn.v_proj/MatMul /And past_key_values.1.key past_key_values.1.value
self_attn.o_proj/MatMul: Attention self_attn.o_proj.weight
Add: layers.0/Add_1 self_attn.o_proj/MatMul
post_attention_layernorm/RMSNormalization: Add post_attention_layernorm.weight
mlp.gate_proj/MatMul: post_attention_layernorm/RMSNormalization mlp.gate_proj.weight
Sigmoid: mlp.gate_proj/MatMul
Mul: mlp.gate_proj/MatMul Sigmoid
mlp.up_proj/MatMul: post_attention_layernorm/RMSNormalization mlp.up_proj.weight
Mul_1: Mul mlp.up_proj/MatMul
mlp.down_proj/MatMul: Mul_1 mlp.down_proj.weight
Add_1: Add mlp.down_proj/MatMul
"""
"""A layer of Llama as it is written, less the prefixes of its own names."""


def test_a_layer_of_llama(tmp_path):
    model = graph_of(ARCH / "llama3", "f32", tmp_path)
    own = [node for node in model.graph.nodes if "layers.1" in node.name]
    short = "\n".join(
        f"{node.name}: {' '.join(node.inputs)}".replace("model.layers.1.", "").replace("layers.1/", "") for node in own
    )
    wanted = LAYER.strip().replace("model.layers.1.", "").replace(": /Add ", ": layers.0/Add_1 ")
    assert short == wanted
    assert model.ir_version == 11 and dict(model.opsets) == {"": 23}


def branches(node):
    return [attribute.value for attribute in node.attributes.values() if attribute.kind == "graph"]


def runs_in_order(graph, known, every, weights):
    """Every value is made before it is used, and once; adds the nodes and weights of a graph and those inside it."""
    own = {value.name for value in graph.inputs} | {tensor.name for tensor in graph.initializers}
    assert len(own) == len(graph.inputs) + len(graph.initializers) and not own & known
    known = known | own
    weights += graph.initializers
    for node in graph.nodes:
        assert {value for value in node.inputs if value} <= known, node.name
        assert not known & set(node.outputs), node.name
        for inside in branches(node):
            runs_in_order(inside, known, every, weights)
        known |= set(node.outputs)
        every.append(node)
    assert {value.name for value in graph.outputs} <= known


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("variant", ["f32", "f16", "4bit-g32"])
def test_every_family_has_a_graph(name, variant, tmp_path):
    """Values are made before they are used, and once; every weight is used, and lies where nothing else does."""
    graph = graph_of(ARCH / name, variant, tmp_path).graph
    every: list[Node] = []
    weights: list[Initializer] = []
    runs_in_order(graph, set(), every, weights)
    assert len({node.name for node in every}) == len(every)
    assert {tensor.name for tensor in weights} <= {value for node in every for value in node.inputs}
    config = json.loads((ARCH / name / "config.json").read_text())
    layers = config.get("num_hidden_layers") or config["n_layer"]
    assert [value.name for value in graph.inputs[:3]] == ["input_ids", "attention_mask", "position_ids"]
    assert len(graph.inputs) == 3 + 2 * layers and len(graph.outputs) == 1 + 2 * layers
    assert graph.outputs[0].name == "logits" and graph.outputs[0].dims[-1] == config["vocab_size"]
    outside = sorted(tensor.external for tensor in weights if tensor.external)
    end = 0
    for one in outside:
        assert one.location == "model.onnx.data" and one.offset >= end and one.offset % 64 == 0
        assert one.length < 1 << 16 or one.offset % 4096 == 0
        end = one.offset + one.length
    inline = [tensor for tensor in weights if tensor.inline is not None]
    assert sum(len(tensor.inline) for tensor in inline) < 1 << 14, "weights belong outside"


def test_masks_and_turns_are_made_once(tmp_path):
    """Gemma 3 has two masks and two ropes, however many its layers are."""
    counts = Counter(node.op for node in graph_of(ARCH / "gemma3", "f32", tmp_path).graph.nodes)
    config = json.loads((ARCH / "gemma3" / "config.json").read_text())
    assert counts["Cos"] == counts["Sin"] == 2 and counts["Attention"] == config["num_hidden_layers"] > 2
    assert counts["LessOrEqual"] == 1 and counts["Greater"] == 1


def test_a_cap_of_scores_is_spelled_out(tmp_path):
    counts = Counter(node.op for node in graph_of(ARCH / "gemma2", "f32", tmp_path).graph.nodes)
    layers = json.loads((ARCH / "gemma2" / "config.json").read_text())["num_hidden_layers"]
    assert not counts["Attention"] and counts["Softmax"] == layers and counts["Tanh"] == layers + 1


@pytest.mark.parametrize("variant", ["f32", "4bit-g32", "genai-4bit-g32"])
def test_experts_and_their_weights_are_in_branches(variant, tmp_path):
    """onnxruntime compares all sizes that only a run tells with each other, in each graph; and it fuses codes only with
    operators of the graph that holds them."""
    graph = graph_of(ARCH / "mixtral", variant, tmp_path).graph
    config = json.loads((ARCH / "mixtral" / "config.json").read_text())
    chosen = [node for node in graph.nodes if node.op == "If"]
    assert len(chosen) == config["num_hidden_layers"] * config["num_local_experts"]
    assert "NonZero" not in {node.op for node in graph.nodes}
    assert not [tensor for tensor in graph.initializers if ".experts." in tensor.name]
    per_matrix = 1 if variant == "f32" else 2
    for node in chosen:
        then, otherwise = branches(node)
        assert [inside.op for inside in otherwise.nodes] == ["Identity"]
        assert len(then.initializers) == 3 * per_matrix
        assert len({tensor.name.partition(".w")[0] for tensor in then.initializers}) == 1


def test_a_tied_output_uses_the_table(tmp_path):
    model = graph_of(ARCH / "qwen2", "f32", tmp_path)
    users = [node.op for node in model.graph.nodes if "model.embed_tokens.weight" in node.inputs]
    assert users == ["Gather", "Gemm"]


def test_codes_of_two_bits_need_a_later_version(tmp_path):
    hub.convert(ARCH.parent / "tiny-llama", tmp_path / "two.gguf", to="gguf:q2_k", verify="none")
    model = graph_of(tmp_path / "two.gguf", "", tmp_path)
    assert DataType.UINT2 in {tensor.data_type for tensor in model.graph.initializers}
    assert (model.ir_version, dict(model.opsets)) == (13, {"": 25})


def test_without_a_graph_there_are_weights_only(tmp_path):
    model = graph_of(ARCH / "qwen3", "weights", tmp_path)
    assert not model.graph.nodes and not model.graph.inputs and not model.graph.outputs
    told = json.loads(model.metadata["hub.tensors"])
    assert "model.layers.0.mlp.up_proj.weight" in told and model.metadata["hub.flavour"] == "weights"


def test_an_operator_without_a_method_is_refused(tmp_path, monkeypatch):
    from hub_onnx.decoder import Decoder

    monkeypatch.delattr(Decoder, "_rope")
    with pytest.raises(UsageError, match="architecture llama uses operator rope, which has no graph in ONNX yet"):
        planned(ARCH / "llama3", "f32")


@pytest.mark.parametrize("name", FAMILIES)
def test_floats_come_back(name, tmp_path):
    hub.convert(ARCH / name, tmp_path / "made", to="onnx:f32", verify="full")
    hub.convert(tmp_path / "made", tmp_path / "back", to="safetensors", verify="none")
    with hub.open(ARCH / name) as before, hub.open(tmp_path / "back") as after:
        assert set(before.tensors) == set(after.tensors)
        for tensor in before.tensors.values():
            a, b = (
                next(iter(model.tensors[tensor.name].parts.values())).load(0, tensor.rows) for model in (before, after)
            )
            np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32), tensor.name)


def test_a_folder_is_found_by_its_graph(tmp_path):
    hub.convert(ARCH / "qwen3", tmp_path / "made", to="onnx:f32", verify="none")
    with hub.open(tmp_path / "made") as model:
        assert model.format == "onnx"
    with hub.open(tmp_path / "made" / "model.onnx") as model:
        assert model.format == "onnx"
    shutil.copytree(ARCH / "qwen3", tmp_path / "both")
    with hub.open(tmp_path / "both") as model:
        assert model.format == "safetensors"
