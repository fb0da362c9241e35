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


class MlxReader(Reader):
    """Opens a folder with tensors under mlx-lm's names, quantized or not. Reads headers only."""

    def open(self, path: str) -> Model:
        notes: list[str] = []

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            return collect(tensors, settings_of(config, str(Path(path) / CONFIG)), config, notes)

        model = open_folder(path, format="mlx", collect=rule)
        model.convention = CONVENTION
        model.notes = [*model.notes, *notes]
        kind = model.config.get("model_type")
        if model.architecture is None and isinstance(kind, str):
            model.architecture = kind  # mlx-lm looks at nothing else
        return model
