"""ONNX models that are damaged, contradict themselves or lead elsewhere: one line each, and nothing is read for it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hostile_run import accepted, refused

from hub.api import FileSource
from hub_onnx import wire
from hub_onnx.decode import decode
from hub_onnx.encode import encode
from hub_onnx.model import Attribute, External, Graph, Initializer, Node
from hub_onnx.proto import DataType

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "onnx"
CODES = "model.layers.0.mlp.up_proj.MatMul.weight_Q4"
SCALES = "model.layers.0.mlp.up_proj.MatMul.weight_scales"
NODE = "/model/layers.0/mlp/up_proj/MatMul_Q4"


@pytest.fixture
def folder(tmp_path):
    """A copy of what onnxruntime-genai's builder made."""
    return Path(shutil.copytree(GOLDEN / "genai-int4", tmp_path / "m"))


def read(folder):
    with FileSource(folder / "model.onnx") as source:
        return decode(source)


def write(folder, model):
    (folder / "model.onnx").write_bytes(encode(model))
    return folder


def changed(folder, *, nodes=None, tensors=None, **model):
    """The model with some nodes and initializers put through a function, and other fields replaced."""
    told = read(folder)
    graph = told.graph
    made_nodes = [one for node in graph.nodes for one in (nodes(node) if nodes else [node])]
    made_tensors = [one for tensor in graph.initializers for one in (tensors(tensor) if tensors else [tensor])]
    return write(folder, replace(told, graph=replace(graph, nodes=made_nodes, initializers=made_tensors), **model))


def at(name, /, **fields):
    """What `changed` takes: one of that name with other fields."""
    return lambda one: [replace(one, **fields) if one.name == name else one]


def attribute(name, key, value):
    def change(node):
        if node.name != name:
            return [node]
        return [replace(node, attributes={**node.attributes, key: Attribute("int", value)})]

    return change


def test_the_unchanged_model_is_read(folder):
    accepted("inspect", changed(folder))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"opsets": {"": 99}}, "operator set 99, known are 1 to"),
        ({"opsets": {"com.microsoft": 1}}, "does not say its version of ONNX's operators"),
        ({"ir_version": 77}, "IR version 77, known are 3 to"),
    ],
)
def test_versions(folder, fields, words):
    refused("inspect", changed(folder, **fields), names=["model.onnx", words], watch=folder)


def test_cycles(folder):
    def loop(node):
        # What comes out of a layer's last matrix is what goes into its first.
        return (
            [replace(node, inputs=("/model/layers.0/mlp/Mul/output_0", *node.inputs[1:]))]
            if node.name == NODE
            else [node]
        )

    line = refused("inspect", changed(folder, nodes=loop), names=["cycle"])
    assert "/model/layers.0/mlp/" in line


def test_a_value_that_is_made_twice_or_nowhere(folder):
    twice = changed(folder, nodes=lambda node: [node, node] if node.name == NODE else [node])
    refused("inspect", twice, names=["a value that is there already", NODE])


def test_an_input_that_nothing_makes(folder):
    lost = changed(folder, nodes=lambda node: [] if node.name == NODE else [node])
    refused("inspect", lost, names=["nothing makes '/model/layers.0/mlp/up_proj/MatMul/output_0'"])


def test_two_initializers_of_one_name(folder):
    refused("inspect", changed(folder, tensors=lambda t: [t, t] if t.name == SCALES else [t]), tensor=SCALES)


def test_external_data_that_is_missing(folder):
    (folder / "model.onnx.data").unlink()
    refused("inspect", folder, names=["model.onnx.data, which is missing", "put it beside the model"])


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "C:\\secret", "..\\secret", "", "a\0b"]
)
def test_paths_that_leave_the_folder(folder, location):
    (folder.parent / "secret").write_bytes(bytes(1 << 20))
    broken = changed(folder, tensors=at(SCALES, external=External(location, 0, None)))
    line = refused("inspect", broken, names=["model.onnx"], tensor=SCALES)
    assert "leaves the model folder" in line or "does not say in which" in line


