"""gpt-oss with experts in MXFP4: read, run, to GGUF and back, written from floats.

tests/data/golden/gpt_oss_mxfp4.npz: logits of transformers 5.23 (f32, eager attention) of what made_mxfp4 makes, its
experts dequantized by transformers' `convert_moe_packed_tensors`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import made_mxfp4
import numpy as np
import pytest
from made_models import DATA, read_gguf, read_safetensors

import hub
from hub.architecture import configure
from hub.errors import UsageError
from hub.mapping import canonical
from hub.pipeline import weights
from hub.plugins import registry
from hub.runner import Runner

GOLDEN = DATA / "golden" / "gpt_oss_mxfp4.npz"
CONVERTED = "3329f6b1e60d64e94c0bb468df7b947b980f0556df3cce9403ed207bae777e9c"
"""SHA-256 of what llama.cpp's convert_hf_to_gguf.py (0c1e5709) makes of the folder `gpt-oss` with --outtype auto, its
vocabulary replaced as tests/data/golden/llama_cpp_sha256.md tells."""
MXFP4 = 39


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_mxfp4.folder(tmp_path_factory.mktemp("mxfp4") / "gpt-oss")


def error(path: Path, **options: object) -> float:
    with np.load(GOLDEN) as golden:
        ids, wanted = golden["input_ids"], golden["logits"].astype(np.float64)
    with hub.open(path) as model, Runner(model, **options) as runner:  # type: ignore[arg-type]
        return float(np.square(runner.logits(ids) - wanted).sum() / np.square(wanted).sum())


def routes(path: Path, to: str) -> set[tuple[str, str]]:
    with hub.open(path) as model:
        return {
            (entry.route, entry.fidelity) for entry in hub.plan(model, to=to).entries if len(entry.tensor.shape) == 3
        }


def test_experts_are_outputs_by_inputs_whichever_way_they_lie(source: Path) -> None:
    dense, mxfp4 = made_mxfp4.decoded(), made_mxfp4.arrays()
    for path in (source, made_mxfp4.DENSE):
        with hub.open(path) as model:
            tensor = canonical(model, configure(model)).tensors["model.layers.1.mlp.experts.gate_up_proj"]
            found = weights(tensor, registry().layout(tensor.layout), 5, tensor.rows - 3)
        assert tensor.shape == (4, 192, 64)
        stem = f"{tensor.name}"
        if path == source:
            wanted = made_mxfp4.unpacked(mxfp4[f"{stem}_blocks"], mxfp4[f"{stem}_scales"])
            assert np.array_equal(wanted.transpose(0, 2, 1), dense[stem].astype(np.float32))
        else:
            wanted = read_safetensors(path / "model.safetensors")[stem].astype(np.float32).transpose(0, 2, 1)
        assert np.array_equal(found, wanted.reshape(-1, 64)[5:-3])


def test_it_runs_as_transformers_runs_it(source: Path) -> None:
    assert error(source, threads=2) < 1e-10


def test_to_gguf_and_back(source: Path, tmp_path: Path) -> None:
    assert routes(source, "gguf") == {("repack", "exact")}
    hub.convert(source, tmp_path / "a.gguf", to="gguf", verify="weights")
    assert hashlib.sha256((tmp_path / "a.gguf").read_bytes()).hexdigest() == CONVERTED
    _, tensors = read_gguf(tmp_path / "a.gguf")
    experts = {name: kind for name, (kind, shape, _) in tensors.items() if len(shape) == 3}
    assert len(experts) == 9 and set(experts.values()) == {MXFP4}
    # Rows of gate and up stand in turns; blocks are the scale, then element j beside element j + 16.
    blocks = made_mxfp4.arrays()["model.layers.2.mlp.experts.gate_up_proj_blocks"]
    codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:-1], 32)
    for first, name in ((0, "gate"), (1, "up")):
        raw = np.frombuffer(tensors[f"blk.2.ffn_{name}_exps.weight"][2], np.uint8)[: 4 * 96 * 2 * 17].reshape(
            4, 96, 2, 17
        )
        assert np.array_equal(raw[..., 1:], codes[:, first::2, :, :16] | codes[:, first::2, :, 16:] << 4)
    assert error(tmp_path / "a.gguf") < 1e-10

    assert routes(tmp_path / "a.gguf", "mxfp4") == {("repack", "exact")}
    hub.convert(tmp_path / "a.gguf", tmp_path / "back", to="mxfp4", verify="weights")
    wanted, found = made_mxfp4.arrays(), read_safetensors(tmp_path / "back" / "model.safetensors")
    assert wanted.keys() == found.keys()
    different = [
        name for name in wanted if not np.array_equal(wanted[name].astype(np.float64), found[name].astype(np.float64))
    ]
    assert different == []
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["quantization_config"] == made_mxfp4.CONFIG
    assert config["rope_scaling"]["truncate"] is False
    assert error(tmp_path / "back") < 1e-10


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_floats_lie_as_transformers_has_them(source: Path, dtype: str, tmp_path: Path) -> None:
    assert routes(source, f"safetensors:{dtype}") == {("dequantize", "exact")}
    hub.convert(source, tmp_path / "f", to=f"safetensors:{dtype}", verify="weights")
    found = read_safetensors(tmp_path / "f" / "model.safetensors")
    for name, wanted in made_mxfp4.decoded().items():
        assert np.array_equal(found[name].astype(np.float32), wanted.astype(np.float32)), name
    assert "quantization_config" not in json.loads((tmp_path / "f" / "config.json").read_text())
    assert error(tmp_path / "f") < 1e-10


def test_a_copy_is_the_source(source: Path, tmp_path: Path) -> None:
    assert routes(source, "mxfp4") == {("copy", "identical")}
    hub.convert(source, tmp_path / "again", to="mxfp4", verify="weights")
    found = read_safetensors(tmp_path / "again" / "model.safetensors")
    assert {k: v.tobytes() for k, v in made_mxfp4.arrays().items()} == {k: v.tobytes() for k, v in found.items()}


def test_from_floats_no_worse_than_the_usual_way(tmp_path: Path) -> None:
    """The usual way: the exponent of the largest less 2, which made_mxfp4 takes, too."""
    hub.convert(made_mxfp4.DENSE, tmp_path / "q", to="mxfp4", verify="weights")
    found, usual = read_safetensors(tmp_path / "q" / "model.safetensors"), made_mxfp4.arrays()
    floats = read_safetensors(made_mxfp4.DENSE / "model.safetensors")
    assert found.keys() == usual.keys()
    for stem in (name.removesuffix("_blocks") for name in usual if name.endswith("_blocks")):
        wanted = floats[stem].astype(np.float32).transpose(0, 2, 1)
        ours, theirs = (
            np.square(made_mxfp4.unpacked(made[f"{stem}_blocks"], made[f"{stem}_scales"]) - wanted).mean()
            for made in (found, usual)
        )
        assert ours <= theirs


def test_models_without_a_place_for_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fused experts only"):
        hub.convert(DATA / "arch" / "mixtral", tmp_path / "no", to="mxfp4", verify="none")
