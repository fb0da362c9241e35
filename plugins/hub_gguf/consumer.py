"""llama.cpp as a consumer of GGUF files, through the library inside llama-cpp-python.

llama.cpp rounds activations before it multiplies them with anything but f32 weights: to blocks of int8 for quantized
ones, to f16 and bf16 for weights of those types. So it is asked twice: about the weights alone, which its own quantizer
writes as f32 first, and as everybody runs it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hub.api import Check, HubError, Model, Room, Session, Setting, configure

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

_F32 = 0
"""GGML_TYPE_F32, and LLAMA_FTYPE_ALL_F32, of ggml.h and llama.h."""
MOST_F32 = 16 << 30
"""Bytes of f32 weights that are written for a check."""
F32 = Setting(
    "f32",
    "weights as llama.cpp decodes them, in f32; f32 cache, no flash attention",
    1e-5,
    "rounding of f32; 2.5e-7 was measured",
    values={"decode": True},
)
F32_GELU = replace(
    F32,
    limit=2e-3,
    why="llama.cpp computes GELU by a table of f16; 6e-4 was measured on a model that magnifies rounding",
)
STORED = Setting(
    "stored",
    "as stored, with llama.cpp's own rounding of activations; f32 cache, no flash attention",
    3e-2,
    "activations are rounded to the type that goes with the weights, blocks of int8 for quantized ones",
    rounds=True,
    values={"decode": False},
)


class LlamaCpp(Check):
    """Runs a file in libllama, on the CPU."""

    def refuses(self, model: Model) -> str | None:
        # Of several files llama.cpp wants the first, and finds the others by their names.
        return None if os.path.isfile(model.path) else "it wants a file"

    def settings(self, model: Model) -> Sequence[Setting]:
        decoded = F32_GELU if _has_gelu(model) else F32
        if all(tensor.layout == "f32" for tensor in model.tensors.values()):
            return [decoded]
        need = 4 * sum(math.prod(tensor.shape) for tensor in model.tensors.values())
        return [decoded, STORED] if need <= min(MOST_F32, _room()) else [STORED]

    def versions(self) -> Mapping[str, str]:
        import llama_cpp

        return {"llama-cpp-python": llama_cpp.__version__}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        if setting.values["decode"]:
            path = _decoded(path, os.path.join(room.scratch, "f32.gguf"), room.threads)
        return _Context(path, room)


def _room() -> int:
    """Bytes that may be written where temporary files go: half of what is free."""
    try:
        found = os.statvfs(os.environ.get("TMPDIR") or "/tmp")
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize // 2


def _has_gelu(model: Model) -> bool:
    """Whether any operator of the model is a GELU."""
    configured = configure(model)
    graph = configured.architecture.graph
    nodes = () if graph is None else graph.nodes(configured.evaluate, configured.layers)
    return any("gelu" in f"{node.op} {node.arguments.get('activation', '')}" for node in nodes)


def _decoded(path: str, target: str, threads: int) -> str:
    """The same file with all weights in f32, written by llama.cpp."""
    import llama_cpp as api

    params = api.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = _F32, threads, True
    status = api.llama_model_quantize(path.encode(), target.encode(), params)
    if status:
        raise HubError(f"llama_model_quantize to f32 gives status {status}")
    return target


class _Context(Session):
    """A model and a context for one sequence."""

    def __init__(self, path: str, room: Room) -> None:
        import llama_cpp as api

        self._api: Any = api
        api.llama_backend_init()
        self._model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not self._model:
            raise HubError("llama_model_load_from_file refuses it")
        self._width = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = room.context
        params.n_threads = params.n_threads_batch = room.threads
        params.type_k = params.type_v = _F32
        params.flash_attn_type = 0
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            raise HubError(f"llama_init_from_model makes no context of {room.context} tokens")
        self._batch = api.llama_batch_init(room.context, 0, 1)
        self._fed = 0

    def start(self) -> None:
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)
        self._fed = 0

    def feed(self, ids: Ids) -> F32Array:
        import numpy as np

        api, batch = self._api, self._batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids.tolist()):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, self._fed + i, 1, True
            batch.seq_id[i][0] = 0
        status = api.llama_decode(self._context, batch)
        if status:
            raise HubError(f"llama_decode gives status {status}")
        self._fed += len(ids)
        rows = np.ctypeslib.as_array(api.llama_get_logits(self._context), shape=(len(ids), self._width))
        return np.array(rows, np.float32)
