"""Decoders of plain operators give the runner's logits in onnxruntime and by ONNX's own definition."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.runner import Runner

pytestmark = pytest.mark.consumers
onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

DATA = Path(__file__).parent.parent / "data"
MODELS = {path.name: path for path in sorted((DATA / "arch").iterdir())}
MODELS["tiny-llama"] = DATA / "tiny-llama"
LIMIT = 1e-5


def golden(name):
    with np.load(MODELS[name] / "golden.npz") as file:
        ids = file["input_ids"].reshape(1, -1).astype(np.int64)
        return ids, file["logits"].reshape(ids.shape[1], -1)


def runner(path, ids):
    with hub.open(path) as model, Runner(model) as made:
        return made.logits(ids.reshape(-1))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``made(name, "gguf:q8_0", "onnx")``: conversions one after another, made once."""
    folder, done = tmp_path_factory.mktemp("made"), {}

    def make(name, *targets):
        if not targets:
            return MODELS[name]
        if (name, *targets) not in done:
            source = make(name, *targets[:-1])
            path = folder / f"{name}-{len(done)}{'.gguf' if targets[-1].startswith('gguf') else ''}"
            hub.convert(source, path, to=targets[-1], verify="none")
            done[name, *targets] = path
        return done[name, *targets]

    return make


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_and_steps_on_its_cache(name, made):
    from onnx_peer import Session, error

    ids, wanted = golden(name)
    last = ids.shape[1]
    folder = made(name, "onnx:f32")
    for session in (Session(folder), Session(folder, optimize=False)):
        assert error(session.logits(ids, (last - 5, last - 2, last - 1))[0], wanted) < LIMIT
    assert error(Session(folder).logits(ids, (1,))[0], runner(MODELS[name], ids)) < LIMIT


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-llama"])
def test_by_the_definition_of_operators(name, made):
    from onnx_peer import by_reference, error

    ids, wanted = golden(name)
    assert error(by_reference(made(name, "onnx:f32"), ids)[0], wanted) < LIMIT


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-llama"])
def test_sequences_of_unlike_lengths_padded_on_the_left(name, made):
    from onnx_peer import Session, error

    ids, _ = golden(name)
    session, tokens = Session(made(name, "onnx:f32")), ids.shape[1]
    batch, mask, positions = np.zeros((3, 3, tokens), np.int64)
    alone = []
    for row, pad in enumerate((0, 3, tokens - 4)):
        alone.append(ids[:, : tokens - pad])
        batch[row, pad:], mask[row, pad:], positions[row, pad:] = alone[row], 1, np.arange(tokens - pad)
    together = session.logits(batch, (tokens - 2, tokens - 1), mask=mask, positions=positions)
    assert np.isfinite(together).all()
    for row, one in enumerate(alone):
        assert error(together[row, tokens - one.shape[1] :], session.logits(one)[0]) < LIMIT, row


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny-llama"])
@pytest.mark.parametrize("kind", ["q8_0", "q4_1", "mxfp4_moe"])
def test_codes_are_kept(name, kind, made):
    from onnx_peer import Session, error

    ids, _ = golden(name)
    wanted = runner(made(name, f"gguf:{kind}"), ids)
    folder = made(name, f"gguf:{kind}", "onnx")
    for session in (Session(folder), Session(folder, optimize=False)):
        assert error(session.logits(ids, (ids.shape[1] - 2,))[0], wanted) < LIMIT


@pytest.mark.parametrize("kind", ["q4_0", "q5_0", "q5_1", "q4_k_m", "q5_k_s", "q6_k", "q2_k", "q3_k_m"])
def test_codes_of_every_kind(kind, made):
    from onnx_peer import Session, by_reference, error

    ids, _ = golden("tiny-llama")
    ids = ids[:, :24]
    wanted = runner(made("tiny-llama", f"gguf:{kind}"), ids)
    folder = made("tiny-llama", f"gguf:{kind}", "onnx")
    for session in (Session(folder), Session(folder, optimize=False)):
        assert error(session.logits(ids, (20,))[0], wanted) < LIMIT
    assert error(by_reference(folder, ids)[0], wanted) < LIMIT


