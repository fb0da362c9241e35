"""A format that hub has never heard of, by somebody else: everything works, and nothing of hub was touched."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests" / "data" / "tiny-llama"
ROUTES = {"codes": 44, "vectors": 13}
"""Tensors of tiny-llama: matrices, and norms that stay f32."""


def routes(tensors: list[dict[str, Any]]) -> dict[tuple[str, str, str, str], int]:
    """How many tensors took which route."""
    return dict(Counter((t["from"], t["to"], t["route"], t["fidelity"]) for t in tensors))


def stored(path: Path) -> dict[str, np.ndarray]:
    """The dense tensors of a toy file, by code that shares nothing with the plugin."""
    data = path.read_bytes()
    length = int.from_bytes(data[8:16], "little")
    header = json.loads(data[16 : 16 + length])
    out, at = {}, 16 + length
    for name, info in header["tensors"].items():
        at = -(-at // 64) * 64
        out[name] = np.frombuffer(data, "<f4", int(np.prod(info["shape"])), at).reshape(info["shape"])
        at += out[name].nbytes
    return out


def original() -> dict[str, np.ndarray]:
    """The weights of tiny-llama in f32."""
    data = (TINY / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    out = {}
    for name, info in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            assert info["dtype"] == "BF16"
            begin, end = (8 + length + offset for offset in info["data_offsets"])
            bits = np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16
            out[name] = bits.view(np.float32).reshape(info["shape"])
    return out


@pytest.fixture(scope="session")
def int8(toy) -> Path:
    """tiny-llama as toy:int8."""
    path, tensors = toy.convert(TINY, "toy:int8", "tiny-int8.toy")
    assert routes(tensors) == {
        ("bf16", "toy.column8", "quantize", "lossy"): ROUTES["codes"],
        ("bf16", "f32", "cast", "exact"): ROUTES["vectors"],
    }
    return path


@pytest.fixture(scope="session")
def q8_0(toy) -> Path:
    """tiny-llama as gguf:q8_0."""
    return toy.convert(TINY, "gguf:q8_0", "tiny-q8_0.gguf")[0]


def test_it_is_listed(toy) -> None:
    (plugin,) = [plugin for plugin in toy.json("plugins") if plugin["name"] == "toy"]
    assert plugin == {
        "name": "toy", "distribution": "hub-toy", "version": "0.1", "error": None, "formats": ["toy"],
        "layouts": ["toy.column8"], "quantizers": ["toy.column8/nearest"], "architectures": ["hub_toy:bigram.toml"],
        "checks": ["toy"],
    }  # fmt: skip
    (format,) = [format for format in toy.json("formats") if format["name"] == "toy"]
    assert format["reads"] and format["writes"]
    assert list(format["variants"]) == ["f32", "int8"]
    assert "toy" in toy.hub("formats")


def test_inspect_and_check(toy, int8) -> None:
    described = toy.json("inspect", int8)
    assert described["format"] == "toy"
    assert described["architecture"] == "LlamaForCausalLM"
    checked = toy.json("check", int8)
    assert checked["faults"] == []
    assert "settings and shapes against architecture llama" in checked["checked"]


def test_damage_is_found(toy, int8) -> None:
    cut = toy.work / "cut.toy"
    cut.write_bytes(int8.read_bytes()[:-64])
    assert "cut.toy" in toy.hub("check", cut, status=1)


def test_codes_move_out(toy, int8) -> None:
    """q and k are reordered on the way, by columns, and stay codes."""
    path, tensors = toy.convert(int8, "gguf:q8_0", "out.gguf", "--from", "toy", "--require", "exact")
    assert routes(tensors) == {
        ("toy.column8", "ggml.Q8_0", "repack", "exact"): ROUTES["codes"],
        ("f32", "f32", "copy", "identical"): ROUTES["vectors"],
    }
    assert any(t["steps"] for t in tensors if t["route"] == "repack")
    back, tensors = toy.convert(path, "toy:int8", "back.toy", "--require", "exact")
    assert back.stat().st_size == int8.stat().st_size
    same = toy.convert(back, "toy:f32", "back-f32.toy")[0], toy.convert(int8, "toy:f32", "int8-f32.toy")[0]
    a, b = (stored(path) for path in same)
    assert set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_codes_move_in(toy, q8_0) -> None:
    path, tensors = toy.convert(q8_0, "toy:int8", "in.toy", "--from", "gguf", "--require", "exact")
    assert routes(tensors) == {
        ("ggml.Q8_0", "toy.column8", "repack", "exact"): ROUTES["codes"],
        ("f32", "f32", "copy", "identical"): ROUTES["vectors"],
    }
    assert toy.json("check", path)["faults"] == []


def test_codes_become_floats(toy, int8) -> None:
    _, tensors = toy.convert(int8, "gguf:f32", "floats.gguf", "--from", "toy", "--require", "exact")
    assert routes(tensors) == {
        ("toy.column8", "f32", "dequantize", "exact"): ROUTES["codes"],
        ("f32", "f32", "copy", "identical"): ROUTES["vectors"],
    }


def test_canonical_names_come_back(toy) -> None:
    """GGUF renames tensors and reorders rows; what comes out of it is bit for bit what went in."""
    gguf, _ = toy.convert(TINY, "gguf:f32", "tiny-f32.gguf")
    path, _ = toy.convert(gguf, "toy:f32", "tiny-f32.toy", "--from", "gguf", "--require", "exact")
    a, b = original(), stored(path)
    assert set(a) == set(b)
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def test_rules_reach_the_plugin(toy) -> None:
    _, tensors = toy.convert(TINY, "toy:int8", "rules.toy", "--tensor", "q_proj=bf16", "--tensor", "norm=f16")
    kinds = {(t["to"], t["route"]) for t in tensors if "q_proj" in t["name"]}
    assert kinds == {("bf16", "copy")}
    assert "toy has no layout" in toy.hub("plan", TINY, "--to", "toy:int8", "--tensor", "q_proj=q4_k", status=2)


def test_own_architecture(toy, tmp_path) -> None:
    """A family that only the plugin knows, in a format that only hub knows."""
    folder = tmp_path / "bigram"
    folder.mkdir()
    config = {"architectures": ["BigramForCausalLM"], "hidden_size": 32, "vocab_size": 8}
    (folder / "config.json").write_text(json.dumps(config))
    weights = np.arange(512, dtype="<f4")
    header = {
        name: {"dtype": "F32", "shape": [8, 32], "data_offsets": [1024 * i, 1024 * (i + 1)]}
        for i, name in enumerate(("embed.weight", "head.weight"))
    }
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + weights.tobytes())
    path, _ = toy.convert(folder, "toy:f32", "bigram.toy")
    assert stored(path)["head.weight"].tobytes() == weights[256:].tobytes()
    assert toy.json("inspect", path)["architecture"] == "BigramForCausalLM"
    message = toy.hub("plan", folder, "--to", "gguf:f32", status=1)
    assert "BigramForCausalLM" in message or "bigram" in message
    without = toy.hub("plan", folder, "--to", "gguf:f32", status=1, HUB_DISABLE_PLUGINS="toy")
    assert "has no architecture file" in without


def test_its_program_runs_what_hub_wrote(toy, int8) -> None:
    report = toy.work / "consumed.json"
    said = toy.hub("verify", TINY, int8, "--consumer", "toy", "--report", report)
    assert "toy (hub-toy 0.1), f64: logits of 256 tokens within" in said
    (found,) = json.loads(report.read_text())["consumers"]
    assert (found["name"], found["versions"], found["fault"]) == ("toy", {"hub-toy": "0.1"}, None)
    (run,) = found["runs"]
    assert run["relative_error"] < run["limit"] == 1e-5 and run["greedy_agrees"] and len(run["greedy"]) == 4
    assert "toy: the program that toy files are for" in toy.hub("consumers")


def test_its_program_finds_what_hub_has_wrong(toy, int8) -> None:
    """Scales that the program reads otherwise than the plugin: only running it can tell."""
    text = (Path(__file__).parent / "hub_toy" / "hub_toy" / "program.py").read_text()
    other = toy.work / "other" / "hub_toy"
    shutil.copytree(Path(__file__).parent / "hub_toy" / "hub_toy", other, ignore=shutil.ignore_patterns("__pycache__"))
    wrong = text.replace("np.repeat(scales, 32", "np.repeat(scales[::-1], 32")
    assert wrong != text
    (other / "program.py").write_text(wrong)
    path = os.pathsep.join(map(str, [other.parent, *toy.path]))
    said = toy.hub("verify", TINY, int8, "--consumer", "toy", status=3, PYTHONPATH=path)
    assert "toy (hub-toy 0.1), f64: its logits differ from hub's" in said


def test_kit_passes(toy) -> None:
    assert " passed" in toy.hub("plugin", "test", "toy", "--", "-q")


def test_hub_was_not_edited(toy) -> None:
    """What is installed is what the wheel holds, file by file."""
    if toy.wheel is None:
        pytest.skip("hub runs from the checkout")
    (site,) = (toy.work / "fresh").glob("lib/python*/site-packages")
    with zipfile.ZipFile(toy.wheel) as wheel:
        names = [name for name in wheel.namelist() if name.startswith(("hub/", "hub_"))]
        assert len(names) > 50
        for name in names:
            assert (site / name).read_bytes() == wheel.read(name), name
