"""``general.*`` key-values: who made a model, from what, under which licence.

Keys, order and heuristics are those of llama.cpp's converter (0c1e570: gguf-py/gguf/metadata.py).
The heuristics on names are called in the `gguf` package, with data that was read and checked here;
that package opens no file on hub's behalf. Where the converter would stop at an odd model card,
hub leaves the odd entry out and says so.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from hub.api import printable
from hub_gguf.kv import Kv, KvType, merge, text, texts

MAX_ITEMS: Final = 1000
"""Most entries of a list in a model card."""

_SAMPLING: Final = (
    ("sequence", KvType.STRING, ("sequence",)),
    ("top_k", KvType.I32, ("top_k",)),
    ("top_p", KvType.F32, ("top_p",)),
    ("min_p", KvType.F32, ("min_p",)),
    ("xtc_probability", KvType.F32, ("xtc_probability",)),
    ("xtc_threshold", KvType.F32, ("xtc_threshold",)),
    ("temp", KvType.F32, ("temperature",)),
    ("penalty_last_n", KvType.I32, ("penalty_last_n",)),
    ("penalty_repeat", KvType.F32, ("penalty_repeat", "repetition_penalty")),
    ("mirostat", KvType.I32, ("mirostat",)),
    ("mirostat_tau", KvType.F32, ("mirostat_tau",)),
    ("mirostat_eta", KvType.F32, ("mirostat_eta",)),
)
"""Key after general.sampling., its type, the members of generation_config.json to look for."""
_GENERATION: Final = ("top_k", "top_p", "min_p", "temperature", "repetition_penalty")
"""Members that generation_config.json has; the others belong to llama.cpp."""
_TEXTS: Final = (
    "name", "author", "version", "organization", "finetune", "basename", "description",
    "quantized_by", "size_label", "license", "license.name", "license.link", "url", "doi", "uuid",
    "repo_url", "source.url", "source.doi", "source.uuid", "source.repo_url",
)  # fmt: skip
_ORIGIN: Final = (
    "name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url",
)  # fmt: skip
_ORIGIN_LISTS: Final = (
    "base_model", "base_models", "base_model_sources", "datasets", "dataset", "dataset_sources",
)  # fmt: skip
_LISTS: Final = (*_ORIGIN_LISTS, "tags", "pipeline_tag", "languages", "language", "license")


def facts_kvs(
    *,
    name: str,
    card: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    generation_config: Mapping[str, Any] | None = None,
    parameters: tuple[int, int, int, int] = (0, 0, 0, 0),
    model_name: str | None = None,
) -> tuple[list[Kv], list[str]]:
    """The key-values from general.type to general.languages, without what depends on tensors.

    Args:
        name: the folder's own name, from which name, version and size are guessed.
        card: front matter of README.md, as `hub_safetensors.model_card.front_matter` gives it.
        config: config.json; its ``_name_or_path`` counts.
        generation_config: generation_config.json, the source of general.sampling.*.
        parameters: numbers of weights: all, those not of experts, those of one expert, and how
            many experts; see `count_parameters`.
        model_name: what the user wants the model to be called.

    Returns:
        The key-values, and notes on what was left out.
    """
    notes: list[str] = []
    metadata = _metadata(name, _clean_card(card or {}, notes), config or {}, parameters, notes)
    values: dict[str, Any] = {key: getattr(metadata, key.replace(".", "_"), None) for key in _TEXTS}
    values["name"] = model_name or values["name"] or name
    if isinstance(values["license"], list):
        values["license"] = ",".join(values["license"])
    kvs = [text("general.type", "model"), *_sampling(generation_config or {}, notes)]
    kvs += [text(f"general.{key}", value) for key, value in values.items() if value]
    kvs += _origins("base_model", metadata.base_models)
    kvs += _origins("dataset", metadata.datasets)
    kvs += [texts(f"general.{key}", value) for key in ("tags", "languages") if (value := getattr(metadata, key))]
    return merge(kvs), notes


def generation_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The members of generation_config.json that ``general.sampling.*`` keys tell: the way back of `facts_kvs`.

    Numbers of 32 bits come as short as these bits tell them; a value of another type than the key's is left out.
    """
    import numpy as np

    made: dict[str, Any] = {}
    for key, kind, members in _SAMPLING:
        value = values.get(f"general.sampling.{key}")
        member = members[-1]
        if kind is KvType.I32 and type(value) is int and member in _GENERATION:
            made[member] = value
        elif kind is KvType.F32 and type(value) is float and math.isfinite(value) and member in _GENERATION:
            made[member] = float(str(np.float32(value)))
    return made


