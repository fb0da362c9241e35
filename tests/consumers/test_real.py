"""`hub verify --consumer` with the real programs: what hub writes is accepted, and what is wrong ends with status 3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_models import DATA, TINY, read_safetensors, safetensors_bytes

import hub
from hub.cli import main
from hub.consumers.choosing import missing
from hub.plugins import registry

EXACT = 1e-5


def _needs(name: str) -> list[pytest.MarkDecorator]:
    """Marks of a test of a consumer: which CI stage runs it, and why it is skipped elsewhere."""
    absent = missing(registry().checks[name])
    why = f"the consumer {name} is absent: {absent[1]}" if absent else ""
    stage = pytest.mark.peers if name == "llama.cpp" else pytest.mark.consumers
    return [stage, pytest.mark.skipif(absent is not None, reason=why)]


def _source(name: str) -> Path:
    return TINY if name == "tiny-llama" else DATA / "arch" / name


ACCEPTED = [
    *(("llama.cpp", name, f"gguf:{kind}") for name, kind in (
        ("tiny-llama", "q4_k_m"), ("llama3", "f32"), ("qwen3_moe", "q8_0"), ("gemma2", "bf16"), ("phi3", "q4_0"),
    )),
    *(("mlx", name, f"mlx:{kind}") for name, kind in (
        ("tiny-llama", "4bit-g64"), ("llama3", "mxfp4"), ("gemma2", "bf16"), ("gemma3", "3bit-g32"), ("gpt2", "nvfp4"),
        ("gpt_oss", "8bit-g64"),
    )),
    *(("onnxruntime", name, f"onnx:{kind}") for name, kind in (
        ("tiny-llama", "4bit-g32"), ("llama3", "f32"), ("gemma3", "8bit-g32"), ("mixtral", "genai-4bit-g32"),
    )),
    *(("onnxruntime-genai", name, f"onnx:{kind}") for name, kind in (
        ("tiny-llama", "4bit-g32"), ("qwen3", "genai-4bit-g32"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    ("consumer", "name", "to"), [pytest.param(*case, marks=_needs(case[0]), id="-".join(case)) for case in ACCEPTED]
)
def test_what_hub_writes_is_accepted(consumer: str, name: str, to: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    hub.convert(_source(name), tmp_path / "out", to=to, consumers=[consumer], threads=2, report_to=report)
    found = json.loads(report.read_text())
    (item,) = found["consumers"]
    assert found["verified"] == "full" and item["fault"] is None and item["version"]
    for run in item["runs"]:
        assert run["fault"] is None
        assert run["greedy_agrees"] or not run["greedy"]
    f32 = next(run for run in item["runs"] if run["setting"] == "f32")
    # llama.cpp has a table of f16 for GELU; gemma2 is the model here that uses it.
    assert f32["relative_error"] <= (2e-3 if (consumer, name) == ("llama.cpp", "gemma2") else EXACT)


# ----------------------------------------------------------------------------------------------------- planted faults


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Right conversions of llama3, to be damaged."""
    root = tmp_path_factory.mktemp("written")
    out = {}
    for to in ("mlx:4bit-g64", "onnx:4bit-g32"):
        out[to] = root / to.replace(":", "-")
        hub.convert(DATA / "arch" / "llama3", out[to], to=to, verify="none", threads=1)
    return out


def _rejected(source: Path, folder: Path, consumer: str, report: Path) -> dict[str, Any]:
    assert main(["verify", str(source), str(folder), "--consumer", consumer, "--report", str(report)]) == 3
    found = json.loads(report.read_text())
    assert found["verified"] == "rejected"
    return found


def _rewritten(folder: Path, change: Any) -> None:
    """The folder with its safetensors file changed: `change` gets and gives arrays by name."""
    (path,) = folder.glob("*.safetensors")
    arrays = change(read_safetensors(path))
    path.write_bytes(safetensors_bytes(arrays))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        told = json.loads(index.read_text())
        told["weight_map"] = dict.fromkeys(sorted(arrays), path.name)
        index.write_text(json.dumps(told))


