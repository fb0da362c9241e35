"""The architecture files: every name against the `gguf` package's map, every setting with its rules."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import gguf
import pytest
from made_models import llama_config

from hub import architecture
from hub.architecture import MAX_DIMENSION, build, known, parse
from hub.errors import ArchitectureError, ConfigError, PluginError
from hub.ir.model import Model
from hub_gguf.metadata import _TYPES

FILES = {file.name for file in resources.files("hub.architectures").iterdir()}
OURS = [a for a in known() if f"{a.family}.toml" in FILES]
GGUF_ARCH = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
LAYERS = 3
DATA = Path(__file__).parents[1] / "data" / "arch"


def family(name):
    return next(a for a in known() if a.family == name)


def config(**changes):
    return llama_config(num_hidden_layers=LAYERS, **changes)


def bundled(name, **changes):
    """config.json of the small model of a family, as transformers wrote it."""
    folder = {"llama": "llama3"}.get(name, name)
    return json.loads((DATA / folder / "config.json").read_text()) | changes


def test_all_families_are_there():
    ours = "llama mistral qwen2 qwen3 gemma2 gemma3 phi3 mixtral qwen3_moe gpt2 gpt_oss"
    assert {a.family for a in known()} >= set(ours.split())
    assert len(OURS) == len([name for name in FILES if name.endswith(".toml")])


@pytest.mark.parametrize("arch", OURS, ids=lambda a: a.family)
def test_gguf_names_are_those_of_the_package(arch):
    """Both ways: every canonical tensor has a name there, it is ours, and ours has no other."""
    convention = arch.formats["gguf"]
    names = gguf.get_tensor_name_map(GGUF_ARCH[convention.architecture], LAYERS)
    mapped = [(source, name, rule) for name, rule in convention.tensors.items() for source in rule.sources]
    assert {*(source for source, _, _ in mapped), *convention.left_out} == set(arch.tensors)
    for canonical, ours, rule in mapped:
        for layer in range(LAYERS if "{layer}" in canonical else 1):
            # The converter looks experts up by the name of their stack.
            spelled = canonical.replace("{layer}", str(layer)).replace(".{expert}.", ".")
            spelled = re.sub(r"model(.*)\.block_sparse_moe\.experts", r"\1.feed_forward.experts", spelled).lstrip(".")
            # So are those that it cuts out of fused ones, whose names have no suffix.
            if rule.steps and rule.steps[0][0].startswith("every"):
                spelled = spelled.replace("gate_up_proj", {"0": "gate_proj", "1": "up_proj"}[rule.steps[0][1][1]])
            if not spelled.endswith((".weight", ".bias")):
                spelled = spelled.removesuffix("_bias") + (".bias" if spelled.endswith("_bias") else ".weight")
            wanted = names.get_name(spelled, try_suffixes=(".weight", ".bias"))
            assert ours.replace("{layer}", str(layer)) == wanted, spelled


@pytest.mark.parametrize("arch", OURS, ids=lambda a: a.family)
def test_gguf_tensors_exist_in_that_architecture_of_llama_cpp(arch):
    convention = arch.formats["gguf"]
    there = {
        gguf.TENSOR_NAMES[tensor].replace("{bid}", "{layer}")
        for tensor in gguf.MODEL_TENSORS[GGUF_ARCH[convention.architecture]]
    }
    for name in convention.tensors:
        assert re.sub(r"\.(weight|bias)$", "", name) in there, name


@pytest.mark.parametrize("arch", OURS, ids=lambda a: a.family)
def test_gguf_keys_exist_in_the_package(arch):
    """Keys are spelled as the package spells them, and stand under the architecture's word."""
    convention = arch.formats["gguf"]
    spelled = set()
    for group in (gguf.Keys.General, gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope):
        spelled |= {
            value.replace("{arch}", convention.architecture)
            for key, value in vars(group).items()
            if isinstance(value, str)
        }
    spelled |= {f"{convention.architecture}.rope.scaling.yarn_truncate"}  # llama.cpp has none for it; docs/gguf.md
    assert [row.key for row in convention.metadata if row.key not in spelled] == []
    assert len({row.key for row in convention.metadata}) == len(convention.metadata)
    assert {row.type for row in convention.metadata} <= set(_TYPES)


@pytest.mark.parametrize("arch", OURS, ids=lambda a: a.family)
def test_every_expression_can_be_calculated(arch):
    made = arch.configure(bundled(arch.family), path="c")
    expected = made.expected()
    values = made.values
    assert ((values["vocab_size"], values["hidden_size"]), False) in expected.values()
    assert expected["lm_head.weight"][1] is values["tie_word_embeddings"]
    assert any(f".{made.layers - 1}." in name for name in expected)
    convention = arch.formats["gguf"]
    for row in convention.metadata:
        made.evaluate(row.value, file_type=1, layer=0)
        if row.when:
            made.evaluate(row.when, file_type=1)
    for rule in [*convention.tensors.values(), *convention.also.values(), *arch.spellings.values()]:
        for _, argument in rule.steps:
            assert made.evaluate(argument)
    for condition in (*arch.requires, *convention.requires):
        assert condition.holds(values)
    for condition in convention.notes:  # which some families' usual models give reason for
        assert condition.holds(values) or condition.sentence(values)
    for default in convention.defaults.values():
        made.evaluate(default, tensors=[], layer=0)


