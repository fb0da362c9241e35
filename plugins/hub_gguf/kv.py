"""The key-values of a GGUF file: their types, their bytes, and how a user overrides one.

Value types and limits: gguf.h and gguf.cpp of llama.cpp 0c1e570. The encoder refuses what that
reader refuses, so that no file is written which it cannot open.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hub.api import FormatError, HubError, UsageError, printable, strict_json
from hub_gguf.kvtypes import KvType as KvType

MAX_STRING: Final = 1 << 30
"""Longest string in bytes, and most items of an array."""
MAX_KEY: Final = 65_535

_DTYPES: Final[Mapping[KvType, np.dtype[Any]]] = {
    KvType.U8: np.dtype("u1"),
    KvType.I8: np.dtype("i1"),
    KvType.U16: np.dtype("<u2"),
    KvType.I16: np.dtype("<i2"),
    KvType.U32: np.dtype("<u4"),
    KvType.I32: np.dtype("<i4"),
    KvType.U64: np.dtype("<u8"),
    KvType.I64: np.dtype("<i8"),
    KvType.F32: np.dtype("<f4"),
    KvType.F64: np.dtype("<f8"),
}
_WORDS: Final = {
    **{kind.name.lower(): kind for kind in KvType if kind not in (KvType.ARRAY, KvType.STRING)},
    "str": KvType.STRING,
    "string": KvType.STRING,
}


@dataclass(frozen=True)
class Kv:
    """One key with its value.

    Attributes:
        type: of the value.
        value: int, float, bool, str, or bytes for text that need not be UTF-8; a sequence of one
            of these for an array.
        item: the type of the items, for arrays only.
    """

    key: str
    type: KvType
    value: Any
    item: KvType | None = None


def text(key: str, value: str | bytes) -> Kv:
    """A string."""
    return Kv(key, KvType.STRING, value)


def texts(key: str, values: Sequence[str] | Sequence[bytes]) -> Kv:
    """An array of strings."""
    return Kv(key, KvType.ARRAY, values, KvType.STRING)


def merge(kvs: Iterable[Kv]) -> list[Kv]:
    """`kvs` with every key once: a later one gives the value, the first one the place.

    This is how gguf-py's writer keeps them, so the order of files is the same.
    """
    merged: dict[str, Kv] = {}
    for kv in kvs:
        merged[kv.key] = kv
    return list(merged.values())


def encode(kvs: Iterable[Kv]) -> bytes:
    """The bytes of `kvs` as they stand after the header of a GGUF v3 file, little-endian.

    Raises:
        HubError: a key is empty, too long, or stands twice; a value does not fit its type; an
            array has no item type or items of another type.
    """
    parts: list[bytes] = []
    seen: set[str] = set()
    for kv in kvs:
        key = _string(kv.key, kv)
        if not 0 < len(key) - 8 <= MAX_KEY:
            raise _refuse(kv, f"a key of {len(key) - 8} bytes, 1 to {MAX_KEY} are allowed")
        if kv.key in seen:
            raise _refuse(kv, "the key stands twice")
        seen.add(kv.key)
        parts += (key, _number(kv.type, KvType.U32, kv))
        if kv.type is KvType.ARRAY:
            parts.append(_array(kv))
        elif kv.item is not None:
            raise _refuse(kv, "an item type, but it is no array")
        elif kv.type is KvType.STRING:
            parts.append(_string(kv.value, kv))
        else:
            parts.append(_number(kv.value, kv.type, kv))
    return b"".join(parts)


def _refuse(kv: Kv, message: str) -> HubError:
    return HubError(f"key '{printable(kv.key)}' cannot be written: {message}")


def _string(value: Any, kv: Kv) -> bytes:
    if isinstance(value, str):
        try:
            # A string read from a file that was not UTF-8 goes back as it came.
            value = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise _refuse(kv, "text with half of a surrogate pair") from None
    elif not isinstance(value, bytes):
        raise _refuse(kv, f"a string is wanted, this is {type(value).__name__}")
    if len(value) > MAX_STRING:
        raise _refuse(kv, f"a string of {len(value)} bytes, at most {MAX_STRING} are allowed")
    data: bytes = value
    return len(data).to_bytes(8, "little") + data


def _number(value: Any, kind: KvType, kv: Kv) -> bytes:
    if kind is KvType.BOOL:
        if not isinstance(value, (bool, np.bool_)):
            raise _refuse(kv, f"true or false is wanted, this is {type(value).__name__}")
        return b"\1" if value else b"\0"
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise _refuse(kv, f"a number is wanted, this is {type(value).__name__}")
    return _numbers([value], kind, kv)


def _array(kv: Kv) -> bytes:
    if kv.item is None or kv.item is KvType.ARRAY:
        raise _refuse(kv, "an array needs an item type, and that cannot be an array")
    values = kv.value
    if isinstance(values, (str, bytes)) and not (isinstance(values, bytes) and kv.item is KvType.U8):
        raise _refuse(kv, f"an array is wanted, this is {type(values).__name__}")
    if not isinstance(values, (Sequence, np.ndarray)):
        raise _refuse(kv, f"an array is wanted, this is {type(values).__name__}")
    if len(values) > MAX_STRING:
        raise _refuse(kv, f"{len(values)} items, at most {MAX_STRING} are allowed")
    head = int(kv.item).to_bytes(4, "little") + len(values).to_bytes(8, "little")
    if kv.item is KvType.STRING:
        return head + b"".join([_string(value, kv) for value in values])
    if kv.item is KvType.BOOL:
        return head + b"".join([_number(value, KvType.BOOL, kv) for value in values])
    return head + _numbers(values, kv.item, kv)


def _numbers(values: Sequence[Any] | np.ndarray[Any, Any], kind: KvType, kv: Kv) -> bytes:
    dtype = _DTYPES[kind]
    if isinstance(values, np.ndarray):
        values = values.tolist()
    elif isinstance(values, bytes):
        return values
    types = set(map(type, values))
    if any(issubclass(one, (bool, np.bool_)) for one in types):
        raise _refuse(kv, "a number is wanted, this is true or false")
    if dtype.kind == "f":
        if not all(issubclass(one, (int, float, np.integer, np.floating)) for one in types):
            raise _refuse(kv, "numbers are wanted")
        try:
            wide = np.array([float(value) for value in values], dtype="<f8")
        except OverflowError:
            raise _refuse(kv, f"a number beyond the range of {kind.name}") from None
        with np.errstate(over="ignore"):
            narrow = wide.astype(dtype)
        if (np.isinf(narrow) & np.isfinite(wide)).any():
            raise _refuse(kv, f"a number beyond the range of {kind.name}")
        return narrow.tobytes()
    if not all(issubclass(one, (int, np.integer)) for one in types):
        raise _refuse(kv, f"integers are wanted for {kind.name}")
    limits = np.iinfo(dtype)
    if len(values) and not (min(values) >= limits.min and max(values) <= limits.max):
        odd = next(value for value in values if not limits.min <= value <= limits.max)
        raise _refuse(kv, f"{printable(odd, 40)} does not fit {kind.name}, {limits.min} to {limits.max}")
    return np.fromiter(values, dtype=dtype, count=len(values)).tobytes()


_OVERRIDE: Final = re.compile(r"(?P<key>[^=]+)=(?:(?P<type>[a-z0-9]+|arr\[[a-z0-9]+\]):)?(?P<value>.*)", re.DOTALL)
_INTEGER: Final = re.compile(r"[+-]?\d{1,20}")
_FLOAT: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")

_TEXT_KEYS: Final = re.compile(
    r"general\.(?!file_type$|quantization_version$|alignment$|sampling\.|.*\.count$|tags$|languages$).*"
    r"|tokenizer\.ggml\.(?:model|pre)|tokenizer\.chat_template(?:\..+)?"
)
_KNOWN: Final = (
    (re.compile(r"tokenizer\.ggml\.\w+_token_id|general\.(?:file_type|quantization_version|.*\.count)"), KvType.U32),
    (re.compile(r"tokenizer\.ggml\.(?:add_\w+|remove_\w+|normalizer\.\w+)"), KvType.BOOL),
    (re.compile(r"general\.sampling\.(?:top_k|penalty_last_n|mirostat)"), KvType.I32),
    (re.compile(r"general\.sampling\.sequence"), KvType.STRING),
    (re.compile(r"general\.sampling\..+"), KvType.F32),
    (re.compile(r".*\.(?:\w*_length|\w*_count|head_count(?:_kv)?|vocab_size)"), KvType.U32),
    (re.compile(r".*\.(?:\w*epsilon|freq_base\w*|factor|scale)"), KvType.F32),
    (_TEXT_KEYS, KvType.STRING),
)  # fmt: skip


def parse_override(argument: str, existing: Mapping[str, Kv] | None = None) -> Kv:
    """Read ``KEY=VALUE`` or ``KEY=TYPE:VALUE``, what a user gives to ``--set``.

    TYPE is a type of GGUF in lower case (``u32``, ``f32``, ``bool``, ``str`` ...), ``int`` or
    ``float``, or ``arr[TYPE]`` with a JSON list for VALUE. Without it the key keeps the type it
    has, a key that llama.cpp knows gets the type it wants, and anything else the type that its
    value looks like.

    Args:
        existing: what would be written without the override.

    Raises:
        UsageError: there is no ``=``, the type is unknown, or the value is not of it.
    """
    match = _OVERRIDE.fullmatch(argument)
    if match is None:
        raise UsageError(f"'{printable(argument)}' is no override", remedy="write KEY=VALUE or KEY=TYPE:VALUE")
    key, word, value = match["key"].strip(), match["type"], match["value"]
    if not key.isascii() or not key.isprintable() or not key:
        raise UsageError(f"'{printable(key)}' is no key")
    old = (existing or {}).get(key)
    kind: KvType | None = None
    item: KvType | None = None
    if word is not None:
        kind, item = _named_type(word, value, old)
        if kind is None:
            # What stands before the colon is no type, so it belongs to the value: a URL, say.
            value = f"{word}:{value}"
    if kind is None:
        kind, item = (old.type, old.item) if old is not None else (_guess(key, value), None)
    try:
        made = Kv(key, kind, _parse(value, kind, item), item)
        encode([made])
    except (HubError, ValueError):
        name = kind.name.lower() if item is None else f"arr[{item.name.lower()}]"
        raise UsageError(f"'{printable(value, 80)}' is no value of type {name} for key {printable(key)}") from None
    return made


def _named_type(word: str, value: str, old: Kv | None) -> tuple[KvType | None, KvType | None]:
    if word.startswith("arr["):
        item = _WORDS.get(word[4:-1])
        if item is None:
            raise UsageError(f"unknown type '{printable(word)}'", remedy=f"known are {', '.join(_WORDS)}")
        return KvType.ARRAY, item
    if word == "int":
        if old is not None and old.type in _DTYPES and _DTYPES[old.type].kind != "f":
            return old.type, None
        return (_of_integer(int(value)) if _INTEGER.fullmatch(value.strip()) else KvType.I64), None
    if word == "float":
        return (old.type if old is not None and old.type is KvType.F64 else KvType.F32), None
    return _WORDS.get(word), None


def _of_integer(value: int) -> KvType:
    for kind in (KvType.U32, KvType.I32, KvType.I64):
        limits = np.iinfo(_DTYPES[kind])
        if limits.min <= value <= limits.max:
            return kind
    return KvType.U64


def _guess(key: str, value: str) -> KvType:
    for pattern, kind in _KNOWN:
        if pattern.fullmatch(key):
            return kind
    value = value.strip()
    if value in ("true", "false"):
        return KvType.BOOL
    if _INTEGER.fullmatch(value):
        return _of_integer(int(value))
    if _FLOAT.fullmatch(value) and math.isfinite(float(value)):
        return KvType.F32
    return KvType.STRING


def _parse(value: str, kind: KvType, item: KvType | None) -> Any:
    """Raises ValueError or HubError when `value` is not of the type."""
    if kind is KvType.STRING:
        return value
    value = value.strip()
    if kind is KvType.BOOL:
        if value not in ("true", "false"):
            raise ValueError(value)
        return value == "true"
    if kind is KvType.ARRAY:
        values = strict_json.loads(value.encode("utf-8", "surrogateescape"), path="--set")
        if not isinstance(values, list):
            raise FormatError("a JSON list is wanted")
        return values
    pattern = _FLOAT if _DTYPES[kind].kind == "f" else _INTEGER
    if not pattern.fullmatch(value):
        raise ValueError(value)
    return float(value) if pattern is _FLOAT else int(value)
