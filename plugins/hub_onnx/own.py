"""hub's own files: `hub.tensors` in the metadata says which initializers are which tensor, and how they lie.

It spares the walk through the graph and holds where there is no graph. What it says is checked against the types and
shapes of the initializers; where anything differs, as after another tool's change, the graph is walked as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import DTYPES, Dense, FormatError, Packed, Shape, Tensor, rows_spec, strict_json, transposed
from hub_onnx.columns import make as columns
from hub_onnx.files import Files
from hub_onnx.layouts import NBITS
from hub_onnx.layouts import make as codes
from hub_onnx.model import Initializer, ModelProto
from hub_onnx.names import Names
from hub_onnx.trace import scopes
from hub_onnx.ways import weight_of

KEY: Final = "hub.tensors"


def own_tensors(model: ModelProto, files: Files, names: Names) -> dict[str, Tensor]:
    """The tensors that the metadata tell of; none where it tells of none.

    Raises:
        HubError: they are not what it says.
    """
    text = model.metadata.get(KEY)
    if text is None:
        return {}
    told: Mapping[str, Any] = strict_json.load_object(text.encode(), path=files.source.path)
    held = {tensor.name: tensor for scope in scopes(model.graph) for tensor in scope.graph.initializers}
    out = {}
    for name, layout in told.items():
        if not isinstance(layout, str):
            raise FormatError(f"{KEY} gives it no layout", path=files.source.path, tensor=name)
        shape = names.shapes.get(name)
        if shape and layout in DTYPES and name in names.kept_turned:
            shape = (*shape[:-2], shape[-1], shape[-2])
        # Codes are (out, in), whichever way round the canonical tensor is.
        turned = name.rpartition(".")[0] in names.turned and layout not in DTYPES
        tensor = _tensor(name, layout, held, files, shape[::-1] if shape and turned else shape)
        out[name] = transposed(tensor) if turned else tensor
    return out


def _tensor(name: str, spelled: str, held: Mapping[str, Initializer], files: Files, wanted: Shape | None) -> Tensor:
    shape = wanted or _shape(name, spelled, held, files)
    stored = {}
    for part, one in weight_of(name, shape, spelled).held().items():
        tensor = held.get(one.name)
        if tensor is None:
            raise FormatError(f"{one.name} is missing", path=files.source.path, tensor=name)
        if (tensor.data_type, tensor.dims) != (one.data_type, one.dims):
            raise files.fault(tensor, f"its type or shape is not that of {spelled} of shape {list(shape)}")
        stored[part] = tensor
    dense = DTYPES.get(spelled)
    if dense is not None:
        return Tensor(name, shape, Dense(files.part(stored["data"], rows_spec(dense, shape))))
    layout = columns(spelled) if spelled.startswith("onnx.columns/") else codes(spelled)
    parts = {part: files.part(stored[part], spec) for part, spec in layout.parts(shape).items()}
    return Tensor(name, shape, Packed(spelled, shape, parts))


def _shape(name: str, spelled: str, held: Mapping[str, Initializer], files: Files) -> Shape:
    """The shape of a tensor that no architecture tells, by that of its numbers or codes."""
    leader = held.get(name) or held.get(f"{name}_quantized")
    if leader is None:
        raise FormatError("its numbers are missing", path=files.source.path, tensor=name)
    family = spelled.partition("/")[0]
    if family in ("onnx.dq", "onnx.columns"):
        return leader.dims[::-1]
    if family == NBITS:
        if len(leader.dims) != 3:
            raise files.fault(leader, f"shape {list(leader.dims)} is not that of {spelled}")
        rows, blocks, length = leader.dims
        return rows, blocks * length * 8 // codes(spelled).told.bits
    return leader.dims