@pytest.mark.parametrize("arch", OURS, ids=lambda a: a.family)
def test_the_output_tensor_may_be_absent_only_when_tied(arch):
    tied = arch.configure(bundled(arch.family, tie_word_embeddings=True), path="c").expected()
    assert tied["lm_head.weight"][1] is True


def test_defaults_and_their_order():
    values = family("llama").configure(config(), path="c").values
    assert values["head_dim"] == 64
    assert (values["rope.type"], values["rope.theta"]) == ("default", 10000.0)
    given = config()
    del given["num_key_value_heads"], given["rope_theta"]
    values = family("llama").configure(given, path="c").values
    assert values["num_key_value_heads"] == 4
    assert values["rope.theta"] == 10000.0
    assert "head_dim" not in family("qwen2").configure(config(), path="c").values
    assert family("qwen3").configure(config(), path="c").values["head_dim"] == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": 0}, "from 1"),
        ({"hidden_size": -4}, "from 1"),
        ({"hidden_size": 256.0}, "number of type int"),
        ({"hidden_size": True}, "number of type int"),
        ({"hidden_size": "256"}, "number of type int"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers"),
        ({"tie_word_embeddings": 1}, "true or false"),
        ({"hidden_act": "gelu"}, "silu"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads"),
        ({"head_dim": 33}, "even"),
        ({"num_attention_heads": 512}, "head_dim"),  # more heads than hidden_size: head_dim becomes 0
    ],
)
def test_settings_that_are_refused(changes, message):
    given = config() | changes
    given = {key: value for key, value in given.items() if value is not None}
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        family("llama").configure(given, path="here/config.json")
    assert caught.value.path == "here/config.json"


def test_shapes_beyond_reason_are_refused():
    made = family("llama").configure(
        config(vocab_size=MAX_DIMENSION, num_attention_heads=4, head_dim=1 << 39), path="c"
    )
    with pytest.raises(ConfigError, match="the shape"):
        made.expected()


def test_tables_that_are_recomputed_are_left_out_with_a_reason():
    made = family("llama").configure(config(), path="c")
    assert "rope" in made.ignored("model.layers.0.self_attn.rotary_emb.inv_freq")
    assert made.ignored("model.layers.0.self_attn.rotary_emb.inv_freq2") is None


def test_find_by_either_word():
    def model(word, convention):
        return Model("x", "p", convention, {}, architecture=word)

    assert architecture.find(model("Qwen2ForCausalLM", "")).family == "qwen2"
    assert architecture.find(model("llama", "gguf")).family == "llama"  # mistral's files say llama too, and are read so
    for word, convention in (("llama", ""), ("LlamaForCausalLM", "gguf"), ("GPT9", ""), (None, "")):
        with pytest.raises(ArchitectureError):
            architecture.find(model(word, convention))


@pytest.mark.parametrize(
    "text",
    [
        "family = 'x'",  # no summary, no match
        "family = 'x'\nsummary = ''\n[match]\narchitectures = ['X']\n[config]\na = 1\n[tensors]\n",
        "family = 'x'\nsummary = ''\n[match]\narchitectures = ['X']\n[config]\na = { type = 'int', odd = 1 }\n",
        "family = 'x'\nsummary = ''\n[match]\narchitectures = ['X']\n[config]\n[tensors]\n[formats.f]\n",
        "family = ",
    ],
)
def test_a_broken_file_is_a_plugin_error(text):
    with pytest.raises(PluginError):
        build(parse(text, name="x.toml"))


@pytest.mark.parametrize("arch", OURS, ids=lambda a: a.family)
def test_wrong_configurations_never_crash(arch):
    """Whatever stands in config.json, the answer is a ConfigError or a configuration."""
    odd = [None, True, 0, -1, 1, 3, 1e308, float("inf"), float("nan"), "", "x", [], [1], {}, {"a": 1}, 10**30]
    base = bundled(arch.family)
    assert arch.configure(base, path="c")
    keys = {key for rule in arch.settings.values() for key in rule.keys}
    for key in [*base, *keys, "rope_scaling", "rope_parameters", "rope_theta", "original_max_position_embeddings"]:
        for value in odd:
            try:
                made = arch.configure(base | {key: value}, path="c")
                if made.layers < 1000:
                    made.expected()
            except ConfigError:
                pass


@pytest.mark.parametrize(
    ("given", "heads"), [({}, 8), ({"num_key_value_heads": None}, 32), ({"num_key_value_heads": 4}, 4)]
)
def test_a_setting_left_out_is_not_one_given_as_null(given, heads):
    # transformers' MistralConfig: 8 unless given, and as many as attention heads where it is null.
    mistral = next(a for a in known() if a.family == "mistral")
    raw = {
        "hidden_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 32,
        "intermediate_size": 64,
        "vocab_size": 8,
    }
    assert mistral.configure({**raw, **given}, path="config.json").values["num_key_value_heads"] == heads
