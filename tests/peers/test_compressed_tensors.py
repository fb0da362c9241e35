"""Folders that compressed-tensors itself writes, preset by preset: hub's weights are those of its own decompression.

The library may live in an interpreter of its own, which HUB_PEER_PYTHON names.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from test_checkpoint_loaders import COMPRESSED, MODEL, needs, run

import hub
from hub.pipeline import weights
from hub.plugins import registry

pytestmark = pytest.mark.peers
PRESETS = (
    "W3A16", "W4A16", "W4A16_ASYM", "W5A16", "W8A16", "W8A8", "FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16", "MXFP4A16",
    "MXFP8A16",
)  # fmt: skip

MAKE = """
import sys
import numpy as np, torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from transformers import AutoModelForCausalLM
source, out, *presets = sys.argv[1:]

def ends(w, args):
    strategy = str(getattr(args.strategy, "value", args.strategy))
    if strategy == "tensor":
        return w.amin().reshape(1), w.amax().reshape(1)
    if strategy == "channel":
        return w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    if strategy == "block":
        high, wide = args.block_structure
        squares = w.reshape(w.shape[0] // high, high, w.shape[1] // wide, wide)
        return squares.amin((1, 3)), squares.amax((1, 3))
    groups = w.reshape(len(w), -1, args.group_size)
    return groups.amin(-1), groups.amax(-1)

for preset in presets:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    scheme = preset_name_to_scheme(preset, ["Linear"])
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"]))
    for module in model.modules():
        args = getattr(getattr(module, "quantization_scheme", None), "weights", None)
        if args is None or not hasattr(module, "weight_scale"):
            continue
        w, factor = module.weight.data, None
        if hasattr(module, "weight_global_scale"):
            factor = generate_gparam(w.amin().reshape(1), w.amax().reshape(1))
            module.weight_global_scale.data = factor.reshape(module.weight_global_scale.shape)
        scale, zero = calculate_qparams(*ends(w, args), args, global_scale=factor)
        for name, found in (("weight_scale", scale), ("weight_zero_point", zero)):
            if hasattr(module, name):
                old = getattr(module, name)
                old.data = found.reshape(old.shape).to(old.dtype)
        if hasattr(module, "input_scale"):
            module.input_scale.data.fill_(1)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(f"{out}/{preset}")
    compressor.update_config(f"{out}/{preset}")
    compressor.decompress_model(model)
    np.savez(f"{out}/{preset}.npz", **{
        f"{name}.weight": module.weight.data.float().numpy()
        for name, module in model.named_modules() if name.endswith("_proj")})
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    needs(COMPRESSED)
    folder = tmp_path_factory.mktemp("compressed")
    run([MAKE, str(MODEL), str(folder), *PRESETS])
    return folder


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_are_the_librarys(preset, made, tmp_path):
    """It decompresses to bf16, so hub's weights are rounded to that."""
    with np.load(made / f"{preset}.npz") as theirs, hub.open(made / preset) as model:
        assert model.format == "compressed-tensors"
        assert len(theirs.files) == 42
        for name in theirs:
            tensor = model.tensors[name]
            mine = weights(tensor, registry().layout(tensor.layout), 0, tensor.rows)
            np.testing.assert_array_equal(mine.astype(ml_dtypes.bfloat16).astype(np.float32), theirs[name])
    hub.convert(made / preset, tmp_path / "again", to="compressed-tensors", require="identical", verify="weights")
    hub.convert(made / preset, tmp_path / "f32", to="safetensors:keep", require="exact", verify="weights")
