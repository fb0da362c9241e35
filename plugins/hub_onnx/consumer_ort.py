"""onnxruntime as a consumer of decoders in ONNX, on the CPU.

By itself onnxruntime multiplies codes with activations that it rounds to int8: where the file says so
(`accuracy_level` 4 of MatMulNBits), and where it rewrites DequantizeLinear and MatMul into that operator. So a file is
run computing in f32, with and without rewriting, and once as everybody runs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hub.api import DTYPES, Check, ConfigError, FileSource, HubError, Model, Room, Session, Setting, strict_json
from hub_onnx.files import choose, folder_and_name

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

LEVEL: Final = "session.qdq_matmulnbits_accuracy_level"
"""What rewritten multiplications round activations to; "1" is f32, which is also what `accuracy_level` 1 says."""
FOLDER: Final = "session.model_external_initializers_file_folder_path"
"""Where the data of a graph that is given as bytes lies."""
FLOATS: Final = "onnx.columns/"
"""How names of layouts for floats begin."""
GENAI: Final = "genai_config.json"
F32: Final = Setting(
    "f32",
    "accuracy level 1, so that activations stay f32; all optimizations",
    1e-5,
    "rounding of f32; 2e-7 to 2e-6 was measured",
    values={"level": 1, "optimize": True},
)
PLAIN: Final = Setting(
    "unoptimized",
    "accuracy level 1, no optimizations, so that every node runs as it stands",
    1e-5,
    "rounding of f32; 2e-7 to 2e-6 was measured",
    values={"level": 1, "optimize": False},
)
STORED: Final = Setting(
    "stored",
    "no options at all",
    3e-2,
    "onnxruntime rounds activations to blocks of int8 where weights are codes",
    rounds=True,
    values={"level": 0, "optimize": True},
)


class Onnxruntime(Check):
    """Runs a decoder with its cache in onnxruntime."""

    def refuses(self, model: Model) -> str | None:
        return "it has no graph, only weights" if model.metadata.get("hub.flavour") == "weights" else None

    def settings(self, model: Model) -> Sequence[Setting]:
        return [F32, PLAIN, STORED] if coded(model) else [F32, PLAIN]

    def versions(self) -> Mapping[str, str]:
        from importlib.metadata import version

        return {name: version(name) for name in ("onnxruntime", "onnx")}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        return _Decoder(path, setting, room)


def coded(model: Model) -> bool:
    """Whether any weights are codes."""
    return any(
        tensor.layout not in DTYPES and not tensor.layout.startswith(FLOATS) for tensor in model.tensors.values()
    )


def genai_settings(folder: str) -> Mapping[str, Any]:
    """genai_config.json of a folder; empty where there is none."""
    name = os.path.join(folder, GENAI)
    if not os.path.isfile(name):
        return {}
    source = FileSource(name)
    try:
        return strict_json.load_object(source.read(0, source.size), path=name)
    finally:
        source.close()


def _decoder_of(folder: str) -> Mapping[str, Any]:
    model = genai_settings(folder).get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    return decoder if isinstance(decoder, dict) else {}


def model_file(path: str) -> str:
    """The graph's file of a folder, or of itself.

    Raises:
        HubError: there is none.
    """
    folder, name = folder_and_name(path)
    root = os.path.abspath(folder.root)
    return os.path.join(root, name or choose(folder, _decoder_of(root).get("filename")))


class _Decoder(Session):
    """A session, the cache between its calls, and what its inputs are called."""

    def __init__(self, path: str, setting: Setting, room: Room) -> None:
        import onnxruntime as ort

        self._name = model_file(path)
        self._head_size = _decoder_of(os.path.dirname(self._name)).get("head_size")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = room.threads
        if not setting.values["optimize"]:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph: str | bytes = self._name
        if setting.values["level"]:
            options.add_session_config_entry(LEVEL, str(setting.values["level"]))
            changed = at_level(self._name, int(setting.values["level"]))
            if changed is not None:
                graph = changed
                options.add_session_config_entry(FOLDER, os.path.dirname(self._name))
        self._session: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._outputs = [item.name for item in self._session.get_outputs()]
        if "logits" not in self._outputs or "input_ids" not in self._inputs:
            raise HubError("it has no input_ids or no logits, so it is no decoder")
        self._past = [name for name in self._inputs if name.startswith("past")]
        self.start()

    def start(self) -> None:
        import numpy as np

        self._seen: Ids = np.empty(0, np.int32)
        self._cache = {name: self._empty(self._inputs[name]) for name in self._past}

    def feed(self, ids: Ids) -> F32Array:
        import numpy as np

        count = len(ids)
        self._seen = np.concatenate([self._seen, ids])
        # A model without a cache gets all tokens again.
        ids = ids if self._past else self._seen
        begin = len(self._seen) - len(ids)
        given = {name: self._given(name, ids, begin) for name in self._inputs if name not in self._cache}
        found = dict(zip(self._outputs, self._session.run(None, {**given, **self._cache}), strict=True))
        for name in self._past:
            present = name.replace("past_key_values", "present")
            if present not in found:
                raise HubError(f"it takes {name} and does not give {present}")
            self._cache[name] = found[present]
        return np.asarray(found["logits"][0, -count:], np.float32)

    def _given(self, name: str, ids: Ids, begin: int) -> Any:
        import numpy as np

        end = begin + len(ids)
        value: Any
        match name:
            case "input_ids":
                value = ids
            case "attention_mask":
                value = np.ones(end)
            case "position_ids":
                value = np.arange(begin, end)
            case "use_cache_branch":  # of optimum's merged decoders: whether there is a cache
                return np.array([begin > 0])
            case _:
                raise HubError(f"it has an input {name}, of which hub does not know what it is")
        return value[None].astype(_dtype(self._inputs[name].type))

    def _empty(self, item: Any) -> Any:
        import numpy as np

        if len(item.shape) != 4 or not isinstance(item.shape[1], int):
            raise HubError(f"its input {item.name} has shape {item.shape}; (batch, heads, tokens, size) is needed")
        size = item.shape[3] if isinstance(item.shape[3], int) else self._head_size
        if not isinstance(size, int):
            raise ConfigError(f"its input {item.name} does not say how long a head is, and {GENAI} neither")
        return np.zeros((1, item.shape[1], 0, size), _dtype(item.type))


def _dtype(told: str) -> Any:
    """NumPy's type of one of onnxruntime's, as tensor(float)."""
    import numpy as np

    names = {"float": np.float32, "float16": np.float16, "int64": np.int64, "int32": np.int32, "bool": np.bool_}
    found = names.get(told.removeprefix("tensor(").removesuffix(")"))
    if found is None:
        raise HubError(f"it has an input of type {told}")
    return found


def at_level(path: str, level: int) -> bytes | None:
    """The graph with that `accuracy_level` wherever another is asked for; None where none is."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    changed = False
    for node in _nodes(model.graph):
        for attribute in node.attribute:
            if attribute.name == "accuracy_level" and attribute.i not in (0, level):
                attribute.i, changed = level, True
    return model.SerializeToString() if changed else None


def _nodes(graph: Any) -> Any:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
