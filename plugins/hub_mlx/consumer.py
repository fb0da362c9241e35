"""mlx-lm as a consumer of MLX folders, on the CPU.

A model is computed in f32, whatever type its scales and norms have: MLX's CPU kernels add up in the type of the model,
which in bf16 makes errors of 3e-2 that say nothing about the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hub.api import Check, HubError, Model, Room, Session, Setting, configure

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

F32 = Setting(
    "f32",
    "loaded strictly, tokenizer included; scales, biases, norms and embeddings cast to f32",
    1e-5,
    "rounding of f32; 2e-7 to 7e-7 was measured",
)
WINDOWS = ("gemma3", "gpt_oss")
"""Families whose sliding windows mlx-lm has."""
LAYERED = ("llama", "mistral")
"""Families of which it has them where layer_types says which layers do."""
ROUNDED_ROOT = ("gemma3_text",)
"""Modules of mlx-lm that multiply embeddings with the root of their width in bf16."""
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
"""A folder with any of these must have a tokenizer that mlx-lm takes."""
CODE = ("model_file", "auto_map")
"""Members of config.json that name Python files to run."""


class MlxLm(Check):
    """Runs a folder in mlx-lm."""

    def refuses(self, model: Model) -> str | None:
        found = [name for name in CODE if name in model.config]
        return f"its config.json names code to run ({found[0]})" if found else None

    def settings(self, model: Model) -> Sequence[Setting]:
        setting = F32
        if _unrounded(model.config):
            said = f"{setting.summary}; bounds of yarn are not rounded, as the model has it and mlx-lm does not"
            setting = replace(setting, summary=said, values={"unrounded": True})
        window = _unknown_window(model)
        if window is not None:
            said = f"{setting.summary}; as far as the sliding window reaches, which mlx-lm lacks for this family"
            setting = replace(setting, summary=said, positions=window)
        return [setting]

    def versions(self) -> Mapping[str, str]:
        from importlib.metadata import version

        return {name: version(name) for name in ("mlx-lm", "mlx")}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        from pathlib import Path

        import mlx.core as mx
        from mlx_lm import utils

        mx.set_default_device(mx.cpu)
        if setting.values.get("unrounded"):
            _leave_bounds()
        program: Any = utils
        model, config = program.load_model(Path(path), strict=True)
        if any(name in config for name in CODE):
            raise HubError("its config.json names code to run")
        if any((Path(path) / name).is_file() for name in TOKENIZER):
            program.load_tokenizer(Path(path), {"trust_remote_code": False}).encode("hub")
        model.set_dtype(mx.float32)
        _widen(model)
        return _Loaded(model)


def _unknown_window(model: Model) -> int | None:
    """The smallest sliding window of a model that mlx-lm leaves out, or None."""
    configured = configure(model)
    graph = configured.architecture.graph
    family = configured.architecture.family
    if graph is None or family in WINDOWS or (family in LAYERED and "layer_types" in model.config):
        return None
    nodes = graph.nodes(configured.evaluate, configured.layers)
    found = [int(node.arguments["window"] or 0) for node in nodes if node.op == "attention"]
    return min((window for window in found if window), default=None)


def _unrounded(config: Mapping[str, Any]) -> bool:
    """Whether the settings say that bounds of yarn stay as computed; mlx-lm rounds them to whole numbers."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    return isinstance(scaling, dict) and scaling.get("truncate") is False


def _leave_bounds() -> None:
    """Have mlx-lm leave them, too."""
    import math
    from types import SimpleNamespace

    from mlx_lm.models import rope_utils

    module: Any = rope_utils
    module.math = SimpleNamespace(**{**vars(math), "floor": float, "ceil": float})


def _widen(model: Any) -> None:
    """Have rows of embeddings in f32, as the type of the model is: of codes without biases mlx gives bf16, which is
    exact for them but not for what is added then. Gemma 3's factor of embeddings is rounded to bf16, which real models
    were trained with and f32 has no use for."""
    import mlx.core as mx
    import mlx.nn as nn

    args: Any = getattr(model, "args", None)
    factor = 1.0
    if getattr(args, "model_type", "") in ROUNDED_ROOT:
        root = float(args.hidden_size) ** 0.5
        factor = root / float(mx.array(root, mx.bfloat16).astype(mx.float32))

    def wide(kind: Any) -> Any:
        class Wide(kind):  # type: ignore[misc]
            def __call__(self, ids: Any) -> Any:
                return super().__call__(ids).astype(mx.float32) * factor

        return Wide

    kinds = {getattr(nn, name): wide(getattr(nn, name)) for name in ("Embedding", "QuantizedEmbedding")}
    for module in model.modules():
        if type(module) in kinds:
            module.__class__ = kinds[type(module)]


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
