"""Perplexity and importance against figures that llama.cpp's own tools gave (llama_measures.md)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

import hub

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TINY = GOLDEN.parent / "tiny-llama"
TEXT = TINY / "eval.txt"
FIGURES = json.loads((GOLDEN / "llama_measures.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``made("q8_0")``: tiny-llama in a type, made once."""
    folder = tmp_path_factory.mktemp("made")

    def make(variant):
        path = folder / f"{variant}.gguf"
        if not path.exists():
            hub.convert(TINY, path, to=f"gguf:{variant}", verify="none")
        return path

    return make


@pytest.mark.parametrize(
    # llama.cpp rounds activations to int8 where weights are quantized; on few tokens that noise is above 0.1 %.
    ("variant", "limit"), [("f16", 1e-4), ("q8_0", 1e-3), ("q4_k_m", 3e-3), ("q2_k", 3e-3)]
)  # fmt: skip
def test_perplexity_of_the_beginning(made, variant, limit):
    found = hub.evaluate(made(variant), text=TEXT, context=128, chunks=24, threads=2)
    value, error = FIGURES["begin"][variant]
    assert found["perplexity"] == pytest.approx(value, rel=limit)
    assert found["error"] == pytest.approx(error, rel=3 * limit)
    assert (found["chunks"], found["context"], found["scored"]) == (24, 128, 24 * 63)


@pytest.mark.slow
@pytest.mark.parametrize("variant", list(FIGURES["whole"]))
def test_perplexity_of_the_whole_text(made, variant):
    found = hub.evaluate(made(variant), text=TEXT, threads=2)
    value, error = FIGURES["whole"][variant]
    assert found["perplexity"] == pytest.approx(value, rel=1e-3)
    assert found["error"] == pytest.approx(error, rel=1e-3)
    assert (found["chunks"], found["scored"]) == (117, 117 * 255)


def test_fast_is_as_near(made):
    found = hub.evaluate(made("q4_k_m"), text=TEXT, context=128, chunks=24, mode="fast", threads=2)
    assert found["perplexity"] == pytest.approx(FIGURES["begin"]["q4_k_m"][0], rel=3e-3)


def tensors(path):
    return {t.name: (t.tensor_type.name, [int(n) for n in t.shape], t.data) for t in GGUFReader(path).tensors}


@pytest.mark.parametrize("source", ["folder", "f32"])
def test_importance(made, tmp_path, source):
    out = tmp_path / "imatrix.gguf"
    path = TINY if source == "folder" else made("f32")
    done = hub.imatrix(path, out, text=TEXT, context=128, chunks=16, process_output=True, threads=2)
    assert done["tensors"] == 43
    mine, theirs = GGUFReader(out), GGUFReader(GOLDEN / "imatrix-tiny-llama.gguf")
    assert [t.name for t in mine.tensors] == [t.name for t in theirs.tensors]
    for a, b in zip(mine.tensors, theirs.tensors, strict=True):
        assert (a.tensor_type, list(a.shape), a.data_offset - mine.data_offset) == (
            b.tensor_type, list(b.shape), b.data_offset - theirs.data_offset,
        )  # fmt: skip
        np.testing.assert_allclose(a.data, b.data, rtol=2e-5, err_msg=a.name)
    for key, field in theirs.fields.items():
        if key != "imatrix.datasets" and not key.startswith("GGUF."):
            assert (mine.fields[key].types, mine.fields[key].contents()) == (field.types, field.contents()), key
    assert mine.fields["imatrix.datasets"].contents() == [str(TEXT)]
