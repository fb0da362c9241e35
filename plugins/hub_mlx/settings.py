"""What config.json says of how MLX quantized a model: the object `quantization`, and its copy `quantization_config`.

Source: mlx_lm 0.32.2, utils.py (load_model, quantize_model); mlx.core.quantize for what a mode means by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hub.api import ConfigError, FormatError, printable
from hub_safetensors.members import Members

QUANTIZATION: Final = "quantization"
COPY: Final = "quantization_config"
"""The copy is for Hugging Face's pages; other tools have their own settings there, with a `quant_method`."""
AFFINE: Final = "affine"
USUAL: Final[Mapping[str, tuple[int, int]]] = {
    AFFINE: (4, 64), "mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16),
}  # fmt: skip
"""Modes, and the bits and group that each has where nothing is said; all but affine have no others."""
_OWN: Final = ("bits", "group_size", "mode")


@dataclass(frozen=True)
class Told:
    """How a module is quantized: bits of a code, neighbours that share a scale, and the mode.

    Attributes:
        scaled: whether experts have each a scale of all their weights, which mlx-lm must be told.
    """

    bits: int
    group: int
    mode: str = AFFINE
    scaled: bool = False

    def __str__(self) -> str:
        return f"{self.bits} bits, groups of {self.group}, mode {self.mode}"

    def plain(self) -> dict[str, Any]:
        """As config.json has it."""
        own = {"group_size": self.group, "bits": self.bits, "mode": self.mode}
        return own | {"global_scale": True} if self.scaled else own


@dataclass(frozen=True)
class Settings:
    """All of it.

    Attributes:
        path: the file it stands in.
        usual: of modules that are not listed.
        modules: of those that are, by path; None for one that is said not to be quantized.
        unread: other members, which mlx-lm does not look at unless one is the path of a module.
    """

    path: str
    usual: Told
    modules: Mapping[str, Told | None] = field(default_factory=dict)
    unread: Mapping[str, Any] = field(default_factory=dict)


def settings_of(config: Mapping[str, Any], path: str) -> Settings | None:
    """The settings, checked; None of a model that is not quantized.

    Raises:
        FormatError: a member of the wrong type.
        ConfigError: a mode, width or group that MLX does not have.
    """
    key = QUANTIZATION if config.get(QUANTIZATION) is not None else COPY
    values = config.get(key)
    if values is None:
        return None
    if not isinstance(values, dict):
        raise FormatError(f"{key} must be an object, found {type(values).__name__}", path=path)
    if key == COPY and values.get("quant_method") is not None:
        raise ConfigError(f"{key} has a quant_method, so its settings are another format's", path=path)
    usual = _told(Members(values, path, key), None)
    modules: dict[str, Told | None] = {}
    unread: dict[str, Any] = {}
    for name, value in values.items():
        if name in _OWN:
            continue
        if isinstance(value, bool):
            modules[name] = usual if value else None
        elif isinstance(value, dict):
            modules[name] = _told(Members(value, path, f"{key}.{name}"), usual)
        else:
            unread[name] = value
    return Settings(path, usual, modules, unread)


def _told(members: Members, usual: Told | None) -> Told:
    mode = members.text("mode") or AFFINE
    if mode not in USUAL:
        where = printable(members.name("mode"), 120)
        raise ConfigError(f"{where} is {printable(mode, 40)!r}, known are {', '.join(USUAL)}", path=members.path)
    bits, group = USUAL[mode]
    told = Told(members.whole("bits") or bits, members.whole("group_size") or group, mode)
    if not 1 <= told.bits <= 8 or not 1 <= told.group <= 1 << 20:
        where = printable(members.where, 120)
        raise ConfigError(f"{where} has {told}, which MLX does not have", path=members.path)
    return told
