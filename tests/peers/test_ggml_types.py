"""Files with tensor types that hub only decodes: llama.cpp loads hub's copies and computes what hub computes."""

from __future__ import annotations

from pathlib import Path

import llama_peer
import numpy as np
import pytest
from made_ggml import FTYPES, WORDS, as_type
from made_models import GGUF_TYPES, folder, llama_config, read_gguf, write_gguf

import hub
from hub.runner import Runner

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(llama_peer.WHY_ABSENT is not None, reason=llama_peer.WHY_ABSENT or ""),
]

IDS = np.array([1, 5, 60, 33, 2, 2, 17], np.int32)
ROUNDED_ACTIVATIONS = 0.02
"""NMSE at most: llama.cpp multiplies these types with activations in 8 bits. One factor left out gives 0.1 and more."""
FLOATS = 1e-6


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("floats")
    hub.convert(folder(base / "model", llama_config()), base / "f32.gguf", to="gguf:f32", verify="none")
    return base / "f32.gguf"


def logits(path: Path) -> np.ndarray:
    with hub.open(path) as model, Runner(model) as runner:
        return runner.logits(IDS)


def nmse(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(((found - wanted) ** 2).sum() / (wanted**2).sum())


@pytest.mark.parametrize("kind", FTYPES)
def test_logits_are_the_peers(kind: str, floats: Path, tmp_path: Path) -> None:
    as_type(floats, tmp_path / "source.gguf", kind)
    hub.convert(tmp_path / "source.gguf", tmp_path / "copy.gguf", to="gguf", verify="none")
    hub.convert(tmp_path / "source.gguf", tmp_path / "wide.gguf", to="gguf:f32", verify="none")
    ours = logits(tmp_path / "copy.gguf")
    assert nmse(ours, llama_peer.logits(tmp_path / "wide.gguf", IDS)) < FLOATS
    assert nmse(ours, llama_peer.logits(tmp_path / "copy.gguf", IDS)) < ROUNDED_ACTIVATIONS


def test_factors_of_nvfp4_are_the_peers(floats: Path, tmp_path: Path) -> None:
    as_type(floats, tmp_path / "plain.gguf", "nvfp4")
    kvs, tensors = read_gguf(tmp_path / "plain.gguf")
    made = {}
    for number, (name, (kind, shape, raw)) in enumerate(tensors.items()):
        _, block, size = GGUF_TYPES[WORDS[kind]]
        made[name] = WORDS[kind], shape, raw[: int(np.prod(shape)) // block * size]
        if name.startswith("blk.") and WORDS[kind] == "nvfp4":
            factor = np.array([0.1 + number / 50], "<f4").tobytes()
            made[name.replace(".weight", ".scale")] = "f32", (1,), factor
    write_gguf(tmp_path / "source.gguf", kvs, made)
    hub.convert(tmp_path / "source.gguf", tmp_path / "copy.gguf", to="gguf", verify="none")
    ours, theirs = logits(tmp_path / "copy.gguf"), llama_peer.logits(tmp_path / "copy.gguf", IDS)
    assert nmse(ours, theirs) < ROUNDED_ACTIVATIONS
    assert nmse(logits(tmp_path / "plain.gguf"), theirs) > 5 * ROUNDED_ACTIVATIONS  # were factors passed over
