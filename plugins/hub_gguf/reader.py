"""Reads GGUF v2 and v3, split files too; checks what llama.cpp checks, before anything is allocated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hub_native
from hub.api import (
    DTYPES,
    U8,
    About,
    Architecture,
    Cursor,
    Dense,
    FilePart,
    FileSource,
    Folder,
    FormatError,
    Model,
    Packed,
    PartSpec,
    Reader,
    Shape,
    Tensor,
    Tokenizer,
    checked_product,
    padded,
    printable,
    refuse_strangers,
    row_count,
    rows_spec,
)
from hub_gguf.factors import attach
from hub_gguf.kvtypes import KvType
from hub_gguf.types import BY_ID, REMOVED, GgmlType

MAX_STRING = 64 << 20
"""Longest string; the largest in the field, chat templates, have some 2^15 bytes. llama.cpp allows 2^30, which would be
held in memory several times."""
MAX_ARRAY = 1 << 24
"""Most items of an array; the largest vocabularies have 2^18. An item read costs up to eight times its bytes."""
MAX_ENTRIES = 1_000_000
"""Most key-values and most tensors."""
MAX_NAME = 63
"""Longest tensor name in bytes (GGML_MAX_NAME less its NUL)."""
MAX_KEY = 65_535
MAX_ALIGNMENT = 1 << 20
MAX_LAYERS = 100_000
"""Most items that are read of an array with a setting for each layer."""
_SPLIT_NAME = re.compile(r"^(?P<stem>.*)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf$")

_CODES = {
    KvType.U8: "B", KvType.I8: "b", KvType.U16: "H", KvType.I16: "h", KvType.U32: "I", KvType.I32: "i",
    KvType.F32: "f", KvType.U64: "Q", KvType.I64: "q", KvType.F64: "d",
}  # fmt: skip
_SIZES = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "Q": 8, "q": 8, "d": 8}


@dataclass(frozen=True)
class GgufArray:
    """An array among the key-values, read when it is asked for.

    Attributes:
        item: the type of its items.
        count: how many.
        offset: where the first one lies.
    """

    item: KvType
    count: int
    source: FileSource
    offset: int
    nbytes: int

    def __len__(self) -> int:
        return self.count

    @cached_property
    def values(self) -> Sequence[Any]:
        """All items: `bytes` for strings, numbers and booleans otherwise."""
        return self.first(self.count)

    def first(self, count: int) -> list[Any]:
        """The first `count` items."""
        cursor = Cursor(self.source, self.offset, self.offset + self.nbytes)
        count = min(count, self.count)
        if self.item == KvType.STRING:
            return [cursor.string("a string", limit=MAX_STRING) for _ in range(count)]
        if self.item == KvType.BOOL:
            return [byte != 0 for byte in cursor.take(count)]
        import array

        out = array.array(_CODES[self.item])
        out.frombytes(cursor.take(count * _SIZES[_CODES[self.item]]))
        return out.tolist()


@dataclass
class _Info:
    name: str
    shape: Shape
    type: GgmlType
    offset: int
    nbytes: int
    at: int


@dataclass
class _Shard:
    """One file: its key-values (and the offset of each), tensors and where data begins."""

    source: FileSource
    version: int
    values: dict[str, Any]
    types: dict[str, KvType]
    places: dict[str, int]
    tensors: list[_Info]
    data_start: int
    alignment: int
    notes: list[str]


class GgufReader(Reader):
    """Opens `.gguf` files."""

    def open(self, path: str) -> Model:
        sources: list[FileSource] = []
        try:
            first = _read(_opened(FileSource(path), sources))
            shards = [first, *self._others(path, first, sources)]
            return _model(path, shards, sources)
        except BaseException:
            for source in sources:
                source.close()
            raise

    def _others(self, path: str, first: _Shard, sources: list[FileSource]) -> list[_Shard]:
        count = _split_number(first, "split.count", 0)
        if count <= 1:
            return []
        folder = Path(path).absolute().parent
        name = _SPLIT_NAME.match(Path(path).name)
        number = _split_number(first, "split.no", 0)
        if name is None or int(name["count"]) != count:
            raise FormatError(
                f"one of {count} files of a split model, its name must end in -00001-of-{count:05}.gguf", path=path
            )
        if number != 0:
            raise FormatError(
                f"file {number + 1} of {count} of a split model",
                path=path,
                remedy=f"give the first one, {name['stem']}-00001-of-{count:05}.gguf",
            )
        inside = Folder(folder)
        missing = [
            n for i in range(2, min(count, 100_000) + 1)
            if not inside.exists(n := f"{name['stem']}-{i:05}-of-{count:05}.gguf")
        ]  # fmt: skip
        if missing:
            raise FormatError(
                f"{len(missing)} of {count} files of the split model are missing, first {missing[0]}", path=path
            )
        shards = []
        for i in range(1, count):
            shard_name = f"{name['stem']}-{i + 1:05}-of-{count:05}.gguf"
            shard = _read(_opened(inside.open(shard_name, named_in=path), sources))
            if _split_number(shard, "split.no", -1) != i or _split_number(shard, "split.count", -1) != count:
                raise FormatError(f"is not file {i + 1} of {count} of {path}", path=shard.source.path)
            shards.append(shard)
        total = first.values.get("split.tensors.count")
        found = len(first.tensors) + sum(len(s.tensors) for s in shards)
        if total is not None and total != found:
            raise FormatError(f"the split model has {found} tensors, split.tensors.count says {total}", path=path)
        return shards

    def check(self, model: Model) -> Sequence[str]:
        values = model.config
        faults = []
        if "general.architecture" not in values:
            faults.append("general.architecture is missing")
        if "tokenizer.ggml.model" not in values:
            faults.append("tokenizer.ggml.model is missing, llama.cpp refuses the file")
        lengths: dict[str, int] = {}
        for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
            value = values.get(key)
            if isinstance(value, GgufArray):
                lengths[key] = len(value)
            elif value is not None:
                faults.append(f"{key} is not an array")
        tokens = lengths.pop("tokenizer.ggml.tokens", None)
        for key, length in lengths.items():
            if tokens is not None and length != tokens:
                faults.append(f"{key} has {length} items, there are {tokens} tokens")
        return faults


def _opened(source: FileSource, sources: list[FileSource]) -> FileSource:
    sources.append(source)
    return source


def _split_number(shard: _Shard, key: str, default: int) -> int:
    value = shard.values.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FormatError(f"{key} is not an integer", path=shard.source.path, offset=shard.places[key])
    return value


def _text(raw: bytes, what: str, cursor: Cursor, at: int) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise cursor.fail(f"{what} is not UTF-8: {printable(raw[:60])}", offset=at) from None
    if "\0" in text:
        raise cursor.fail(f"{what} holds a NUL character: {printable(text)}", offset=at)
    return text


def _read(source: FileSource) -> _Shard:
    cursor = Cursor(source)
    magic = bytes(cursor.peek(4))
    if magic != b"GGUF":
        refuse_strangers(source.path, bytes(cursor.peek(64)))
        raise cursor.fail(f"not a GGUF file: it begins with {magic!r}")
    cursor.skip(4)
    version = cursor.integer("I", "the version")
    if version & 0xFFFF == 0 and version:
        raise FormatError(
            "a big-endian GGUF file; hub reads little-endian ones", path=source.path, offset=4,
            remedy="convert it with gguf-convert-endian",
        )  # fmt: skip
    if version not in (2, 3):
        raise FormatError(f"GGUF version {version}, 2 and 3 are known", path=source.path, offset=4)
    n_tensors = cursor.count("q", "tensors", item_bytes=24, limit=MAX_ENTRIES)
    n_values = cursor.count("q", "key-values", item_bytes=13, limit=MAX_ENTRIES)
    values, types, places = _key_values(cursor, n_values)
    alignment = _alignment(values, types, places, cursor)
    infos = _tensor_infos(cursor, n_tensors)
    data_start = padded(cursor.offset, alignment)
    notes = _place(infos, data_start, alignment, source)
    return _Shard(source, version, values, types, places, infos, data_start, alignment, notes)


def _key_values(cursor: Cursor, count: int) -> tuple[dict[str, Any], dict[str, KvType], dict[str, int]]:
    values: dict[str, Any] = {}
    types: dict[str, KvType] = {}
    places: dict[str, int] = {}
    for _ in range(count):
        at = cursor.offset
        key = _text(cursor.string("a key", limit=MAX_KEY), "a key", cursor, at)
        if not key:
            raise cursor.fail("an empty key", offset=at)
        if key in values:
            raise cursor.fail(f"key {printable(key)} stands twice", offset=at)
        kind = _kv_type(cursor, key)
        types[key], places[key] = kind, at
        values[key] = _array(cursor, key) if kind == KvType.ARRAY else _scalar(cursor, key, kind)
    return values, types, places


def _kv_type(cursor: Cursor, key: str) -> KvType:
    at = cursor.offset
    number = cursor.integer("i", f"the type of {printable(key)}")
    try:
        return KvType(number)
    except ValueError:
        raise cursor.fail(f"key {printable(key)} has type {number}, allowed are 0 to 12", offset=at) from None


def _scalar(cursor: Cursor, key: str, kind: KvType) -> Any:
    if kind == KvType.STRING:
        raw = cursor.string(f"the value of {printable(key)}", limit=MAX_STRING)
        return raw.decode("utf-8", "surrogateescape")
    if kind == KvType.BOOL:
        return cursor.integer("B", key) != 0
    return cursor.number(_CODES[kind], printable(key))


def _array(cursor: Cursor, key: str) -> GgufArray | list[Any]:
    item = _kv_type(cursor, key)
    if item == KvType.ARRAY:
        raise cursor.fail(f"key {printable(key)} is an array of arrays, which GGUF does not allow")
    width = 8 if item == KvType.STRING else 1 if item == KvType.BOOL else _SIZES[_CODES[item]]
    count = cursor.count("Q", f"items of {printable(key)}", item_bytes=width, limit=MAX_ARRAY)
    start = cursor.offset
    if item == KvType.STRING:
        _skip_strings(cursor, count, key)
    else:
        cursor.skip(count * width, printable(key))
    return GgufArray(item, count, cursor.source, start, cursor.offset - start)


def _skip_strings(cursor: Cursor, count: int, key: str) -> None:
    """Walk over strings window by window; the native scanner does the walking."""
    while count:
        # No limit for the scanner: it stops before what is longer than its window, and the cursor says what is wrong.
        done, consumed = hub_native.scan_strings(cursor.peek(1 << 30), 0, count, (1 << 64) - 1)
        if done == 0:
            cursor.skip_string(f"an item of {printable(key)}", limit=MAX_STRING)
            done, consumed = 1, 0
        count -= done
        cursor.offset += consumed


def _alignment(
    values: Mapping[str, Any], types: Mapping[str, KvType], places: Mapping[str, int], cursor: Cursor
) -> int:
    key = "general.alignment"
    if key not in values:
        return 32
    value, at = values[key], places[key]
    if types[key] != KvType.U32:
        raise cursor.fail(f"{key} has type {types[key].name}, allowed is U32", offset=at)
    if not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise cursor.fail(f"{key} is {value}, allowed are powers of two up to {MAX_ALIGNMENT}", offset=at)
    return int(value)


def _tensor_infos(cursor: Cursor, count: int) -> list[_Info]:
    infos: list[_Info] = []
    seen: set[str] = set()
    for _ in range(count):
        at = cursor.offset
        raw = cursor.string("a tensor name", limit=MAX_KEY)
        if len(raw) > MAX_NAME:
            raise cursor.fail(
                f"a tensor name of {len(raw)} bytes, at most {MAX_NAME} are allowed: {printable(raw[:40])}...",
                offset=at,
            )
        name = _text(raw, "a tensor name", cursor, at)
        if name in seen:
            raise cursor.fail("the name stands twice", offset=at, tensor=name)
        seen.add(name)
        infos.append(_info(cursor, name, at))
    return infos


def _info(cursor: Cursor, name: str, at: int) -> _Info:
    def refuse(message: str) -> FormatError:
        return cursor.fail(message, offset=at, tensor=name)

    n_dims = cursor.integer("I", "the number of dimensions")
    if n_dims > 4:
        raise refuse(f"{n_dims} dimensions, at most 4 are allowed")
    ne = [cursor.integer("q", "a dimension") for _ in range(n_dims)]
    if any(n < 0 for n in ne):
        raise refuse(f"negative dimension in {ne}")
    number = cursor.integer("i", "the type")
    offset = cursor.integer("Q", "the offset")
    if number not in BY_ID:
        old = f" ({REMOVED[number]}, removed from ggml)" if number in REMOVED else ""
        raise refuse(f"tensor type {number}{old} is not known")
    kind = BY_ID[number]
    width = ne[0] if ne else 1
    if width % kind.block:
        raise refuse(f"rows of {width} weights are not whole blocks of {kind.block} of type {kind.name}")
    if not kind.dense and n_dims < 2:
        raise refuse(f"{n_dims} dimensions of type {kind.name}, whose blocks lie in rows: 2 to 4 are allowed")
    size = checked_product([*ne, kind.bytes], (1 << 63) - 1)
    if size is None:
        raise refuse(f"dimensions {ne} of type {kind.name} are more bytes than any file has")
    return _Info(name, tuple(reversed(ne)), kind, offset, size // kind.block, at)


def _place(infos: list[_Info], data_start: int, alignment: int, source: FileSource) -> list[str]:
    """Check that tensors follow each other without hole or overlap, inside the file."""
    expected = 0
    for info in infos:
        if info.offset != expected:
            what = "overlaps the one before" if info.offset < expected else "leaves a hole or is out of order"
            if info.offset % alignment:
                what = f"is not a multiple of the alignment {alignment}"
            raise FormatError(
                f"data offset {info.offset} {what}, it must be {expected}",
                path=source.path, tensor=info.name, offset=info.at,
            )  # fmt: skip
        end = data_start + info.offset + info.nbytes
        if end > source.size:
            raise FormatError(
                f"truncated: its {info.nbytes} bytes end at byte {end}, the file has {source.size}",
                path=source.path, tensor=info.name, offset=data_start + info.offset,
                remedy="download it again",
            )  # fmt: skip
        expected = padded(info.offset + info.nbytes, alignment)
    if data_start + expected > source.size and infos:
        return ["the last tensor is not padded to the alignment (harmless)"]
    return []


def _model(path: str, shards: list[_Shard], sources: list[FileSource]) -> Model:
    first = shards[0]
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        for info in shard.tensors:
            if info.name in tensors:
                raise FormatError(
                    "the name stands in two files of the split model",
                    path=shard.source.path, tensor=info.name, offset=info.at,
                )  # fmt: skip
            tensors[info.name] = _tensor(shard, info)
    tensors, beside = attach(tensors)
    architecture = first.values.get("general.architecture")
    if architecture is not None and not isinstance(architecture, str):
        at = first.places["general.architecture"]
        raise FormatError("general.architecture is not a string", path=path, offset=at)
    return Model(
        format="gguf",
        path=path,
        convention="gguf",
        tensors=tensors,
        architecture=architecture,
        config=first.values,
        metadata={
            "version": first.version,
            "alignment": first.alignment,
            "files": len(shards),
            "types": {key: kind.name.lower() for key, kind in first.types.items()},
        },
        hyperparameters=_hyperparameters(path, first, tensors),
        load_tokenizer=lambda _: _tokenizer(first),
        load_about=lambda: _about(first),
        sources=sources,
        beside=beside,
        notes=[note for shard in shards for note in shard.notes],
    )


def _about(shard: _Shard) -> About:
    from hub_gguf.general import generation_settings

    return About(generation=generation_settings(shard.values))


def _tokenizer(shard: _Shard) -> Tokenizer | None:
    from hub_gguf.tokenizer import tokenizer_from_kvs

    def value(key: str) -> Any:
        found = shard.values.get(key)
        return found.values if isinstance(found, GgufArray) else found

    return tokenizer_from_kvs(value)


def _tensor(shard: _Shard, info: _Info) -> Tensor:
    at = shard.data_start + info.offset
    if info.type.dense:
        spec = rows_spec(DTYPES[info.type.dense], info.shape)
        return Tensor(info.name, info.shape, Dense(FilePart(spec, shard.source, at)))
    rows = row_count(info.shape) if len(info.shape) > 1 else 1
    spec = PartSpec(U8, (rows, info.nbytes // rows if rows else 0))
    parts = {"blocks": FilePart(spec, shard.source, at)}
    return Tensor(info.name, info.shape, Packed(info.type.layout, info.shape, parts))


def _short_decimal(value: float) -> float:
    """The shortest decimal that is the same f32: what a config.json said before it was rounded."""
    import numpy as np

    return float(str(np.float32(value)))


def _hyperparameters(
    path: str, shard: _Shard, tensors: Mapping[str, Tensor]
) -> Callable[[Architecture], Mapping[str, Any]]:
    def of(architecture: Architecture) -> Mapping[str, Any]:
        raw: dict[str, Any] = {}
        rope: dict[str, Any] = {}
        said: dict[str, str] = {}
        for row in architecture.formats["gguf"].metadata:
            value = shard.values.get(row.key)
            name = row.setting
            if value is None or name is None or row.key.startswith("general."):
                continue
            if isinstance(value, GgufArray):
                value = value.first(MAX_LAYERS)
            elif shard.types[row.key] == KvType.F32:
                value = _short_decimal(value)
            if name.startswith("rope."):
                rope[{"rope.type": "rope_type", "rope.theta": "rope_theta"}.get(name, name[5:])] = value
                continue
            # Several keys can tell one setting (key_length, value_length); taking the last would hide a lie.
            if name in said and raw[name] != value:
                raise FormatError(
                    f"{row.key} is {printable(value, 40)}, {said[name]} is {printable(raw[name], 40)}: "
                    f"for {architecture.family} both are {name}",
                    path=path, offset=shard.places[row.key],
                )  # fmt: skip
            raw[name], said[name] = value, row.key
        if rope.get("rope_type") in ("none", "longrope"):
            del rope["rope_type"]
        if rope.get("factor") == 0:
            rope["factor"] = 1.0  # as llama.cpp reads it
        raw["rope_parameters"] = rope
        raw["tie_word_embeddings"] = "output.weight" not in tensors
        if "vocab_size" not in raw and "token_embd.weight" in tensors:
            raw["vocab_size"] = next(iter(tensors["token_embd.weight"].shape), None)
        return raw

    return of
