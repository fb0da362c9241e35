"""Weights that are no numbers, or too large for what they shall become: named, before anything is written."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from hostile_build import (
    GGML_BF16,
    GGML_F16,
    GGML_Q8_0,
    U32,
    folder,
    gguf,
    kv,
    llama_infos,
    llama_kvs,
    tensors,
    weights,
)
from hostile_run import accepted, refused, run

NAN, INF = float("nan"), float("inf")
NAME = "model.layers.0.mlp.up_proj.weight"
IN_GGUF = "blk.0.ffn_up.weight"
ROWS, WIDTH = 64, 32
SIZE = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}


def number(dtype: str, value: float) -> bytes:
    """A number of a float type; for BF16 the upper half of f32."""
    if dtype == "BF16":
        return struct.pack("<f", value)[2:]
    return struct.pack({"F16": "<e", "F32": "<f", "F64": "<d"}[dtype], value)


def model(path: Path, dtype: str, changes: dict[int, float], name: str = NAME) -> Path:
    """The small model in `dtype` with some weights of one tensor changed."""
    made = tensors(dtype)
    data = bytearray(made[name][2])
    for index, value in changes.items():
        raw = number(dtype, value)
        at = index % (len(data) // len(raw)) * len(raw)
        data[at : at + len(raw)] = raw
    made[name] = dtype, made[name][1], bytes(data)
    return folder(path, made=made)


@pytest.mark.parametrize("to", ["gguf:q8_0", "gguf:f32", "gguf:f16", "gguf"])
@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=repr)
@pytest.mark.parametrize("at", [0, 5 * WIDTH + 7, -1])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_not_finite(tmp_path: Path, dtype: str, at: int, value: float, to: str) -> None:
    source = model(tmp_path / "m", dtype, {at: value})
    raw = (source / "model.safetensors").read_bytes()
    index = at % (ROWS * WIDTH)
    line = refused("convert", "--to", to, source, tmp_path / "o.gguf", tensor=NAME, offset=True, watch=tmp_path,
                   names=["model.safetensors", "1 weights are not finite", f"number {index}"])  # fmt: skip
    offset = int(line.split("at byte ")[1].split(":")[0])
    found = {"F16": "<e", "F32": "<f", "F64": "<d"}.get(dtype)
    piece = raw[offset : offset + SIZE[dtype]]
    seen = struct.unpack(found, piece)[0] if found else struct.unpack("<f", b"\0\0" + piece)[0]
    assert seen == value or (math.isnan(value) and math.isnan(seen))


def test_all_of_them(tmp_path: Path) -> None:
    """Every weight of every tensor: still one line, with the first few tensors named."""
    made = {name: ("F32", shape, b"\0\0\xc0\x7f" * (len(data) // 4)) for name, (_, shape, data) in tensors().items()}
    source = folder(tmp_path / "m", made=made)
    refused(
        "convert",
        "--to",
        "gguf:q8_0",
        source,
        tmp_path / "o.gguf",
        names=["not finite", "more tensors"],
        watch=tmp_path,
    )


def test_in_a_vector(tmp_path: Path) -> None:
    source = model(tmp_path / "m", "F32", {3: NAN}, "model.norm.weight")
    refused("convert", "--to", "gguf:q8_0", source, tmp_path / "o.gguf", tensor="model.norm.weight", offset=True,
            watch=tmp_path)  # fmt: skip


def test_in_rows_that_are_reordered(tmp_path: Path) -> None:
    """q_proj's rows move; the message tells a number of the target's order, and does not invent an offset."""
    source = model(tmp_path / "m", "F32", {3 * WIDTH: INF}, "model.layers.0.self_attn.q_proj.weight")
    refused("convert", "--to", "gguf:q8_0", source, tmp_path / "o.gguf", names=["m"], tensor="model.layers.0.self_attn.q_proj.weight",
            watch=tmp_path)  # fmt: skip


def test_check_lists_them(tmp_path: Path) -> None:
    source = model(tmp_path / "m", "BF16", {0: NAN, 9: INF})
    outcome = run("check", source)
    assert outcome.status == 1
    assert not outcome.err
    assert f"tensor {NAME}: 2 weights are not finite, the first is number 0" in outcome.out


@pytest.mark.parametrize(
    ("dtype", "value", "to"),
    [
        ("F32", 65520.0, "gguf:f16"), ("BF16", 1e5, "gguf:f16"), ("F32", -1e38, "gguf:f16"), ("F64", 7e4, "gguf:f16"),
        ("F32", 3.4028235e38, "gguf:bf16"), ("F64", 1e39, "gguf:f32"), ("F64", -1e300, "gguf:bf16"),
        ("F64", 1e300, "gguf:q8_0"), ("BF16", 1e30, "gguf:q8_0"), ("F32", -3e38, "gguf:q4_0"),
        ("F32", 3e38, "gguf:q4_1"),
        ("BF16", 1e30, "gguf:q5_0"), ("BF16", -1e30, "gguf:q5_1"), ("F32", 9e6, "gguf:q8_0"), ("F32", 6e5, "gguf:q4_0"),
    ],
)  # fmt: skip
def test_too_large(tmp_path: Path, dtype: str, value: float, to: str) -> None:
    source = model(tmp_path / "m", dtype, {ROWS * WIDTH - 1: value})
    refused("convert", "--to", to, source, tmp_path / "o.gguf", names=["m"], tensor=NAME, watch=tmp_path)


@pytest.mark.parametrize("variant", ["q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k"])
@pytest.mark.parametrize("value", [1e30, -1e30, 3e38])
def test_too_large_for_blocks_of_256(tmp_path: Path, variant: str, value: float) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 256, "vocab_size": 64,
    }  # fmt: skip
    made = tensors("F32", config)
    shape, data = made[NAME][1:]
    made[NAME] = "F32", shape, data[:-4] + struct.pack("<f", value)
    source = folder(tmp_path / "m", config=config, made=made)
    refused("convert", "--to", f"gguf:{variant}", source, tmp_path / "o.gguf", tensor=NAME, watch=tmp_path)


@pytest.mark.parametrize("to", ["gguf:f16", "gguf:q8_0", "gguf:f32", "gguf:bf16"])
def test_as_large_as_may_be(tmp_path: Path, to: str) -> None:
    source = model(tmp_path / "m", "F32", {0: 65504.0, 1: -65504.0, 2: 1e-45, 3: -0.0})
    accepted("convert", "--to", to, source, tmp_path / "o.gguf")


@pytest.mark.parametrize(("type", "raw"), [(GGML_F16, b"\0\x7c"), (GGML_BF16, b"\x80\x7f"), (0, b"\0\0\xc0\xff")])
def test_not_finite_in_gguf(tmp_path: Path, type: int, raw: bytes) -> None:
    infos = llama_infos()
    up = next(info for info in infos if info.name == IN_GGUF)
    up.type, up.data = type, weights(up.dims, {0: "F32", 1: "F16", 30: "BF16"}[type])[: -len(raw)] + raw
    path = tmp_path / "in.gguf"
    path.write_bytes(gguf(llama_kvs(), infos))
    refused("convert", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["in.gguf", "not finite"], tensor=IN_GGUF,
            offset=True, watch=tmp_path)  # fmt: skip


@pytest.mark.parametrize("scale", [b"\0\x7e", b"\0\x7c", b"\0\xfc", b"\xff\xff"])
@pytest.mark.parametrize("to", ["gguf:f16", "gguf:q8_0"])
def test_scale_of_a_block_not_finite(tmp_path: Path, scale: bytes, to: str) -> None:
    """The codes are fine, what they are multiplied with is not. Also where the blocks would only be copied."""
    infos = llama_infos()
    up = next(info for info in infos if info.name == IN_GGUF)
    up.type, up.data = GGML_Q8_0, (b"\0\x20" + bytes([1] * 32)) * 63 + scale + bytes([1] * 32)
    path = tmp_path / "in.gguf"
    path.write_bytes(gguf(llama_kvs(), infos))
    refused("convert", "--to", to, path, tmp_path / "o.gguf", names=["in.gguf", "not finite"], tensor=IN_GGUF,
            watch=tmp_path)  # fmt: skip


def test_a_type_without_a_layout(tmp_path: Path) -> None:
    """Q8_K is a type of ggml, but nothing decodes it from a file."""
    infos = llama_infos()
    wide = {"feed_forward_length": kv("llama.feed_forward_length", U32, 256)}
    for info in infos:
        if info.name in ("blk.0.ffn_gate.weight", IN_GGUF):
            info.dims, info.data = (32, 256), None
        elif info.name == "blk.0.ffn_down.weight":
            info.dims, info.type, info.data = (256, 32), 15, bytes(292 * 32)
    path = tmp_path / "in.gguf"
    path.write_bytes(gguf(llama_kvs(**wide), infos))
    refused("convert", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["in.gguf", "Q8_K"],
            tensor="blk.0.ffn_down.weight", watch=tmp_path)  # fmt: skip


def test_reordered_rows_are_told_where_the_file_has_them(tmp_path: Path) -> None:
    # The rows of q move on the way to GGUF; name, number and offset are those of the source all the same.
    name, index = "model.layers.0.self_attn.q_proj.weight", 3 * WIDTH + 5
    source = model(tmp_path / "m", "F32", {index: NAN}, name=name)
    line = refused("convert", "--to", "gguf:q8_0", source, tmp_path / "o.gguf", tensor=name, offset=True,
                   names=["model.safetensors", f"the first is number {index};"])  # fmt: skip
    offset = int(line.split("at byte ")[1].split(":")[0])
    (seen,) = struct.unpack("<f", (source / "model.safetensors").read_bytes()[offset : offset + 4])
    assert math.isnan(seen)
