"""Files quantized with an importance matrix: the bytes of llama-quantize."""

from __future__ import annotations

from math import prod
from pathlib import Path

import llama_peer
import numpy as np
import pytest

import hub
from hub.api import CalibrationText, Importance
from hub_gguf.imatrix import Imatrix

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(llama_peer.WHY_ABSENT is not None, reason=llama_peer.WHY_ABSENT or ""),
]

DATA = Path(__file__).parents[1] / "data"
TYPES = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k")


def invented(source: Path, path: Path) -> None:
    """Figures of very unlike size for every matrix of a model, one expert in four without any."""
    random, found = np.random.default_rng(3), []
    with hub.open(source) as model:
        for name, tensor in sorted(model.tensors.items()):
            if name.startswith("blk.") and name.endswith(".weight") and len(tensor.shape) > 1:
                matrices = prod(tensor.shape[:-2])
                sums = 10 ** random.uniform(-3, 3, (matrices, tensor.shape[-1]))
                counts = np.array([0 if i % 4 == 3 else 100 + i for i in range(matrices)])
                found.append(Importance(name, sums, counts))
    path.write_bytes(b"".join(Imatrix().encode(found, CalibrationText("invented", 7, 512))))


@pytest.mark.parametrize("name", ["tiny-llama", "arch/gpt2", "arch/mixtral", "arch/phi3", "arch/qwen3_moe"])
def test_quantized_files_are_llama_cpps(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of the file is one of the keys
    hub.convert(DATA / name, "f32.gguf", to="gguf:f32", verify="none")
    invented(Path("f32.gguf"), Path("importance.gguf"))
    llama_peer.quantize(
        Path("f32.gguf"), {word: Path(f"peer-{word}.gguf") for word in TYPES}, importance="importance.gguf"
    )
    for word in TYPES:
        hub.convert("f32.gguf", f"{word}.gguf", to=f"gguf:{word}", importance="importance.gguf", verify="none")
        assert Path(f"{word}.gguf").read_bytes() == Path(f"peer-{word}.gguf").read_bytes(), word
    # By way of canonical names the figures are the same.
    hub.convert(DATA / name, "direct.gguf", to="gguf:q4_k_m", importance="importance.gguf", verify="weights")
    with hub.open("direct.gguf") as a, hub.open("q4_k_m.gguf") as b:
        for key, tensor in a.tensors.items():
            (mine,), (theirs,) = tensor.parts.values(), b.tensors[key].parts.values()
            np.testing.assert_array_equal(mine.load(0, tensor.rows), theirs.load(0, tensor.rows))