@pytest.mark.parametrize("name", ["qwen2", "gpt2", "gemma2", "mixtral"])
def test_floats_of_16_bits_are_widened(name, made):
    from onnx_peer import Session, error

    ids, _ = golden(name)
    wanted = runner(made(name, "safetensors:f16"), ids)
    for folder in (made(name, "onnx:f16"), made(name, "safetensors:f16", "onnx")):
        assert error(Session(folder).logits(ids)[0], wanted) < LIMIT
        assert error(Session(folder, optimize=False).logits(ids)[0], wanted) < LIMIT
    wanted = runner(made(name, "safetensors:bf16"), ids)
    assert error(Session(made(name, "safetensors:bf16", "onnx")).logits(ids)[0], wanted) < LIMIT


def changed(source, folder, **settings):
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


ROPES = {
    "linear": ("llama3", {"rope_scaling": {"rope_type": "linear", "factor": 3.0}}),
    "yarn": ("llama3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
    "dynamic": ("llama3", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    "longrope, short": ("phi3", {"original_max_position_embeddings": 4096}),
    "longrope, long": ("phi3", {"original_max_position_embeddings": 8}),
    "default": ("phi3", {"rope_scaling": None, "partial_rotary_factor": 0.5}),
    "window": ("mistral", {"sliding_window": 5}),
}


@pytest.mark.parametrize("case", ROPES)
def test_positions_of_every_kind(case, tmp_path):
    from onnx_peer import Session, error

    name, settings = ROPES[case]
    config = json.loads((MODELS[name] / "config.json").read_text())
    if case.startswith("longrope"):
        half = config["hidden_size"] // config["num_attention_heads"] // 2
        told = {"rope_type": "longrope", "short_factor": [1.0 + i / 8 for i in range(half)],
                "long_factor": [2.0 + i for i in range(half)]}  # fmt: skip
        settings = settings | {"rope_scaling": told, "partial_rotary_factor": 1.0}
    source = changed(MODELS[name], tmp_path / "source", rope_parameters=None, **settings)
    hub.convert(source, tmp_path / "made", to="onnx:f32", verify="none")
    ids, _ = golden(name)
    wanted = runner(source, ids)
    assert error(wanted, golden(name)[1]) > 1e-3, "the settings change nothing, so this tests nothing"
    assert error(Session(tmp_path / "made").logits(ids, (ids.shape[1] - 2,))[0], wanted) < LIMIT


def test_onnxruntime_makes_one_operator_of_codes_and_product(made, tmp_path):
    from onnx_peer import Session

    Session(made("qwen2", "onnx:4bit-g32"), save=tmp_path / "left.onnx")
    nodes = onnx.load(tmp_path / "left.onnx", load_external_data=False).graph.node
    left = Counter(node.op_type for node in nodes)
    layers = json.loads((MODELS["qwen2"] / "config.json").read_text())["num_hidden_layers"]
    assert left["MatMulNBits"] == 7 * layers + 1 and not left["MatMul"]
    # What is left decodes the rows of the embedding that tokens look up.
    assert {node.name.split("/")[0] for node in nodes if node.op_type == "DequantizeLinear"} == {"model.embed_tokens"}


FAULTS = {
    "the order of scales": ("self_attn.q_proj.weight_scale", lambda data: data.reshape(-1, 4)[::-1].reshape(-1)),
    "the order of nibbles": ("mlp.up_proj.weight_quantized", lambda data: (data >> 4 | data << 4).astype(np.uint8)),
    "zero points": ("mlp.down_proj.weight_zero_point", lambda data: data ^ 0x11),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_limit_notices(fault, made, tmp_path):
    """One wrong thing in the data moves the logits far beyond the limit."""
    from onnx_peer import Session, error

    folder = made("qwen2", "onnx:4bit-g32-asym")
    ids, _ = golden("qwen2")
    wanted = Session(folder).logits(ids)[0]
    shutil.copytree(folder, tmp_path / "bad")
    name, spoil = FAULTS[fault]
    proto = onnx.load(tmp_path / "bad" / "model.onnx", load_external_data=False)
    (found,) = [item for item in proto.graph.initializer if item.name.endswith(f"layers.0.{name}")]
    told = {entry.key: entry.value for entry in found.external_data}
    at, length = int(told["offset"]), int(told["length"])
    data = np.fromfile(tmp_path / "bad" / "model.onnx.data", np.uint8)
    data[at : at + length] = spoil(data[at : at + length])
    data.tofile(tmp_path / "bad" / "model.onnx.data")
    assert error(Session(tmp_path / "bad").logits(ids)[0], wanted) > 100 * LIMIT
