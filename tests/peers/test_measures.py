"""`hub eval` and `hub imatrix` against llama.cpp on the same files: its perplexity, its sums, its quantizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import llama_importance
import llama_peer
import numpy as np
import pytest
from gguf import GGUFReader

import hub

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(llama_peer.WHY_ABSENT is not None, reason=llama_peer.WHY_ABSENT or ""),
]
DATA = Path(__file__).parents[1] / "data"
TINY = DATA / "tiny-llama"
WITH_TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
FAMILIES = ("gemma3", "gpt2", "mixtral")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text((TINY / "eval.txt").read_text()[:12000])
    return path


def with_tokenizer(family: str, into: Path) -> Path:
    """A bundled model of random weights with tiny-llama's tokenizer, whose vocabulary is as large."""
    shutil.copytree(DATA / "arch" / family, into)
    for name in WITH_TOKENIZER:
        shutil.copy(TINY / name, into / name)
    return into


@pytest.mark.parametrize(("variant", "limit"), [("f32", 1e-6), ("f16", 1e-4), ("q8_0", 1e-3), ("q4_k_m", 2e-3)])
def test_perplexity(tmp_path: Path, text: Path, variant: str, limit: float) -> None:
    path = tmp_path / "model.gguf"
    hub.convert(TINY, path, to=f"gguf:{variant}", verify="none")
    found = hub.evaluate(path, text=text, context=256, threads=2)
    value, error, chunks = llama_peer.perplexity(path, text.read_text().removesuffix("\n"), n_ctx=256, exact=True)
    assert found["chunks"] == chunks
    assert found["perplexity"] == pytest.approx(value, rel=limit)
    assert found["error"] == pytest.approx(error, rel=10 * limit)


@pytest.mark.parametrize("family", ["tiny-llama", *FAMILIES])
def test_importance(tmp_path: Path, text: Path, family: str) -> None:
    source = TINY if family == "tiny-llama" else with_tokenizer(family, tmp_path / family)
    path, out = tmp_path / "f32.gguf", tmp_path / "imatrix.gguf"
    hub.convert(source, path, to="gguf:f32", verify="none")
    hub.imatrix(source, out, text=text, context=48, threads=2)
    mine = {tensor.name: tensor.data for tensor in GGUFReader(out).tensors}
    theirs = llama_importance.sums(path, text.read_text().removesuffix("\n"), tmp_path / "sums.npz", n_ctx=48)
    assert {name.rpartition(".")[0] for name in mine} == set(theirs)
    for name, (sums, counts) in theirs.items():
        np.testing.assert_array_equal(mine[f"{name}.counts"].reshape(-1), counts, err_msg=name)
        np.testing.assert_allclose(mine[f"{name}.in_sum2"].reshape(sums.shape), sums, rtol=1e-3, err_msg=name)


def test_llama_cpp_quantizes_with_it(tmp_path: Path, text: Path) -> None:
    """A file of hub's and one of llama.cpp's give the same quantized weights but where sums differ in the last digits."""
    model, mine = tmp_path / "f32.gguf", tmp_path / "mine.gguf"
    hub.convert(TINY, model, to="gguf:f32", verify="none")
    golden = DATA / "golden" / "imatrix-tiny-llama.gguf"
    hub.imatrix(TINY, mine, text=TINY / "eval.txt", context=128, chunks=16, process_output=True, threads=2)
    made = {}
    for name, imatrix in (("mine", mine), ("theirs", golden)):
        made[name] = tmp_path / f"{name}-q4_k_m.gguf"
        llama_importance.quantize(model, made[name], "q4_k_m", imatrix)
    plain = tmp_path / "plain.gguf"
    llama_peer.quantize(model, {"q4_k_m": plain})
    assert unequal(made["mine"], made["theirs"]) < 1e-3 < unequal(made["mine"], plain)


def unequal(a: Path, b: Path) -> float:
    """Share of bytes of tensor data that differ."""
    pairs = list(zip(GGUFReader(a).tensors, GGUFReader(b).tensors, strict=True))
    different = sum(int(np.count_nonzero(x.data.view(np.uint8) != y.data.view(np.uint8))) for x, y in pairs)
    return different / sum(x.n_bytes for x, _ in pairs)
