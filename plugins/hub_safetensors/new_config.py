"""config.json of a new folder: the source's with another number type, or made from the settings.

Made from settings it is spelled so that transformers 4 and 5 and what follows either read the same from it:
``torch_dtype``, and ``rope_theta`` with ``rope_scaling`` (transformers 5 takes both into ``rope_parameters``; 4 does
not know that).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hub.api import Configured, Model, Tokenizer

DTYPES: Final = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"}
"""hub's name of a number type -> config.json's."""
QUANTIZATION: Final = ("quantization_config", "quantization")
"""What config.json says of how weights are quantized; the second is mlx-lm's word."""
_DTYPE_KEYS: Final = ("dtype", "torch_dtype")
_IDS: Final = ("bos", "eos", "pad")
_TOLD_AS_NULL: Final = ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping")
"""Settings of which transformers has a default that is not their absence."""
_YARN: Final = ("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "truncate")
_LLAMA3: Final = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def carried_config(model: Model, dtype: str) -> dict[str, Any]:
    """The source's config.json for weights of another number type, none of them quantized."""
    config = {key: value for key, value in model.config.items() if key not in QUANTIZATION}
    keys = [key for key in _DTYPE_KEYS if key in config] or [_DTYPE_KEYS[0]]
    return {**config, **dict.fromkeys(keys, DTYPES[dtype])} if dtype in DTYPES else config


def made_config(configured: Configured, tokenizer: Tokenizer | None, dtype: str) -> dict[str, Any]:
    """A config.json for a model whose source has none.

    Args:
        dtype: hub's name of the number type that most weights have.
    """
    architecture = configured.architecture
    config: dict[str, Any] = {
        "architectures": [architecture.architectures[0]],
        "model_type": architecture.model_type,
    }
    for name, rule in architecture.settings.items():
        if rule.keys and (name in configured.values or name in _TOLD_AS_NULL):
            config[rule.keys[0]] = _shortest(configured.values.get(name))
    config |= _rope(configured.values, architecture.rope_unsaid is not None)
    for role in _IDS:
        config[f"{role}_token_id"] = tokenizer.special_ids.get(role) if tokenizer else None
    if dtype in DTYPES:
        config["torch_dtype"] = DTYPES[dtype]
    return config


def _rope(values: Mapping[str, Any], explicit: bool) -> dict[str, Any]:
    """Rope settings; `explicit`: the type default has to be told, too."""
    if "rope.theta" not in values:
        return {}
    rope = {key.removeprefix("rope."): _shortest(value) for key, value in values.items() if key.startswith("rope.")}
    kind = rope["type"]
    scaling: dict[str, Any] | None = {"rope_type": kind}
    if kind == "default":
        scaling = {"rope_type": kind} if explicit else None
    elif kind == "longrope":
        # Three members and by this name, or transformers 4 refuses it.
        scaling = {"type": kind, "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
    else:
        members = {"yarn": _YARN, "llama3": _LLAMA3}.get(kind, ("factor",))
        scaling = {"rope_type": kind, **{key: rope[key] for key in members if key in rope}}
        if rope.get("extrapolation_factor", 1.0) != 1.0:
            scaling["extrapolation_factor"] = rope["extrapolation_factor"]
        if "original_max_position_embeddings" in scaling:
            scaling["original_max_position_embeddings"] = int(scaling["original_max_position_embeddings"])
    out: dict[str, Any] = {"rope_theta": rope["theta"], "rope_scaling": scaling}
    if "local_theta" in rope:
        out["rope_local_base_freq"] = rope["local_theta"]
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        out["partial_rotary_factor"] = rope["partial_rotary_factor"]
    return out


def _shortest(value: Any) -> Any:
    """`value` with a float that was stored in 32 bits as short as these 32 bits tell it: 1e-05, not 9.99999974e-06."""
    if isinstance(value, list | tuple):
        return [_shortest(one) for one in value]
    if isinstance(value, float) and np.isfinite(value):
        with np.errstate(over="ignore"):
            short = np.float32(value)
        return float(str(short)) if float(short) == value else value
    return value