def biases_negated(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: -array if name.endswith(".biases") else array for name, array in arrays.items()}


def nibbles_swapped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    low = np.uint32(0x0F0F0F0F)
    return {
        name: (array >> np.uint32(4) & low) | ((array & low) << np.uint32(4)) if array.dtype == np.uint32 else array
        for name, array in arrays.items()
    }


def head_dropped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert any(name.startswith("lm_head.") for name in arrays)
    return {name: array for name, array in arrays.items() if not name.startswith("lm_head.")}


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=_needs("mlx")) for f in (biases_negated, nibbles_swapped, head_dropped)]
)
def test_a_fault_in_a_folder_of_mlx_is_rejected(fault: Any, written: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "faulty"
    shutil.copytree(written["mlx:4bit-g64"], folder)
    _rewritten(folder, fault)
    _rejected(DATA / "arch" / "llama3", folder, "mlx", tmp_path / "r.json")


@pytest.mark.parametrize("consumer", [pytest.param("mlx", marks=_needs("mlx"))])
def test_only_mlx_lm_tells_that_it_ignores_a_setting(consumer: str, written: dict[str, Path], tmp_path: Path) -> None:
    """rope_parameters are as good as rope_theta by any reading but mlx-lm's, which takes a base of 10000 then."""
    folder = tmp_path / "faulty"
    shutil.copytree(written["mlx:4bit-g64"], folder)
    config = json.loads((folder / "config.json").read_text())
    scaling = config.pop("rope_scaling", None) or {"rope_type": "default"}
    config["rope_parameters"] = {**scaling, "rope_theta": config.pop("rope_theta")}
    (folder / "config.json").write_text(json.dumps(config))
    source = DATA / "arch" / "llama3"
    assert main(["verify", str(source), str(folder)]) == 0
    found = _rejected(source, folder, consumer, tmp_path / "r.json")
    assert found["faults"] == found["diagnoses"] == []
    assert "its logits differ from hub's" in found["consumers"][0]["runs"][0]["fault"]


@pytest.mark.parametrize(
    "consumer", [pytest.param(name, marks=_needs(name)) for name in ("onnxruntime", "onnxruntime-genai")]
)
def test_only_running_a_graph_tells_what_it_computes(consumer: str, written: dict[str, Path], tmp_path: Path) -> None:
    """The weights of the file are right, and so is its config.json; the graph has another epsilon."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "faulty"
    shutil.copytree(written["onnx:4bit-g32"], folder)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    norms = [node for node in model.graph.node if node.op_type == "RMSNormalization"]
    for node in norms:
        (epsilon,) = [attribute for attribute in node.attribute if attribute.name == "epsilon"]
        epsilon.f = 0.1
    assert norms
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    found = _rejected(DATA / "arch" / "llama3", folder, consumer, tmp_path / "r.json")
    assert found["faults"] == []
    assert all("its logits differ from hub's" in run["fault"] for run in found["consumers"][0]["runs"])


@pytest.mark.parametrize("consumer", [pytest.param("mlx", marks=_needs("mlx"))])
def test_code_of_a_folder_is_not_run(consumer: str, written: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "code"
    shutil.copytree(written["mlx:4bit-g64"], folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_file": "evil.py"}))
    found = _rejected(DATA / "arch" / "llama3", folder, consumer, tmp_path / "r.json")
    assert "names code to run" in found["consumers"][0]["fault"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("consumer", [pytest.param("onnxruntime-genai", marks=_needs("onnxruntime-genai"))])
def test_a_library_of_a_folder_is_not_loaded(consumer: str, written: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "code"
    shutil.copytree(written["onnx:4bit-g32"], folder)
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"]["custom_ops_library"] = "evil.so"
    (folder / "genai_config.json").write_text(json.dumps(config))
    found = _rejected(DATA / "arch" / "llama3", folder, consumer, tmp_path / "r.json")
    assert "names a library to load" in found["consumers"][0]["fault"]
