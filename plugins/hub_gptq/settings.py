"""What a GPTQ checkpoint says about itself: `quantization_config` of config.json, or quantize_config.json beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hub.api import ConfigError, printable
from hub_gptq.layouts import WIDTHS
from hub_safetensors.members import Members

_FORMATS: Final = {"gptq": 1, "gptq_v2": 2}
_MOST_RULES: Final = 100_000
_MAX_GROUP: Final = 1 << 30


@dataclass(frozen=True)
class Settings:
    """The settings that bear on how tensors lie.

    Attributes:
        path: the file that they stand in.
        choices: (bits, group size, -1 for whole rows) that modules may have: of the whole first, then of rules about
            single modules. Which one a module has, its own tensors tell.
        symmetric: whether every zero point is said to be the middle.
        version: of zero points, 1 or 2.
        by_words: whether version 1 was written by a tool that subtracts from whole words.
        ordered: whether columns are said to have been quantized in another order.
    """

    path: str
    choices: tuple[tuple[int, int], ...]
    symmetric: bool
    version: int
    by_words: bool
    ordered: bool


def read_settings(values: Mapping[str, Any], path: str) -> Settings:
    """The settings, checked.

    Raises:
        FormatError: a member of the wrong type.
        ConfigError: a layout that is not GPTQ's, widths or groups that do not exist.
    """
    members = Members(values, path)
    for key in ("is_marlin_format",):
        if members.flag(key):
            raise _refuse(path, "the checkpoint is in Marlin's own order of bits, which hub does not read")
    version = _version(members, path)
    pack_dtype = members.text("pack_dtype") or "int32"
    if pack_dtype != "int32":
        raise _refuse(path, f"words of type {printable(pack_dtype, 40)}, read are int32")
    base = _choice(members, None, path)
    choices = dict.fromkeys([base, *(_choice(rule, base, path) for rule in _rules(members, path))])
    symmetric = members.flag("sym")
    return Settings(
        path,
        tuple(choices),
        True if symmetric is None else symmetric,
        version,
        _by_gptqmodel(members),
        bool(members.flag("desc_act")),
    )


def _refuse(path: str, message: str) -> ConfigError:
    return ConfigError(message, path=path)


def _version(members: Members, path: str) -> int:
    packing = members.text("packing_format")
    if (members.text("quant_method") or "").lower().endswith("round") and packing is not None:
        # Its own kernels (`auto_round`) and those of GPTQModel that it calls so read zero points as they are.
        return 1 if "auto_gptq" in packing else 2
    # Where the two names of one thing differ, transformers obeys this one.
    found = members.text("checkpoint_format") or members.text("format") or "gptq"
    if found not in _FORMATS:
        raise _refuse(path, f"checkpoint format '{printable(found, 40)}', read are {', '.join(_FORMATS)}")
    return _FORMATS[found]


def _choice(members: Members, base: tuple[int, int] | None, path: str) -> tuple[int, int]:
    bits, group = (_first(members, *keys) for keys in (("bits", "w_bit", "wbits"), ("group_size", "q_group_size")))
    if bits is None:
        bits = base[0] if base else None
    if group is None:
        group = base[1] if base else -1
    where = f"{printable(members.where, 80)}: " if members.where else ""
    if bits is None:
        raise _refuse(path, f"{where}it does not say how many bits codes have")
    if bits not in WIDTHS and base is None:
        raise _refuse(path, f"{where}codes of {bits} bits, read are {', '.join(map(str, WIDTHS))}")
    if group != -1 and not 0 < group <= _MAX_GROUP:
        raise _refuse(path, f"{where}groups of {group} weights")
    return bits, group


def _first(members: Members, *keys: str) -> int | None:
    return next((found for key in keys if (found := members.whole(key)) is not None), None)


def _rules(members: Members, path: str) -> list[Members]:
    """What `dynamic` (GPTQModel) and `extra_config` (auto-round) say of single modules, whatever their names are.

    Their patterns are not matched: shapes tell which rule a module follows, and a hostile expression takes for ever.
    """
    out = []
    for key in ("dynamic", "extra_config"):
        rules = members.member(key)
        if rules is None:
            continue
        if len(rules.values) > _MOST_RULES:
            raise _refuse(path, f"{key} has {len(rules.values)} rules, at most {_MOST_RULES} are allowed")
        for pattern in rules.values:
            rule = rules.member(pattern)
            if rule is not None and not pattern.startswith("-:"):
                out.append(rule)
    return out


def _by_gptqmodel(members: Members) -> bool:
    meta = members.raw("meta")
    names = meta.get("quantizer") if isinstance(meta, dict) else None
    return any(isinstance(name, str) and name.startswith("gptqmodel") for name in names or ()) if names else False
