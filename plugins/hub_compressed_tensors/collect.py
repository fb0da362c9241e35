"""The rule by which `P.weight_packed`, `P.weight_scale`, `P.weight_zero_point` and their like are one weight.

What the config says is checked against the tensors. Where shapes say more - how codes lie in words, whether the order
of columns matters - they count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hub.api import DTYPES, Blocks, HubError, Packed, Part, Shape, Tensor
from hub_compressed_tensors.form import SCALES, Form
from hub_compressed_tensors.layouts import make
from hub_compressed_tensors.packing import word_count
from hub_compressed_tensors.settings import Settings, Weights
from hub_safetensors.partners import fault, told

PACKED, WEIGHT, SCALE, ZERO = "weight_packed", "weight", "weight_scale", "weight_zero_point"
SHAPE, GLOBAL, G_IDX = "weight_shape", "weight_global_scale", "weight_g_idx"
PARTNERS: Final = (SCALE, ZERO, SHAPE, GLOBAL, G_IDX)
ACTIVATIONS: Final = (
    "input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point", "k_scale", "v_scale",
    "q_scale", "k_zero_point", "v_zero_point", "q_zero_point",
)  # fmt: skip
"""What is said about activations and caches; weights do not need it."""
_FLOATS: Final = ("f8_e4m3", "f8_e5m2")


@dataclass(frozen=True)
class Module:
    """The stored tensors of one module, by their role."""

    prefix: str
    stored: Mapping[str, Tensor]

    def need(self, role: str, beside: str) -> Tensor:
        """Raises:
        FormatError: the tensor is not there.
        """
        if role not in self.stored:
            raise fault(self.stored[beside], f"{self.prefix}.{role}, which belongs to it, is missing")
        return self.stored[role]


def collect(tensors: Mapping[str, Tensor], settings: Settings, beside: dict[str, str]) -> dict[str, Tensor]:
    """All tensors of a folder, those of quantized modules as one weight each.

    Args:
        beside: gets the tensors that are no weights, with what they are.

    Raises:
        HubError: tensors that contradict each other or the config.
    """
    modules = _modules(tensors)
    out: dict[str, Tensor] = {}
    joined = 0
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        module = modules.get(prefix)
        if module is None or role not in (PACKED, WEIGHT, *PARTNERS):
            if role in ACTIVATIONS:
                beside[name] = "scale of activations or of a cache, which weights do not need"
            out[name] = tensor
        elif role in (PACKED, WEIGHT):
            if role == WEIGHT and PACKED in module.stored:
                raise fault(tensor, "the same module is there packed, too; which of the two is meant cannot be known")
            out[f"{prefix}.weight"] = _joined(module, settings)
            joined += 1
        elif PACKED not in module.stored and WEIGHT not in module.stored:
            raise fault(tensor, f"{prefix}.{PACKED} or {prefix}.{WEIGHT}, which belongs to it, is missing")
    if not joined:
        raise settings.refuse("the config says compressed-tensors, and no module has quantized weights")
    return out


def _modules(tensors: Mapping[str, Tensor]) -> dict[str, Module]:
    """Modules with at least one tensor that only quantized ones have."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if role == PACKED or role in PARTNERS or (role == WEIGHT and tensor.layout in ("i8", *_FLOATS)):
            found.setdefault(prefix, {})[role] = tensor
    for prefix, stored in found.items():
        weight = tensors.get(f"{prefix}.{WEIGHT}")
        if weight is not None:
            stored[WEIGHT] = weight
    return {prefix: Module(prefix, stored) for prefix, stored in found.items()}


def _joined(module: Module, settings: Settings) -> Tensor:
    """The module's weight by the first of the config's ways that its tensors agree with."""
    reason: HubError | None = None
    for weights in settings.of(module.prefix):
        try:
            return _as(module, weights)
        except HubError as error:
            reason = reason or error
    assert reason is not None
    raise reason


def _as(module: Module, weights: Weights) -> Tensor:
    leader = module.stored.get(PACKED) or module.stored[WEIGHT]
    role = PACKED if PACKED in module.stored else WEIGHT
    if len(leader.shape) != 2 or 0 in leader.shape:
        raise fault(leader, f"shape {list(leader.shape)}, it must have 2 axes and none of them 0")
    packed = role == PACKED
    if weights.lies and packed != (weights.lies != "plain"):
        kept = "packed" if packed else "not packed"
        raise fault(leader, f"it is {kept}, {weights.where} says otherwise")
    if packed and weights.kind == "float":
        return _fp4(module, leader, weights)
    if packed:
        return _packed(module, leader, weights)
    return _plain(module, leader, weights)


def _packed(module: Module, leader: Tensor, weights: Weights) -> Tensor:
    rows, columns = _shape(module, leader)
    counts = {dense: word_count(columns, weights.bits, dense=dense) for dense in (True, False)}
    if leader.shape[0] != rows or leader.shape[1] not in counts.values():
        raise fault(
            leader,
            f"shape {list(leader.shape)}, {rows} rows of {columns} codes of {weights.bits} bits would be "
            f"{[rows, counts[True]]}",
        )
    form = Form(
        weights.bits,
        weights.blocks,
        _scale_type(module, leader),
        asym=_asymmetric(module, leader, weights),
        indexed=_indexed(module, columns, weights),
        padded=leader.shape[1] != counts[True],
    )
    _check_groups(module, (rows, columns), form)
    return _tensor(module, f"ct.pack/{form.text()}", (rows, columns), {"packed": PACKED})


