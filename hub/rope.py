"""Rotary position settings: both spellings of config.json, told in one way.

transformers before 5 wrote ``rope_theta`` and ``rope_scaling = {type | rope_type, ...}``, since 5 it
writes ``rope_parameters = {rope_theta, rope_type, ...}``; both are in the field, sometimes in one file.
"""

from __future__ import annotations

import math
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
ROPE_MEMBERS = ("rope_scaling", "rope_parameters")
"""What config.json calls its rope settings: before transformers 5, and since."""
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
    default_local_theta: float | None = None,
    *,
    whole_bounds: bool = True,
    path: str,
) -> dict[str, Any]:
    """Canonical rope settings: `rope.theta`, `rope.type` and the numbers that the type needs.

    Args:
        raw: the configuration as it was read.
        values: the other settings, for the default of the original context length.
        default_theta: the family's base when the configuration gives none.
        types: rope types that the family's architecture file allows.
        default_local_theta: the base of layers that look at a window only, for families that give them one of their
            own, as `rope.local_theta`; None for the others.
        whole_bounds: whether yarn rounds the bounds between what it leaves and what it stretches to whole pairs,
            where the configuration does not say; `rope.truncate` is there, and false, where it does not.

    Raises:
        ConfigError: settings of the wrong kind, an unknown type, or one without its factor.
    """
    given, local = _spelled(raw, default_local_theta is not None, path)
    kind = _kind(given, types, path)
    theta = given.get("rope_theta", raw.get("rope_theta"))
    out: dict[str, Any] = {
        "rope.type": kind,
        "rope.theta": _number("rope_theta", default_theta if theta is None else theta, path),
    }
    if default_local_theta is not None:
        if _kind(local, ["default"], path) != "default":
            raise ConfigError("rope of layers with a window is scaled, which this family does not do", path=path)
        theta = local.get("rope_theta", given.get("local_theta", raw.get("rope_local_base_freq")))
        out["rope.local_theta"] = _number("rope_theta", default_local_theta if theta is None else theta, path)
    fallback: dict[str, Any] = dict(_LLAMA3) if kind == "llama3" else {}
    if kind in ("yarn", "longrope") or (
        kind == "llama3" and all(given.get(name) is not None for name in _LLAMA3_GIVEN)
    ):
        fallback["original_max_position_embeddings"] = values.get("max_position_embeddings")
    for name, spellings in _NUMBERS.items():
        value = next((given[s] for s in spellings if given.get(s) is not None), None)
        if name == "original_max_position_embeddings":
            # transformers gives the one outside the rope settings priority.
            outside = values.get(name, raw.get(name))
            value = value if outside is None else outside
        if value is None:
            value = fallback.get(name)
        if value is not None:
            out[f"rope.{name}"] = _number(name, value, path)
    if kind in ("linear", "yarn") and "rope.factor" not in out:
        raise ConfigError(f"rope type {kind} needs a factor, none is given", path=path)
    if kind == "llama3" and out["rope.low_freq_factor"] == out["rope.high_freq_factor"]:
        raise ConfigError("low_freq_factor equals high_freq_factor, llama3 rope divides by their difference", path=path)
    if kind == "yarn":
        if out["rope.theta"] == 1:
            raise ConfigError("rope_theta is 1, yarn divides by its logarithm", path=path)
        out |= _yarn_attention(given, out, path) | _yarn_bounds(given, whole_bounds, path)
    if "head_dim" in values:
        out |= _rotated(given, raw, int(values["head_dim"]), path)
    if kind == "longrope":
        for name in ("long_factor", "short_factor"):
            out[f"rope.{name}"] = _divisors(name, given.get(name), out["rope.dim"] // 2, path)
        out["rope.attention_factor"] = _longrope_attention(out, values)
    return out


def _yarn_attention(given: Mapping[str, Any], rope: Mapping[str, Any], path: str) -> dict[str, float]:
    """What yarn multiplies attention with where two other settings tell it (transformers, modeling_rope_utils): the
    ratio of ``0.1 m ln(factor) + 1`` for m of `mscale` and `mscale_all_dim`. Nothing where the type's own holds."""
    scales = [given.get(name) or 0 for name in ("mscale", "mscale_all_dim")]
    if "rope.attention_factor" in rope or not all(scales):
        return {}
    stretch = math.log(max(1.0, rope["rope.factor"]))
    over, under = (0.1 * _number("mscale", scale, path) * stretch + 1 for scale in scales)
    return {"rope.attention_factor": over / under}


def _yarn_bounds(given: Mapping[str, Any], whole: bool, path: str) -> dict[str, bool]:
    told = given.get("truncate", whole)
    if not isinstance(told, bool):
        raise ConfigError(f"rope setting truncate is {printable(repr(told), 60)}, allowed is true or false", path=path)
    return {} if told else {"rope.truncate": False}


def _longrope_attention(rope: Mapping[str, Any], values: Mapping[str, Any]) -> float:
    """What longrope multiplies attention with: what is given, or what the stretching of the context makes it
    (transformers, modeling_rope_utils)."""
    import numpy as np

    original = rope["rope.original_max_position_embeddings"]
    stretch = rope.get("rope.factor") or values["max_position_embeddings"] / original
    made = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 and original > 1 else 1.0
    given = rope.get("rope.attention_factor")
    # Formats keep it in f32; the same number after rounding is the same setting.
    return made if given is None or np.float32(given) == np.float32(made) else float(given)


def _spelled(raw: Mapping[str, Any], nested: bool, path: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The rope settings of full layers, and of those with a window where a family tells them apart."""
    # In a file that has both, an older reader knows rope_scaling only, and transformers 5 prefers it too.
    spelled = [raw.get("rope_scaling"), raw.get("rope_parameters")]
    local: Mapping[str, Any] = {}
    for i, member in enumerate(spelled):
        if member is not None and not isinstance(member, Mapping):
            raise ConfigError(f"rope settings are {printable(repr(member), 60)}, allowed is an object", path=path)
        if nested and member and {"full_attention", "sliding_attention"} & set(member):
            inner = [member.get(name) or {} for name in ("full_attention", "sliding_attention")]
            if not all(isinstance(one, Mapping) for one in inner):
                raise ConfigError(f"rope settings are {printable(repr(member), 60)}, allowed are objects", path=path)
            spelled[i], local = inner
    if nested and spelled[0] and spelled[1]:
        # Where both stand, Gemma 3's own reader updates the one by the other.
        return {**spelled[1], **spelled[0]}, local
    return spelled[0] or spelled[1] or {}, local


def _kind(given: Mapping[str, Any], types: Sequence[str], path: str) -> str:
    kind = given.get("rope_type", given.get("type", "default"))
    if kind is None:
        return "default"
    if kind == "su" and "longrope" in types:  # what the first Phi-3 called it
        return "longrope"
    if kind == "yarn" and "longrope" in types and "yarn" not in types and "long_factor" in given:
        return "longrope"
    if kind not in types:
        raise ConfigError(
            f"rope type {printable(repr(kind), 60)} is not known for this family, allowed are {', '.join(types)}",
            path=path,
        )
    return str(kind)


def _rotated(given: Mapping[str, Any], raw: Mapping[str, Any], head_dim: int, path: str) -> dict[str, Any]:
    """How many elements of a head are turned, as `rope.dim`, and the factor that says so."""
    if given.get("dimension_count") is not None:
        dim = _number("dimension_count", given["dimension_count"], path)
        partial = dim / head_dim
        if int(partial * head_dim) < dim:
            partial = math.nextafter(partial, math.inf)
    else:
        partial = given.get("partial_rotary_factor", raw.get("partial_rotary_factor"))
        partial = _number("partial_rotary_factor", 1.0 if partial is None else partial, path)
    dim = int(partial * head_dim)
    if not 0 < dim <= head_dim:
        raise ConfigError(f"{dim} elements of a head of {head_dim} would be turned", path=path)
    return {"rope.partial_rotary_factor": partial, "rope.dim": dim}


def _divisors(name: str, given: Any, count: int, path: str) -> list[float]:
    if not isinstance(given, list | tuple) or len(given) != count:
        found = f"has {len(given)} items" if isinstance(given, list | tuple) else f"is {printable(repr(given), 60)}"
        raise ConfigError(f"rope setting {name} {found}, longrope needs a list of {count} numbers", path=path)
    out = [_number(name, value, path) for value in given]
    if not all(out):
        raise ConfigError(f"rope setting {name} has a 0, frequencies are divided by it", path=path)
    return out


def _number(name: str, value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e12:
        raise ConfigError(f"rope setting {name} is {printable(repr(value), 60)}, allowed is a number from 0", path=path)
    if not value and name in _DIVISORS:
        raise ConfigError(f"rope setting {name} is 0, frequencies are divided by it", path=path)
    return value
