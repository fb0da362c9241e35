"""Builders of model files in which every field can lie. Nothing of hub is used here, so hub is not its own oracle."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# --- GGUF --------------------------------------------------------------------------------------------------------

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
_CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}

GGML_F32, GGML_F16, GGML_Q4_0, GGML_Q8_0, GGML_Q4_K, GGML_I8, GGML_I64, GGML_BF16 = 0, 1, 2, 8, 12, 24, 27, 30
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 24: (1, 1), 27: (1, 8), 30: (1, 2)}
"""Weights and bytes per block of the types used here."""


def pad(data: bytes, alignment: int) -> bytes:
    """`data` with zeros up to a multiple of `alignment`."""
    return data + bytes(-len(data) % alignment) if alignment > 0 else data


def string(raw: bytes | str, length: int | None = None) -> bytes:
    """A string, perhaps with a false length."""
    raw = raw.encode() if isinstance(raw, str) else raw
    return struct.pack("<Q", len(raw) if length is None else length & (1 << 64) - 1) + raw


def scalar(kind: int, value: Any) -> bytes:
    """A value of a type, without the type."""
    return string(value) if kind == STR else struct.pack("<" + _CODES[kind], value)


def kv(key: bytes | str, kind: int, value: Any, *, key_length: int | None = None, type_id: int | None = None) -> bytes:
    """A key-value; `value` as bytes of the file when it is an array."""
    body = value if kind == ARR else scalar(kind, value)
    return string(key, key_length) + struct.pack("<i", kind if type_id is None else type_id) + body


def array(item: int, values: Sequence[Any], *, count: int | None = None, item_id: int | None = None) -> bytes:
    """An array value, perhaps with a false count or type."""
    head = struct.pack("<iQ", item if item_id is None else item_id, len(values) if count is None else count)
    return head + b"".join(scalar(item, value) for value in values)


@dataclass
class Info:
    """A tensor's entry; what is None is told truly.

    Attributes:
        dims: ggml's order, contiguous axis first.
        data: its bytes; zeros of the right number when None.
    """

    name: bytes | str
    dims: Sequence[int] = (32,)
    type: int = GGML_F32
    offset: int | None = None
    data: bytes | None = None
    n_dims: int | None = None
    name_length: int | None = None

    @property
    def nbytes(self) -> int:
        block, size = BLOCKS.get(self.type, (1, 1))
        return math.prod(self.dims) // block * size

    def bytes(self) -> bytes:
        if self.data is not None:
            return self.data
        return bytes(self.nbytes) if 0 <= self.nbytes < 1 << 24 else b""


def gguf(
    kvs: Sequence[bytes] = (),
    tensors: Sequence[Info] = (),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    n_tensors: int | None = None,
    n_kv: int | None = None,
    alignment: int = 32,
    pad_last: bool = True,
    tail: bytes = b"",
) -> bytes:
    """A GGUF file. `alignment` is how data is laid out, whatever the key-values say."""
    out = magic + struct.pack(
        "<Iqq", version, len(tensors) if n_tensors is None else n_tensors, len(kvs) if n_kv is None else n_kv
    )
    out += b"".join(kvs)
    data = b""
    for info in tensors:
        offset = len(data) if info.offset is None else info.offset
        n_dims = len(info.dims) if info.n_dims is None else info.n_dims
        out += string(info.name, info.name_length) + struct.pack("<I", n_dims)
        out += b"".join(struct.pack("<q", dim) for dim in info.dims)
        out += struct.pack("<iQ", info.type, offset & (1 << 64) - 1)
        data = pad(data + info.bytes(), alignment) if pad_last or info is not tensors[-1] else data + info.bytes()
    return (pad(out, alignment) + data if tensors else out) + tail


# --- safetensors -------------------------------------------------------------------------------------------------

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def entry(dtype: str, shape: Sequence[int], begin: int, end: int | None = None) -> dict[str, Any]:
    """A header entry; the end follows from dtype and shape unless it is given."""
    stop = begin + math.prod(shape) * SIZES.get(dtype, 1) if end is None else end
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, stop]}


def safetensors(header: Mapping[str, Any] | str | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file of any header text, any data, and perhaps a false header length."""
    if isinstance(header, bytes):
        text = header
    else:
        text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if length is None else length & (1 << 64) - 1) + text + data


