"""Makes small models and files for tests, byte by byte and not through hub: safetensors folders, GGUF files,
sparse giants."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DATA = Path(__file__).parent / "data"
TINY = DATA / "tiny-llama"
ROOT = Path(__file__).parent.parent

_SAFETENSORS = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "int32": "I32",
    "int64": "I64",
    "uint8": "U8", "float8_e4m3fn": "F8_E4M3", "uint32": "U32",
}  # fmt: skip
NUMPY = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


def safetensors_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file of these arrays, in this order."""
    header: dict[str, Any] = {}
    data = b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": _SAFETENSORS[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def sparse_safetensors(path: Path, shapes: Mapping[str, tuple[str, Sequence[int]]]) -> None:
    """A safetensors file whose data is one hole: zeros that take no room on the disk."""
    header, position = {}, 0
    for name, (dtype, shape) in shapes.items():
        size = int(np.prod(shape)) * np.dtype(NUMPY[dtype]).itemsize
        header[name] = {"dtype": dtype.upper(), "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    head = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.truncate(8 + len(head) + position)


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a small safetensors file."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    names = {word: name for name, word in _SAFETENSORS.items()}
    out = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        kind = names[info["dtype"]]
        dtype = np.dtype(getattr(ml_dtypes, kind, kind))
        out[name] = np.frombuffer(raw[8 + length :][begin:end], dtype).reshape(info["shape"])
    return out


# ------------------------------------------------------------------------------------------------ folders


def llama_config(**changes: Any) -> dict[str, Any]:
    """config.json of a very small Llama; rows of 256, so that every block layout fits."""
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "hidden_act": "silu",
    }  # fmt: skip
    return config | changes


def llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensors of a Llama with that configuration."""
    h, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    d = config.get("head_dim", h // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, h)}
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        shapes |= {
            at + "input_layernorm.weight": (h,),
            at + "self_attn.q_proj.weight": (q, h),
            at + "self_attn.k_proj.weight": (kv, h),
            at + "self_attn.v_proj.weight": (kv, h),
            at + "self_attn.o_proj.weight": (h, q),
            at + "post_attention_layernorm.weight": (h,),
            at + "mlp.gate_proj.weight": (f, h),
            at + "mlp.up_proj.weight": (f, h),
            at + "mlp.down_proj.weight": (h, f),
        }
    shapes["model.norm.weight"] = (h,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (v, h)
    return shapes


def weights(shapes: Mapping[str, Sequence[int]], dtype: str = "f32", seed: int = 1) -> dict[str, np.ndarray]:
    """Random weights that bf16 holds, in any of the float types: equal in all of them."""
    random = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes.items():
        array = random.standard_normal(shape).astype(np.float32) * np.float32(0.05) + (len(shape) < 2)
        # Powers down to 2**-12 with 8 bits are f16 too.
        array = np.where(np.abs(array) < 2.0**-12, np.float32(2.0**-12), array)
        out[name] = array.astype(ml_dtypes.bfloat16).astype(NUMPY[dtype])
    return out


def folder(
    path: Path, config: Mapping[str, Any] | None = None, arrays: Mapping[str, np.ndarray] | None = None, *,
    dtype: str = "f32", shards: int = 1,
) -> Path:  # fmt: skip
    """A Hugging Face folder without a tokenizer."""
    config = dict(llama_config() if config is None else config)
    arrays = dict(weights(llama_shapes(config), dtype) if arrays is None else arrays)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    write_weights(path, arrays, shards)
    return path


def write_weights(path: Path, arrays: Mapping[str, np.ndarray], shards: int) -> None:
    """Weights in one file, or dealt out over shards with an index."""
    if shards == 1:
        (path / "model.safetensors").write_bytes(safetensors_bytes(arrays))
        return
    names = list(arrays)
    placed = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        mine = names[i::shards]
        (path / file).write_bytes(safetensors_bytes({name: arrays[name] for name in mine}))
        placed |= dict.fromkeys(mine, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def tiny_as(path: Path, dtype: str, shards: int = 1) -> Path:
    """tests/data/tiny-llama with its weights in another type, or in shards."""
    path.mkdir(parents=True)
    for file in TINY.iterdir():
        if file.name != "model.safetensors":
            shutil.copy(file, path)
    arrays = {name: array.astype(NUMPY[dtype]) for name, array in read_safetensors(TINY / "model.safetensors").items()}
    write_weights(path, arrays, shards)
    return path


def family_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensors that a model of that config.json cannot be without, as its architecture file has them."""
    from hub.architecture import known

    family = next(family for family in known() if config["architectures"][0] in family.architectures)
    expected = family.configure(config, path="config.json").expected()
    return {name: shape for name, (shape, optional) in expected.items() if not optional}


# ------------------------------------------------------------------------------------------------ GGUF