def test_links_that_leave_the_folder(folder):
    shutil.move(folder / "model.onnx.data", folder.parent / "secret")
    (folder / "model.onnx.data").symlink_to("../secret")
    refused("inspect", folder, names=["leads outside the model folder"])
    (folder / "model.onnx.data").unlink()
    os.mkfifo(folder / "model.onnx.data")
    refused("inspect", folder, names=["not a regular file"])


@pytest.mark.parametrize(
    ("external", "words"),
    [
        (External("model.onnx.data", 1 << 40, None), "truncated: its data ends at byte"),
        (External("model.onnx.data", (1 << 63) - 1, None), "truncated"),
        (External("model.onnx.data", 100, None), "overlaps another tensor's"),
    ],
)
def test_places_in_external_data(folder, external, words):
    refused("inspect", changed(folder, tensors=at(SCALES, external=external)), names=[words], tensor=SCALES)


def test_a_length_that_type_and_shape_do_not_make(folder):
    held = next(tensor.external for tensor in read(folder).graph.initializers if tensor.name == SCALES)
    wrong = changed(folder, tensors=at(SCALES, external=held._replace(length=5)))
    refused("inspect", wrong, names=["external_data says 5 bytes, shape [96, 2] needs 768"], tensor=SCALES)


def test_truncated_external_data(folder):
    os.truncate(folder / "model.onnx.data", 1000)
    refused("inspect", folder, names=["model.onnx.data", "truncated"], offset=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data_type": DataType.INT8}, "codes of type 3"),
        ({"data_type": 99}, "number type 99"),
        ({"dims": (96, 2, 8)}, "codes [96, 2, 8] are not 96 rows of 64 in blocks of 32"),
        ({"dims": (1 << 40, 1 << 40, 2)}, "more numbers than any file"),
        ({"dims": (1 << 62, 0, 1 << 62)}, "more numbers than any file"),
        ({"dims": (96, -2, 16)}, "negative sizes"),
    ],
)
def test_types_and_shapes(folder, fields, words):
    refused("inspect", changed(folder, tensors=at(CODES, **fields)), names=[words], tensor=CODES)


def test_scales_of_another_type_or_size(folder):
    wrong = changed(folder, tensors=at(SCALES, data_type=DataType.INT32))
    refused("inspect", wrong, names=["scales of number type 6"], tensor=SCALES)


def test_inline_data_of_another_length(folder):
    inline = changed(folder, tensors=at(SCALES, external=None, inline=bytes(12)))
    refused("inspect", inline, names=["12 bytes of data, shape [96, 2] needs 768"], tensor=SCALES, offset=True)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("bits", 5, "5 bits in blocks of 32"),
        ("block_size", 48, "4 bits in blocks of 48"),
        ("block_size", 0, "4 bits in blocks of 0"),
        ("K", 1 << 50, "for a matrix of 96 times"),
        ("N", -1, "for a matrix of -1 times 64"),
        ("K", 96, "are not 96 rows of 96 in blocks of 32"),
        ("weight_prepacked", 1, "weight_prepacked"),
    ],
)
def test_attributes(folder, key, value, words):
    refused("inspect", changed(folder, nodes=attribute(NODE, key, value)), names=[words, NODE])


def test_nodes_that_lack_inputs_or_have_other_attributes(folder):
    short = changed(folder, nodes=lambda n: [replace(n, inputs=n.inputs[:1])] if n.name == NODE else [n])
    refused("inspect", short, names=["has 1 inputs and 1 outputs, it needs 3 and 1", NODE])


@pytest.mark.parametrize("attribute", [Attribute("string", "x"), Attribute("float", 32.0), Attribute("ints", (32,))])
def test_attributes_of_another_kind(folder, attribute):
    def change(node):
        return [replace(node, attributes={**node.attributes, "block_size": attribute})] if node.name == NODE else [node]

    refused("inspect", changed(folder, nodes=change), names=["attribute block_size is of kind", NODE])


