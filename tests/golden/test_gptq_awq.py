"""GPTQ and AWQ against the tools' own dequantization, and codes carried between them, GGUF and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import hub
import hub.errors
from hub.api import F16, Calibration
from hub.plugins import registry
from hub.recipe import rule
from hub_safetensors.words import codes_of_columns, words_of

DATA = Path(__file__).parents[1] / "data"
MODULES = DATA / "golden" / "gptq_awq" / "modules.npz"
LAYOUTS = {
    "gptq-4bit-g128-sym": "gptq.v1/4bit-g128-sym",
    "gptq-4bit-g64-actorder": "gptq.v1/4bit-g64-sym-order",
    "ar-w4g32-asym-auto-awq": "awq.gemm/4bit-g32",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_are_gptqmodels(name):
    layout = registry().layout(LAYOUTS[name])
    with np.load(MODULES) as file:
        wanted = file[f"{name}/weight"]
        arrays = {role: file[f"{name}/{role}"] for role in layout.parts(wanted.shape)}
    for role, spec in layout.parts(wanted.shape).items():
        assert arrays[role].shape == spec.shape
    weights = layout.decode(arrays, wanted.shape)
    np.testing.assert_array_equal(weights.astype(np.float16), wanted)
    packed = layout.pack(layout.unpack(arrays, wanted.shape))
    for role in arrays:
        np.testing.assert_array_equal(packed[role], arrays[role])


CHAINS = {
    "gptq to Q4_0 and back": ("gptq:4bit-g32-sym", "gguf:q4_0", "gptq:4bit-g32-sym"),
    "gptq by 8 bits and Q8_0": ("gptq:8bit-g32-sym", "gguf:q8_0", "gptq"),
    "awq with zero points to gptq and back": ("awq:4bit-g64-asym", "gptq", "awq"),
    "three bits": ("gptq:3bit-channel-asym", "gptq", "gptq"),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_codes_are_carried(chain, tmp_path):
    """Whatever was quantized once keeps every weight on all further ways; a format's own bytes come back the same."""
    first, *others = CHAINS[chain]
    source = tmp_path / "0"
    hub.convert(DATA / "tiny-llama", source, to=first, verify="weights")
    with hub.open(source) as model:
        quantized = {n for n, t in model.tensors.items() if t.layout.startswith(("gptq.", "awq."))}
    assert len(quantized) == 42
    path = source
    for i, to in enumerate(others, 1):
        target = tmp_path / (f"{i}.gguf" if to.startswith("gguf") else str(i))
        with hub.open(path) as model:
            moved = [e for e in hub.plan(model, to=to).entries if e.route in ("repack", "copy") and e.quantizer is None]
            moved = [e for e in moved if len(e.tensor.shape) == 2]
        assert len([e for e in moved if e.fidelity in ("exact", "identical")]) >= 42
        hub.convert(path, target, to=to, verify="weights")
        path = target
    with hub.open(source) as before, hub.open(path) as after:
        for name in quantized:
            a, b = before.tensors[name], after.tensors[name]
            assert a.layout == b.layout
            for role, part in a.parts.items():
                np.testing.assert_array_equal(
                    part.load(0, a.rows), b.parts[role].load(0, b.rows), err_msg=f"{name} {role}"
                )


@pytest.mark.parametrize("rows", ["positive", "negative", "constant", "zero", "tiny", "mixed"])
@pytest.mark.parametrize(
    "layout", ["gptq.v1/4bit-g32-sym", "gptq.v2/4bit-g32", "gptq.v1/3bit-g32-sym", "awq.gemm/4bit-g32"]
)
def test_rounding_never_loses_to_the_reference(rows, layout):
    """Of every group: 2 absmax / (2**bits - 1), or (max - min) / (2**bits - 1) with 0 in the range, as f16."""
    random = np.random.default_rng(1)
    values = {
        "positive": random.random((32, 128)), "negative": -random.random((32, 128)), "zero": np.zeros((32, 128)),
        "constant": np.full((32, 128), 0.37), "tiny": 1e-6 * random.normal(size=(32, 128)),
        "mixed": random.standard_t(2, (32, 128)),
    }[rows].astype(np.float32)  # fmt: skip
    made = registry().layout(layout)
    quantizer = registry().quantizer(layout)
    arrays = quantizer.quantize(values, Calibration())
    assert np.all(arrays["scales"] != 0) and arrays["scales"].dtype == F16.numpy()
    error = np.square(made.decode(arrays, values.shape) - values).reshape(32, 4, 32).sum(2)
    assert np.all(error <= _reference(values, made.told) * (1 + 1e-5) + 1e-30)


def _reference(values, told):
    groups = values.reshape(32, 4, 32).astype(np.float64)
    top = (1 << told.bits) - 1
    if told.symmetric:
        scale = 2 * np.abs(groups).max(2) / top
        zero = np.full_like(scale, told.middle)
    else:
        low, high = np.minimum(groups.min(2), 0), np.maximum(groups.max(2), 0)
        scale = (high - low) / top
        zero = np.rint(-low / np.where(scale == 0, 1, scale))
    scale = np.where(scale == 0, 1, scale)
    codes = np.clip(np.rint(groups / scale[:, :, None]) + zero[:, :, None], 0, top)
    stored = scale.astype(np.float16).astype(np.float64)
    return np.square(stored[:, :, None] * (codes - zero[:, :, None]) - groups).sum(2)