KV_TYPES = {
    "u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f"),
    "bool": (7, "?"), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d"),
}  # fmt: skip
GGUF_TYPES = {
    "f32": (0, 1, 4), "f16": (1, 1, 2), "bf16": (30, 1, 2), "q8_0": (8, 32, 34), "q4_0": (2, 32, 18),
    "q4_k": (12, 256, 144),
    "iq2_xxs": (16, 256, 66), "iq2_xs": (17, 256, 74), "iq3_xxs": (18, 256, 98), "iq1_s": (19, 256, 50),
    "iq4_nl": (20, 32, 18), "iq3_s": (21, 256, 110), "iq2_s": (22, 256, 82), "iq4_xs": (23, 256, 136),
    "iq1_m": (29, 256, 56), "tq1_0": (34, 256, 54), "tq2_0": (35, 256, 66), "mxfp4": (39, 32, 17),
    "nvfp4": (40, 64, 36), "q1_0": (41, 128, 18), "q2_0": (42, 64, 18),
}  # fmt: skip
Kv = tuple[str, str, Any]


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _kv(key: str, kind: str, value: Any) -> bytes:
    out = _string(key)
    if kind == "str":
        return out + struct.pack("<i", 8) + _string(value)
    if not kind.startswith("arr["):
        number, code = KV_TYPES[kind]
        return out + struct.pack(f"<i{code}", number, value)
    item = kind[4:-1]
    if item == "str":
        return out + struct.pack("<iiQ", 9, 8, len(value)) + b"".join(map(_string, value))
    number, code = KV_TYPES[item]
    return out + struct.pack(f"<iiQ{len(value)}{code}", 9, number, len(value), *value)


def gguf_head(kvs: Iterable[Kv], tensors: Iterable[tuple[str, str, Sequence[int]]]) -> tuple[bytes, list[int], int]:
    """Head of a GGUF file, offset of every tensor in the file, and the file's size."""
    kvs, tensors = list(kvs), list(tensors)
    head = b"GGUF" + struct.pack("<Iqq", 3, len(tensors), len(kvs)) + b"".join(_kv(*kv) for kv in kvs)
    offsets, position = [], 0
    for name, kind, shape in tensors:
        number, block, size = GGUF_TYPES[kind]
        dims = tuple(reversed(shape))
        head += _string(name) + struct.pack(f"<I{len(dims)}qiQ", len(dims), *dims, number, position)
        offsets.append(position)
        position += -(-(int(np.prod(shape)) // block * size) // 32) * 32
    head += bytes(-len(head) % 32)
    return head, [len(head) + offset for offset in offsets], len(head) + position


def write_gguf(path: Path, kvs: Iterable[Kv], tensors: Mapping[str, tuple[str, Sequence[int], bytes | None]]) -> Path:
    """A GGUF file; tensors without bytes are holes."""
    head, offsets, size = gguf_head(kvs, [(name, kind, shape) for name, (kind, shape, _) in tensors.items()])
    with path.open("wb") as file:
        file.write(head)
        for offset, (_, _, raw) in zip(offsets, tensors.values(), strict=True):
            if raw is not None:
                file.seek(offset)
                file.write(raw)
        file.truncate(size)
    return path


def read_gguf(path: Path) -> tuple[list[Kv], dict[str, tuple[int, tuple[int, ...], bytes]]]:
    """Key-values (in order, with hub's own words for types) and tensors (type id, shape, bytes), parsed here."""
    raw = path.read_bytes()
    at = 4
    words = {number: (word, code) for word, (number, code) in KV_TYPES.items()}

    def unpack(form: str) -> Any:
        nonlocal at
        values = struct.unpack_from("<" + form, raw, at)
        at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def string() -> bytes:
        nonlocal at
        size = unpack("Q")
        at += size
        return raw[at - size : at]

    version, n_tensors, n_kvs = unpack("Iqq")
    assert raw[:4] == b"GGUF"
    assert version in (2, 3)
    kvs: list[Kv] = []
    for _ in range(n_kvs):
        key, kind = string().decode(), unpack("i")
        if kind == 8:
            kvs.append((key, "str", string()))
        elif kind == 9:
            item, count = unpack("iQ")
            values = [string() for _ in range(count)] if item == 8 else [unpack(words[item][1]) for _ in range(count)]
            kvs.append((key, f"arr[{'str' if item == 8 else words[item][0]}]", values))
        else:
            kvs.append((key, words[kind][0], unpack(words[kind][1])))
    infos = []
    for _ in range(n_tensors):
        name, dims = string().decode(), unpack("I")
        ne = [unpack("q") for _ in range(dims)]
        kind, offset = unpack("iQ")
        infos.append((name, kind, tuple(reversed(ne)), offset))
    start = -(-at // 32) * 32
    ends = [offset for *_, offset in infos[1:]] + [len(raw) - start]
    out = {}
    for (name, kind, shape, offset), end in zip(infos, ends, strict=True):
        out[name] = kind, shape, raw[start + offset : start + end]
    return kvs, out


def split_gguf(path: Path, into: Path, count: int) -> Path:
    """A GGUF file dealt out over `count` files, as llama-gguf-split does; returns the first."""
    kvs, tensors = read_gguf(path)
    words = {number: (word, block, size) for word, (number, block, size) in GGUF_TYPES.items()}
    names = list(tensors)
    per = -(-len(names) // count)
    stem = path.stem
    for i in range(count):
        mine = names[i * per : (i + 1) * per]
        split: list[Kv] = [
            ("split.no", "u16", i), ("split.count", "u16", count), ("split.tensors.count", "i32", len(names))
        ]  # fmt: skip
        chosen = {}
        for name in mine:
            kind, shape, raw = tensors[name]
            word, block, size = words[kind]
            chosen[name] = word, shape, raw[: int(np.prod(shape)) // block * size]
        write_gguf(into / f"{stem}-{i + 1:05}-of-{count:05}.gguf", [*kvs, *split] if i == 0 else split, chosen)
    return into / f"{stem}-00001-of-{count:05}.gguf"


def disk_used(path: Path) -> int:
    """Bytes that a file takes on the disk."""
    return os.stat(path).st_blocks * 512
