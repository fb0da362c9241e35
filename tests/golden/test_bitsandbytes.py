"""bitsandbytes' modules decoded as its own functions do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import hub
from hub.pipeline import weights
from hub.plugins import registry
from hub.tiles import step

MODULES = Path(__file__).parents[1] / "data" / "golden" / "bitsandbytes" / "modules.npz"


@pytest.mark.parametrize("name", ["nf4", "fp4", "double", "crossing", "ragged", "int8"])
def test_weights_are_bitsandbytes(name: str, tmp_path: Path) -> None:
    with np.load(MODULES) as file:
        stored = {key.replace(f"{name}/", "m."): file[key] for key in file if key.startswith(f"{name}/")}
    wanted = stored.pop("m.dense")
    save_file(stored, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "bitsandbytes"}}))
    with hub.open(tmp_path) as model:
        assert model.format == "bitsandbytes"
        (tensor,) = model.tensors.values()
        assert tensor.shape == wanted.shape
        layout = registry().layout(tensor.layout)
        whole = weights(tensor, layout, 0, tensor.rows)
        each = step(tensor, layout)
        pieces = [weights(tensor, layout, row, min(row + each, tensor.rows)) for row in range(0, tensor.rows, each)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    if name == "int8":  # the library rounds code times largest, hub largest by 127: the last bit may differ
        np.testing.assert_allclose(whole, wanted, rtol=2e-7)
    else:
        np.testing.assert_array_equal(whole, wanted)
