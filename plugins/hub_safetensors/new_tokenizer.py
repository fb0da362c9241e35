"""Tokenizer files of a new folder, made from a tokenizer that came from elsewhere.

The class is PreTrainedTokenizerFast: it runs tokenizer.json as it stands, where the classes of model families put
parts of their own in its place (transformers 5 builds LlamaTokenizer from vocabulary and merges alone).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import About, Configured, Tokenizer, TokenType, added_tokens, named_tokens, tokenizer_json
from hub_safetensors.sentencepiece_writer import sentencepiece_bytes
from hub_safetensors.serialize import json_bytes
from hub_safetensors.tokenizer_files import SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG, TOKENIZER_JSON, TOKENIZER_MODEL

GENERATION: Final = "generation_config.json"
CLASS: Final = "PreTrainedTokenizerFast"


def tokenizer_files(tokenizer: Tokenizer, configured: Configured | None) -> dict[str, bytes]:
    """The files of a tokenizer by name.

    Raises:
        ConfigError: a kind of tokenizer, or a way of cutting text, that hub does not know.
    """
    named = named_tokens(tokenizer)
    model = sentencepiece_bytes(tokenizer)
    # What tokenizer.model tells itself is not told again: readers would take it for put on top, without a score.
    told = (TokenType.CONTROL, TokenType.UNKNOWN) if model is not None else ()
    listed = {
        str(index): token for index, token in added_tokens(tokenizer).items() if tokenizer.types[index] not in told
    }
    config: dict[str, Any] = {
        **({"added_tokens_decoder": listed} if listed else {}),
        **named,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": CLASS,
    }
    for role in ("bos", "eos"):
        if role in tokenizer.add and f"{role}_token" in named:
            config[f"add_{role}_token"] = tokenizer.add[role]
    if tokenizer.add_space_prefix is not None:
        config["add_prefix_space"] = tokenizer.add_space_prefix
    context = configured.values.get("max_position_embeddings") if configured else None
    if context is not None:
        config["model_max_length"] = context
    if tokenizer.chat_templates:
        templates = {"default": tokenizer.chat_template, **tokenizer.chat_templates}
        config["chat_template"] = [
            {"name": name, "template": template} for name, template in templates.items() if template is not None
        ]
    elif tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    files = {
        TOKENIZER_JSON: json_bytes(tokenizer_json(tokenizer), compact=True),
        TOKENIZER_CONFIG: json_bytes(config),
        SPECIAL_TOKENS_MAP: json_bytes(named),
    }
    if model is not None:
        files[TOKENIZER_MODEL] = model
    return files


def generation_file(tokenizer: Tokenizer | None, about: About) -> dict[str, bytes]:
    """generation_config.json: the ids that begin and end a text, and how the model wants to be sampled."""
    config: dict[str, Any] = dict(about.generation)
    ids: Mapping[str, int] = tokenizer.special_ids if tokenizer else {}
    for role in ("bos", "pad"):
        if role in ids:
            config.setdefault(f"{role}_token_id", ids[role])
    ends = list(dict.fromkeys(ids[role] for role in ("eos", "eot", "eom") if role in ids))
    if ends:
        config.setdefault("eos_token_id", ends[0] if len(ends) == 1 else ends)
    if {"temperature", "top_k", "top_p", "min_p"} & config.keys():
        config.setdefault("do_sample", True)
    return {GENERATION: json_bytes(config, sort_keys=True)} if config else {}
