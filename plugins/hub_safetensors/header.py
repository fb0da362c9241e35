"""The header of a safetensors file, checked as strictly as the format's own library and a little more.

Layout: u64 length of the header, the header as JSON, then the data. Members: tensor name ->
``{"dtype", "shape", "data_offsets": [begin, end]}``, and ``__metadata__`` with strings. Data has no
holes and no overlaps (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.api import (
    DTYPES,
    Dense,
    DType,
    FilePart,
    FileSource,
    FormatError,
    Shape,
    Tensor,
    checked_product,
    printable,
    refuse_strangers,
    rows_spec,
    strict_json,
)

MAX_HEADER = 100_000_000
"""Longest header in bytes; the library's own limit."""
MAX_RANK = 64
MAX_NAME = 65_535

_DTYPES = {
    "F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "F8_E4M3": "f8_e4m3", "F8_E5M2": "f8_e5m2",
    "F8_E8M0": "f8_e8m0", "I64": "i64", "I32": "i32", "I16": "i16", "I8": "i8", "U64": "u64", "U32": "u32",
    "U16": "u16", "U8": "u8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """A file's tensors by name in the order of their data, and its metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def read_header(source: FileSource) -> Header:
    """Read and check the header of an open file.

    Raises:
        FormatError: with the file's name, and tensor and offset where one is at fault.
    """
    size = source.size
    if size < 8:
        refuse_strangers(source.path, source.read(0, size))
        raise FormatError(f"{size} bytes, a safetensors file has at least 8", path=source.path, offset=0)
    length = int.from_bytes(source.read(0, 8), "little")
    if length > MAX_HEADER or length < 2 or 8 + length > size:
        _refuse_length(source, length)
    if source.read(8, 1) != b"{":
        raise FormatError("the header does not begin with '{'", path=source.path, offset=8)
    raw = source.read(8, length)
    members = strict_json.load_object(raw, path=source.path, offset=8)
    metadata = _metadata(source, members.pop("__metadata__", None))
    start = 8 + length
    found = [_tensor(source, name, info, start) for name, info in members.items()]
    _check_ranges(source, found, start)
    found.sort(key=lambda item: (item[1], item[2]))
    return Header({tensor.name: tensor for tensor, _, _ in found}, metadata)


def _refuse_length(source: FileSource, length: int) -> None:
    head = source.read(0, min(512, source.size))
    refuse_strangers(source.path, head)
    if head.startswith(b"GGUF"):
        raise FormatError("this is a GGUF file, not a safetensors file", path=source.path, offset=0)
    if 2 <= length <= MAX_HEADER:
        raise FormatError(
            f"truncated: the header of {length} bytes ends beyond the file's {source.size}", path=source.path, offset=0
        )
    raise FormatError(
        f"the header's length is {length}, allowed are 2 to {MAX_HEADER}",
        path=source.path, offset=0, remedy="this is perhaps not a safetensors file",
    )  # fmt: skip


def _metadata(source: FileSource, value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise FormatError("__metadata__ is not an object of strings", path=source.path, offset=8)
    return value


def _tensor(source: FileSource, name: str, info: Any, start: int) -> tuple[Tensor, int, int]:
    def refuse(message: str) -> FormatError:
        return FormatError(message, path=source.path, tensor=name, offset=8)

    if not name or len(name) > MAX_NAME or "\0" in name:
        raise refuse("a tensor name that is empty, too long or holds NUL")
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise refuse("its entry must have exactly dtype, shape and data_offsets")
    dtype = _DTYPES.get(info["dtype"]) if isinstance(info["dtype"], str) else None
    if dtype is None:
        raise refuse(f"dtype '{printable(info['dtype'], 40)}' is not known; known are {', '.join(_DTYPES)}")
    shape = _integers(info["shape"])
    if shape is None or len(shape) > MAX_RANK:
        raise refuse(f"the shape must be a list of at most {MAX_RANK} sizes")
    offsets = _integers(info["data_offsets"])
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise refuse("data_offsets must be two numbers, begin and end")
    begin, end = offsets
    _check_size(source, name, DTYPES[dtype], shape, begin, end, start)
    spec = rows_spec(DTYPES[dtype], shape)
    return Tensor(name, shape, Dense(FilePart(spec, source, start + begin))), begin, end


def _integers(value: Any) -> Shape | None:
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 63 for item in value):
        return None
    return tuple(value)


def _check_size(source: FileSource, name: str, dtype: DType, shape: Shape, begin: int, end: int, start: int) -> None:
    if start + end > source.size:
        raise FormatError(
            f"truncated: its data ends at byte {start + end}, the file has {source.size}",
            path=source.path, tensor=name, offset=start + begin, remedy="download it again",
        )  # fmt: skip
    # Zero weights with other sizes beyond 64 bits: the format's own library multiplies, and refuses.
    wanted = checked_product([*shape, dtype.bytes], (1 << 63) - 1)
    if wanted is None or wanted != end - begin:
        raise FormatError(
            f"{end - begin} bytes of data, shape {list(shape)} of {dtype} needs "
            f"{'more than any file has' if wanted is None else wanted}",
            path=source.path, tensor=name, offset=start + begin,
        )  # fmt: skip


def _check_ranges(source: FileSource, found: list[tuple[Tensor, int, int]], start: int) -> None:
    position = 0
    for tensor, begin, end in sorted(found, key=lambda item: (item[1], item[2])):
        if begin != position:
            what = "overlaps the one before it" if begin < position else "leaves a hole before it"
            raise FormatError(
                f"its data {what}: it begins at {begin} of the data, {position} is where the last one ended",
                path=source.path, tensor=tensor.name, offset=start + begin,
            )  # fmt: skip
        position = end
    if start + position != source.size:
        raise FormatError(
            f"{source.size - start - position} bytes follow the last tensor, none are allowed",
            path=source.path, offset=start + position,
        )  # fmt: skip