def test_columns_in_groups_of_their_own(folder):
    """g_idx that is not k // block: kernels differ in what it means."""
    index = Initializer("g_idx", DataType.INT32, (64,), inline=bytes(256))

    def grouped(node):
        return [replace(node, inputs=(*node.inputs, "", "g_idx"))] if node.name == NODE else [node]

    told = read(folder)
    write(folder, replace(told, graph=replace(told.graph, initializers=[*told.graph.initializers, index])))
    refused("inspect", changed(folder, nodes=grouped), names=["g_idx", NODE])


def test_a_weight_without_a_name(folder):
    """Neither the initializer nor the node says which matrix it is."""

    def nameless(node):
        inputs = tuple(name.replace(CODES, "W_Q4") for name in node.inputs)
        return [replace(node, name="MatMul_7", inputs=inputs) if node.name == NODE else node]

    config = json.loads((GOLDEN / "dynamic-llama" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    told = changed(folder, nodes=nameless, tensors=at(CODES, name="W_Q4"))
    refused("inspect", told, names=["neither its own name nor that of its weight", "MatMul_7"], tensor="W_Q4")


def test_a_weight_with_two_names(folder):
    (folder / "config.json").write_bytes((GOLDEN / "dynamic-llama" / "config.json").read_bytes())
    swapped = changed(folder, nodes=at(NODE, name="/model/layers.1/mlp/up_proj/MatMul_Q4"))
    refused("inspect", swapped, names=["it stands where model.layers.1.mlp.up_proj.weight belongs"], tensor=CODES)


def test_shapes_that_the_configuration_does_not_make(folder):
    config = json.loads((GOLDEN / "dynamic-llama" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}))
    refused("inspect", folder, names=["is [96, 64], the configuration makes it [128, 64]"])


def test_truncated_at_every_place(tmp_path):
    """Never a traceback, always a line."""
    data = (GOLDEN / "genai-int4" / "model.onnx").read_bytes()
    for end in [*range(60), *range(60, len(data), 997)]:
        (tmp_path / "model.onnx").write_bytes(data[:end])
        refused("inspect", "--from", "onnx", tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x0a" + b"\x80" * 40,  # a number without an end
        b"\x08\x0a\x3b\x3c",  # a group, which proto3 does not have
        b"\x08\x0a\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length beyond all
        b"\x08\x0a\x00\x00",  # field 0
        b"\x08\x0a\x38\x01",  # the graph as a number
        b"",
    ],
)
def test_damaged_messages(tmp_path, data):
    (tmp_path / "model.onnx").write_bytes(data)
    refused("inspect", "--from", "onnx", tmp_path / "model.onnx", offset=True)


def test_graphs_inside_graphs_inside_graphs(folder):
    inner = Graph("g", [], [], [], [])
    for _ in range(40):
        inner = Graph("g", [Node("If", ("c",), ("y",), {"then_branch": Attribute("graph", inner)})], [], [], [])
    told = read(folder)
    graph = replace(told.graph, nodes=[*told.graph.nodes, *inner.nodes])
    refused("inspect", write(folder, replace(told, graph=graph)), names=["subgraphs more than 16 deep"])


def test_many_nested_bytes_are_no_recursion(tmp_path):
    """A field inside a field a thousand times, where no message nests."""
    data = b""
    for _ in range(1000):
        data = wire.data(7, data)
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a" + data)
    refused("inspect", "--from", "onnx", tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told["model"]["decoder"].update(filename="../x.onnx"), "leaves the model folder"),
        (lambda told: told["model"]["decoder"].update(filename=7), "is no .onnx file"),
        (lambda told: told["model"].update(type="martian"), "'martian' has no architecture file"),
        (lambda told: told.pop("model"), "it has no model.decoder"),
        (lambda told: told["model"]["decoder"].update(num_hidden_layers=90000), "layers"),
    ],
)
def test_genai_config(folder, change, words):
    told = json.loads((folder / "genai_config.json").read_text())
    change(told)
    (folder / "genai_config.json").write_text(json.dumps(told))
    refused("inspect", folder, names=[words])


