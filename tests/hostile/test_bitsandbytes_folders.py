"""bitsandbytes folders whose tensors, states and tables contradict each other: one line each."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_run import accepted, refused

from hub.testing import models
from hub_bitsandbytes.layouts import NF4

Stored = tuple[str, list[int], bytes]
Tensors = dict[str, Stored]
NAME = "model.layers.0.self_attn.k_proj.weight"
STATE = f"{NAME}.quant_state.bitsandbytes__nf4"
TABLE = np.array(NF4.table, "<f4").tobytes()


def four_bit(name: str, rows: int, columns: int, double: bool) -> Tensors:
    count = rows * columns // 64
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [rows, columns]}
    more: Tensors = {f"{name}.absmax": ("F32", [count], struct.pack("<f", 0.05) * count)}
    if double:
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.04}
        more = {
            f"{name}.absmax": ("U8", [count], bytes(i % 256 for i in range(count))),
            f"{name}.nested_absmax": ("F32", [-(-count // 256)], struct.pack("<f", 0.01) * -(-count // 256)),
            f"{name}.nested_quant_map": ("F32", [256], np.linspace(-1, 1, 256).astype("<f4").tobytes()),
        }
    data = json.dumps(state).encode()
    return {
        name: ("U8", [rows * columns // 2, 1], bytes(i * 37 % 256 for i in range(rows * columns // 2))),
        f"{name}.quant_map": ("F32", [16], TABLE),
        f"{name}.quant_state.bitsandbytes__nf4": ("U8", [len(data)], data),
        **more,
    }


def int8(name: str, rows: int, columns: int) -> Tensors:
    stem = name.removesuffix("weight")
    return {
        name: ("I8", [rows, columns], bytes(i * 37 % 256 for i in range(rows * columns))),
        f"{stem}SCB": ("F32", [rows], struct.pack("<f", 0.05) * rows),
        f"{stem}weight_format": ("U8", [], bytes(1)),
    }


def folder(path: Path, kind: str, change: Callable[[Tensors], Any]) -> Path:
    path.mkdir()
    settings = models.config(hidden=64, layers=1, intermediate=64)
    tensors: Tensors = {}
    for name, array in models.arrays(settings, "bf16").items():
        if not name.endswith("proj.weight"):
            tensors[name] = ("BF16", list(array.shape), array.tobytes())
        elif kind == "int8":
            tensors |= int8(name, *array.shape)
        else:
            tensors |= four_bit(name, *array.shape, kind == "double")
    change(tensors)
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    body = b"".join(data for *_, data in tensors.values())
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": kind != "int8"}
    (path / "config.json").write_text(json.dumps(settings))
    return path


def lost(name: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.pop(name)


def put(name: str, dtype: str, shape: list[int], data: bytes) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: (dtype, shape, data)})


def state(**changes: Any) -> Callable[[Tensors], Any]:
    def change(tensors: Tensors) -> None:
        told = json.loads(tensors[STATE][2])
        told.update(changes)
        data = json.dumps(told).encode()
        tensors[STATE] = ("U8", [len(data)], data)

    return change


def raw_state(data: bytes) -> Callable[[Tensors], Any]:
    return put(STATE, "U8", [len(data)], data)


NAN = struct.pack("<f", float("nan"))
SCB = NAME.replace("weight", "SCB")
CASES: dict[str, tuple[str, Callable[[Tensors], Any], tuple[str, ...]]] = {
    "no absmax": ("nf4", lost(f"{NAME}.absmax"), ("absmax", "missing")),
    "no table": ("nf4", lost(f"{NAME}.quant_map"), ("quant_map", "missing")),
    "no codes": ("nf4", lost(NAME), (NAME, "missing")),
    "no state": ("nf4", lost(STATE), ("state", "missing")),
    "short codes": ("nf4", put(NAME, "U8", [1000, 1], bytes(1000)), (NAME, "1000 bytes")),
    "short absmax": ("nf4", put(f"{NAME}.absmax", "F32", [3], bytes(12)), ("absmax", "[3]")),
    "absmax of another type": ("nf4", put(f"{NAME}.absmax", "F16", [64], bytes(128)), ("absmax", "f16")),
    "absmax that is no number": ("nf4", put(f"{NAME}.absmax", "F32", [32], NAN * 32), ("k_proj", "not finite")),
    "a table of its own": ("nf4", put(f"{NAME}.quant_map", "F32", [16], bytes(64)), ("quant_map", "nf4")),
    "a table of 8": ("nf4", put(f"{NAME}.quant_map", "F32", [8], TABLE[:32]), ("quant_map", "[8]")),
    "state that is no JSON": ("nf4", raw_state(b"{nf4"), ("quant_state", "JSON")),
    "state that is a list": ("nf4", raw_state(b"[1, 2]"), ("quant_state", "JSON")),
    "state with a member twice": ("nf4", raw_state(b'{"shape": [1], "shape": [2]}'), ("quant_state", "shape")),
    "empty state": ("nf4", raw_state(b""), ("quant_state", "[0]")),
    "endless state": ("nf4", raw_state(b" " * (1 << 17)), ("quant_state", "65536")),
    "deep state": ("nf4", raw_state(b"[" * 60000), ("quant_state", "JSON")),
    "another kind": ("nf4", state(quant_type="fp4"), ("quant_type fp4",)),
    "an unknown kind": ("nf4", state(quant_type="nf3"), ("nf3",)),
    "blocks of 0": ("nf4", state(blocksize=0), ("blocks of 0",)),
    "blocks of 48": ("nf4", state(blocksize=48), ("blocks of 48",)),
    "blocks without end": ("nf4", state(blocksize=1 << 62), ("blocks of",)),
    "blocks of text": ("nf4", state(blocksize="64"), ("blocksize", "integer")),
    "other blocks": ("nf4", state(blocksize=128), ("absmax",)),
    "another shape": ("nf4", state(shape=[32, 128]), (NAME,)),
    "a shape of zeros": ("nf4", state(shape=[0, 64]), ("two sizes",)),
    "a negative shape": ("nf4", state(shape=[-32, -64]), ("two sizes",)),
    "a huge shape": ("nf4", state(shape=[1 << 39, 1 << 39]), (NAME,)),
    "three axes": ("nf4", state(shape=[2, 16, 64]), ("two sizes",)),
    "truth as a size": ("nf4", state(shape=[True, 64]), ("two sizes",)),
    "nested by chance": ("nf4", state(nested_blocksize=256, nested_offset=0.0), ("absmax", "f32")),
    "no nested scales": ("double", lost(f"{NAME}.nested_absmax"), ("nested_absmax", "missing")),
    "no nested table": ("double", lost(f"{NAME}.nested_quant_map"), ("nested_quant_map", "missing")),
    "nested blocks of 128": ("double", state(nested_blocksize=128), ("nested_blocksize",)),
    "an offset of text": ("double", state(nested_offset="0"), ("nested_offset",)),
    "no offset": ("double", state(nested_offset=None), ("nested_offset",)),
    "an offset beyond f32": ("double", state(nested_offset=1e300), ("nested_offset",)),
    "an offset without end": ("double", state(nested_offset=10**400), ("k_proj",)),
    "nested scales that are no numbers": (
        "double", put(f"{NAME}.nested_absmax", "F32", [1], NAN), ("k_proj", "not finite"),
    ),
    "int8 without codes": ("int8", lost(NAME), (NAME, "missing")),
    "int8 of other rows": ("int8", put(SCB, "F32", [3], bytes(12)), ("SCB", "[3]")),
    "int8 scales as f16": ("int8", put(SCB, "F16", [32], bytes(64)), ("SCB", "f16")),
    "int8 scales that are no numbers": ("int8", put(SCB, "F32", [32], NAN * 32), ("k_proj", "not finite")),
    "int8 of unsigned": ("int8", put(NAME, "U8", [32, 64], bytes(2048)), (NAME, "u8")),
    "int8 of three axes": ("int8", put(NAME, "I8", [2, 16, 64], bytes(2048)), (NAME, "2 axes")),
    "int8 in a GPU's order": ("int8", put(NAME + "_format", "U8", [], b"\x01"), ("weight_format", "order")),
    "nothing quantized": ("int8", lambda tensors: tensors.clear(), ()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path) -> None:
    kind, change, words = CASES[case]
    model = folder(tmp_path / "m", kind, change)
    refused("convert", "--to", "gguf:q8_0", model, tmp_path / "out.gguf", names=words, watch=tmp_path)


@pytest.mark.parametrize("kind", ["nf4", "double", "int8"])
def test_whole_ones_convert(kind: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "m", kind, lambda _: None)
    accepted("convert", "--to", "gguf:q8_0", model, tmp_path / "out.gguf")
    accepted("convert", "--to", "safetensors:keep", "--require", "exact", model, tmp_path / "out")