def test_layers_that_are_conv1d_keep_their_codes(tmp_path):
    """GPT-2's floats are (in, out), its codes (out, in) as of every layer; c_proj is square, so shapes do not tell."""
    source = DATA / "arch" / "gpt2"
    hub.convert(source, tmp_path / "gptq", to="gptq:4bit-g32", verify="full")
    with hub.open(tmp_path / "gptq") as model, hub.open(source) as before:
        for name, tensor in model.tensors.items():
            assert tensor.shape == before.tensors[name].shape
    hub.convert(tmp_path / "gptq", tmp_path / "again", to="gptq", require="identical")
    hub.convert(tmp_path / "gptq", tmp_path / "x.gguf", to="gguf", require="exact")
    with hub.open(tmp_path / "x.gguf") as model:
        assert sum(tensor.layout == "ggml.Q4_0" for tensor in model.tensors.values()) == 8
    hub.convert(tmp_path / "x.gguf", tmp_path / "back", to="gptq", require="exact")
    hub.convert(source, tmp_path / "part", to="gptq:8bit-g64", rules=[rule("c_fc=f16")], verify="full")


@pytest.mark.parametrize("to", ["awq", "awq:4bit-g32", "compressed-tensors:4bit-g32", "fp8"])
def test_layers_that_are_conv1d_are_refused_where_no_loader_has_a_form(to, tmp_path):
    with pytest.raises(hub.errors.UsageError, match=r"layers are Conv1D, .*; --to gptq"):
        hub.convert(DATA / "arch" / "gpt2", tmp_path / "out", to=to)


@pytest.mark.parametrize("bits", [3, 8])
def test_awq_of_other_widths_is_read(bits, tmp_path):
    """GPTQ's zero points of version 2 are AWQ's of these widths; codes run along the other axis of the same matrix."""
    hub.convert(DATA / "tiny-llama", tmp_path / "gptq", to=f"gptq:{bits}bit-g64-asym", verify="none")
    shutil.copytree(tmp_path / "gptq", tmp_path / "awq")
    stored = load_file(tmp_path / "gptq" / "model.safetensors")
    for name in [name for name in stored if name.endswith(".g_idx")]:
        prefix = name.removesuffix(".g_idx")
        codes = codes_of_columns(stored[f"{prefix}.qweight"], bits, len(stored.pop(name)))
        stored[f"{prefix}.qweight"] = words_of(np.ascontiguousarray(codes.T), bits).view(np.int32)
    save_file(stored, tmp_path / "awq" / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "awq" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": bits, "group_size": 64, "version": "gemm"}
    (tmp_path / "awq" / "config.json").write_text(json.dumps(config))
    (tmp_path / "awq" / "quantize_config.json").unlink()
    hub.convert(tmp_path / "awq", tmp_path / "back", to="gptq", require="exact", verify="weights")
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("gptq", "back"))
    assert all(np.array_equal(old[name], new[name]) for name in old)


def test_wide_codes_that_are_few_become_narrow_ones_again(tmp_path):
    """Q8_0 made of Q4_0 uses 16 of its codes: 4 bits hold them, and no others."""
    hub.convert(DATA / "tiny-llama", tmp_path / "4.gguf", to="gguf:q4_0", verify="none")
    hub.convert(tmp_path / "4.gguf", tmp_path / "8.gguf", to="gguf:q8_0", verify="none")
    with hub.open(tmp_path / "4.gguf") as model:
        names = {name for name, tensor in model.tensors.items() if tensor.layout == "ggml.Q4_0"}
    assert len(names) > 40
    for to in ("gguf:q4_0", "gptq:4bit-g32", "awq:4bit-g32-asym", "compressed-tensors:4bit-g32", "gguf:q4_1"):
        with hub.open(tmp_path / "8.gguf") as model:
            made = {entry.tensor.stored_name: entry for entry in hub.plan(model, to=to).entries}
        carried = [made[name] for name in names if made[name].layout not in ("f16", "f32", "ggml.Q6_K")]
        assert carried and {(entry.route, entry.fidelity) for entry in carried} == {("repack", "exact")}, to
    hub.convert(tmp_path / "8.gguf", tmp_path / "back", to="gptq:4bit-g32", verify="weights")
    hub.convert(DATA / "tiny-llama", tmp_path / "wide.gguf", to="gguf:q8_0", verify="none")
    with hub.open(tmp_path / "wide.gguf") as model:
        wide = [entry for entry in hub.plan(model, to="gguf:q4_0").entries if entry.layout == "ggml.Q4_0"]
    assert {(entry.route, entry.why) for entry in wide} == {("requantize", "codes lie beyond 0 to 15")}
