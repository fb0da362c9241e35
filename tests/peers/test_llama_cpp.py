"""hub against llama.cpp: the same bytes, the same logits, the same perplexity.

HUB_PEER_MODELS=DIR[:DIR...] adds checkpoint folders to the ones below.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import checkpoints
import gguf_compare
import llama_peer
import numpy as np
import pytest

import hub
from hub.runner import Runner

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(llama_peer.WHY_ABSENT is not None, reason=llama_peer.WHY_ABSENT or ""),
]

Convert = Callable[[Path, Path, str], Path]

DATA = Path(__file__).parents[1] / "data"
BUNDLED = {"tiny-llama": DATA / "tiny-llama"} | {folder.name: folder for folder in sorted((DATA / "arch").iterdir())}
EXTRA = {Path(p).name: Path(p) for p in os.environ.get("HUB_PEER_MODELS", "").split(os.pathsep) if p}
ON_PURPOSE: frozenset[str] = (
    frozenset()
)  # keys that hub writes otherwise than llama.cpp, each with its reason; none so far
QUANTIZED = [name for name in llama_peer.FTYPES if name not in llama_peer.FLOATS]


@pytest.fixture(scope="module", params=[*BUNDLED, *checkpoints.CASES, *EXTRA])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    if name in checkpoints.CASES:
        return checkpoints.write(name, tmp_path_factory.mktemp("checkpoints"))
    return (BUNDLED | EXTRA)[name]


@pytest.fixture(scope="module")
def f32(model: Path, tmp_path_factory: pytest.TempPathFactory, hub_convert: Convert) -> Path:
    """hub's own f32 file: what both sides start from, so that only the quantization differs."""
    return hub_convert(model, tmp_path_factory.mktemp("f32") / f"{model.name}-f32.gguf", "f32")


@pytest.fixture(scope="module")
def peer(f32: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every type as llama.cpp quantizes it from hub's f32 file."""
    folder = tmp_path_factory.mktemp("peer")
    targets = {name: folder / f"{name}.gguf" for name in llama_peer.FTYPES}
    llama_peer.quantize(f32, targets)
    return targets


def _same(ours: Path, theirs: Path, order: bool = True) -> None:
    found = gguf_compare.compare(ours, theirs, allow=ON_PURPOSE, order=order)
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("variant", QUANTIZED)
def test_quantized_file_is_the_peers_file(
    model: Path, peer: dict[str, Path], variant: str, tmp_path: Path, hub_convert: Convert
) -> None:
    ours = hub_convert(model, tmp_path / "hub.gguf", variant)
    _same(ours, peer[variant])


@pytest.mark.parametrize("variant", llama_peer.FLOATS)
def test_float_file_says_the_same(
    model: Path, peer: dict[str, Path], variant: str, tmp_path: Path, hub_convert: Convert
) -> None:
    # Order is left out: llama.cpp's converter and its quantizer order keys and tensors differently, and these types come from either.
    ours = hub_convert(model, tmp_path / "hub.gguf", variant)
    _same(ours, peer[variant], order=False)


@pytest.mark.parametrize("name", BUNDLED)
def test_logits_are_the_golden_ones(name: str, tmp_path: Path, hub_convert: Convert) -> None:
    folder = BUNDLED[name]
    with np.load(folder / "golden.npz") as golden:
        ids, expected = golden["input_ids"], golden["logits"].astype(np.float64)
    found = llama_peer.logits(hub_convert(folder, tmp_path / "f32.gguf", "f32"), ids)
    assert found.shape == expected.shape
    error = float(((found - expected) ** 2).sum() / (expected**2).sum())
    # A permuted or misnamed tensor gives about 1. llama.cpp rounds the bounds of gpt-oss' yarn, the model does not.
    assert error < (1e-4 if name == "gpt_oss" else 1e-6), f"normalised mean squared error {error:.3g}"


def test_gpt_oss_with_whole_bounds_computes_the_same(tmp_path: Path, hub_convert: Convert) -> None:
    folder = shutil.copytree(BUNDLED["gpt_oss"], tmp_path / "whole")
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_parameters"].pop("truncate") is False
    (folder / "config.json").write_text(json.dumps(config))
    with np.load(folder / "golden.npz") as golden:
        ids = golden["input_ids"]
    with hub.open(folder) as model, Runner(model) as runner:
        expected = runner.logits(ids).astype(np.float64)
    found = llama_peer.logits(hub_convert(folder, tmp_path / "f32.gguf", "f32"), ids)
    assert ((found - expected) ** 2).sum() / (expected**2).sum() < 1e-10


def test_perplexity_is_the_peers(tmp_path: Path, hub_convert: Convert) -> None:
    folder = BUNDLED["tiny-llama"]
    peer = tmp_path / "peer.gguf"
    llama_peer.quantize(hub_convert(folder, tmp_path / "f32.gguf", "f32"), {"q4_k_m": peer})
    ours = hub_convert(folder, tmp_path / "hub.gguf", "q4_k_m")
    text = (folder / "eval.txt").read_text()
    (found, _, chunks), (expected, _, _) = (llama_peer.perplexity(path, text) for path in (ours, peer))
    assert chunks > 100  # else the figure says little
    assert f"{found:.4f}" == f"{expected:.4f}"
