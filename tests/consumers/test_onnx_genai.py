"""What onnxruntime-genai runs: both flavours, every family, and codes of every kind, kept or made."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from made_gptq import write as write_gptq
from made_models import DATA, TINY, family_shapes, folder, weights

import hub
from hub.api import Encoder
from hub.architecture import find
from hub.runner import Runner

pytestmark = pytest.mark.consumers
onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
og = pytest.importorskip("onnxruntime_genai", reason="needs the extra 'onnx'")

FAMILIES = ("llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "mixtral", "qwen3_moe")
IDS = np.random.default_rng(7).integers(3, 250, 40)
LIMIT = 1e-5
STEPS = 6


def small(path: Path, family: str) -> Path:
    """A model whose rows all groups divide, with groups of zeros, of one number, and of one sign."""
    made = json.loads((DATA / "arch" / family / "config.json").read_text())
    made |= {"vocab_size": 256, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 32}
    if family == "gpt2":
        made |= {"n_embd": 128, "n_layer": 2}
    if "layer_types" in made:
        made["layer_types"] = ["sliding_attention", "full_attention"] if "gemma" in family else ["full_attention"] * 2
    if family == "qwen3_moe":
        made["moe_intermediate_size"] = 128
    if family not in ("qwen3", "qwen3_moe", "gemma2", "gemma3"):
        made.pop("head_dim")
    arrays = weights(family_shapes(made), "bf16")
    for name, array in arrays.items():
        if array.ndim > 1 and name.endswith("weight"):
            array[0, :], array[1, :], array[2, :] = 0, array[1, 0], np.abs(array[2, :])
            array[3, :64] = 0
    return folder(path, made, arrays)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: small(root / family, family) for family in FAMILIES}


def ours(path: Path, ids=IDS, steps: int = STEPS):
    """The runner's logits, and the tokens that it likes best, one after another."""
    with hub.open(path) as opened, Runner(opened) as runner:
        logits, greedy = runner.logits(ids), list(ids)
        for _ in range(steps):
            greedy.append(int(runner.logits(greedy)[-1].argmax()))
    return logits, greedy[len(ids) :]


def theirs(path: Path, ids=IDS, steps: int = STEPS):
    """The same of onnxruntime-genai."""
    model = og.Model(str(path))
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + steps, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.asarray(ids, np.int32)[None])
    logits, greedy = np.array(generator.get_output("logits"))[0], []
    while len(greedy) < steps:
        generator.generate_next_token()
        greedy.append(int(generator.get_next_tokens()[0]))
        if generator.is_done():
            break
    return logits, greedy


def check(made: Path, source: Path | None = None) -> None:
    """onnxruntime, with and without fusing, and onnxruntime-genai give the runner's logits and tokens."""
    from onnx_peer import Session, error

    wanted, tokens = ours(source or made)
    for session in (Session(made), Session(made, optimize=False)):
        assert error(session.logits(IDS[None], (30, 31, 38))[0], wanted) < LIMIT
    found, greedy = theirs(made)
    assert error(found, wanted[-len(found) :]) < LIMIT
    assert greedy == tokens[: len(greedy)] and greedy


