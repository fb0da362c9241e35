"""Weights as safetensors files: one, or shards with an index.

Header and order are those of the format's own library (safetensors, src/tensor.rs, prepare): tensors by the alignment
of their types, largest first, then by name; the header padded with spaces to 8 bytes. Names of shards and the index
are those of huggingface_hub (split_state_dict_into_shards_factory).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hub.api import ConfigError, FormatError, Laid, PlannedFile, Shape, padded
from hub_safetensors.header import MAX_HEADER
from hub_safetensors.shards import INDEX, SINGLE

MAX_SHARD: Final = 5 * 10**9
"""Bytes of weights in a file, above which another one is begun; a larger tensor has a file of its own."""
METADATA: Final[Mapping[str, str]] = {"format": "pt"}
"""What transformers looks for, and refuses a file without it."""

_ORDER: Final = (
    "U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8",
    "BOOL",
)  # fmt: skip
"""Number types in the order of the library's own list, last one first."""
SPELLED: Final = {
    "f64": "F64", "f32": "F32", "f16": "F16", "bf16": "BF16", "f8_e4m3": "F8_E4M3", "f8_e5m2": "F8_E5M2",
    "f8_e8m0": "F8_E8M0", "i64": "I64", "i32": "I32", "i16": "I16", "i8": "I8", "u64": "U64", "u32": "U32",
    "u16": "U16", "u8": "U8", "bool": "BOOL",
}  # fmt: skip
"""hub's name of a number type -> the format's."""


@dataclass(frozen=True)
class Weight:
    """A tensor of a safetensors file: one part of a tensor of the model, or a few numbers that are known already.

    Attributes:
        name: its name in the file.
        dtype: the format's name of its number type.
        shape: the shape stored.
        nbytes: bytes stored.
        key: (tensor, part) of the plan whose bytes it is; None where `data` is all of them.
        data: its bytes, where they follow from the settings (a shape, an index of groups).
    """

    name: str
    dtype: str
    shape: Shape
    nbytes: int
    key: tuple[str, str] | None
    data: bytes = b""


def plain_weight(tensor: Laid) -> Weight:
    """A tensor of plain numbers, which is one tensor of a file under its own name."""
    ((part, nbytes),) = tensor.parts.items()
    return Weight(tensor.name, SPELLED[tensor.layout], tensor.shape, nbytes, (tensor.name, part))


@dataclass(frozen=True)
class Habits:
    """How the tools of a format keep the weight files of a folder; those of Hugging Face's libraries, unless told.

    Attributes:
        max_shard: most bytes of weights in a file.
        metadata: `__metadata__` of every file.
        always_indexed: whether there is an index of a single file, too.
        totals: what the index says of all weights beside `total_size`.
    """

    max_shard: int = MAX_SHARD
    metadata: Mapping[str, str] = field(default_factory=lambda: METADATA)
    always_indexed: bool = False
    totals: Mapping[str, int] = field(default_factory=dict)


def lay_out_weights(weights: Sequence[Weight], habits: Habits | None = None) -> list[PlannedFile]:
    """The files of all weights, and the index; none where the weights are elsewhere.

    Args:
        weights: in the order in which files are filled.

    Raises:
        FormatError: a header would be longer than the format allows.
    """
    if not weights:
        return []
    habits = habits or Habits()
    shards = list(_shards(weights, habits.max_shard))
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    if len(shards) == 1:
        names = [SINGLE]
    files = [_file(name, shard, habits.metadata) for name, shard in zip(names, shards, strict=True)]
    if len(shards) == 1 and not habits.always_indexed:
        return files
    placed = {weight.name: name for name, shard in zip(names, shards, strict=True) for weight in shard}
    totals = {"total_size": sum(weight.nbytes for weight in weights), **habits.totals}
    return [*files, literal(INDEX, json_bytes({"metadata": totals, "weight_map": placed}, sort_keys=True))]


def literal(name: str, data: bytes) -> PlannedFile:
    """A small file whose bytes are known."""
    return PlannedFile(name, len(data), [(0, data)])


def json_bytes(value: Mapping[str, object], *, sort_keys: bool = False, compact: bool = False) -> bytes:
    """JSON as the libraries of the field write it.

    Raises:
        ConfigError: a number that JSON cannot spell.
    """
    form: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2, "sort_keys": sort_keys}
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, **form)
        return f"{text}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON spells and UTF-8 does not
        return (json.dumps(value, allow_nan=False, **form) + "\n").encode()
    except ValueError:
        raise ConfigError("a number that is not finite, which JSON cannot spell") from None


def _shards(weights: Sequence[Weight], max_shard: int) -> Iterable[list[Weight]]:
    shard: list[Weight] = []
    size = 0
    for weight in weights:
        if shard and size + weight.nbytes > max_shard:
            yield shard
            shard, size = [], 0
        shard.append(weight)
        size += weight.nbytes
    yield shard


def _file(name: str, weights: Sequence[Weight], metadata: Mapping[str, str]) -> PlannedFile:
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    placed: dict[tuple[str, str], int] = {}
    known: list[tuple[int, bytes]] = []
    position = 0
    for weight in sorted(weights, key=lambda weight: (_ORDER.index(weight.dtype), weight.name.encode())):
        end = position + weight.nbytes
        header[weight.name] = {"dtype": weight.dtype, "shape": list(weight.shape), "data_offsets": [position, end]}
        if weight.key is not None:
            placed[weight.key] = position
        else:
            known.append((position, weight.data))
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    length = padded(len(text), 8)
    if length > MAX_HEADER:
        raise FormatError(f"a header of {length} bytes, at most {MAX_HEADER} are allowed", path=name)
    start = 8 + length
    head = length.to_bytes(8, "little") + text.ljust(length)
    literals = [(0, head), *((start + offset, data) for offset, data in known)]
    return PlannedFile(name, start + position, literals, {key: start + offset for key, offset in placed.items()})
