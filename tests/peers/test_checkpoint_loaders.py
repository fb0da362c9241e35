"""Quantized folders that hub writes, loaded by transformers with the libraries that run them: the logits of hub's runner.

The libraries may live in an interpreter of their own, which HUB_PEER_PYTHON names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.pipeline import weights
from hub.plugins import registry
from hub.runner import Runner

sys.path.insert(0, str(Path(__file__).parent.parent))
import made_gptq

pytestmark = pytest.mark.peers
DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "tiny-llama"
PYTHON = os.environ.get("HUB_PEER_PYTHON", sys.executable)
PLAIN = ("torch", "transformers", "accelerate")
GPTQ = ("torch", "transformers", "accelerate", "optimum", "gptqmodel")
COMPRESSED = ("torch", "transformers", "accelerate", "compressed_tensors")
LIMIT = {"float16": 1e-4, "bfloat16": 1e-3, "float32": 1e-5}
"""Most squared error over squared logits: kernels for f16 round every product, decoding may round to 16 bits.
4-bit floats are decoded to bf16 whatever is asked for."""

# (target, libraries, what transformers computes in, whether it must be told to decode while loading)
CASES = [
    *((f"gptq:{bits}bit-g128-sym", GPTQ, "float16", False) for bits in (2, 3, 4, 8)),
    ("gptq:4bit-g32-sym", GPTQ, "float16", False),
    ("gptq:4bit-g128-asym", GPTQ, "float16", False),
    ("awq:4bit-g128", GPTQ, "float16", False),
    ("awq:4bit-g32", GPTQ, "float16", False),
    ("compressed-tensors:4bit-g128-sym", COMPRESSED, "float32", False),
    ("compressed-tensors:8bit-g128-sym", COMPRESSED, "float32", False),
    ("compressed-tensors:4bit-channel-sym", COMPRESSED, "float32", False),
    # transformers 5.23 with compressed-tensors 0.20 cannot load zero points of its own files otherwise
    ("compressed-tensors:4bit-g128-asym", COMPRESSED, "float32", True),
    ("compressed-tensors:fp8", COMPRESSED, "float32", True),
    ("compressed-tensors:fp8-block", COMPRESSED, "float32", True),
    ("compressed-tensors:fp8-tensor", COMPRESSED, "float32", True),
    ("fp8", PLAIN, "bfloat16", True),  # leaves floats as they are stored, whatever is asked for
    ("fp8", PLAIN, "bfloat16", False),  # without a GPU it decodes of itself
    ("compressed-tensors:nvfp4", COMPRESSED, "bfloat16", False),
    ("compressed-tensors:mxfp4", COMPRESSED, "bfloat16", False),
]

# In a process of its own: torch's threads and memory are none of the other tests' business.
PROBE = """
import json, sys
import numpy as np, torch
from transformers import AutoModelForCausalLM
folder, ids, out, dtype, decode = sys.argv[1:]
more = {}
if decode == "True":
    from transformers import CompressedTensorsConfig, FineGrainedFP8Config
    with open(folder + "/config.json") as file:
        method = json.load(file)["quantization_config"]["quant_method"]
    kind = FineGrainedFP8Config if method == "fp8" else CompressedTensorsConfig
    more["quantization_config"] = kind(dequantize=True)
model, loading = AutoModelForCausalLM.from_pretrained(
    folder, device_map="cpu", dtype=getattr(torch, dtype), output_loading_info=True, **more)
with torch.no_grad():
    logits = model(torch.from_numpy(np.load(ids)).reshape(1, -1)).logits[0].float().numpy()
np.save(out, logits)
print(json.dumps({key: sorted(map(str, loading[key])) for key in ("missing_keys", "unexpected_keys")}))
"""


WEIGHTS = """
import sys
import numpy as np, torch
from transformers import AutoModelForCausalLM, FineGrainedFP8Config
folder, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    folder, device_map="cpu", dtype=torch.float32, quantization_config=FineGrainedFP8Config(dequantize=True))
np.savez(out, **{name: tensor.float().numpy() for name, tensor in model.state_dict().items()})
"""
BITSANDBYTES_MODEL = """
import json, sys
import numpy as np, torch
import bitsandbytes as bnb
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
source, folder, out, settings = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(
    source, device_map="cpu", dtype=torch.float32, quantization_config=BitsAndBytesConfig(**json.loads(settings)))
model.save_pretrained(folder)
np.savez(out, **{
    name + ".weight": dequantize_4bit(module.weight.data, module.weight.quant_state).float().numpy()
    for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)})
"""
GPTQ_MODEL = """
import json, sys
import numpy as np, torch
from gptqmodel import BACKEND, GPTQModel
folder, ids, out, dtype, _ = sys.argv[1:]
model = GPTQModel.load(folder, device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=getattr(torch, dtype))
with torch.no_grad():
    logits = model.model(torch.from_numpy(np.load(ids)).reshape(1, -1)).logits[0].float().numpy()
