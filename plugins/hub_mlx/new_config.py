"""config.json of a folder for mlx-lm: the source's, with what mlx-lm asks for by the names that it knows.

mlx-lm's classes take the older spelling: `rope_theta` and `rope_scaling` (`rope_parameters` of transformers 5 is passed
over by most, which then turn by 10000), `torch_dtype`, and `tie_word_embeddings`, whose absence means true to some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from hub.api import Configured, Model, Tokenizer
from hub_mlx.settings import COPY, QUANTIZATION, Told
from hub_safetensors.new_config import DTYPES, carried_config, made_config
from hub_safetensors.new_folder import is_folder

_ROPE: Final = ("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor")
_ALWAYS: Final = ("tie_word_embeddings", *_ROPE)
"""Members that are said again, whatever the source's config.json has: its own spelling may be another one."""


def members(
    model: Model, configured: Configured, tokenizer: Tokenizer | None, dtype: str, quantized: Mapping[str, Told]
) -> dict[str, Any]:
    """What config.json has besides, or otherwise than, what any folder of the model has; None for what it has not.

    Args:
        dtype: hub's name of the number type that the model computes in; empty for what the source's says.
        quantized: modules by path, and how each is quantized.
    """
    made = made_config(configured, tokenizer, dtype)
    own = carried_config(model, dtype) if is_folder(model) else made
    out = {key: value for key, value in made.items() if key in _ALWAYS or (value is not None and own.get(key) is None)}
    told = configured.architecture.formats["mlx"].config
    for rule in configured.architecture.settings.values():
        if told.keys() & set(rule.keys):  # its other spellings would contradict what is told
            out |= dict.fromkeys(rule.keys)
    out |= {key: configured.evaluate(text) for key, text in told.items()}
    computed = own.get("torch_dtype", own.get("dtype"))
    if computed in DTYPES.values():
        out["torch_dtype"] = computed
    settings = _quantization(quantized) if quantized else None
    return {**out, QUANTIZATION: settings, COPY: settings, "vision_config": None}


def _quantization(quantized: Mapping[str, Told]) -> dict[str, Any]:
    """What most modules have, and every module that has another."""
    counts: dict[Told, int] = {}
    for told in quantized.values():
        counts[told] = counts.get(told, 0) + 1
    usual = replace(max(counts, key=lambda told: counts[told]), scaled=False)
    return {**usual.plain(), **{path: told.plain() for path, told in quantized.items() if told != usual}}
