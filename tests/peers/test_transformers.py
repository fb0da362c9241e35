"""Folders that hub makes of GGUF files, loaded by transformers: no weight missing, the logits and ids of the source."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import made_mxfp4
import numpy as np
import pytest

import hub

ABSENT = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        bool(ABSENT), reason=f"the peers {' and '.join(ABSENT)} are absent: pip install torch transformers"
    ),
]
DATA = Path(__file__).parents[1] / "data"
MODELS = {"tiny-llama": DATA / "tiny-llama"} | {path.name: path for path in sorted((DATA / "arch").iterdir())}
TEXT = "Once upon a time, there was 1 \u00e9l\u00e9phant.  \n\tIt's gone, isn't it?"
"""Without special tokens: after them the class of the source's folder and its tokenizer.json disagree about a space."""

# In a process of its own: torch's threads and memory are none of the other tests' business.
PROBE = """
import json, sys
import numpy as np, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
folder, ids, out, source, text = sys.argv[1:]
model, loading = AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
model = model.float()
with torch.no_grad():
    logits = model(torch.from_numpy(np.load(ids)).reshape(1, -1)).logits[0].numpy()
np.save(out, logits)
if text:
    GenerationConfig.from_pretrained(folder)
encoded = [AutoTokenizer.from_pretrained(path).encode(text) for path in (folder, source)] if text else [[], []]
print(json.dumps({"loading": {key: len(value) for key, value in loading.items()}, "ids": encoded}))
"""


@pytest.mark.parametrize("name", MODELS)
def test_transformers_runs_what_came_back(name: str, tmp_path: Path) -> None:
    hub.convert(MODELS[name], tmp_path / "m.gguf", to="gguf:f32", verify="weights")
    hub.convert(tmp_path / "m.gguf", tmp_path / "back", to="safetensors", verify="weights")
    runs(tmp_path, MODELS[name], MODELS[name] / "golden.npz")


def test_transformers_runs_experts_in_mxfp4(tmp_path: Path) -> None:
    """It dequantizes them to bf16, which holds them exactly."""
    source = made_mxfp4.folder(tmp_path / "source")
    hub.convert(source, tmp_path / "m.gguf", to="gguf", verify="weights")
    hub.convert(tmp_path / "m.gguf", tmp_path / "back", to="mxfp4", verify="weights")
    runs(tmp_path, source, DATA / "golden" / "gpt_oss_mxfp4.npz")


def runs(tmp_path: Path, source: Path, answers: Path) -> None:
    """transformers loads `back` without a complaint, and gives the golden logits and the source's ids."""
    with np.load(answers) as golden:
        ids, wanted = golden["input_ids"].reshape(-1).astype(np.int64), golden["logits"].astype(np.float64)
    np.save(tmp_path / "ids.npy", ids)
    text = TEXT if (source / "tokenizer.json").exists() else ""
    arguments = [tmp_path / "back", tmp_path / "ids.npy", tmp_path / "out.npy", source, text]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert not any(answer["loading"].values()), answer["loading"]
    assert answer["ids"][0] == answer["ids"][1]
    found, wanted = np.load(tmp_path / "out.npy").astype(np.float64), wanted.reshape(len(ids), -1)
    assert np.square(found - wanted).sum() / np.square(wanted).sum() < 1e-6
