"""``general.*`` key-values: the model card, names, sampling; against gguf's own Metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub_gguf.general import count_parameters, facts_kvs
from hub_gguf.kv import KvType, encode
from hub_safetensors.model_card import front_matter

CARD = """---
license: apache-2.0
language:
- en
- no
tags:
- text-generation
base_model: someorg/Base-Model-7B
base_models_unused: x
datasets:
- someorg/some-data
- https://huggingface.co/org/data-set
model_name: Some Model
model_creator: Somebody
pipeline_tag: text-generation
---
# Text
"""


class _Recorder:
    """Takes what gguf-py's Metadata writes."""

    def __init__(self) -> None:
        self.kvs: dict[str, Any] = {}
        self._writer = gguf.GGUFWriter(None, "llama")

    def theirs(self, metadata: gguf.Metadata) -> dict[str, Any]:
        self._writer.add_type("model")
        metadata.set_gguf_meta_model(self._writer)
        values = self._writer.kv_data[0]
        return {key: value.value for key, value in values.items() if key != "general.architecture"}


def plain(kvs: Any) -> dict[str, Any]:
    return {kv.key: kv.value for kv in kvs}


@pytest.mark.parametrize(
    "name",
    [
        "Llama-3.1-8B-Instruct", "Qwen2.5-7B", "tiny", "a-model-v1.2-chat", "Mixtral-8x7B-v0.1", "x",
        "bloom-7b1-petals",
        "model-small", "Qwen3-0.6B-base-q4_0", "..", "-", "a b", "ünï-7B", "x" * 200, "--a--b--",
        "phi-3-mini-4k-instruct",
    ],
)  # fmt: skip
@pytest.mark.parametrize("total", [0, 7_000_000_000])
@pytest.mark.parametrize("origin", [None, "org/Other-Name-13B-chat", "/a/b/c/d", "./x"])
def test_as_ggufs_metadata_has_it(name: str, total: int, origin: str | None, tmp_path: Path) -> None:
    folder = tmp_path / (name if name != ".." else "d")
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    config: dict[str, Any] = {} if origin is None else {"_name_or_path": origin}
    (folder / "config.json").write_text(json.dumps(config))
    metadata = gguf.Metadata.load(None, folder, None, total)
    if metadata.name is None:
        metadata.name = folder.name
    if metadata.size_label is None and total > 0:
        metadata.size_label = gguf.size_label(total, total, 0, 0)
    card, notes = front_matter(CARD)
    kvs, more = facts_kvs(name=folder.name, card=card, config=config, parameters=(total, total, 0, 0))
    assert notes == more == []
    theirs = _Recorder().theirs(metadata)
    assert plain(kvs) == theirs
    assert list(plain(kvs)) == list(theirs)
    encode(kvs)


def test_sampling_is_read_from_generation_config() -> None:
    settings_ = {
        "temperature": 1, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05, "min_p": None, "sequence": "",
        "mirostat": 2.0, "xtc_threshold": "0.1", "penalty_last_n": 1 << 31, "mirostat_tau": True, "do_sample": True,
    }  # fmt: skip
    kvs, notes = facts_kvs(name="m", generation_config=settings_)
    sampling = [(kv.key.removeprefix("general.sampling."), kv.type, kv.value) for kv in kvs if "sampling" in kv.key]
    assert sampling == [
        ("top_k", KvType.I32, 20),
        ("top_p", KvType.F32, 0.9),
        ("temp", KvType.F32, 1),
        ("penalty_repeat", KvType.F32, 1.05),
    ]
    assert len(notes) == 4
    # The name goes before the repetition penalty's transformers spelling.
    kvs, _ = facts_kvs(name="m", generation_config={"penalty_repeat": 1.5, "repetition_penalty": 1.1})
    assert plain(kvs)["general.sampling.penalty_repeat"] == 1.5


def test_a_user_may_name_the_model() -> None:
    kvs, _ = facts_kvs(name="folder", model_name="Mine")
    assert plain(kvs)["general.name"] == "Mine"


