"""The key-values of a new file: those of the source when it is GGUF too, made from settings otherwise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hub.api import ConfigError, Configured, GivenImportance, Laid, Metadatum, Model, Request, Tokenizer
from hub_gguf.filetypes import FILE_TYPES, quantizes
from hub_gguf.general import count_parameters, facts_kvs
from hub_gguf.kv import Kv, KvType
from hub_gguf.reader import GgufArray
from hub_gguf.tokenizer import tokenizer_kvs
from hub_gguf.types import type_of
from hub_safetensors.model_card import front_matter

QUANTIZATION_VERSION = 2
"""GGML_QNT_VERSION: which generation of block layouts the file has."""

_TYPES = {
    "u32": KvType.U32, "i32": KvType.I32, "f32": KvType.F32, "bool": KvType.BOOL, "str": KvType.STRING,
    "bool[]": KvType.ARRAY,
}  # fmt: skip

_GUESSES = {
    "F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9,
    "Q2_K": 10, "Q3_K": 12, "Q4_K": 15, "Q5_K": 17, "Q6_K": 18,
    "IQ2_XXS": 19, "IQ2_XS": 20, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ2_S": 28, "IQ4_XS": 30,
    "IQ1_M": 31, "TQ1_0": 36, "TQ2_0": 37, "MXFP4": 38, "NVFP4": 39, "Q1_0": 40, "Q2_0": 41,
}  # fmt: skip
"""File type by the most frequent tensor type, as llama.cpp guesses it for files that do not say; MXFP4, which it does
not guess, as its converter says."""

_MOST_TEXT = 127
_NOT_COPIED = ("split.no", "split.count", "split.tensors.count", "general.alignment")


def file_metadata(
    tensors: Sequence[Laid],
    model: Model,
    configured: Configured | None,
    tokenizer: Tokenizer | None,
    request: Request,
) -> tuple[list[Kv], list[str]]:
    """All key-values in the order of llama.cpp's converter, and notes for the plan.

    Raises:
        ConfigError: a value is missing or does not fit its key.
    """
    kvs, notes = _without_importance(tensors, model, configured, tokenizer, request)
    if request.importance is not None:
        _put_importance(kvs, request.importance)
    return kvs, notes


def _without_importance(
    tensors: Sequence[Laid],
    model: Model,
    configured: Configured | None,
    tokenizer: Tokenizer | None,
    request: Request,
) -> tuple[list[Kv], list[str]]:
    number = file_type(tensors, request.variant)
    if model.convention == "gguf":
        return _copied(model, number if request.variant else None, last=quantizes(request.variant)), []
    if configured is None:
        raise ConfigError("the architecture is not known, its metadata cannot be written", path=model.path)
    convention = configured.architecture.formats["gguf"]
    general, notes = _general(tensors, model, request)
    rows, leading = convention.metadata, convention.leading
    kvs = [
        Kv("general.architecture", KvType.STRING, convention.architecture),
        *_settings(rows[:leading], configured, number),
        *general,
        *_settings(rows[leading:], configured, number),
        Kv("general.quantization_version", KvType.U32, QUANTIZATION_VERSION),
    ]
    known = {kv.key for kv in kvs}
    vocab_size = int(configured.values.get("vocab_size", 0))
    kvs += [kv for kv in tokenizer_kvs(tokenizer, convention.architecture, vocab_size) if kv.key not in known]
    if quantizes(request.variant):
        _put(kvs, "general.quantization_version", QUANTIZATION_VERSION, last=True)
        _put(kvs, "general.file_type", number, last=True)
    if tokenizer is None:
        notes.append("no tokenizer: tokenizer.ggml.model is none, the file takes ids only")
    else:
        notes += tokenizer.notes
    return kvs, notes


def _general(tensors: Sequence[Laid], model: Model, request: Request) -> tuple[list[Kv], list[str]]:
    about = model.load_about()
    card, notes = front_matter(about.readme or "")
    kvs, more = facts_kvs(
        name=request.source_name,
        card=card,
        config=model.config,
        generation_config=about.generation,
        parameters=count_parameters({tensor.name: tensor.shape for tensor in tensors}),
    )
    return kvs, [*about.notes, *notes, *more]


def file_type(tensors: Sequence[Laid], variant: str) -> int:
    """`general.file_type` of the output."""
    if variant:
        return FILE_TYPES[variant].number
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if len(tensor.shape) > 1:
            kind = type_of(tensor.layout)
            assert kind is not None
            counts[kind.name] += math.prod(tensor.shape)
    most = counts.most_common(1)
    return _GUESSES.get(most[0][0], 0) if most else 0


def _settings(rows: Sequence[Metadatum], configured: Configured, number: int) -> list[Kv]:
    out = []
    for row in rows:
        if row.when is not None and not configured.evaluate(row.when, file_type=number):
            continue
        kind = _TYPES[row.type]
        if kind is KvType.ARRAY:
            items = [configured.evaluate(row.value, layer=layer) for layer in range(configured.layers)]
            out.append(Kv(row.key, kind, items, KvType.BOOL))
            continue
        value = configured.evaluate(row.value, file_type=number)
        if value is None:
            continue
        out.append(Kv(row.key, kind, _converted(row.key, kind, value)))
    return out


def _converted(key: str, kind: KvType, value: Any) -> Any:
    if kind in (KvType.U32, KvType.I32):
        if int(value) != value:
            raise ConfigError(f"{key} must be a whole number, the settings give {value}")
        return int(value)
    return float(value) if kind == KvType.F32 else value


def _copied(model: Model, number: int | None, *, last: bool) -> list[Kv]:
    """The source's key-values, types included, but for what the new file says anew."""
    types: Mapping[str, str] = model.metadata["types"]
    kvs = []
    for key, value in model.config.items():
        if key in _NOT_COPIED:
            continue
        kind = KvType[types[key].upper()]
        if isinstance(value, GgufArray):
            kvs.append(Kv(key, kind, value.values, value.item))
        elif kind is KvType.STRING:
            kvs.append(Kv(key, kind, value.encode("utf-8", "surrogateescape")))
        else:
            kvs.append(Kv(key, kind, value))
    _put(kvs, "general.quantization_version", QUANTIZATION_VERSION, last=last)
    if number is not None:
        _put(kvs, "general.file_type", number, last=last)
    return kvs


def _put_importance(kvs: list[Kv], given: GivenImportance) -> None:
    """What llama-quantize says of an importance matrix, in its order; it cuts texts to 127 bytes."""
    _put(kvs, "quantize.imatrix.file", given.path.encode("utf-8", "surrogateescape")[:_MOST_TEXT], last=True)
    text = given.text
    if text is not None and text.name:
        _put(kvs, "quantize.imatrix.dataset", text.name.encode("utf-8", "surrogateescape")[:_MOST_TEXT], last=True)
    _put(kvs, "quantize.imatrix.entries_count", len(given.found), last=True)
    if text is not None and text.chunks > 0:
        _put(kvs, "quantize.imatrix.chunks_count", text.chunks, last=True)


def _put(kvs: list[Kv], key: str, value: int | bytes, *, last: bool) -> None:
    """Set a key where it stands, or `last`, where llama.cpp's quantizer leaves the keys it sets."""
    made = Kv(key, KvType.STRING if isinstance(value, bytes) else KvType.U32, value)
    if last or all(kv.key != key for kv in kvs):
        kvs[:] = [*(kv for kv in kvs if kv.key != key), made]
    else:
        kvs[:] = [made if kv.key == key else kv for kv in kvs]
