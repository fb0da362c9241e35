"""What config.json says of how modules are quantized: groups of modules, each with how its weights are kept.

Source: compressed_tensors/quantization (quant_args.py, quant_config.py, quant_scheme.py), 0.20 and 0.17.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hub.api import Blocks, ConfigError, printable
from hub_safetensors.members import Members
from hub_safetensors.patterns import Pattern

FORMATS: Final = {
    "pack-quantized": "pack", "int-quantized": "plain", "float-quantized": "plain", "naive-quantized": "plain",
    "nvfp4-pack-quantized": "nvfp4", "mxfp4-pack-quantized": "mxfp4", "mxfp8-quantized": "plain",
}  # fmt: skip
"""Formats that are read, and how tensors lie in them."""
MIXED: Final = ("mixed-precision", "dense", "")
"""Words of the whole that say nothing about a group."""
_MAX_GROUPS: Final = 1000
_MAX_NAMES: Final = 200_000
_REGEX: Final = "re:"


@dataclass(frozen=True)
class Weights:
    """How the weights of a group of modules are kept.

    Attributes:
        where: the group's place in the config, for messages.
        lies: `pack`, `plain`, `nvfp4`, `mxfp4`; "" where the config does not say and tensors must.
        bits: of a code.
        kind: `int` or `float`.
        symmetric: whether there are no zero points.
        blocks: which weights share a scale.
    """

    where: str
    lies: str
    bits: int
    kind: str
    symmetric: bool
    blocks: Blocks


@dataclass(frozen=True)
class Names:
    """A list of targets: names of modules, of classes, regular expressions."""

    exact: frozenset[str] = frozenset()
    patterns: Sequence[Pattern] = ()

    def name(self, module: str) -> bool:
        """Whether the module is named, or a pattern matches it."""
        return module in self.exact or any(pattern.match(module) for pattern in self.patterns)


@dataclass(frozen=True)
class Settings:
    """All of it.

    Attributes:
        path: the file it stands in.
        groups: targets and weights, in order.
        ignored: modules that are not quantized.
        notes: what is told there and does not matter to weights.
    """

    path: str
    groups: Sequence[tuple[Names, Weights]]
    ignored: Names
    notes: Sequence[str] = field(default_factory=list)

    def of(self, module: str) -> Sequence[Weights]:
        """How a module may be kept: by the group that names it, or else by those that name a class of modules.

        Raises:
            ConfigError: it is among those that are said not to be quantized, or no group is for it.
        """
        if self.ignored.name(module):
            raise self.refuse(f"{printable(module, 80)} is in the ignore list, and its tensors are quantized")
        for names, weights in self.groups:
            if names.name(module):
                return [weights]
        found = [weights for names, weights in self.groups if "Linear" in names.exact]
        found = found or [weights for names, weights in self.groups if any(map(_is_class, names.exact))]
        if not found:
            raise self.refuse(f"{printable(module, 80)} is quantized, and no group of the config is for it")
        return found

    def quantizes(self, module: str) -> bool:
        """Whether a module of class Linear is said to be quantized."""
        if self.ignored.name(module):
            return False
        return any(names.name(module) or "Linear" in names.exact for names, _ in self.groups)

    def refuse(self, message: str) -> ConfigError:
        """An error about the file."""
        return ConfigError(message, path=self.path)


def read_settings(values: Mapping[str, Any], path: str) -> Settings:
    """The settings of `quantization_config`.

    Raises:
        FormatError: a member of the wrong type, a pattern that is none.
        ConfigError: something that hub cannot read.
    """
    members = Members(values, path, "quantization_config")
    status = members.text("quantization_status")
    if status not in (None, "compressed"):
        raise ConfigError(f"quantization_status is '{printable(status, 40)}', read is 'compressed'", path=path)
    sparsity = members.member("sparsity_config")
    if sparsity is not None and (sparsity.text("format") or "dense") != "dense":
        raise ConfigError("its weights are stored sparse, which hub does not read", path=path)
    groups = members.member("config_groups")
    if groups is None or not groups.values:
        raise ConfigError("quantization_config has no config_groups", path=path)
    if len(groups.values) > _MAX_GROUPS:
        raise ConfigError(f"{len(groups.values)} config_groups, at most {_MAX_GROUPS} are allowed", path=path)
    outer = members.text("format") or ""
    found = [_group(groups, name, outer, path) for name in groups.values]
    notes = []
    if members.raw("kv_cache_scheme") is not None:
        notes.append("kv_cache_scheme is about a cache, not about weights; it is not carried over")
    if any(_has_activations(groups.raw(name)) for name in groups.values):
        notes.append("how activations were quantized is not carried over")
    return Settings(path, found, _names(members, "ignore", path), notes)


def _group(groups: Members, name: str, outer: str, path: str) -> tuple[Names, Weights]:
    raw = groups.raw(name)
    if isinstance(raw, list):  # the name of a preset, with its targets
        return _names(groups, name, path), _preset(name, outer, path)
    group = groups.member(name)
    if group is None:
        raise ConfigError(f"config_groups.{printable(name, 40)} is empty", path=path)
    weights = group.member("weights")
    where = printable(group.where, 80)
    if weights is None:
        raise ConfigError(f"{where} has no weights", path=path)
    word = group.text("format") or outer
    return _names(group, "targets", path), _weights(weights, _lies(word, where, path), where, path)


def _lies(word: str, where: str, path: str) -> str:
    if word in MIXED:
        return ""
    if word not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError(f"{where}: format '{printable(word, 40)}', read are {known}", path=path)
    return FORMATS[word]


def _weights(weights: Members, lies: str, where: str, path: str) -> Weights:
    bits, kind = weights.whole("num_bits") or 8, weights.text("type") or "int"
    symmetric = weights.flag("symmetric")
    if kind not in ("int", "float") or not 1 <= bits <= 8 or (kind == "float" and bits not in (4, 8)):
        raise ConfigError(f"{where}: weights of {bits} bits and type '{printable(kind, 20)}'", path=path)
    return Weights(where, lies, bits, kind, symmetric is not False, _blocks(weights, where, path))


def _blocks(weights: Members, where: str, path: str) -> Blocks:
    strategy, size = weights.text("strategy"), weights.whole("group_size")
    structure = weights.raw("block_structure")
    if size is not None and (size == 0 or size < -1 or size >= 1 << 30):
        raise ConfigError(f"{where}: group_size is {size}", path=path)
    if strategy is None:
        strategy = "tensor" if size is None else "channel" if size < 0 else "group"
    if strategy in ("group", "tensor_group"):
        if size is None or size < 1:
            raise ConfigError(f"{where}: strategy {strategy} without a group_size", path=path)
        return Blocks((1, size))
    if strategy == "block":
        if isinstance(structure, str) and re.fullmatch(r"\d{1,6}x\d{1,6}", structure):
            structure = [int(side) for side in structure.split("x")]
        whole = isinstance(structure, list) and len(structure) == 2 and all(type(side) is int for side in structure)
        if not whole or not all(0 < side < 1 << 20 for side in structure):
            raise ConfigError(f"{where}: block_structure must be two sizes", path=path)
        return Blocks((structure[0], structure[1]))
    if strategy in ("channel", "tensor"):
        return Blocks((1, 0) if strategy == "channel" else (0, 0))
    raise ConfigError(f"{where}: strategy '{printable(strategy, 40)}' is none of weights", path=path)


_PRESET: Final = re.compile(
    r"W([2-8])A(?:16|8|FP8)(_ASYM)?|(INT8)|(FP8(?:_DYNAMIC)?)|(FP8_BLOCK)|(NVFP4)(?:A16)?|(MXFP4)(?:A16)?"
)


def _preset(name: str, outer: str, path: str) -> Weights:
    """The presets of compressed-tensors (quant_scheme.py) that bear on weights."""
    found = _PRESET.fullmatch(name.upper())
    if found is None:
        raise ConfigError(f"config_groups: preset '{printable(name, 40)}' is not one that hub knows", path=path)
    bits, asym, int8, fp8, block, nvfp4, mxfp4 = found.groups()
    lies = _lies(outer, name, path)
    if nvfp4 or mxfp4:
        return Weights(name, "nvfp4" if nvfp4 else "mxfp4", 4, "float", True, Blocks((1, 16 if nvfp4 else 32)))
    if fp8 or block:
        return Weights(name, lies, 8, "float", True, Blocks((128, 128) if block else (1, 0)))
    width = 8 if int8 else int(bits)
    channel = int8 or (width == 8 and name.upper() in ("W8A8", "W8A16"))
    return Weights(name, lies, width, "int", not asym, Blocks((1, 0) if channel else (1, 128)))


def _names(members: Members, key: str, path: str) -> Names:
    listed = members.items(key)
    if len(listed) > _MAX_NAMES or not all(isinstance(name, str) for name in listed):
        raise members.refuse(key, f"a list of at most {_MAX_NAMES} names")
    patterns = [Pattern(name.removeprefix(_REGEX), path) for name in listed if name.startswith(_REGEX)]
    return Names(frozenset(name for name in listed if not name.startswith(_REGEX)), patterns)


def _is_class(name: str) -> bool:
    return "." not in name and name[:1].isupper()


def _has_activations(group: Any) -> bool:
    return isinstance(group, dict) and any(group.get(key) for key in ("input_activations", "output_activations"))
