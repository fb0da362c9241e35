"""Reads GPTQ checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hub.api import Folder, FormatError, Model, Reader, Tensor
from hub_gptq.collect import collect, zero_biases
from hub_gptq.settings import read_settings
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.quantization import quantization_of

_AUTOGPTQ: Final = re.compile(r"gptq_model-\d+bit-(-1|\d+)g\.safetensors")
"""The name that AutoGPTQ gives its file of weights."""


class GptqReader(Reader):
    """Opens a folder with GPTQ's tensors. Reads besides headers the zero points and indices of groups."""

    def open(self, path: str) -> Model:
        folder = Folder(path)
        notes: list[str] = []
        beside: dict[str, str] = {}

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            values, where = quantization_of(folder, config)
            if not values:
                raise FormatError("no quantization_config in config.json, and no quantize_config.json", path=path)
            joined = collect(tensors, read_settings(values, where), notes)
            for name in zero_biases(tensors, joined):
                beside[name] = "a bias of zeros, which changes nothing"
            return joined

        model = open_folder(path, format="gptq", collect=rule, alone=lambda name: bool(_AUTOGPTQ.fullmatch(name)))
        model.beside, model.notes = beside, [*model.notes, *notes]
        return model
