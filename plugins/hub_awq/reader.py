"""Reads AWQ checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.api import Folder, FormatError, Model, Reader, Tensor
from hub_awq.collect import activation_scales, collect
from hub_awq.settings import read_settings
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.quantization import quantization_of


class AwqReader(Reader):
    """Opens a folder with AWQ's tensors. Reads besides headers the zero points."""

    def open(self, path: str) -> Model:
        folder = Folder(path)
        notes: list[str] = []
        beside: dict[str, str] = {}

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            values, where = quantization_of(folder, config)
            if not values:
                raise FormatError("no quantization_config in config.json, and no quant_config.json", path=path)
            joined = collect(tensors, read_settings(values, where), notes)
            for name in activation_scales(tensors, joined):
                beside[name] = "divides by one, which changes nothing"
            return joined

        model = open_folder(path, format="awq", collect=rule)
        model.beside, model.notes = beside, [*model.notes, *notes]
        return model
