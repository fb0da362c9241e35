"""onnxruntime-genai as a consumer of decoders in ONNX: its own feeding, cache and generation, on the CPU."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hub.api import Check, HubError, Model, Room, Session, Setting
from hub_onnx.consumer_ort import GENAI, LEVEL, at_level, coded, genai_settings, model_file

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

TOKENIZER: Final = "tokenizer.json"
CODE: Final = "custom_ops_library"
"""The option by which genai_config.json has a library loaded."""
F32: Final = Setting(
    "f32",
    "accuracy level 1, so that activations stay f32",
    1e-5,
    "rounding of f32; 4e-7 was measured",
    values={"level": 1},
)
STORED: Final = Setting(
    "stored",
    "no options beyond those in genai_config.json",
    3e-2,
    "onnxruntime rounds activations to blocks of int8 where weights are codes",
    rounds=True,
    values={"level": 0},
)


class Genai(Check):
    """Runs a folder in onnxruntime-genai, its tokenizer included."""

    def refuses(self, model: Model) -> str | None:
        if not os.path.isfile(os.path.join(model.path, GENAI)):
            return f"there is no {GENAI} in it"
        return _unsafe(genai_settings(model.path))

    def settings(self, model: Model) -> Sequence[Setting]:
        return [F32, STORED] if coded(model) else [F32]

    def versions(self) -> Mapping[str, str]:
        from importlib.metadata import version

        return {name: version(name) for name in ("onnxruntime-genai", "onnxruntime")}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        reason = _unsafe(genai_settings(path))
        if reason:
            raise HubError(reason)
        return _Generator(path, setting, room)


def _unsafe(settings: Mapping[str, Any]) -> str | None:
    """Why a genai_config.json is not to be followed, or None."""
    if CODE in json.dumps(settings):
        return f"its {GENAI} names a library to load ({CODE})"
    return None


class _Generator(Session):
    """A model, and a generator for one sequence."""

    def __init__(self, path: str, setting: Setting, room: Room) -> None:
        import onnxruntime_genai as og

        self._og: Any = og
        if hasattr(og, "disable_telemetry_events"):
            og.disable_telemetry_events()
        config = og.Config(path)
        config.clear_providers()  # the CPU's is what remains
        options: dict[str, Any] = {"intra_op_num_threads": room.threads}
        level = int(setting.values["level"])
        if level:
            options[LEVEL] = str(level)
            name = model_file(path)
            changed = at_level(name, level)
            if changed is not None:
                config.add_model_data(os.path.basename(name), changed)
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = og.Model(config)
        self._context = room.context
        if os.path.isfile(os.path.join(path, TOKENIZER)):
            og.Tokenizer(self._model).encode("hub")
        self.start()

    def start(self) -> None:
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(max_length=self._context, do_sample=False)
        self._generator = self._og.Generator(self._model, params)

    def feed(self, ids: Ids) -> F32Array:
        import numpy as np

        self._generator.append_tokens(ids[None])
        rows: F32Array = np.array(self._generator.get_output("logits"), np.float32)[0]
        return rows

    def greedy(self, last: F32Array, count: int) -> Sequence[int]:
        out: list[int] = []
        while len(out) < count and not self._generator.is_done():
            self._generator.generate_next_token()
            out.append(int(self._generator.get_next_tokens()[0]))
        return out
