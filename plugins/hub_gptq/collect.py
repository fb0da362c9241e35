"""The rule by which `P.qweight`, `P.qzeros`, `P.scales` and `P.g_idx` are one weight.

What the settings say is checked against the tensors, and where both can differ the tensors count: whether zero points
are stored less one, whether groups follow the order of columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from hub.api import ConfigError, Tensor
from hub_gptq.layouts import GptqLayout
from hub_gptq.settings import Settings
from hub_safetensors.parameters import Parameters
from hub_safetensors.partners import dense_beside, fault, modules, packed, partner
from hub_safetensors.words import codes_of, word_count

ROLES: Final = ("qweight", "qzeros", "scales", "g_idx")
_SCALES: Final = ("f16", "bf16", "f32")


@dataclass
class Module:
    """The stored tensors of one linear layer, and what they turned out to be.

    Attributes:
        stored: tensors by their role.
        rows, columns: of the weight.
        told: bits, groups, order of columns and type of scales.
        lowest, highest: of the fields that zero points are stored in.
    """

    prefix: str
    stored: Mapping[str, Tensor]
    rows: int
    columns: int
    told: Parameters
    lowest: int = 0
    highest: int = 0

    @property
    def constant(self) -> int | None:
        """What every field of zero points holds, if it is one number."""
        return self.lowest if self.lowest == self.highest else None


def collect(tensors: Mapping[str, Tensor], settings: Settings, notes: list[str]) -> dict[str, Tensor]:
    """All tensors of a folder, those of quantized modules as one weight each.

    Args:
        notes: gets what the user should know.

    Raises:
        HubError: tensors that contradict each other or the settings.
    """
    found = {prefix: _module(tensors, prefix, settings) for prefix, _ in modules(tensors, "qweight")}
    if not found:
        raise ConfigError("the settings say GPTQ, and no tensor ends in .qweight", path=settings.path)
    _refuse_orphans(tensors, found)
    families = _families(list(found.values()), settings, notes)
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        module = found.get(prefix) if role in ROLES else None
        if module is None:
            out[name] = tensor
        elif role == "qweight":
            out[f"{prefix}.weight"] = _joined(module, families[prefix])
    return out


def zero_biases(tensors: Mapping[str, Tensor], joined: Mapping[str, Tensor]) -> Iterator[str]:
    """Biases of quantized modules that are zero throughout: AutoGPTQ wrote them where a layer has none."""
    for name in tensors:
        prefix, _, role = name.rpartition(".")
        if role == "bias" and f"{prefix}.qweight" in tensors and f"{prefix}.weight" in joined:
            (part,) = tensors[name].parts.values()
            if not np.any(part.load(0, tensors[name].rows)):
                yield name


def _module(tensors: Mapping[str, Tensor], prefix: str, settings: Settings) -> Module:
    dense_beside(tensors, prefix)
    stored = {role: partner(tensors, prefix, role, beside="qweight") for role in ROLES[:3]}
    if f"{prefix}.g_idx" in tensors:
        stored["g_idx"] = tensors[f"{prefix}.g_idx"]
    for role, tensor in stored.items():
        wanted = 1 if role == "g_idx" else 2
        if len(tensor.shape) != wanted or 0 in tensor.shape:
            raise fault(tensor, f"shape {list(tensor.shape)}, it must have {wanted} axes and none of them 0")
        if role == "scales":
            if tensor.layout not in _SCALES:
                raise fault(tensor, f"its numbers are {tensor.layout}, allowed are {', '.join(_SCALES)}")
        elif tensor.layout != "i32":
            raise fault(tensor, f"its numbers are {tensor.layout}, allowed is i32")
    module = _fitting(prefix, stored, settings)
    _look_at_index(module)
    _look_at_zeros(module)
    return module


def _fitting(prefix: str, stored: Mapping[str, Tensor], settings: Settings) -> Module:
    """The module by the first of the settings' choices that its shapes agree with."""
    rows = stored["scales"].shape[1]
    reason = None
    for bits, group in settings.choices:
        columns = stored["g_idx"].shape[0] if "g_idx" in stored else stored["qweight"].shape[0] * 32 // bits
        told = Parameters(bits, group, scale=stored["scales"].layout)
        groups = told.groups(columns)
        wanted = {
            "qweight": (word_count(columns, bits), rows),
            "qzeros": (groups, word_count(rows, bits)),
            "scales": (groups, rows),
        }
        wrong = [role for role, shape in wanted.items() if stored[role].shape != shape]
        if not wrong:
            return Module(prefix, stored, rows, columns, told)
        role = wrong[0]
        reason = reason or fault(
            stored[role],
            f"shape {list(stored[role].shape)}, with {bits} bits and groups of "
            f"{'whole rows' if group < 0 else group} it would be {list(wanted[role])}",
            remedy=f"the settings in {settings.path} are not those of these tensors",
        )
    assert reason is not None
    raise reason


