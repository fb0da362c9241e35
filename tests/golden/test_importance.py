"""Files quantized with an importance matrix, against llama-quantize's (its bytes, by their SHA-256)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

import hub
from hub.pipeline import weights
from hub.plugins import registry

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "golden" / "llama_cpp_importance_sha256.json").read_text())


@pytest.fixture(scope="module")
def f32(tmp_path_factory):
    path = tmp_path_factory.mktemp("f32") / "f32.gguf"
    hub.convert(DATA / "tiny-llama", path, to="gguf:f32", verify="none")
    return path


@pytest.mark.parametrize("variant", GOLDEN)
def test_bytes_are_llama_quantizes(variant, f32, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of the file is one of the keys
    Path("imatrix.gguf").write_bytes((DATA / "golden" / "imatrix-tiny-llama.gguf").read_bytes())
    report = hub.convert(f32, "out.gguf", to=f"gguf:{variant}", importance="imatrix.gguf", verify="none")
    assert hashlib.sha256(Path("out.gguf").read_bytes()).hexdigest() == GOLDEN[variant]
    weighted = [t for t in report["plan"]["tensors"] if "weighted by importance" in t["why"]]
    assert len(weighted) == 43  # the matrices of six layers, and the output
    hub.convert(f32, "plain.gguf", to=f"gguf:{variant}", verify="none")
    assert Path("plain.gguf").read_bytes() != Path("out.gguf").read_bytes()


def test_small_tiles_and_threads_change_nothing(f32, tmp_path):
    given = DATA / "golden" / "imatrix-tiny-llama.gguf"
    for name, options in (("a", {}), ("b", {"threads": 3, "max_memory": 163 << 20})):
        hub.convert(f32, tmp_path / name, to="gguf:q4_k_m", importance=given, verify="none", **options)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_figures_made_for_gguf_serve_another_format(tmp_path):
    """By way of canonical names; what they weigh is rounded better, at the cost of the rest."""
    given = DATA / "golden" / "imatrix-tiny-llama.gguf"
    for name, importance in (("plain", None), ("weighted", given)):
        hub.convert(DATA / "tiny-llama", tmp_path / name, to="gptq:4bit-g128", importance=importance, verify="none")
    means = {tensor.name: tensor.data.reshape(-1) for tensor in GGUFReader(given).tensors}
    with hub.open(DATA / "tiny-llama") as a, hub.open(tmp_path / "plain") as b, hub.open(tmp_path / "weighted") as c:
        for module, stored in (("self_attn.q_proj", "attn_q"), ("mlp.down_proj", "ffn_down")):
            name, weight = f"model.layers.2.{module}.weight", means[f"blk.2.{stored}.weight.in_sum2"]
            rows = [weights(m.tensors[name], registry().layout(m.tensors[name].layout), 0, 64) for m in (a, b, c)]
            plain, weighted = (float((weight * np.square(rows[0] - other)).sum()) for other in rows[1:])
            assert weighted < plain


def test_targets_without_quantizers_say_that_nothing_changes(tmp_path):
    with hub.open(DATA / "tiny-llama") as model:
        made = hub.plan(model, to="safetensors:f16", importance=DATA / "golden" / "imatrix-tiny-llama.gguf")
    assert any("changes nothing" in note for note in made.notes)
