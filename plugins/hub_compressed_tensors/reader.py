"""Reads compressed-tensors checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.api import Dense, Folder, FormatError, HubError, Model, Reader, Tensor, configure, printable
from hub_compressed_tensors.collect import PACKED, collect
from hub_compressed_tensors.settings import Settings, read_settings
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.linear_layers import is_linear, linear_layers
from hub_safetensors.quantization import quantization_of


class CompressedReader(Reader):
    """Opens a folder with compressed-tensors' tensors. Besides headers, shapes and indices of groups are read."""

    def open(self, path: str) -> Model:
        folder = Folder(path)
        beside: dict[str, str] = {}
        notes: list[str] = []
        told: list[Settings] = []

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            values, where = quantization_of(folder, config)
            packed = next((name for name in tensors if name.endswith(f".{PACKED}")), "")
            if not values and packed:
                raise FormatError(
                    f"{printable(packed, 80)} holds codes, and no quantization_config in config.json says how they lie"
                )
            if not values:
                notes.append("no quantization_config in config.json: nothing is quantized")
                return tensors
            settings = read_settings(values, where)
            notes.extend(settings.notes)
            told.append(settings)
            return collect(tensors, settings, beside)

        model = open_folder(path, format="compressed-tensors", collect=rule)
        model.incomplete = next((_dense(model, settings) for settings in told), "")
        model.beside, model.notes = beside, [*model.notes, *notes]
        return model


def _dense(model: Model, settings: Settings) -> str:
    """A layer's matrix of plain numbers that the config says is quantized: loaders would look for its codes in vain."""
    try:
        configured = configure(model)
    except HubError:
        return ""  # who converts it will say so
    if configured.layers > len(model.tensors):
        return ""  # the same; so many are not spelled out
    layers = linear_layers(configured)
    for name, tensor in model.tensors.items():
        module = name.removesuffix(".weight")
        if isinstance(tensor.body, Dense) and is_linear(name, layers, configured) and settings.quantizes(module):
            return (
                f"{printable(name, 80)} is plain numbers, the config says that it is quantized; "
                "a module that is not belongs into its ignore list"
            )
    return ""
