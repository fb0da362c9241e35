"""From a Hugging Face folder to GGUF and back: the same tensors under the same names, the same settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  so that NumPy knows bfloat16
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import hub
from hub.architecture import configure
from hub.errors import ArchitectureError, ConfigError, HubError, WeightError
from hub.ir.tensor import Packed, Tensor
from hub.mapping import canonical
from hub.pipeline import weights
from hub.plugins import registry

ARCH = Path(__file__).parents[1] / "data" / "arch"
FAMILIES = sorted(folder.name for folder in ARCH.iterdir())
Arrays = dict[str, np.ndarray[Any, Any]]
NOT_IN_GGUF = {"mlp_only_layers", "attention_bias", "mlp_bias"}
"""Settings of one family read as another (mistral as llama), and an empty list."""


def numbers(tensor: Tensor) -> np.ndarray[Any, Any]:
    found = weights(tensor, registry().layout(tensor.layout), 0, tensor.rows)
    return found.reshape(tensor.shape).view(np.uint32)


def stored(name: str) -> Arrays:
    with safe_open(ARCH / name / "model.safetensors", "np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def folder(path: Path, name: str, arrays: Mapping[str, np.ndarray[Any, Any]], **changes: Any) -> Path:
    """The small model of a family with other tensors or settings."""
    path.mkdir()
    config = json.loads((ARCH / name / "config.json").read_text()) | changes
    (path / "config.json").write_text(json.dumps(config))
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, path / "model.safetensors")
    return path


def same(a: Path, b: Path) -> None:
    """Both hold the same canonical tensors, bit for bit in f32."""
    with hub.open(a) as one, hub.open(b) as other:
        left, right = canonical(one, configure(one)).tensors, canonical(other, configure(other)).tensors
        assert set(left) == set(right)
        assert [name for name in left if not np.array_equal(numbers(left[name]), numbers(right[name]))] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_gguf_f32_and_back_is_the_identity(name: str, tmp_path: Path) -> None:
    target = tmp_path / "f32.gguf"
    with hub.open(ARCH / name) as model:
        assert {entry.fidelity for entry in hub.plan(model, to="gguf:f32").entries} == {"exact"}
    hub.convert(ARCH / name, target, to="gguf:f32", verify="weights")
    same(ARCH / name, target)
    with hub.open(ARCH / name) as before, hub.open(target) as after:
        told, found = configure(before).values, configure(after).values
        assert {k: v for k, v in told.items() if found.get(k) != v and k not in NOT_IN_GGUF} == {}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ["gemma2", "gpt2", "mixtral", "phi3"])
def test_other_floats_come_back_too(name: str, dtype: str, tmp_path: Path) -> None:
    # Values of bf16, which 1 + w keeps in f32.
    source = folder(tmp_path / "in", name, {k: v.astype(dtype) for k, v in stored(name).items()})
    hub.convert(source, tmp_path / "a.gguf", to="gguf:f32", verify="weights")
    same(source, tmp_path / "a.gguf")


def test_norms_that_one_plus_w_rounds_are_told(tmp_path: Path) -> None:
    arrays = {k: v.astype(np.float32) for k, v in stored("gemma3").items()}
    arrays["model.norm.weight"][3] = 0.1
    source = folder(tmp_path / "in", "gemma3", arrays)
    with hub.open(source) as model:
        plan = hub.plan(model, to="gguf:f32")
    lossy = {entry.name: entry.why for entry in plan.entries if entry.fidelity == "lossy"}
    assert lossy == {"output_norm.weight": "never quantized; add rounds some of its weights"}
    hub.convert(source, tmp_path / "a.gguf", to="gguf:f32", verify="weights")


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_packed_experts_come_apart_without_being_decoded(name: str, tmp_path: Path) -> None:
    """Rows of 256, so that Q4_K does not fall back; every expert has the bytes of its rows."""
    wide, rng = 256, np.random.default_rng(5)
    with hub.open(ARCH / name) as model:
        made = configure(model).architecture.configure(
            dict(model.config) | {"hidden_size": wide, "intermediate_size": wide, "moe_intermediate_size": wide},
            path="c",
        )
    shapes = {key: shape for key, (shape, _) in made.expected().items() if not key.endswith(".bias")}
    arrays = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    source = folder(tmp_path / "in", name, arrays, hidden_size=wide, intermediate_size=wide, moe_intermediate_size=wide)
    target = tmp_path / "q.gguf"
    hub.convert(source, target, to="gguf:q4_k_s", verify="weights")
    with hub.open(target) as model:
        found = canonical(model, configure(model)).tensors
        experts = [tensor for key, tensor in found.items() if ".experts." in key]
        assert len(experts) == 6 * made.experts
        for tensor in experts:
            assert isinstance(tensor.body, Packed)
            assert tensor.shape == (wide, wide)
        stack = model.tensors["blk.1.ffn_up_exps.weight"]
        whole = numbers(stack)
        word = "w3" if name == "mixtral" else "up_proj"
        last = next(t for key, t in found.items() if f"layers.1.{'block_sparse_moe' if name == 'mixtral' else 'mlp'}"
                    f".experts.{made.experts - 1}.{word}" in key)  # fmt: skip
        np.testing.assert_array_equal(numbers(last), whole[-1])
        part = last.parts["blocks"]
        assert part.span is not None
        assert part.stored_row(0) == (made.experts - 1) * wide
        assert last.stored_name == "blk.1.ffn_up_exps.weight"


def test_a_quantized_gpt2_is_turned_back(tmp_path: Path) -> None:
    target = tmp_path / "q.gguf"
    hub.convert(ARCH / "gpt2", target, to="gguf:q8_0", verify="weights")
    with hub.open(target) as model:
        found = canonical(model, configure(model)).tensors["transformer.h.0.mlp.c_fc.weight"]
        assert (found.shape, found.layout, found.derived) == ((64, 256), "f32", ("dequantize", "transpose"))
        np.testing.assert_array_equal(numbers(found), numbers(model.tensors["blk.0.ffn_up.weight"]).T)


def fused(arrays: Arrays, gate: str, up: str, down: str, at: str) -> Arrays:
    """Experts as transformers 5 keeps them in memory: (experts, 2 F, H) and (experts, H, F)."""
    out = {key: value for key, value in arrays.items() if ".experts." not in key}
    experts = 1 + max(int(key.split(".experts.")[1].split(".")[0]) for key in arrays if ".experts." in key)
    for layer in range(2):

        def each(word: str) -> list[np.ndarray[Any, Any]]:
            return [arrays[f"model.layers.{layer}.{at}.experts.{e}.{word}.weight"] for e in range(experts)]  # noqa: B023

        both = [np.concatenate(pair) for pair in zip(each(gate), each(up), strict=True)]
        out[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = np.stack(both)
        out[f"model.layers.{layer}.mlp.experts.down_proj"] = np.stack(each(down))
    return {key.replace("block_sparse_moe.gate", "mlp.gate"): value for key, value in out.items()}


def without_prefix(arrays: Arrays) -> Arrays:
    """GPT-2 as it was first published: no head, no prefix, and masks."""
    out = {key.removeprefix("transformer."): value for key, value in arrays.items()}
    for layer in range(2):
        out[f"h.{layer}.attn.bias"] = np.ones((1, 1, 512, 512), np.float32)
        out[f"h.{layer}.attn.masked_bias"] = np.array(-1e4, np.float32)
    return out


OTHER: dict[str, tuple[str, Callable[[Arrays], Arrays]]] = {
    "mixtral": ("mixtral", lambda a: fused(a, "w1", "w3", "w2", "block_sparse_moe")),
    "qwen3_moe": ("qwen3_moe", lambda a: fused(a, "gate_proj", "up_proj", "down_proj", "mlp")),
    "gpt2": ("gpt2", without_prefix),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_spellings_say_the_same(case: str, tmp_path: Path) -> None:
    name, spell = OTHER[case]
    source = folder(tmp_path / "in", name, spell(stored(name)))
    same(ARCH / name, source)
    hub.convert(source, tmp_path / "a.gguf", to="gguf:f32", verify="weights")
    same(ARCH / name, tmp_path / "a.gguf")


def test_a_tensor_in_two_spellings_is_refused(tmp_path: Path) -> None:
    arrays = stored("mixtral")
    arrays["model.layers.0.mlp.gate.weight"] = arrays["model.layers.0.block_sparse_moe.gate.weight"]
    source = folder(tmp_path / "in", "mixtral", arrays)
    with pytest.raises(ConfigError, match=r"it is model.layers.0.block_sparse_moe.gate.weight, and so is"):
        hub.convert(source, tmp_path / "a.gguf", to="gguf:f32")


def test_missing_and_superfluous_experts_are_named(tmp_path: Path) -> None:
    arrays = stored("qwen3_moe")
    gone = arrays.pop("model.layers.1.mlp.experts.7.up_proj.weight")
    with pytest.raises(ArchitectureError, match=r"missing: model\.layers\.1\.mlp\.experts\.7\.up_proj"):
        hub.convert(folder(tmp_path / "a", "qwen3_moe", arrays), tmp_path / "a.gguf", to="gguf:f32")
    arrays["model.layers.1.mlp.experts.7.up_proj.weight"] = gone
    arrays["model.layers.1.mlp.experts.8.up_proj.weight"] = gone
    with pytest.raises(ArchitectureError, match=r"does not name: model\.layers\.1\.mlp\.experts\.8"):
        hub.convert(folder(tmp_path / "b", "qwen3_moe", arrays), tmp_path / "b.gguf", to="gguf:f32")


def test_a_damaged_expert_is_named(tmp_path: Path) -> None:
    arrays = stored("mixtral")
    name = "model.layers.1.block_sparse_moe.experts.2.w3.weight"
    arrays[name] = arrays[name].copy()
    arrays[name][5, 7] = np.nan
    source = folder(tmp_path / "in", "mixtral", arrays)
    with pytest.raises(WeightError, match=f"number {5 * 64 + 7}") as caught:
        hub.convert(source, tmp_path / "a.gguf", to="gguf:q8_0")
    assert caught.value.tensor == name
    raw = (source / "model.safetensors").read_bytes()
    assert caught.value.offset is not None
    assert np.frombuffer(raw, np.uint16, 1, caught.value.offset)[0] & 0x7F80 == 0x7F80


def test_a_damaged_weight_of_a_transposed_tensor_is_named(tmp_path: Path) -> None:
    arrays = stored("gpt2")
    name = "transformer.h.1.mlp.c_fc.weight"
    arrays[name] = arrays[name].copy()
    arrays[name][5, 7] = np.inf
    with pytest.raises(WeightError, match=f"number {5 * 256 + 7}"):
        hub.convert(folder(tmp_path / "in", "gpt2", arrays), tmp_path / "a.gguf", to="gguf:q8_0")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob is false"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is false"),
        ("gemma2", {"query_pre_attn_scalar": 100}, "query_pre_attn_scalar is another"),
        ("gemma2", {"final_logit_softcapping": None}, "takes 50 and 30"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is given"),
        ("gpt_oss", {"swiglu_limit": 6.0}, "swiglu_alpha is 1.702 and swiglu_limit 6.0, llama.cpp has 1.702 and 7"),
        ("gpt_oss", {"sliding_window": None, "layer_types": ["full_attention"] * 3}, "sliding_window is not given"),
        ("gpt_oss", {"tie_word_embeddings": True}, "tie_word_embeddings is true"),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "truncate": False}},
         "yarn's bounds are not rounded"),
    ],
)  # fmt: skip
def test_what_gguf_cannot_tell_is_refused(name: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", name, stored(name), **change)
    with pytest.raises(HubError, match=f"as gguf: .*{message}"):
        hub.convert(source, tmp_path / "a.gguf", to="gguf:f32")
    assert not (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gemma3", {"layer_types": ["sliding_attention", "full_attention"] * 3}),
        ("gemma3", {"layer_types": ["full_attention"] * 6}),
        ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]}),
        ("gemma2", {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}}),
        ("phi3", {"sliding_window": 200}),
        ("gpt_oss", {"layer_types": ["full_attention", "full_attention", "sliding_attention"]}),
        ("gpt_oss", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "beta_fast": 20.0,
                                         "original_max_position_embeddings": 512}}),
        ("gpt_oss", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}),
        ("phi3", {"max_position_embeddings": 8192, "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "long_factor": [1.5] * 8, "short_factor": [1.1] * 8}}),
        ("llama3", {"rope_parameters": {
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 3.0, "low_freq_factor": 1.25, "high_freq_factor": 5.0,
            "original_max_position_embeddings": 777}, "head_dim": 16}),
    ],
)  # fmt: skip
def test_unusual_settings_come_back(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    source = folder(tmp_path / "in", name, stored(name), **change)
    hub.convert(source, tmp_path / "a.gguf", to="gguf:f32", verify="weights")
    with hub.open(source) as before, hub.open(tmp_path / "a.gguf") as after:
        told, found = dict(configure(before).values), configure(after).values
        if "sliding_attention" not in told.get("layer_types", ["sliding_attention"]):
            del told["sliding_window"]  # of layers that are not there
        if name == "llama3":  # few pairs turn in a small head, so several settings make the same factors
            told = {key: value for key, value in told.items() if not key.startswith("rope.")}
        assert {k: v for k, v in told.items() if found.get(k) != v and k not in NOT_IN_GGUF} == {}


def test_rope_factors_that_follow_from_nothing_are_not_dropped(tmp_path: Path) -> None:
    target = tmp_path / "a.gguf"
    hub.convert(ARCH / "llama3", target, to="gguf:f32", verify="none")
    with hub.open(target) as model:
        part = model.tensors["rope_freqs.weight"].parts["data"]
        assert part.span is not None
        at = part.span.offset
    raw = bytearray(target.read_bytes())
    raw[at : at + 32] = np.array([1, 5, 2, 7, 3, 8, 8, 8], np.float32).tobytes()
    target.write_bytes(raw)
    with hub.open(target) as model:
        assert hub.plan(model, to="gguf:q8_0")
        with pytest.raises(ConfigError, match="follow from no rope settings"):
            hub.plan(model, to="safetensors:f32")


def test_sliding_windows_that_gguf_lacks_are_told(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", "mixtral", stored("mixtral"), sliding_window=64)
    with hub.open(source) as model:
        assert any("sliding window of 64 tokens" in note for note in hub.plan(model, to="gguf:f32").notes)