def _look_at_index(module: Module) -> None:
    """Find out whether columns are in groups by their order, and drop an index that says only that."""
    index = module.stored.get("g_idx")
    if index is None:
        return
    (part,) = index.parts.values()
    g_idx = part.load(0, module.columns)
    groups = module.told.groups(module.columns)
    bad = np.flatnonzero((g_idx < 0) | (g_idx >= groups))
    if len(bad):
        raise fault(index, f"column {bad[0]} is in group {g_idx[bad[0]]}, there are {groups}")
    if groups > 1 and not np.array_equal(g_idx, np.arange(module.columns) // module.told.group):
        module.told = replace(module.told, ordered=True)


def _look_at_zeros(module: Module) -> None:
    tensor = module.stored["qzeros"]
    (part,) = tensor.parts.values()
    words = part.load(0, tensor.shape[0])
    fields = codes_of(words, module.told.bits, module.rows)
    module.lowest, module.highest = int(fields.min()), int(fields.max())


def _families(found: list[Module], settings: Settings, notes: list[str]) -> dict[str, str]:
    """The family of layouts of every module: which version its zero points are.

    A file of one constant is judged by that constant: files exist that say version 1 and are 2 (vLLM PR 38966).
    """
    below = all(module.constant == module.told.middle - 1 for module in found)
    at = all(module.constant == module.told.middle for module in found)
    version = 1 if below else 2 if at else settings.version
    if version != settings.version:
        notes.append(
            f"zero points are those of GPTQ version {version}, the settings say {settings.version}; "
            "loaders that obey the settings read other weights"
        )
    families = {}
    doubtful, uneven = [], []
    for module in found:
        family = f"gptq.v{version}"
        top = (1 << module.told.bits) - 1
        if version == 1 and module.constant != module.told.middle - 1 and module.highest == top:
            doubtful.append(module.prefix)
            if settings.by_words and module.told.bits != 3:
                family = "gptq.v1words"
        if settings.symmetric and _middle(module, version):
            module.told = replace(module.told, symmetric=True)
        elif settings.symmetric:
            uneven.append(module.prefix)
        families[module.prefix] = family
    if doubtful:
        how = "as GPTQModel does, by whole words" if settings.by_words else "as AutoGPTQ does, as 0"
        notes.append(
            f"{len(doubtful)} modules store zero points of -1, which tools read in different ways; read {how} "
            f"(first {doubtful[0]})"
        )
    if uneven:
        notes.append(f"{len(uneven)} modules have zero points of their own, the settings say sym (first {uneven[0]})")
    return families


def _middle(module: Module, version: int) -> bool:
    return module.constant == module.told.middle - (version == 1)


def _joined(module: Module, family: str) -> Tensor:
    layout = GptqLayout(family, module.told)
    shape = (module.rows, module.columns)
    reason = layout.fits(shape)
    if reason:
        raise fault(module.stored["qweight"], reason)
    return packed(f"{module.prefix}.weight", shape, layout.name, layout.parts(shape), module.stored)


def _refuse_orphans(tensors: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if role in ("qzeros", "g_idx") and prefix not in found:
            raise fault(tensor, f"{prefix}.qweight, which belongs to it, is missing")
