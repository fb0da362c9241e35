"""Reads compressed-tensors checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.api import Folder, Model, Reader, Tensor
from hub_compressed_tensors.collect import collect
from hub_compressed_tensors.settings import read_settings
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.quantization import quantization_of


class CompressedReader(Reader):
    """Opens a folder with compressed-tensors' tensors. Besides headers, shapes and indices of groups are read."""

    def open(self, path: str) -> Model:
        folder = Folder(path)
        beside: dict[str, str] = {}
        notes: list[str] = []

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            values, where = quantization_of(folder, config)
            if not values:
                notes.append("no quantization_config in config.json: nothing is quantized")
                return tensors
            settings = read_settings(values, where)
            notes.extend(settings.notes)
            return collect(tensors, settings, beside)

        model = open_folder(path, format="compressed-tensors", collect=rule)
        model.beside, model.notes = beside, [*model.notes, *notes]
        return model