def test_rotary_positions_of_unknown_scaling(folder):
    """Frequencies that no settings give, and no config.json to say."""
    told = read(folder)
    sines = next(tensor for tensor in told.graph.initializers if tensor.name == "sin_cache")
    with open(folder / "model.onnx.data", "r+b") as file:
        file.seek(sines.external.offset + sines.dims[1] * 4 + 8)
        file.write(b"\x00\x00\x80\x3e")
    refused("inspect", folder, names=["its rotary positions follow from no settings", "config.json"])


def test_several_models_in_one_folder(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(GOLDEN / "dynamic-gpt2" / "model.onnx", tmp_path / name)
    refused("inspect", tmp_path, names=["2 models in one folder", "give the path of the one that is meant"])


def test_what_hub_wrote_is_not_believed_after_a_change(tmp_path):
    """The metadata tell of other layouts than the file has: the graph is walked, with a note."""
    folder = Path(shutil.copytree(GOLDEN / "dynamic-llama", tmp_path / "m"))
    data = (folder / "model.onnx").read_bytes()
    entry = wire.text(1, "hub.tensors") + wire.text(2, json.dumps({"lm_head.weight": "onnx.dq/4bit-g32"}))
    (folder / "model.onnx").write_bytes(data + wire.data(14, entry))
    out = accepted("inspect", folder)
    assert "what hub once wrote of its tensors does not hold any more" in out
    assert "onnx.dq/8bit-channel-zero-signed" in out


TENSOR = wire.integer(2, 1) + wire.text(8, "t")
NODE_FIELDS = wire.text(2, "y") + wire.text(4, "MatMul")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        # Which of two counts depends on who reads: protobuf makes one of both messages.
        (wire.data(7, b"") + wire.data(7, b""), "ModelProto has two messages graph"),
        (wire.data(7, wire.data(1, NODE_FIELDS + wire.data(5, wire.text(1, "axis")) * 2)), "'axis' is there twice"),
        (wire.data(7, wire.data(5, TENSOR + wire.integer(14, (1 << 32) + 1))), "data_location is 4294967297"),
        # What nothing can use is not collected either.
        (wire.data(7, wire.data(1, b"") * 1000), "a node without an operator"),
        (wire.data(7, wire.data(5, wire.integer(1, 0) + wire.integer(2, 1)) * 1000), "an initializer without a name"),
    ],
)
def test_messages_that_readers_take_for_different_things(tmp_path, model, words):
    data = wire.integer(1, 10) + model + wire.data(8, wire.integer(2, 21))
    (tmp_path / "model.onnx").write_bytes(data)
    refused("inspect", "--from", "onnx", tmp_path / "model.onnx", names=["model.onnx", words], offset=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("at", [0, 6, 7])
def test_rotary_positions_with_a_frequency_of_zero(folder, at):
    sines = next(tensor for tensor in read(folder).graph.initializers if tensor.name == "sin_cache")
    assert sines.dims[1] == 8
    with open(folder / "model.onnx.data", "r+b") as file:
        file.seek(sines.external.offset + (sines.dims[1] + at) * 4)
        file.write(bytes(4))
    refused("inspect", folder, names=["its rotary positions follow from no settings", "model.onnx"])


def test_the_weight_of_a_norm_as_the_bias_of_another(folder):
    """It is known by its name, and would be passed over as the weight that it is elsewhere."""
    norm = "/model/layers.0/post_attention_layernorm/SkipLayerNorm"

    def biased(node):
        given = (*node.inputs, "model.layers.1.post_attention_layernorm.weight")
        return [replace(node, inputs=given) if node.name == norm else node]

    refused("inspect", changed(folder, nodes=biased), names=["has no name that the architecture knows", norm])
