"""A new Hugging Face folder: what `hf_folder.open_folder` reads, for every format that lives in such folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hub.api import ConfigError, Configured, Model, PlannedFile, Tokenizer
from hub_safetensors.companions import companion_files
from hub_safetensors.hf_folder import CONFIG
from hub_safetensors.new_config import carried_config, made_config
from hub_safetensors.new_tokenizer import generation_file, tokenizer_files
from hub_safetensors.quantization import FILES as QUANTIZATION_FILES
from hub_safetensors.serialize import Habits, Weight, json_bytes, lay_out_weights, literal


def lay_out_folder(
    weights: Sequence[Weight],
    model: Model,
    configured: Configured | None,
    tokenizer: Tokenizer | None,
    *,
    dtype: str,
    config: Mapping[str, Any] | None = None,
    but: Sequence[str] = (),
    more: Mapping[str, bytes] | None = None,
    habits: Habits | None = None,
) -> tuple[list[PlannedFile], dict[str, Any], list[str]]:
    """All files of a folder.

    A source that is such a folder itself gives config.json but for what changes, and its companions byte for byte.
    Of any other source they are made from settings and tokenizer.

    Args:
        weights: what the weight files hold, in the order of the model.
        dtype: hub's name of the number type that the model computes in, for config.json.
        config: members of config.json that the format has of its own, None for those to leave out.
        but: names of companions that do not go along.
        more: small files that the format has of its own, by name.
        habits: how weight files are kept, where that is not Hugging Face's way.

    Returns:
        The files, config.json as plain data, and notes for the plan.

    Raises:
        HubError: a companion cannot be read; a header would be too long.
    """
    if is_folder(model):
        whole = carried_config(model, dtype)
        # What tools wrote of how they quantized is true of the source's weights, not of these.
        small, notes = companion_files(model, but=[CONFIG, *QUANTIZATION_FILES, *but])
    elif configured is None:
        whole, small, notes = {}, {}, ["no config.json: the architecture is not known"]
    else:
        whole = made_config(configured, tokenizer, dtype)
        small, notes = _made_files(model, configured, tokenizer)
    for key, value in (config or {}).items():
        if value is None:
            whole.pop(key, None)
        else:
            whole[key] = value
    small |= more or {}
    if whole:
        small = {CONFIG: json_bytes(whole), **small}
    files = [literal(name, data) for name, data in small.items()]
    return [*lay_out_weights(weights, habits), *files], whole, notes


def is_folder(model: Model) -> bool:
    """Whether a model lies in a Hugging Face folder with a config.json."""
    return os.path.basename(model.config_path) == CONFIG and bool(model.config)


def _made_files(
    model: Model, configured: Configured, tokenizer: Tokenizer | None
) -> tuple[dict[str, bytes], list[str]]:
    about = model.load_about()
    notes = list(about.notes)
    small = generation_file(tokenizer, about)
    if about.readme is not None:
        small["README.md"] = about.readme.encode("utf-8", "surrogatepass")
    if tokenizer is None:
        notes.append("no tokenizer: the folder has none either")
        return small, notes
    try:
        made = tokenizer_files(tokenizer, configured)
    except ConfigError as error:
        # The weights are whole without it, and the model's own files can be put beside them.
        notes.append(f"no tokenizer files: {error.message}; take those of the original model")
        return small, notes
    return {**small, **made}, [*notes, *tokenizer.notes]