def test_experts_are_counted_apart() -> None:
    shapes = {"a.weight": (10, 10), "blk.0.ffn_up_exps.weight": (8, 5, 4), "blk.0.ffn_up_exps.bias": (8, 5)}
    assert count_parameters(shapes) == (300, 140, 20, 8)
    kvs, _ = facts_kvs(name="m", parameters=(47_000_000_000, 2_000_000_000, 5_000_000_000, 8))
    assert plain(kvs)["general.size_label"] == "8x7.0B"
    assert count_parameters({}) == (0, 0, 0, 0)
    assert count_parameters({"x_exps.weight": (0, 5, 4)}) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("card", "key", "value"),
    [
        ("version: 1.0", "general.version", "1.0"),
        ("version: 2024-01-31", "general.version", "2024-01-31"),
        ("license: [mit, apache-2.0]", "general.license", "mit,apache-2.0"),
        ("license_name: x\nlicense_link: y", "general.license.link", "y"),
        ("url: https://example.org", "general.source.url", "https://example.org"),
        ("tags: [1, x, {a: b}]", "general.tags", ["1", "x"]),
        ("language: no", "general.languages", None),
        ("base_model: {name: X}", "general.base_model.count", None),
        ("base_model: [{name: X, author: 5, evil: y}]", "general.base_model.0.author", "5"),
        ("base_model: []", "general.base_model.count", 0),
        ("name: {a: b}", "general.name", "M"),
        ("name: [a]", "general.name", "M"),
        ("name: true", "general.name", "M"),
        ("name:", "general.name", "M"),
    ],
)
def test_odd_cards_are_read_as_far_as_they_make_sense(card: str, key: str, value: Any) -> None:
    data, notes = front_matter(f"---\n{card}\n---\n")
    assert notes == []
    kvs, _ = facts_kvs(name="m", card=data)
    assert plain(kvs).get(key) == value
    encode(kvs)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("", None),
        ("# no front matter", None),
        ("---\n---\n", None),
        ("---\nname: x", None),
        ("---\n- a\n---\n", "is list, not members"),
        ("---\na: [\n---\n", "no YAML"),
        ("---\na: \x00\n---\n", "no YAML"),
        ("---\na: !!python/object/apply:os.system [x]\n---\n", "no YAML"),
        ("---\na: &x [1]\nb: *x\n---\n", "anchors"),
        ("---\na: " + "[" * 50 + "]" * 50 + "\n---\n", "deeper than 16"),
        ("---\na: " + "[" * 50000 + "\n---\n", "deeper than 16"),
        ("---\na: " + "x" * 200_000 + "\n---\n", "more than"),
        ("---\n? [a]\n: b\n---\n", "no YAML"),
        ("---\n1: b\n---\n", None),
        ("---\na: 2024-99-99\n---\n", "no YAML"),
    ],
)
def test_a_card_that_cannot_be_read_is_a_note(text: str, note: str | None) -> None:
    data, notes = front_matter(text)
    if note is None:
        assert notes == []
    else:
        assert data == {}
        assert note in notes[0]
        assert notes[0].isprintable()


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["name", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
KEYS = [
    "name", "version", "license", "tags", "pipeline_tag", "language", "languages", "base_model", "base_models",
    "datasets", "dataset", "model_name", "model_type", "url", "size_label", "finetune", "_name_or_path", "temperature",
    "top_k",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    name=st.text(max_size=20),
    card=st.dictionaries(st.sampled_from(KEYS), values),
    config=st.dictionaries(st.sampled_from(KEYS), values),
    generation=st.dictionaries(st.sampled_from(KEYS), values),
    total=st.integers(0, 1 << 45),
)
def test_any_facts_are_written_or_refused(
    name: str, card: dict[str, Any], config: dict[str, Any], generation: dict[str, Any], total: int
) -> None:
    try:
        kvs, notes = facts_kvs(
            name=name, card=card, config=config, generation_config=generation, parameters=(total, total, 0, 0)
        )
        encode(kvs)
    except HubError:
        return
    assert all(isinstance(note, str) for note in notes)