def count_parameters(shapes: Mapping[str, Sequence[int]]) -> tuple[int, int, int, int]:
    """Numbers of weights: all, shared, of one expert; and the number of experts.

    Source: gguf-py's GGUFWriter.get_total_parameter_count; an expert tensor is one with ``_exps.``
    in its GGUF name, stacked along the first axis of its (Hugging Face) shape.
    """
    total = shared = expert = experts = stacks = 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        total += size
        axis = -2 if ".bias" in name else -3
        if "_exps." in name and len(shape) >= 3 and shape[axis]:
            expert += size // shape[axis]
            experts += shape[axis]
            stacks += 1
        else:
            shared += size
    return total, shared, expert, experts // stacks if stacks else 0


def _clean_card(card: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """`card` with texts, lists of texts, and objects of texts only: what the heuristics expect."""
    clean: dict[str, Any] = {}
    for key, value in card.items():
        if isinstance(value, list) and key in _LISTS:
            entries = [made for entry in value[:MAX_ITEMS] if (made := _entry(entry)) is not None]
            if key not in _ORIGIN_LISTS:
                entries = [entry for entry in entries if isinstance(entry, str)]
            if len(entries) < len(value):
                notes.append(f"README.md: {len(value) - len(entries)} entries of {printable(key, 40)} were left out")
            clean[key] = entries
        elif (scalar := _scalar(value)) is not None:
            clean[key] = scalar
        elif value is None or isinstance(value, bool):
            # "language: no" is false to YAML; the converter's heuristics pass over these.
            clean[key] = value if key in _LISTS else None
    return clean


def _scalar(value: Any) -> str | None:
    """`value` as text; None when it is none. A version like 1.0 is a number to YAML."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value) if abs(value) < 1e18 else None
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else None


def _entry(value: Any) -> str | dict[str, str] | None:
    if isinstance(value, dict):
        made = {key: _scalar(value.get(key)) for key in _ORIGIN}
        return {key: one for key, one in made.items() if one is not None} or None
    return _scalar(value)


def _metadata(
    name: str,
    card: dict[str, Any],
    config: Mapping[str, Any],
    parameters: tuple[int, int, int, int],
    notes: list[str],
) -> Any:
    from gguf.metadata import Metadata
    from gguf.utility import size_label

    origin = config.get("_name_or_path")
    known = {"_name_or_path": origin} if isinstance(origin, str) else {}
    total, shared, expert, experts = parameters
    try:
        folder: Any = PurePosixPath(name)  # a path that cannot be opened: only its name counts
        made = Metadata.apply_metadata_heuristic(Metadata(), card, known, folder, total)
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError):
        notes.append("name, version and size could not be guessed from README.md and folder name")
        made = Metadata(name=name)
    if made.size_label is None and total > 0:
        made.size_label = size_label(total, shared, expert, experts)
    return made


def _sampling(settings: Mapping[str, Any], notes: list[str]) -> list[Kv]:
    kvs = []
    for key, kind, members in _SAMPLING:
        member = next((one for one in members if one in settings), None)
        value = settings.get(member) if member else None
        if value is None:
            continue
        if kind is KvType.STRING:
            fits = isinstance(value, str)
        elif kind is KvType.I32:
            fits = type(value) is int and -(1 << 31) <= value < 1 << 31
        else:
            fits = type(value) in (int, float) and abs(value) < 3.4e38
        if fits:
            kvs.append(Kv(f"general.sampling.{key}", kind, value))
        else:
            notes.append(f"generation_config.json: {member} is {printable(ascii(value), 40)}, left out")
    return [kv for kv in kvs if kv.value != "" or kv.type is not KvType.STRING]


def _origins(what: str, entries: Sequence[Mapping[str, str]] | None) -> list[Kv]:
    if entries is None:
        return []
    kvs = [Kv(f"general.{what}.count", KvType.U32, len(entries))]
    for index, entry in enumerate(entries):
        kvs += [text(f"general.{what}.{index}.{key}", entry[key]) for key in _ORIGIN if entry.get(key)]
    return kvs