@pytest.mark.parametrize("variant", ["4bit-g32", "genai-f32", "genai-f16", "genai-4bit-g32", "genai-8bit-g64-asym"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, variant, models, tmp_path):
    hub.convert(models[family], tmp_path / "made", to=f"onnx:{variant}", verify="none")
    check(tmp_path / "made")


@pytest.mark.parametrize("variant", ["onnx", "onnx:genai", "onnx:genai-4bit-g32"])
def test_sinks_and_stacked_experts(variant, tmp_path):
    hub.convert(DATA / "arch" / "gpt_oss", tmp_path / "made", to=variant, verify="none")
    check(tmp_path / "made")


@pytest.mark.parametrize("group", [16, 32, 64, 128])
@pytest.mark.parametrize("form", ["4bit-g{}-sym", "4bit-g{}-asym", "8bit-g{}-sym", "8bit-g{}-asym"])
def test_every_width_and_group(form, group, models, tmp_path):
    for flavour in ("", "genai-"):
        hub.convert(
            models["gemma3"], tmp_path / f"m{flavour}", to="onnx:" + flavour + form.format(group), verify="none"
        )
        check(tmp_path / f"m{flavour}")


SOURCES = {
    "gguf:q4_0": "llama3", "gguf:q5_1": "qwen3", "gguf:q8_0": "gemma3",
    "gptq:4bit-g32-sym": "llama3", "gptq:3bit-g32-asym": "qwen2", "gptq:8bit-channel": "mistral",
    "awq:4bit-g64-asym": "llama3", "compressed-tensors:4bit-g32-sym": "qwen3", "fp8": "llama3",
    "mlx:3bit-g32": "llama3", "mlx:4bit-g64": "qwen2", "mlx:6bit-g64": "gemma3", "mlx:8bit-g128": "mixtral",
    "mlx:mxfp4": "qwen3_moe", "mlx:nvfp4": "llama3", "mlx:mxfp8": "llama3",
}  # fmt: skip


@pytest.mark.parametrize("to", SOURCES)
def test_codes_of_other_formats_are_kept(to, models, tmp_path):
    source = tmp_path / ("source.gguf" if to.startswith("gguf") else "source")
    hub.convert(models[SOURCES[to]], source, to=to, verify="none")
    for variant in ("onnx", "onnx:genai"):
        made = tmp_path / variant.replace(":", "-")
        hub.convert(source, made, to=variant, verify="none", require="exact")
        check(made, source)


def test_tokens_that_the_vocabulary_lacks_end_nothing(models, tmp_path):
    shutil.copytree(models["gpt2"], tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text())
    (tmp_path / "source" / "config.json").write_text(
        json.dumps(config | {"eos_token_id": 50256, "bos_token_id": 50256})
    )
    hub.convert(tmp_path / "source", tmp_path / "made", to="onnx:f32", verify="none")
    check(tmp_path / "made")


def test_products_are_onnxruntimes_own(models, tmp_path):
    """Nothing is left that decodes a matrix, and nothing that decodes a table."""
    from onnx_peer import Session

    for family in ("gemma3", "qwen3_moe"):  # an output matrix that is the embedding, and experts
        made = tmp_path / family
        hub.convert(models[family], made, to="onnx:genai-4bit-g32", verify="none")
        Session(made, save=tmp_path / "left.onnx")
        nodes = onnx.load(tmp_path / "left.onnx", load_external_data=False).graph.node
        left = Counter(node.op_type for node in nodes)
        routers = 2 if family == "qwen3_moe" else 0
        assert left["DequantizeLinear"] == 0 and left["MatMul"] + left["Gemm"] <= routers
        assert left["GroupQueryAttention"] == 2 and left["GatherBlockQuantized"] == 1
        assert left["MatMulNBits"] > 8


def test_the_level_of_accuracy_is_the_users(models, tmp_path):
    from onnx_peer import Session, error

    hub.convert(
        models["llama3"], tmp_path / "made", to="onnx:genai-4bit-g32", verify="none", settings={"accuracy_level": 4}
    )
    wanted, _ = ours(tmp_path / "made")
    found = error(Session(tmp_path / "made").logits(IDS[None])[0], wanted)
    assert LIMIT < found < 3e-2
    assert "accuracy_level" not in (tmp_path / "made" / "config.json").read_text()


def test_sequences_padded_on_the_right(models, tmp_path):
    from onnx_peer import Session, error

    hub.convert(models["qwen3"], tmp_path / "made", to="onnx:genai-f32", verify="none")
    session = Session(tmp_path / "made")
    mask = np.ones((2, 40), np.int64)
    mask[1, 25:] = 0
    together = session.logits(np.stack([IDS, np.where(mask[1], IDS, 0)]), mask=mask)
    assert error(together[0], session.logits(IDS[None])[0]) < LIMIT
    assert error(together[1, :25], session.logits(IDS[None, :25])[0]) < LIMIT


@pytest.mark.parametrize("by", ["", "gguf:f16"])
def test_text_becomes_the_tokens_of_the_model(by, tmp_path):
    source = TINY
    if by:
        source = tmp_path / "source.gguf"
        hub.convert(TINY, source, to=by, verify="none")
    hub.convert(source, tmp_path / "made", to="onnx:genai-4bit-g32", verify="none")
    with hub.open(TINY) as model:
        encoder = Encoder(model.load_tokenizer(find(model)))
    tokenizer = og.Tokenizer(og.Model(str(tmp_path / "made")))
    for text in ("hello world", "The quick brown fox, 1234!", "naïve café"):
        assert list(tokenizer.encode(text)) == encoder.encode(text, add_bos=False)  # a template says when one begins


FAULTS = {
    "offsets of the other sign": ("_offset", lambda data: data ^ np.array([0, 0, 0, 128] * (len(data) // 4), np.uint8)),
    "no offsets": ("_offset", np.zeros_like),
    "nibbles swapped": ("_quantized", lambda data: data >> 4 | data << 4),
    "scales in another order": ("_scale", lambda data: data.reshape(-1, 4)[::-1].reshape(-1)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("flavour", ["onnx", "onnx:genai"])
def test_the_limit_notices(flavour, fault, models, tmp_path):
    """One wrong thing in one tensor moves the logits far beyond the limit."""
    from onnx_peer import Session, error

    hub.convert(models["llama3"], tmp_path / "source", to="mlx:4bit-g32", verify="none")
    hub.convert(tmp_path / "source", tmp_path / "made", to=flavour, verify="none")
    wanted = Session(tmp_path / "made").logits(IDS[None])[0]
    suffix, spoil = FAULTS[fault]
    proto = onnx.load(tmp_path / "made" / "model.onnx", load_external_data=False)
    (found,) = [item for item in proto.graph.initializer if item.name.endswith(f"0.mlp.up_proj.weight{suffix}")]
    told = {entry.key: entry.value for entry in found.external_data}
    at, length = int(told["offset"]), int(told["length"])
    shutil.copytree(tmp_path / "made", tmp_path / "bad")
    data = np.fromfile(tmp_path / "bad" / "model.onnx.data", np.uint8)
    data[at : at + length] = spoil(data[at : at + length])
    data.tofile(tmp_path / "bad" / "model.onnx.data")
    assert error(Session(tmp_path / "bad").logits(IDS[None])[0], wanted) > 100 * LIMIT


@pytest.mark.parametrize("variant", ["onnx", "onnx:genai"])
def test_columns_in_another_order_are_exact(variant, tmp_path):
    """Act-order in every matrix: columns are stored by group, and the input is put in their order."""
    write_gptq(DATA / "arch" / "llama3", tmp_path / "source")
    made = tmp_path / "made"
    hub.convert(tmp_path / "source", made, to=variant, verify="none", require="exact")
    check(made, tmp_path / "source")
    # Nothing else in the file tells of it so that the walk through the graph would read it right.
    proto = onnx.load(made / "model.onnx", load_external_data=False)
    del proto.metadata_props[:]
    (made / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(hub.errors.FormatError, match="another order of columns"):
        hub.open(made)