np.save(out, logits)
print(json.dumps({"missing_keys": [], "unexpected_keys": []}))
"""


@cache
def absent(names: tuple[str, ...]) -> str:
    """What that interpreter lacks, as the reason of a skip."""
    code = f"import importlib.util as u; print(*(name for name in {names!r} if u.find_spec(name) is None))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=60)
    missing = done.stdout.split() if done.returncode == 0 else list(names)
    return f"the peers {' and '.join(missing)} are absent: pip install {' '.join(missing)}" if missing else ""


def needs(names: tuple[str, ...]) -> None:
    if reason := absent(names):
        pytest.skip(reason)


def loaded(folder: Path, tmp_path: Path, dtype: str, decode: bool, probe: str = PROBE) -> np.ndarray:
    """The logits of transformers, or of another loader; nothing may have been missing or left over."""
    np.save(tmp_path / "ids.npy", ids())
    files = [str(path) for path in (folder, tmp_path / "ids.npy", tmp_path / "logits.npy")]
    found = json.loads(run([probe, *files, dtype, str(decode)]).splitlines()[-1])
    assert found == {"missing_keys": [], "unexpected_keys": []}
    return np.load(tmp_path / "logits.npy").astype(np.float64)


def run(arguments: list[str]) -> str:
    """What a program printed that the peers' interpreter ran: its text, then its arguments."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [PYTHON, "-c", *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def ids() -> np.ndarray:
    with np.load(MODEL / "golden.npz") as golden:
        return golden["input_ids"].reshape(-1)[:32].astype(np.int64)


def own(path: Path) -> np.ndarray:
    with hub.open(path) as model, Runner(model) as runner:
        return runner.logits(ids()).astype(np.float64)


def nmse(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.square(found - wanted).sum() / np.square(wanted).sum())


@pytest.mark.parametrize(("target", "peers", "dtype", "decode"), CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES])
def test_loaders_give_the_logits_of_the_runner(target, peers, dtype, decode, tmp_path):
    needs(peers)
    hub.convert(MODEL, tmp_path / "out", to=target, verify="weights")
    found = loaded(tmp_path / "out", tmp_path, dtype, decode)
    assert nmse(found, own(tmp_path / "out")) < LIMIT[dtype]


def test_fp8_decodes_to_the_same_weights(tmp_path):
    """Every weight as transformers' own loader decodes it, in f32."""
    needs(PLAIN)
    hub.convert(MODEL, tmp_path / "out", to="fp8", verify="weights")
    run([WEIGHTS, str(tmp_path / "out"), str(tmp_path / "weights.npz")])
    with np.load(tmp_path / "weights.npz") as theirs, hub.open(tmp_path / "out") as model:
        squares = [name for name, tensor in model.tensors.items() if tensor.layout.startswith("fp8.")]
        assert len(squares) == 42
        for name, tensor in model.tensors.items():
            mine = weights(tensor, registry().layout(tensor.layout), 0, tensor.rows)
            np.testing.assert_array_equal(mine.reshape(tensor.shape), theirs[name])


@pytest.mark.parametrize(("model", "kind", "double"), [("tiny-llama", "nf4", True), ("arch/gpt2", "fp4", False)])
def test_bitsandbytes_folders_are_read(model, kind, double, tmp_path):
    """As transformers saves them, layers of Conv1D too, whose codes are turned."""
    needs((*PLAIN, "bitsandbytes"))
    settings = {"load_in_4bit": True, "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": double}
    files = [str(path) for path in (DATA / model, tmp_path / "saved", tmp_path / "weights.npz")]
    run([BITSANDBYTES_MODEL, *files, json.dumps(settings)])
    with np.load(tmp_path / "weights.npz") as theirs, hub.open(tmp_path / "saved") as found:
        for name in theirs:
            tensor = found.tensors[name]
            mine = weights(tensor, registry().layout(tensor.layout), 0, tensor.rows)
            np.testing.assert_array_equal(mine, theirs[name] if model == "tiny-llama" else theirs[name].T)


def test_act_order_kept(tmp_path):
    needs(GPTQ)
    source = made_gptq.write(MODEL, tmp_path / "source")
    hub.convert(source, tmp_path / "out", to="gptq", verify="weights")
    assert nmse(loaded(tmp_path / "out", tmp_path, "float16", False), own(source)) < LIMIT["float16"]


@pytest.mark.parametrize(("to", "peers", "dtype"), [
    ("awq:4bit-g32", GPTQ, "float16"), ("compressed-tensors:4bit-g32", COMPRESSED, "float32"),
])  # fmt: skip
def test_act_order_folded(to, peers, dtype, tmp_path):
    needs(peers)
    source = made_gptq.write(MODEL, tmp_path / "source", ordered=r"\.down_proj$")
    report = hub.convert(source, tmp_path / "out", to=to)
    layers = [t for t in report["plan"]["tensors"] if t["to"].startswith(("awq.", "ct."))]
    assert len(layers) == 42 and {t["fidelity"] for t in layers} == {"exact"}
    assert nmse(loaded(tmp_path / "out", tmp_path, dtype, False), own(source)) < LIMIT[dtype]


@pytest.mark.parametrize("to", ["gptq:4bit-g32-sym", "gptq:8bit-g64-sym"])
def test_layers_that_are_conv1d(to, tmp_path):
    """Their codes are (out, in) as of any layer, though their floats are (in, out). transformers 5.23 itself cannot load
    a quantized GPT-2, whoever wrote it: it initialises `c_proj.weight`, which is not there."""
    needs(GPTQ)
    hub.convert(DATA / "arch" / "gpt2", tmp_path / "out", to=to, verify="weights")
    found = loaded(tmp_path / "out", tmp_path, "float16", False, GPTQ_MODEL)
    assert nmse(found, own(tmp_path / "out")) < LIMIT["float16"]