def _plain(module: Module, leader: Tensor, weights: Weights) -> Tensor:
    shape = leader.shape
    kind = "float" if leader.layout in _FLOATS else "int"
    if leader.layout not in ("i8", *_FLOATS):
        raise fault(leader, f"its numbers are {leader.layout}, a quantized weight has i8 or 8-bit floats")
    if kind != weights.kind:
        raise fault(leader, f"its numbers are {leader.layout}, {weights.where} says {weights.kind}")
    form = Form(
        weights.bits,
        weights.blocks,
        _scale_type(module, leader),
        asym=kind == "int" and _asymmetric(module, leader, weights),
        indexed=kind == "int" and _indexed(module, shape[1], weights),
        codes=leader.layout if kind == "float" else "",
    )
    _check_groups(module, (shape[0], shape[1]), form)
    family = "ct.float" if kind == "float" else "ct.int"
    return _tensor(module, f"{family}/{form.text()}", shape, {"weight": WEIGHT})


def _fp4(module: Module, leader: Tensor, weights: Weights) -> Tensor:
    nvfp4 = weights.lies == "nvfp4" or (not weights.lies and GLOBAL in module.stored)
    shape = (leader.shape[0], 2 * leader.shape[1])
    group = 16 if nvfp4 else 32
    if weights.blocks.shape not in ((1, group), (1, 0), (0, 0)):
        raise fault(leader, f"{weights.where} says groups of {weights.blocks.shape[1]}, its format has {group}")
    if nvfp4:
        module.need(GLOBAL, PACKED)
    return _tensor(module, "ct.nvfp4" if nvfp4 else "ct.mxfp4", shape, {"packed": PACKED, "global": GLOBAL})


def _tensor(module: Module, layout: str, shape: Shape, named: Mapping[str, str]) -> Tensor:
    roles = {"scale": SCALE, "zero": ZERO, "g_idx": G_IDX, **named}
    specs = make(layout).parts(shape)
    leader = next(iter(named.values()))
    parts: dict[str, Part] = {}
    for part, spec in specs.items():
        parts[part] = told(module.need(roles[part], leader), spec)
    return Tensor(f"{module.prefix}.weight", shape, Packed(layout, shape, parts), stored=module.stored[leader].name)


def _shape(module: Module, leader: Tensor) -> tuple[int, int]:
    """`weight_shape`: two i64, of which the second is known to nobody else."""
    tensor = module.need(SHAPE, PACKED)
    (part,) = tensor.parts.values()
    if tensor.layout not in ("i64", "i32") or tensor.shape != (2,):
        raise fault(tensor, f"shape {list(tensor.shape)} of {tensor.layout}, it must be two integers")
    rows, columns = (int(size) for size in part.load(0, 2))
    if not 0 < rows < 1 << 40 or not 0 < columns < 1 << 40:
        raise fault(tensor, f"the weight's shape is {rows} x {columns}")
    return rows, columns


def _scale_type(module: Module, leader: Tensor) -> Any:
    scale = module.need(SCALE, PACKED if PACKED in module.stored else WEIGHT)
    if scale.layout not in SCALES or (scale.layout == "u8" and leader.layout not in _FLOATS):
        raise fault(scale, f"its numbers are {scale.layout}, allowed are {', '.join(SCALES)}")
    return DTYPES[scale.layout]


def _asymmetric(module: Module, leader: Tensor, weights: Weights) -> bool:
    if weights.symmetric and ZERO in module.stored:
        raise fault(module.stored[ZERO], f"zero points, {weights.where} says symmetric")
    if not weights.symmetric:
        module.need(ZERO, PACKED if PACKED in module.stored else WEIGHT)
    return not weights.symmetric


def _indexed(module: Module, columns: int, weights: Weights) -> bool:
    """Whether columns are in groups by an index; one that says only their order is passed over."""
    index = module.stored.get(G_IDX)
    if index is None:
        return False
    group = weights.blocks.shape[1] or columns
    if index.layout not in ("i32", "i64") or index.shape != (columns,):
        raise fault(index, f"shape {list(index.shape)} of {index.layout}, it must be {columns} integers")
    (part,) = index.parts.values()
    g_idx = np.asarray(part.load(0, columns)).astype(np.int64)
    groups = -(-columns // group)
    if np.all(g_idx == -1):  # what compressed-tensors writes where the order of columns is their own
        return False
    bad = np.flatnonzero((g_idx < 0) | (g_idx >= groups))
    if len(bad):
        raise fault(index, f"column {bad[0]} is in group {g_idx[bad[0]]}, there are {groups}")
    if np.array_equal(g_idx, np.arange(columns) // group):
        return False
    if weights.blocks.shape[0] != 1 or index.layout != "i32":
        raise fault(index, "an index of groups that are no neighbours in a row")
    return True


def _check_groups(module: Module, shape: Shape, form: Form) -> None:
    """Scales in the shape that the config's groups make of the weight's."""
    scale = module.stored[SCALE]
    wanted = form.group_count(shape)
    squeezed = [size for size in scale.shape if size != 1]
    if squeezed != [size for size in wanted if size != 1]:
        raise fault(
            scale,
            f"shape {list(scale.shape)}, {list(shape)} with a scale per {_say(form.blocks)} has {list(wanted)}",
        )


def _say(blocks: Blocks) -> str:
    high, wide = blocks.shape
    if not high:
        return "tensor"
    return "row" if not wide else f"{wide} weights" if high == 1 else f"{high}x{wide} weights"
