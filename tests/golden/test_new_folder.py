"""Hugging Face folders that hub writes: bytes against the format's own library, the way back of every family."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from tokenizers import Tokenizer as Library

import hub
from hub.errors import ConfigError, UsageError
from hub_safetensors import serialize
from hub_safetensors.companions import MAX_FILE
from hub_safetensors.serialize import Habits, Weight, lay_out_weights

sys.path.insert(0, str(Path(__file__).parents[1]))
import made_models

DATA = Path(__file__).parents[1] / "data"
TINY = DATA / "tiny-llama"
FAMILIES = {path.name: path for path in sorted((DATA / "arch").iterdir())}
SAME_WORD = {"mistral": ("llama", "LlamaForCausalLM")}
"""Families that GGUF files do not tell apart: read back as the other one, which computes the same."""


def convert(source: Path, target: Path, to: str, **options) -> Path:
    hub.convert(source, target, to=to, verify="weights", **options)
    return target


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text("utf-8"))


def arrays(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= made_models.read_safetensors(path)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_through_gguf_and_back_is_the_identity(name: str, tmp_path: Path) -> None:
    gguf = convert(FAMILIES[name], tmp_path / "m.gguf", "gguf:f32")
    back = convert(gguf, tmp_path / "back", "safetensors:bf16")
    wanted, found = arrays(FAMILIES[name]), arrays(back)
    assert set(found) == set(wanted)
    for tensor, array in wanted.items():
        assert found[tensor].dtype == array.dtype and found[tensor].tobytes() == array.tobytes(), tensor
    given, made = config(FAMILIES[name]), config(back)
    model_type, architecture = SAME_WORD.get(name, (given["model_type"], given["architectures"][0]))
    assert (made["model_type"], made["architectures"]) == (model_type, [architecture])
    assert made["torch_dtype"] == "bfloat16" and "dtype" not in made
    told = set(made) & set(given) - {"architectures", "model_type", "n_inner", "head_dim"}
    assert len(told) > 7
    for key in told - {"bos_token_id", "eos_token_id", "pad_token_id", "use_bidirectional_attention"}:
        assert made[key] == given[key], key


def test_rope_is_spelled_for_old_and_new_readers(tmp_path: Path) -> None:
    gguf = convert(FAMILIES["llama3"], tmp_path / "m.gguf", "gguf:f32")
    made = config(convert(gguf, tmp_path / "back", "safetensors"))
    assert made["rope_theta"] == 500000.0
    assert made["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    assert made["rms_norm_eps"] == 1e-6, "as short as its 32 bits tell it"


def test_yarn_survives(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16.0}
    source = made_models.folder(tmp_path / "s", made_models.llama_config(rope_scaling=scaling, rope_theta=20000.0))
    gguf = convert(source, tmp_path / "m.gguf", "gguf:f32")
    made = config(convert(gguf, tmp_path / "back", "safetensors"))
    assert made["rope_theta"] == 20000.0
    assert made["rope_scaling"] == scaling


def test_a_tied_output_stays_tied(tmp_path: Path) -> None:
    gguf = convert(FAMILIES["gemma2"], tmp_path / "m.gguf", "gguf:f32")
    back = convert(gguf, tmp_path / "back", "safetensors")
    assert config(back)["tie_word_embeddings"] is True
    assert "lm_head.weight" not in arrays(back)


def test_biases_are_told_by_the_tensors(tmp_path: Path) -> None:
    source = made_models.folder(tmp_path / "s", made_models.llama_config(attention_bias=True, mlp_bias=True))
    gguf = convert(source, tmp_path / "m.gguf", "gguf:f32")
    made = config(convert(gguf, tmp_path / "back", "safetensors"))
    has = any(name.endswith("q_proj.bias") for name in arrays(tmp_path / "back"))
    assert made["attention_bias"] is has and made["mlp_bias"] is has


@pytest.mark.parametrize("variant", ["q8_0", "q4_k_m", "q2_k", "q5_1"])
def test_quantized_weights_become_what_they_mean(variant: str, tmp_path: Path) -> None:
    path = convert(TINY, tmp_path / "m.gguf", f"gguf:{variant}")
    found = arrays(convert(path, tmp_path / "back", "safetensors", require="exact"))
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for theirs, name in {
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.5.attn_v.weight": "model.layers.5.self_attn.v_proj.weight",
        "token_embd.weight": "model.embed_tokens.weight",
    }.items():
        wanted = gguf.quants.dequantize(stored[theirs].data, stored[theirs].tensor_type)
        assert found[name].dtype == np.float32
        assert found[name].tobytes() == wanted.tobytes(), name


def test_a_folder_keeps_all_it_has(tmp_path: Path) -> None:
    source = made_models.tiny_as(tmp_path / "source", "bf16")
    (source / "LICENSE").write_text("mine")
    (source / "chat_template.jinja").write_text("{{ messages }}\r\n")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    (source / "pytorch_model.bin.index.json").write_text("{}")
    (source / ".gitattributes").write_text("*")
    back = convert(source, tmp_path / "back", "safetensors")
    kept = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    gone = {".gitattributes", "pytorch_model.bin.index.json", "golden.npz"}
    assert {path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file()} == kept - gone
    for name in kept - gone - {"config.json", "model.safetensors"}:
        assert (back / name).read_bytes() == (source / name).read_bytes(), name
    assert config(back) == config(source)
    assert config(convert(source, tmp_path / "f16", "safetensors:f16")) == {**config(source), "dtype": "float16"}


def test_the_older_word_for_the_number_type_stays(tmp_path: Path) -> None:
    source = made_models.folder(tmp_path / "s", made_models.llama_config(torch_dtype="float32"))
    made = config(convert(source, tmp_path / "back", "safetensors:bf16"))
    assert made["torch_dtype"] == "bfloat16" and "dtype" not in made


def test_too_large_a_companion_is_left_out_and_told(tmp_path: Path) -> None:
    source = made_models.folder(tmp_path / "s")
    with open(source / "notes.txt", "wb") as file:
        file.truncate(MAX_FILE + 1)
    notes: list[str] = []
    hub.convert(source, tmp_path / "back", to="safetensors", on_plan=lambda plan: notes.extend(plan.notes))
    assert not (tmp_path / "back" / "notes.txt").exists()
    assert any("notes.txt does not go along" in note for note in notes)


def test_a_companion_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    source = made_models.folder(tmp_path / "s")
    (tmp_path / "secret").write_text("secret")
    (source / "LICENSE").symlink_to(tmp_path / "secret")
    notes: list[str] = []
    hub.convert(source, tmp_path / "back", to="safetensors", on_plan=lambda plan: notes.extend(plan.notes))
    assert not (tmp_path / "back" / "LICENSE").exists()
    assert any("LICENSE does not go along" in note for note in notes)


def test_tokenizer_and_scores_come_back(tmp_path: Path) -> None:
    gguf = convert(TINY, tmp_path / "m.gguf", "gguf:bf16")
    back = convert(gguf, tmp_path / "back", "safetensors")
    text = (TINY / "eval.txt").read_text("utf-8")
    wanted = Library.from_file(str(TINY / "tokenizer.json"))
    made = Library.from_file(str(back / "tokenizer.json"))
    assert made.encode(text).ids == wanted.encode(text).ids
    given, told = (json.loads((path / "tokenizer_config.json").read_text()) for path in (TINY, back))
    for key in ("bos_token", "eos_token", "unk_token", "chat_template", "add_bos_token", "add_eos_token"):
        assert told[key] == given[key]
    with hub.open(gguf) as first, hub.open(back) as second:
        one, two = first.load_tokenizer(None), second.load_tokenizer(None)
    assert (one.tokens, one.types, one.scores) == (two.tokens, two.types, two.scores)
    assert hub.check(back)["faults"] == []


def test_sentencepiece_reads_the_model_that_is_written(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="the peer sentencepiece is absent")
    gguf = convert(TINY, tmp_path / "m.gguf", "gguf:bf16")
    back = convert(gguf, tmp_path / "back", "safetensors")
    made = sentencepiece.SentencePieceProcessor(model_file=str(back / "tokenizer.model"))
    text = (TINY / "eval.txt").read_text("utf-8")[:5000]
    given = sentencepiece.SentencePieceProcessor(model_file=str(TINY / "tokenizer.model"))
    assert made.vocab_size() == given.vocab_size()
    assert made.encode(text) == given.encode(text)
    assert (made.bos_id(), made.eos_id(), made.unk_id()) == (1, 2, 0)


def test_sampling_comes_back(tmp_path: Path) -> None:
    source = made_models.tiny_as(tmp_path / "source", "bf16")
    wanted = {"temperature": 0.6, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.1}
    (source / "generation_config.json").write_text(json.dumps(wanted))
    back = convert(convert(source, tmp_path / "m.gguf", "gguf:bf16"), tmp_path / "back", "safetensors")
    made = json.loads((back / "generation_config.json").read_text())
    assert made == {**wanted, "do_sample": True, "bos_token_id": 1, "eos_token_id": 2}


def test_header_and_order_are_the_library_s(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    given = {
        "b": random.standard_normal((3, 5)).astype(np.float32),
        "a": random.standard_normal((3,)).astype(np.float16),
        "\u00e4": random.standard_normal((2, 2)).astype(np.float64),
        "c": random.standard_normal((7,)).astype(ml_dtypes.bfloat16),
        "d": np.arange(5, dtype=np.int8),
        "e": np.arange(5, dtype=np.int64),
        "f": np.arange(3) > 1,
        "g": np.arange(3, dtype=np.uint8),
        "h": np.arange(3, dtype=np.int32),
        "i": np.zeros((), np.float32),
        "j": np.arange(3, dtype=np.uint16),
        "k": np.arange(3, dtype=np.uint64),
    }
    safetensors.numpy.save_file(given, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    spelled = {np.dtype("bool"): "BOOL", np.dtype(ml_dtypes.bfloat16): "BF16"}
    weights = [
        Weight(
            name,
            spelled.get(array.dtype, f"{array.dtype.kind.upper()}{8 * array.dtype.itemsize}"),
            array.shape,
            array.nbytes,
            (name, "data"),
        )
        for name, array in given.items()
    ]
    (file,) = lay_out_weights(weights)
    made = bytearray(file.size)
    for offset, data in file.literals:
        made[offset : offset + len(data)] = data
    for (name, _), offset in file.placed.items():
        made[offset : offset + given[name].nbytes] = given[name].tobytes()
    assert bytes(made) == (tmp_path / "theirs.safetensors").read_bytes()


def test_shards_and_their_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [Weight(f"t{i}", "U8", (40,), 40, (f"t{i}", "data")) for i in range(5)]
    files = {file.name: file for file in lay_out_weights(weights, Habits(max_shard=80))}
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert list(files) == [*names, "model.safetensors.index.json"]
    index = json.loads(files["model.safetensors.index.json"].literals[0][1])
    assert index["metadata"] == {"total_size": 200}
    assert index["weight_map"] == {f"t{i}": names[i // 2] for i in range(5)}
    # A tensor beyond the limit has a file of its own.
    assert len(lay_out_weights(weights, Habits(max_shard=10))) == 6

    from hub_safetensors import new_folder, writer

    def small(*args, **options):
        return new_folder.lay_out_folder(*args, **options, habits=Habits(max_shard=3_000_000))

    monkeypatch.setattr(writer, "lay_out_folder", small)
    back = convert(TINY, tmp_path / "back", "safetensors")
    shards = list(back.glob("model-*.safetensors"))
    assert len(shards) > 3 and all(path.stat().st_size < 3_010_000 for path in shards)
    wanted = arrays(TINY)
    assert {name: array.tobytes() for name, array in arrays(back).items()} == {
        name: array.tobytes() for name, array in wanted.items()
    }
    assert serialize.MAX_SHARD == 5 * 10**9


def test_single_tensors_and_settings_as_the_user_asked(tmp_path: Path) -> None:
    from hub.recipe import Rule

    rules = [Rule(r"\.q_proj\.", "f32")]
    options = {"rules": rules, "settings": {"max_position_embeddings": 77}}
    back = convert(TINY, tmp_path / "back", "safetensors:f16", **options)
    found = arrays(back)
    assert found["model.layers.0.self_attn.q_proj.weight"].dtype == np.float32
    assert found["model.layers.0.self_attn.k_proj.weight"].dtype == np.float16
    assert config(back)["max_position_embeddings"] == 77
    with pytest.raises(UsageError, match="no layout 'q8_0'"):
        hub.convert(TINY, tmp_path / "b", to="safetensors", rules=[Rule("q_proj", "q8_0")])
    with pytest.raises(UsageError, match="no variant 'f64'"):
        hub.convert(TINY, tmp_path / "b", to="safetensors:f64")


def test_an_old_folder_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    shutil.copytree(DATA / "arch" / "qwen2", target)
    convert(TINY, target, "safetensors", force=True)
    assert config(target)["model_type"] == "llama" and (target / "tokenizer.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_json_of_anything_is_json() -> None:
    assert json.loads(serialize.json_bytes({"half": "\ud800", "plain": "\u00e9"})) == {
        "half": "\ud800",
        "plain": "\u00e9",
    }
    assert serialize.json_bytes({"plain": "\u00e9"}) == '{\n  "plain": "\u00e9"\n}\n'.encode()
    with pytest.raises(ConfigError, match="not finite"):
        serialize.json_bytes({"x": float("inf")})


def test_a_template_that_is_not_utf8_does_not_stop_the_way_back(tmp_path: Path) -> None:
    gguf_path = convert(TINY, tmp_path / "m.gguf", "gguf:q8_0")
    raw = gguf_path.read_bytes()
    assert raw.count(b"assistant: ") == 1
    gguf_path.write_bytes(raw.replace(b"assistant: ", b"assistant\xff "))
    back = convert(gguf_path, tmp_path / "back", "safetensors:f16")
    assert "assistant\udcff " in json.loads((back / "tokenizer_config.json").read_text())["chat_template"]


def test_an_unknown_way_of_cutting_text_leaves_the_tokenizer_out_and_tells(tmp_path: Path) -> None:
    gguf_path = convert(TINY, tmp_path / "m.gguf", "gguf:q8_0")
    raw = gguf_path.read_bytes()
    kind = b"tokenizer.ggml.model\x08\0\0\0\x05\0\0\0\0\0\0\0llama"
    assert raw.count(kind) == 1
    gguf_path.write_bytes(raw.replace(kind, kind.replace(b"llama", b"other")))
    notes: list[str] = []
    target = tmp_path / "back"
    hub.convert(gguf_path, target, to="safetensors", verify="weights", on_plan=lambda plan: notes.extend(plan.notes))
    assert any("no tokenizer files: a tokenizer of kind 'other'" in note for note in notes)
    assert not (target / "tokenizer.json").exists() and (target / "generation_config.json").exists()
