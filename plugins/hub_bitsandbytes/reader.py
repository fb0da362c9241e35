"""Reads folders that transformers saved with bitsandbytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import numpy as np

from hub.api import (
    F32,
    ArrayPart,
    FormatError,
    HubError,
    Model,
    Packed,
    Part,
    PartSpec,
    Reader,
    Tensor,
    strict_json,
)
from hub_bitsandbytes.layouts import TABLES, make
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.members import Members
from hub_safetensors.partners import fault, told

STATE: Final = ".quant_state.bitsandbytes__"
_MAX_STATE: Final = 1 << 16
_LARGEST: Final = float(np.finfo(np.float32).max)
_ABSMAX, _MAP, _NESTED, _NESTED_MAP = ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"
_SCB, _FORMAT = "SCB", "weight_format"


class BitsandbytesReader(Reader):
    """Opens a folder. Besides headers, the state of each quantized weight is read: a few hundred bytes of JSON and the
    table of its values."""

    def open(self, path: str) -> Model:
        return open_folder(path, format="bitsandbytes", collect=_collect)


@dataclass(frozen=True)
class State:
    """What the state of a 4-bit weight says."""

    kind: str
    block: int
    shape: tuple[int, int]
    offset: float | None


def _collect(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
    out: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, tensor in tensors.items():
        weight, found, kind = name.partition(STATE)
        prefix, _, role = name.rpartition(".")
        if found:
            out[weight] = _four_bit(tensors, weight, kind, tensor, used)
        elif role == _SCB:
            out[f"{prefix}.weight"] = _int8(tensors, prefix, tensor, used)
    if not out:
        raise FormatError("the config says bitsandbytes, and no tensor is quantized")
    for name, tensor in tensors.items():
        if name in used or name in out:
            continue
        owner = next(
            (name.removesuffix(role) for role in (_ABSMAX, _MAP, _NESTED, _NESTED_MAP) if name.endswith(role)), ""
        )
        if owner:
            raise fault(tensor, f"the state of {owner}, which belongs to it, is missing")
        out[name] = tensor
    return out


def _need(tensors: Mapping[str, Tensor], name: str, beside: Tensor, used: set[str]) -> Tensor:
    if name not in tensors:
        raise fault(beside, f"{name}, which belongs to it, is missing")
    used.add(name)
    return tensors[name]


def _four_bit(tensors: Mapping[str, Tensor], name: str, kind: str, stored: Tensor, used: set[str]) -> Tensor:
    used.add(stored.name)
    state = _state(stored, kind)
    weight = _need(tensors, name, stored, used)
    _check_table(_need(tensors, name + _MAP, stored, used), state.kind)
    double = state.offset is not None
    layout = f"bnb.{state.kind}/b{state.block}{'-double' * double}"
    specs = make(layout).parts(state.shape)
    parts: dict[str, Part] = {
        "weight": _bytes(weight, specs["weight"]),
        "absmax": told(_need(tensors, name + _ABSMAX, stored, used), specs["absmax"]),
    }
    if double:
        parts["nested"] = told(_need(tensors, name + _NESTED, stored, used), specs["nested"])
        parts["map"] = told(_need(tensors, name + _NESTED_MAP, stored, used), specs["map"])
        parts["offset"] = ArrayPart(np.array([state.offset], np.float32), PartSpec(F32, (1,), None))
    return Tensor(name, state.shape, Packed(layout, state.shape, parts))


def _state(stored: Tensor, kind: str) -> State:
    (part,) = stored.parts.values()
    if stored.layout != "u8" or len(stored.shape) != 1 or not 0 < stored.shape[0] <= _MAX_STATE:
        raise fault(
            stored, f"shape {list(stored.shape)} of {stored.layout}, it must be at most {_MAX_STATE} bytes of JSON"
        )
    path = part.span.source.path if part.span else ""
    try:
        values = strict_json.load_object(part.load(0, stored.shape[0]).tobytes(), path=path)
    except HubError as error:
        raise fault(stored, f"its JSON cannot be read: {error.message}") from None
    members = Members(values, path, "quant_state")
    block, shape = members.whole("blocksize") or 0, members.items("shape")
    if kind not in TABLES or members.text("quant_type") != kind:
        raise fault(stored, f"type {kind} and quant_type {members.text('quant_type')}, read are nf4 and fp4")
    if block < 2 or block > 1 << 16 or block & (block - 1):
        raise fault(stored, f"blocks of {block} weights, allowed are powers of two up to 65536")
    if len(shape) != 2 or not all(type(size) is int and 0 < size < 1 << 40 for size in shape):
        raise fault(stored, "its shape must be two sizes")
    offset = None
    if members.raw("nested_blocksize") is not None:
        offset = members.raw("nested_offset")
        number = type(offset) in (int, float) and abs(offset) < _LARGEST
        if members.whole("nested_blocksize") != 256 or not number:
            raise fault(stored, "nested_blocksize must be 256, and nested_offset a number")
    return State(kind, block, (shape[0], shape[1]), None if offset is None else float(offset))


def _check_table(table: Tensor, kind: str) -> None:
    (part,) = table.parts.values()
    if table.layout != "f32" or table.shape != (16,):
        raise fault(table, f"shape {list(table.shape)} of {table.layout}, it must be 16 of f32")
    if not np.array_equal(part.load(0, 16), np.array(TABLES[kind].table, np.float32)):
        raise fault(table, f"its values are not those of {kind}")


def _bytes(weight: Tensor, spec: PartSpec) -> Part:
    """Packed codes, which may be stored as numbers of any type (`bnb_4bit_quant_storage`)."""
    (part,) = weight.parts.values()
    if prod(weight.shape) * part.spec.dtype.bytes != spec.nbytes:
        raise fault(weight, f"{part.spec.nbytes} bytes, its shape makes {spec.nbytes}")
    made: Part = replace(part, spec=spec)  # type: ignore[type-var]
    return made


def _int8(tensors: Mapping[str, Tensor], prefix: str, scale: Tensor, used: set[str]) -> Tensor:
    used.add(scale.name)
    weight = _need(tensors, f"{prefix}.weight", scale, used)
    if len(weight.shape) != 2 or 0 in weight.shape:
        raise fault(weight, f"shape {list(weight.shape)}, it must have 2 axes and none of them 0")
    order = tensors.get(f"{prefix}.{_FORMAT}")
    if order is not None:
        used.add(order.name)
        (part,) = order.parts.values()
        if prod(order.shape) != 1 or order.layout != "u8" or int(part.load(0, 1).reshape(-1)[0]) != 0:
            raise fault(order, "its rows are in an order of a GPU's own, read are those in order (0)")
    specs = make("bnb.int8").parts(weight.shape)
    if scale.shape != (weight.shape[0],):
        raise fault(scale, f"shape {list(scale.shape)}, the weight has {weight.shape[0]} rows")
    parts = {"weight": told(weight, specs["weight"]), "SCB": told(scale, specs["SCB"])}
    return Tensor(weight.name, weight.shape, Packed("bnb.int8", weight.shape, parts))
