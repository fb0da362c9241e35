"""mlx-lm as a consumer of MLX folders, on the CPU.

A model is computed in f32, whatever type its scales and norms have: MLX's CPU kernels add up in the type of the model,
which in bf16 makes errors of 3e-2 that say nothing about the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub.api import Check, HubError, Model, Room, Session, Setting

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

F32 = Setting(
    "f32",
    "loaded strictly; scales, biases and norms cast to f32",
    1e-5,
    "rounding of f32; 2e-7 to 7e-7 was measured",
)
CODE = ("model_file", "auto_map")
"""Members of config.json that name Python files to run."""


class MlxLm(Check):
    """Runs a folder in mlx-lm."""

    def refuses(self, model: Model) -> str | None:
        found = [name for name in CODE if name in model.config]
        return f"its config.json names code to run ({found[0]})" if found else None

    def settings(self, model: Model) -> Sequence[Setting]:
        return [F32]

    def versions(self) -> Mapping[str, str]:
        from importlib.metadata import version

        return {name: version(name) for name in ("mlx-lm", "mlx")}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        from pathlib import Path

        import mlx.core as mx
        from mlx_lm.utils import load_model

        mx.set_default_device(mx.cpu)
        model, config = load_model(Path(path), strict=True)
        if any(name in config for name in CODE):
            raise HubError("its config.json names code to run")
        model.set_dtype(mx.float32)
        return _Loaded(model)


class _Loaded(Session):
    """A model and its cache."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def start(self) -> None:
        from mlx_lm.models.cache import make_prompt_cache

        self._cache = make_prompt_cache(self._model)

    def feed(self, ids: Ids) -> F32Array:
        import mlx.core as mx
        import numpy as np

        logits = self._model(mx.array(ids[None]), cache=self._cache).astype(mx.float32)
        rows: F32Array = np.array(logits, np.float32)[0]
        return rows
