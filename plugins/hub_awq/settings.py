"""What an AWQ checkpoint says about itself: `quantization_config` of config.json, or quant_config.json beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hub.api import ConfigError, printable
from hub_awq.layouts import WIDTHS
from hub_safetensors.members import Members

VERSIONS: Final = {"gemm": "awq.gemm", "gemv": "awq.gemv", "gemv_fast": "awq.gemv_fast", "llm-awq": "awq.gemv_fast"}
"""What `version` (or `backend`) may say -> the family of layouts."""
_MAX_GROUP: Final = 1 << 30
_MOST_RULES: Final = 100_000


@dataclass(frozen=True)
class Settings:
    """The settings that bear on how tensors lie.

    Attributes:
        path: the file that they stand in.
        family: of layouts.
        choices: (bits, group size, -1 for whole rows) that modules may have: of the whole first, then of rules about
            single modules.
        symmetric: whether every zero point is said to be the middle; None where nothing says so.
    """

    path: str
    family: str
    choices: tuple[tuple[int, int], ...]
    symmetric: bool | None


def read_settings(values: Mapping[str, Any], path: str) -> Settings:
    """The settings, checked.

    Raises:
        FormatError: a member of the wrong type.
        ConfigError: a version or width that hub does not read.
    """
    members = Members(values, path)
    # Rules of auto-round about single modules; shapes tell which module they are about.
    extra = members.member("extra_config")
    if extra is not None and len(extra.values) > _MOST_RULES:
        raise ConfigError(f"extra_config has {len(extra.values)} rules, at most {_MOST_RULES} are allowed", path=path)
    rules = [rule for name in extra.values if (rule := extra.member(name)) is not None] if extra is not None else []
    family = _family(members, path)
    base = _choice(members, (None, -1), family, path)
    choices = dict.fromkeys([base, *(_choice(rule, base, family, path) for rule in rules)])
    symmetric = members.flag("sym")
    if symmetric is None and members.flag("zero_point") is False:
        symmetric = True
    return Settings(path, family, tuple(one for one in choices if one[0] in WIDTHS[family]), symmetric)


def _choice(members: Members, base: tuple[int | None, int], family: str, path: str) -> tuple[int, int]:
    bits, group = _first(members, "bits", "w_bit", "wbits"), _group(members, path)
    if base[0] is None and bits not in WIDTHS[family]:
        allowed = ", ".join(map(str, WIDTHS[family]))
        raise ConfigError(f"codes of {bits} bits, read are {allowed} in version {family.partition('.')[2]}", path=path)
    return bits or base[0] or 0, base[1] if group is None else group


def _family(members: Members, path: str) -> str:
    if members.text("backend") == "llm-awq":
        return VERSIONS["llm-awq"]
    version = (members.text("version") or members.text("format") or "gemm").lower()
    if version not in VERSIONS:
        raise ConfigError(f"version '{printable(version, 40)}', read are {', '.join(VERSIONS)}", path=path)
    return VERSIONS[version]


def _group(members: Members, path: str) -> int | None:
    group = _first(members, "group_size", "q_group_size")
    if group is not None and group != -1 and not 0 < group <= _MAX_GROUP:
        raise ConfigError(f"groups of {group} weights", path=path)
    return group


def _first(members: Members, *keys: str) -> int | None:
    return next((found for key in keys if (found := members.whole(key)) is not None), None)
