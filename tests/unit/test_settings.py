"""Settings of the ten families: every spelling of config.json says the same, and what contradicts itself is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.architecture import known
from hub.errors import ConfigError
from hub.mapping import Sorted, localise, notes

DATA = Path(__file__).parents[1] / "data" / "arch"


def family(name):
    return next(a for a in known() if a.family == name)


def bundled(name):
    return json.loads((DATA / name / "config.json").read_text())


def values(name, raw, **more):
    return family(name).configure(raw, path="config.json", **more).values


def without(raw, *keys):
    return {key: value for key, value in raw.items() if key not in keys}


def test_gemma3_of_transformers_4_says_the_same():
    new = bundled("gemma3")
    old = without(new, "rope_parameters", "layer_types", "_sliding_window_pattern")
    old |= {"rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "rope_scaling": None, "sliding_window_pattern": 6}
    assert values("gemma3", old) == values("gemma3", new)
    scaled = old | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_local_base_freq": 20000}
    found = values("gemma3", scaled)
    assert (found["rope.type"], found["rope.factor"], found["rope.theta"]) == ("linear", 8.0, 1e6)
    assert found["rope.local_theta"] == 20000


def test_gemma3_leaves_nearly_everything_to_defaults():
    found = values("gemma3", {"num_hidden_layers": 13, "model_type": "gemma3_text"})
    assert [i for i, kind in enumerate(found["layer_types"]) if kind == "full_attention"] == [5, 11]
    assert (found["head_dim"], found["query_pre_attn_scalar"], found["sliding_window"]) == (256, 256, 4096)
    assert (found["rope.theta"], found["rope.local_theta"]) == (1e6, 1e4)
    assert "attn_logit_softcapping" not in found
    third = values("gemma3", {"num_hidden_layers": 7, "sliding_window_pattern": 3})
    assert third["layer_types"].count("full_attention") == 2


def test_gemma2_leaves_layer_types_out():
    old = without(bundled("gemma2"), "rope_parameters", "layer_types") | {"rope_theta": 10000.0}
    assert values("gemma2", old) == values("gemma2", bundled("gemma2"))


def test_mixtral_and_qwen3_moe_count_experts_under_either_key():
    for name, key, other in (
        ("mixtral", "num_local_experts", "num_experts"),
        ("qwen3_moe", "num_local_experts", "num_experts"),
    ):
        raw = bundled(name)
        moved = without(raw, key) | {other: raw[key]}
        assert values(name, moved) == values(name, raw)
        with pytest.raises(ConfigError, match="one setting"):
            values(name, raw | {other: raw[key] + 1})
    assert family("mixtral").settings["num_experts"].keys[0] == "num_local_experts"
    assert family("qwen3_moe").settings["num_experts"].keys[0] == "num_experts"


def test_gpt2_under_its_own_keys():
    found = values("gpt2", bundled("gpt2"))
    assert (found["hidden_size"], found["num_hidden_layers"], found["num_attention_heads"]) == (64, 2, 4)
    assert (found["num_key_value_heads"], found["head_dim"], found["intermediate_size"]) == (4, 16, 256)
    assert (found["max_position_embeddings"], found["hidden_act"]) == (512, "gelu_new")
    assert values("gpt2", bundled("gpt2") | {"n_inner": 96})["intermediate_size"] == 96
    assert values("gpt2", {})["hidden_size"] == 768


LONGROPE = {"type": "su", "long_factor": [2.0] * 6, "short_factor": [1.0] * 6}


def test_phi3_of_every_age():
    old = without(bundled("phi3"), "rope_parameters") | {
        "rope_theta": 10000.0, "rope_scaling": LONGROPE, "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 128,
    }  # fmt: skip
    found = values("phi3", old)
    new = {**LONGROPE, "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}
    assert found == values("phi3", without(old, "rope_scaling", "rope_theta") | {"rope_parameters": new})
    assert (found["rope.type"], found["rope.dim"]) == ("longrope", 12)
    assert found["rope.original_max_position_embeddings"] == 128
    assert found["rope.attention_factor"] == pytest.approx(1.133893, rel=1e-6)  # sqrt(1 + ln 4 / ln 128)
    # A format that keeps the factor in f32 gives the same setting.
    assert values("phi3", old | {"rope_scaling": {**LONGROPE, "attention_factor": 1.1338934}}) == found


def test_what_a_gguf_file_means_by_saying_nothing():
    raw = without(bundled("qwen3_moe"), "norm_topk_prob", "head_dim", "attention_bias")
    assert values("qwen3_moe", raw)["norm_topk_prob"] is False
    told = values("qwen3_moe", raw, convention="gguf", tensors=["blk.0.attn_q.bias"])
    assert told["norm_topk_prob"] is True
    assert told["attention_bias"] is True
    gemma = without(bundled("gemma3"), "layer_types", "sliding_window")
    assert values("gemma3", gemma, convention="gguf")["layer_types"] == ["full_attention"] * 6
    said = gemma | {"sliding_window": 16, "sliding_layers": [True, False] * 3}
    assert values("gemma3", said, convention="gguf")["layer_types"] == ["sliding_attention", "full_attention"] * 3


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gemma3", {"layer_types": ["full_attention"]}, "1 items, num_hidden_layers is 6"),
        ("gemma3", {"layer_types": ["full_attention"] * 5 + ["odd"]}, r"layer_types\[5\] is 'odd'"),
        ("gemma3", {"layer_types": "full"}, "a list of up to"),
        ("gemma3", {"layer_types": [1] * 6}, r"layer_types\[0\]"),
        ("gemma3", {"sliding_window": None}, "sliding_window is not given"),
        ("gemma3", {"use_bidirectional_attention": True}, "causal"),
        ("gemma3", {"rope_parameters": {"full_attention": 1}}, "allowed are objects"),
        ("gemma3", {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2}}}, "'linear'"),
        ("gemma3", {"query_pre_attn_scalar": 0}, "above 0"),
        ("gemma2", {"hidden_activation": "relu"}, "gelu_pytorch_tanh"),
        ("gemma2", {"attn_logit_softcapping": -1.0}, "attn_logit_softcapping"),
        ("mixtral", {"num_local_experts": 0}, "num_experts is 0"),
        ("mixtral", {"num_local_experts": 1 << 30}, "num_experts"),
        ("mixtral", {"num_experts_per_tok": 5}, "at most the number of experts"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "dense"),
        ("qwen3_moe", {"mlp_only_layers": [None]}, r"mlp_only_layers\[0\]"),
        ("qwen3_moe", {"mlp_only_layers": [0] * 100_001}, "a list of up to 100000"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "dense"),
        ("phi3", {"rope_scaling": {"type": "longrope"}}, "long_factor is None"),
        ("phi3", {"rope_scaling": {**LONGROPE, "rope_type": "longrope"}}, "has 6 items, longrope needs a list of 8"),
        ("phi3", {"rope_scaling": {"type": "longrope", "long_factor": ["x"] * 8}}, "long_factor"),
        ("phi3", {"rope_scaling": {"type": "longrope", "long_factor": [0] * 8}}, "has a 0"),
        ("phi3", {"rope_parameters": {"partial_rotary_factor": 2.0}}, "elements of a head"),
        ("phi3", {"rope_parameters": {"partial_rotary_factor": 0.2}}, "must be even"),
        ("gpt2", {"n_head": 5}, "multiple of n_head"),
        ("gpt2", {"add_cross_attention": True}, "encoder"),
        ("gpt2", {"activation_function": "relu"}, "gelu_new"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(name, change, message):
    with pytest.raises(ConfigError, match=message):
        values(name, bundled(name) | change)


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("mistral", {"sliding_window": 7}, "window of 7 tokens"),
        ("mistral", {"sliding_window": None}, None),
        ("mixtral", {"sliding_window": 9}, "window of 9 tokens"),
        ("phi3", {"sliding_window": 11}, "window of 11 tokens"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1, "layer_types": None},
         "window of 5 tokens"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 99, "layer_types": None}, None),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 5}, None),
        ("qwen3", {"rope_parameters": YARN}, None),
        ("qwen3", {"rope_parameters": {**YARN, "beta_fast": 20}}, "beta_fast"),
        ("mistral", {"sliding_window": None, "rope_parameters": {**YARN, "attention_factor": 1.0}}, "attention_factor"),
    ],
)  # fmt: skip
def test_what_gguf_cannot_tell_is_noted(name, change, told):
    """llama.cpp's logits of such models are others than transformers' (NMSE 0.01 to 1 in texts beyond the window)."""
    found = notes(family(name).configure(bundled(name) | change, path="c"), "gguf")
    assert bool(found) == bool(told) and all(told in note for note in found)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("qwen2", {"head_dim": 6}, "head_dim is 6, and llama.cpp has hidden_size / num_attention_heads"),
        ("qwen3", {"attention_bias": True}, "no bias for attn_output"),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob"),
    ],
)
def test_what_llama_cpp_does_not_load_or_computes_otherwise_is_refused(name, change, message):
    configured = family(name).configure(bundled(name) | change, path="c")
    with pytest.raises(ConfigError, match=message):
        localise(Sorted({}, ()), "gguf", configured)


def test_more_tensors_than_any_file_has_are_refused():
    made = family("mixtral").configure(
        bundled("mixtral") | {"num_local_experts": 65536, "num_hidden_layers": 1000}, path="c"
    )
    with pytest.raises(ConfigError, match="at most 1000000"):
        made.expected()


def test_rope_settings_that_a_config_leaves_out():
    """transformers 5.23: GptOssConfig() has yarn, and GptOssConfig(rope_theta=1e4) too; a GGUF file without has none."""
    raw = without(bundled("gpt_oss"), "rope_parameters")
    gpt_oss = family("gpt_oss")
    for given, theta in (({}, 150000.0), ({"rope_theta": 1e4, "rope_scaling": None}, 1e4)):
        values = gpt_oss.configure({**raw, **given}, path="c").values
        assert (values["rope.type"], values["rope.factor"], values["rope.theta"]) == ("yarn", 32.0, theta)
        assert values["rope.truncate"] is False
        assert values["rope.original_max_position_embeddings"] == 4096
    plain = gpt_oss.configure({**raw, "rope_parameters": {"rope_type": "default"}}, path="c").values
    assert plain["rope.type"] == "default"
    assert gpt_oss.configure(raw, path="c", convention="gguf").values["rope.type"] == "default"
