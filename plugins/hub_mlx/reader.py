"""Reads folders of mlx-lm's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.api import Model, Reader, Tensor
from hub_mlx.collect import collect
from hub_mlx.settings import settings_of
from hub_safetensors.hf_folder import CONFIG, open_folder

CONVENTION = "mlx"


def as_told(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """config.json with `rope_theta` and `rope_local_base_freq`, which mlx-lm's classes look at, in the place of what
    `rope_parameters` of transformers 5 says of the same."""
    inner = config.get("rope_parameters")
    if not isinstance(inner, dict):
        return config
    told = {key: config.get(key) for key in ("rope_theta", "rope_local_base_freq")}
    made = dict(inner)
    for place, key in (("full_attention", "rope_theta"), ("sliding_attention", "rope_local_base_freq")):
        if told[key] is not None and isinstance(inner.get(place), dict):
            made[place] = {**inner[place], "rope_theta": told[key]}
    if told["rope_theta"] is not None and "rope_theta" in inner:
        made["rope_theta"] = told["rope_theta"]
    return {**config, "rope_parameters": made}


class MlxReader(Reader):
    """Opens a folder with tensors under mlx-lm's names, quantized or not. Reads headers only."""

    def open(self, path: str) -> Model:
        notes: list[str] = []

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            return collect(tensors, settings_of(config, str(Path(path) / CONFIG)), config, notes)

        model = open_folder(path, format="mlx", collect=rule)
        model.convention = CONVENTION
        model.hyperparameters = lambda _: as_told(model.config)
        model.notes = [*model.notes, *notes]
        kind = model.config.get("model_type")
        if model.architecture is None and isinstance(kind, str):
            model.architecture = kind  # mlx-lm looks at nothing else
        return model