def packed(tensors: Mapping[str, tuple[str, Sequence[int], bytes]]) -> bytes:
    """A truthful safetensors file of (dtype, shape, bytes)."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = entry(dtype, shape, len(data), len(data) + len(raw))
        data += raw
    return safetensors(header, data)


# --- a small model ------------------------------------------------------------------------------------------------

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 64,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
}
"""A llama of one layer; it converts without a tokenizer."""


def shapes(config: Mapping[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """The tensors of `CONFIG`."""
    h, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_key_value_heads"]
    d, f, v = config["head_dim"], config["intermediate_size"], config["vocab_size"]
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, h)}
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        out |= {
            p + "input_layernorm.weight": (h,),
            p + "self_attn.q_proj.weight": (heads * d, h),
            p + "self_attn.k_proj.weight": (kv_heads * d, h),
            p + "self_attn.v_proj.weight": (kv_heads * d, h),
            p + "self_attn.o_proj.weight": (h, heads * d),
            p + "post_attention_layernorm.weight": (h,),
            p + "mlp.gate_proj.weight": (f, h),
            p + "mlp.up_proj.weight": (f, h),
            p + "mlp.down_proj.weight": (h, f),
        }
    return out | {"model.norm.weight": (h,), "lm_head.weight": (v, h)}


def weights(shape: Sequence[int], dtype: str, seed: int = 1) -> bytes:
    """Small finite numbers of a float type, different ones everywhere."""
    count = math.prod(shape)
    values = [((i * 37 + seed * 11) % 61 - 30) / 256 for i in range(count)]
    if dtype == "BF16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack(f"<{count}{ {'F32': 'f', 'F16': 'e', 'F64': 'd'}[dtype] }", *values)


def tensors(dtype: str = "F32", config: Mapping[str, Any] = CONFIG) -> dict[str, tuple[str, Sequence[int], bytes]]:
    """All tensors of the small model."""
    found = shapes(config)
    return {name: (dtype, shape, weights(shape, dtype, i)) for i, (name, shape) in enumerate(found.items())}


def folder(
    path: Path,
    *,
    config: Mapping[str, Any] | str | bytes | None = CONFIG,
    made: Mapping[str, tuple[str, Sequence[int], bytes]] | None = None,
    model: bytes | None = None,
) -> Path:
    """A model folder; `config` None leaves config.json out."""
    path.mkdir(parents=True)
    if config is not None:
        text = config if isinstance(config, bytes | str) else json.dumps(config)
        (path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    (path / "model.safetensors").write_bytes(packed(made or tensors()) if model is None else model)
    return path


def sharded(path: Path, count: int = 2, *, weight_map: Mapping[str, Any] | None = None) -> Path:
    """The small model in `count` shards with an index; `weight_map` changes or (None) removes places in it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    everything = tensors()
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    placed: dict[str, Any] = {}
    for i, shard in enumerate(names):
        mine = {name: tensor for j, (name, tensor) in enumerate(everything.items()) if j % count == i}
        (path / shard).write_bytes(packed(mine))
        placed |= dict.fromkeys(mine, shard)
    placed |= weight_map or {}
    write_index(path, {name: shard for name, shard in placed.items() if shard is not None})
    return path


def write_index(path: Path, weight_map: Any) -> None:
    """The index of a sharded folder."""
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


# --- the small model as GGUF ---------------------------------------------------------------------------------------


def llama_kvs(**more: bytes) -> list[bytes]:
    """Key-values of the small model as GGUF; `more` replaces one by its last word or adds one."""
    known = {
        "architecture": kv("general.architecture", STR, "llama"),
        "block_count": kv("llama.block_count", U32, 1),
        "context_length": kv("llama.context_length", U32, 128),
        "embedding_length": kv("llama.embedding_length", U32, 32),
        "feed_forward_length": kv("llama.feed_forward_length", U32, 64),
        "head_count": kv("llama.attention.head_count", U32, 2),
        "head_count_kv": kv("llama.attention.head_count_kv", U32, 1),
        "key_length": kv("llama.attention.key_length", U32, 16),
        "value_length": kv("llama.attention.value_length", U32, 16),
        "epsilon": kv("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        "freq_base": kv("llama.rope.freq_base", F32, 10000.0),
        "dimension_count": kv("llama.rope.dimension_count", U32, 16),
        "vocab_size": kv("llama.vocab_size", U32, 64),
    }
    return [value for value in (known | more).values() if value]


def llama_infos() -> list[Info]:
    """Tensors of the small model as GGUF, all F32."""
    named = {
        "token_embd": (32, 64), "blk.0.attn_norm": (32,), "blk.0.attn_q": (32, 32), "blk.0.attn_k": (32, 16),
        "blk.0.attn_v": (32, 16), "blk.0.attn_output": (32, 32), "blk.0.ffn_norm": (32,), "blk.0.ffn_gate": (32, 64),
        "blk.0.ffn_up": (32, 64), "blk.0.ffn_down": (64, 32), "output_norm": (32,), "output": (32, 64),
    }  # fmt: skip
    return [Info(f"{name}.weight", dims, data=weights(dims, "F32", i)) for i, (name, dims) in enumerate(named.items())]


def llama_gguf(**more: bytes) -> bytes:
    """The small model as a GGUF file."""
    return gguf(llama_kvs(**more), llama_infos())


def split(path: Path, stem: str = "m", count: int = 3) -> list[Path]:
    """The small model as a split GGUF model."""
    infos = llama_infos()
    made = []
    for i in range(count):
        mine = infos[i::count]
        kvs = [*(llama_kvs() if i == 0 else []), *split_kvs(i, count, len(infos))]
        file = path / f"{stem}-{i + 1:05}-of-{count:05}.gguf"
        file.write_bytes(gguf(kvs, mine))
        made.append(file)
    return made


def split_kvs(number: int, count: int, total: int) -> list[bytes]:
    """What every file of a split model says about itself."""
    return [
        kv("split.no", U16, number),
        kv("split.count", U16, count),
        kv("split.tensors.count", I32, total),
    ]
