"""Both spellings of rotary settings, and the factors of llama3 against numbers that others calculated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hub.architecture import known
from hub.errors import ConfigError
from hub.makers import MAKERS
from hub.rope import rope_settings

TYPES = ["default", "linear", "dynamic", "yarn", "llama3"]


def settings(raw, **values):
    return rope_settings(raw, values, 10000.0, TYPES, path="config.json")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
        (
            {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_parameters": {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0}},
        ),
        (
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
            "high_freq_factor": 4,
                                                 "original_max_position_embeddings": 8192}},
            {"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                                 "high_freq_factor": 4, "original_max_position_embeddings": 8192}},
        ),
        (
            {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0, "attn_factor": 0.5}},
            {"rope_parameters": {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0, "attention_factor": 0.5}},
        ),
    ],
)  # fmt: skip
def test_both_spellings_say_the_same(old, new):
    assert settings(old, max_position_embeddings=4096) == settings(new, max_position_embeddings=4096)


def test_nothing_is_the_default():
    assert settings({}) == settings({"rope_scaling": None}) == {"rope.type": "default", "rope.theta": 10000.0}


def test_the_old_spelling_wins_where_a_file_has_both():
    found = settings(
        {"rope_theta": 3.0, "rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_theta": 7.0}}
    )
    assert found == {"rope.type": "linear", "rope.factor": 2, "rope.theta": 3.0}


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_empty_old_spelling_is_none(nothing):
    found = settings({"rope_theta": 3.0, "rope_scaling": nothing, "rope_parameters": {"rope_theta": 7.0}})
    assert found == {"rope.type": "default", "rope.theta": 7.0}


def test_the_original_length_of_llama3_is_the_models_own():
    given = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    found = settings({"rope_scaling": given}, max_position_embeddings=4096)
    assert found["rope.original_max_position_embeddings"] == 4096


def test_what_types_fill_in():
    assert settings({"rope_scaling": {"rope_type": "llama3"}}) == {
        "rope.type": "llama3", "rope.theta": 10000.0, "rope.factor": 8.0, "rope.low_freq_factor": 1.0,
        "rope.high_freq_factor": 4.0, "rope.original_max_position_embeddings": 8192,
    }  # fmt: skip
    yarn = settings({"rope_scaling": {"type": "yarn", "factor": 4}}, max_position_embeddings=4096)
    assert yarn["rope.original_max_position_embeddings"] == 4096
    beside = settings({"rope_scaling": {"type": "yarn", "factor": 4}, "original_max_position_embeddings": 2048})
    assert beside["rope.original_max_position_embeddings"] == 2048


def test_yarn_attention_by_two_scales():
    """As transformers computes it, `_compute_yarn_parameters`."""
    scaled = {"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.2}
    found = settings({"rope_scaling": scaled}, max_position_embeddings=4096)
    assert found["rope.attention_factor"] == pytest.approx((0.07 * math.log(4) + 1) / (0.12 * math.log(4) + 1))
    given = settings({"rope_scaling": {**scaled, "attention_factor": 0.5}}, max_position_embeddings=4096)
    assert given["rope.attention_factor"] == 0.5
    one = settings({"rope_scaling": {"type": "yarn", "factor": 4.0, "mscale": 0.7}}, max_position_embeddings=4096)
    assert "rope.attention_factor" not in one


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"rope_scaling": {"type": "yarn", "factor": 4, "truncate": 0}}, "truncate"),
        ({"rope_scaling": {"type": "yarn", "factor": 4, "mscale": "1", "mscale_all_dim": 1}}, "mscale"),
        ({"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 4}}, "logarithm"),
        ({"rope_scaling": [1]}, "allowed is an object"),
        ({"rope_scaling": "linear"}, "allowed is an object"),
        ({"rope_scaling": {"type": "su"}}, "'su' is not known"),
        ({"rope_scaling": {"type": ["linear"]}}, "not known"),
        ({"rope_scaling": {"type": "linear"}}, "needs a factor"),
        ({"rope_scaling": {"type": "yarn"}}, "needs a factor"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor"),
        ({"rope_scaling": {"type": "linear", "factor": True}}, "factor"),
        ({"rope_scaling": {"type": "linear", "factor": -1}}, "factor"),
        ({"rope_scaling": {"type": "linear", "factor": math.nan}}, "factor"),
        ({"rope_scaling": {"type": "linear", "factor": math.inf}}, "factor"),
        ({"rope_theta": "big"}, "rope_theta"),
        ({"rope_scaling": {"type": "llama3", "low_freq_factor": 4, "high_freq_factor": 4}}, "equals"),
    ],
)
def test_settings_that_are_refused(raw, message):
    with pytest.raises(ConfigError, match=message):
        settings(raw)


def factors(head_dim, **rope):
    llama = next(a for a in known() if a.family == "llama")
    raw = {
        "hidden_size": head_dim * 4, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 8,
        "vocab_size": 8,
        "rope_parameters": {"rope_type": "llama3", **rope},
    }  # fmt: skip
    tensor = MAKERS["llama3_rope_factors"]("rope_freqs.weight", llama.configure(raw, path="c"))
    assert tensor.shape == (head_dim // 2,)
    return tensor.parts["data"].load(0, head_dim // 2)


def test_factors_of_the_test_model_are_those_of_llama_cpp():
    """tests/data/arch/llama3 through llama.cpp's convert_hf_to_gguf (0c1e570): `rope_freqs.weight` of that file."""
    ours = factors(
        16,
        rope_theta=500000.0,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    )
    wanted = np.array(
        [0x3F800000, 0x401C4DFB, 0x41000000, 0x41000000, 0x41000000, 0x41000000, 0x41000000, 0x41000000], np.uint32
    )
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours.view(np.uint32), wanted)


@pytest.mark.parametrize(("head_dim", "factor", "context"), [(128, 8.0, 8192), (64, 32.0, 8192), (128, 2.5, 4096)])
def test_factors_of_real_models_follow_the_formula(head_dim, factor, context):
    """Llama 3.1 and 3.2; the formula of transformers in double precision."""
    ours = factors(head_dim, rope_theta=5e5, factor=factor, original_max_position_embeddings=context)
    wanted = []
    for j in range(head_dim // 2):
        wavelength = 2 * math.pi * 5e5 ** (2 * j / head_dim)
        if wavelength < context / 4:
            wanted.append(1.0)
        elif wavelength > context:
            wanted.append(factor)
        else:
            smooth = (context / wavelength - 1) / 3
            wanted.append(1 / ((1 - smooth) / factor + smooth))
    np.testing.assert_allclose(ours, wanted, rtol=2e-6)
    assert (np.diff(ours) >= 0).all()
    assert (ours[0], ours[-1]) == (1.0, np.float32(factor))
