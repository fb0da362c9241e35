"""Rotary position settings: both spellings of config.json, told in one way.

transformers before 5 wrote ``rope_theta`` and ``rope_scaling = {type | rope_type, ...}``, since 5 it
writes ``rope_parameters = {rope_theta, rope_type, ...}``; both are in the field, sometimes in one file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.errors import ConfigError, printable

_NUMBERS = {
    "factor": ("factor",),
    "original_max_position_embeddings": ("original_max_position_embeddings",),
    "low_freq_factor": ("low_freq_factor",),
    "high_freq_factor": ("high_freq_factor",),
    "extrapolation_factor": ("extrapolation_factor",),
    "attention_factor": ("attention_factor", "attn_factor"),
    "beta_fast": ("beta_fast",),
    "beta_slow": ("beta_slow",),
}
_DIVISORS = ("rope_theta", "factor", "original_max_position_embeddings")
"""What rotary frequencies are divided by; zero is no value for these."""
_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What Llama 3.1 uses, for settings that a llama3 rope leaves out."""
_LLAMA3_GIVEN = ("factor", "low_freq_factor", "high_freq_factor")
"""Where a llama3 rope has these and only its original length is left out, that is the model's own."""


def rope_settings(
    raw: Mapping[str, Any],
    values: Mapping[str, Any],
    default_theta: float | None,
    types: Sequence[str],
    *,
    path: str,
) -> dict[str, Any]:
    """Canonical rope settings: `rope.theta`, `rope.type` and the numbers that the type needs.

    Args:
        raw: the configuration as it was read.
        values: the other settings, for the default of the original context length.
        default_theta: the family's base when the configuration gives none.
        types: rope types that the family's architecture file allows.

    Raises:
        ConfigError: settings of the wrong kind, an unknown type, or one without its factor.
    """
    # In a file that has both, an older reader knows rope_scaling only, and transformers 5 prefers it too.
    spelled = [raw.get("rope_scaling"), raw.get("rope_parameters")]
    for member in spelled:
        if member is not None and not isinstance(member, Mapping):
            raise ConfigError(f"rope settings are {printable(repr(member), 60)}, allowed is an object", path=path)
    given = spelled[0] or spelled[1] or {}
    kind = given.get("rope_type", given.get("type", "default"))
    if kind is None:
        kind = "default"
    if kind not in types:
        raise ConfigError(
            f"rope type {printable(repr(kind), 60)} is not known for this family, allowed are {', '.join(types)}",
            path=path,
        )
    theta = given.get("rope_theta", raw.get("rope_theta"))
    out: dict[str, Any] = {
        "rope.type": kind,
        "rope.theta": _number("rope_theta", default_theta if theta is None else theta, path),
    }
    fallback: dict[str, Any] = dict(_LLAMA3) if kind == "llama3" else {}
    if kind == "yarn" or (kind == "llama3" and all(given.get(name) is not None for name in _LLAMA3_GIVEN)):
        fallback["original_max_position_embeddings"] = values.get("max_position_embeddings")
    for name, spellings in _NUMBERS.items():
        value = next((given[s] for s in spellings if given.get(s) is not None), None)
        if value is None and name == "original_max_position_embeddings":
            value = raw.get(name)
        if value is None:
            value = fallback.get(name)
        if value is not None:
            out[f"rope.{name}"] = _number(name, value, path)
    if kind in ("linear", "yarn") and "rope.factor" not in out:
        raise ConfigError(f"rope type {kind} needs a factor, none is given", path=path)
    if kind == "llama3" and out["rope.low_freq_factor"] == out["rope.high_freq_factor"]:
        raise ConfigError("low_freq_factor equals high_freq_factor, llama3 rope divides by their difference", path=path)
    return out


def _number(name: str, value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e12:
        raise ConfigError(f"rope setting {name} is {printable(repr(value), 60)}, allowed is a number from 0", path=path)
    if not value and name in _DIVISORS:
        raise ConfigError(f"rope setting {name} is 0, frequencies are divided by it", path=path)
    return value
