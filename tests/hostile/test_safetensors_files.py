"""safetensors files that lie in one field each, and JSON that two parsers could read differently."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hostile_build import CONFIG, Info, entry, folder, gguf, packed, safetensors, tensors, weights
from hostile_run import accepted, refused

FOUR = bytes(16)
"""Data of four f32."""
A = entry("F32", [4], 0)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 4943162336\n"


def raw(text: str, data: bytes = FOUR, **lies: Any) -> bytes:
    """A file whose header is this text."""
    return safetensors(text, data, **lies)


def member(text: str) -> str:
    """A header of one good tensor and this text as further members."""
    return '{"a":' + json.dumps(A) + "," + text + "}"


def zipped() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return out.getvalue()


A_TEXT = json.dumps(A)
LENGTH_TEXT = '{"a":' + A_TEXT + "}"

# name: bytes, words of the message, tensor, offset
NOT_A_MODEL = {
    "empty": (b"", ["empty"], None, None),
    "git-lfs pointer": (LFS, ["git-lfs pointer", "git lfs pull"], None, 0),
    "git-lfs pointer, short": (LFS[:40], ["git-lfs"], None, 0),
    "HTML": (b"<!DOCTYPE html><html><body>404</body></html>", ["HTML"], None, 0),
    "html, small letters": (b"\n<!doctype html>\n<html lang=en>", ["HTML"], None, 0),
    "html without doctype": (b"<html><head></head></html>", ["HTML"], None, 0),
    "zip": (zipped(), ["zip", "unpickles"], None, 0),
    "pickle 2": (pickle.dumps({"a": [1] * 9}, 2), ["pickle"], None, 0),
    "pickle 4": (pickle.dumps({"a": [1] * 9}, 4), ["pickle"], None, 0),
    "pickle 5": (pickle.dumps({"a": [1] * 9}, 5), ["pickle"], None, 0),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), ["gzip"], None, 0),
    "GGUF under the wrong suffix": (gguf([], [Info("a")]), ["GGUF"], None, 0),
    "zeros": (bytes(4096), ["length"], None, 0),
    "text": (b"hello, this is no model at all", ["length"], None, 0),
    "one byte": (b"x", ["8"], None, 0),
    "seven bytes": (b"\x02\0\0\0\0\0\0", ["8"], None, 0),
}

LENGTHS = {
    "no header": (struct.pack("<Q", 2), ["truncated"], None, 0),
    "length 0": (raw(LENGTH_TEXT, length=0), ["length is 0"], None, 0),
    "length 1": (raw(LENGTH_TEXT, length=1), ["length is 1"], None, 0),
    "length past the end": (raw(LENGTH_TEXT, length=5000), ["truncated", "5000"], None, 0),
    "length one short": (raw(LENGTH_TEXT, length=len(LENGTH_TEXT) - 1), ["JSON"], None, True),
    "length one long": (raw(LENGTH_TEXT, b"\1" * 16, length=len(LENGTH_TEXT) + 1), ["JSON"], None, True),
    "length 100,000,001": (raw(LENGTH_TEXT, length=100_000_001), ["100000001"], None, 0),
    "length 2^63": (raw(LENGTH_TEXT, length=1 << 63), ["9223372036854775808"], None, 0),
    "length -1": (raw(LENGTH_TEXT, length=-1), ["18446744073709551615"], None, 0),
    "length -8": (raw(LENGTH_TEXT, length=-8), ["18446744073709551608"], None, 0),
    "big-endian length": (struct.pack(">Q", len(LENGTH_TEXT)) + LENGTH_TEXT.encode() + FOUR, ["length"], None, 0),
}

JSON = {
    "a list": (raw("[1, 2, 3]"), ["{"], None, 8),
    "a string": (raw('"abc"'), ["{"], None, 8),
    "leading space": (raw(" " + LENGTH_TEXT), ["{"], None, 8),
    "byte order mark": (safetensors(b"\xef\xbb\xbf" + LENGTH_TEXT.encode(), FOUR), [], None, 8),
    "not JSON": (raw("{'a': 1}"), ["JSON"], None, 9),
    "not UTF-8": (safetensors(b'{"\xff\xfe":1}', FOUR), ["UTF-8"], None, 10),
    "overlong UTF-8": (safetensors(b'{"\xc0\xaf":1}', FOUR), ["UTF-8"], None, 10),
    "UTF-16": (safetensors(LENGTH_TEXT.encode("utf-16-le"), FOUR), [], None, True),
    "cut in a string": (raw('{"a'), ["JSON"], None, True),
    "two documents": (raw(LENGTH_TEXT + LENGTH_TEXT), ["Extra data"], None, 8 + len(LENGTH_TEXT)),
    "zero bytes behind": (raw(LENGTH_TEXT + "\0\0"), ["Extra data"], None, True),
    "comment": (raw("{/* x */}"), ["JSON"], None, 9),
    "trailing comma": (raw('{"a":' + A_TEXT + ",}"), ["JSON"], None, True),
    "tensor twice": (raw(member('"a":' + A_TEXT)), ["'a' stands twice"], None, 8),
    "tensor twice, escaped": (raw(member('"\\u0061":' + A_TEXT)), ["'a' stands twice"], None, 8),
    "metadata twice": (raw('{"__metadata__":{},"__metadata__":{},"a":' + A_TEXT + "}"), ["twice"], None, 8),
    "metadata member twice": (raw(member('"__metadata__":{"k":"1","k":"2"}')), ["'k' stands twice"], None, 8),
    "dtype twice": (
        raw('{"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}'), ["'dtype' stands twice"], None, 8,
    ),
    "NaN": (raw(member('"b":NaN')), ["NaN"], None, 8),
    "Infinity": (raw(member('"b":-Infinity')), ["-Infinity"], None, 8),
    "number beyond a double": (raw(member('"b":1e999')), ["1e999"], None, 8),
    "5000-digit number": (raw(member('"b":' + "9" * 5000)), ["5000 digits"], None, 8),
    "nested 1000 deep": (raw(member('"b":' + "[" * 1000 + "]" * 1000)), ["nested"], None, 8),
    "nested a million deep, open": (raw('{"b":' + "[" * 1_000_000), ["nested"], None, 8),
    "nested in objects": (raw('{"b":' * 500 + "1" + "}" * 500), ["nested"], None, 8),
    "a million escaped quotes": (raw('{"b":"' + '\\"' * 500_000 + "[" * 100), [], None, True),
    "a million quotes": (raw('{"b":' + '"' * 1_000_001 + "[" * 100), [], None, True),
    "lone surrogate": (raw(member('"\\ud800":' + json.dumps(entry("F32", [0], 16)))), ["surrogate"], None, 8),
    "lone low surrogate": (raw(member('"\\udc00":' + json.dumps(entry("F32", [0], 16)))), ["surrogate"], None, 8),
    "lone surrogate in metadata": (raw(member('"__metadata__":{"k":"\\udfff"}')), ["surrogate"], None, 8),
    "control character in a name": (raw(member('"b\n":' + A_TEXT)), ["JSON"], None, True),
}  # fmt: skip

MEMBERS = {
    "metadata a list": (raw(member('"__metadata__":[]')), ["__metadata__"], None, 8),
    "metadata with a number": (raw(member('"__metadata__":{"k":1}')), ["__metadata__"], None, 8),
    "metadata nested": (raw(member('"__metadata__":{"k":{}}')), ["__metadata__"], None, 8),
    "metadata null inside": (raw(member('"__metadata__":{"k":null}')), ["__metadata__"], None, 8),
    "entry a number": (raw(member('"b":1')), [], "b", True),
    "entry null": (raw(member('"b":null')), [], "b", True),
    "entry a list": (raw(member('"b":["F32",[4],[0,16]]')), [], "b", True),
    "no dtype": (raw('{"a":{"shape":[4],"data_offsets":[0,16]}}'), ["dtype"], "a", True),
    "no shape": (raw('{"a":{"dtype":"F32","data_offsets":[0,16]}}'), ["shape"], "a", True),
    "no offsets": (raw('{"a":{"dtype":"F32","shape":[4]}}'), ["data_offsets"], "a", True),
    "an unknown member": (
        raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"scale":1}}'), ["exactly"], "a", True,
    ),
    "empty name": (raw('{"":' + A_TEXT + "}"), ["empty"], None, True),
    "name with NUL": (raw('{"a\\u0000b":' + A_TEXT + "}"), ["NUL"], "a\\x00b", True),
    "name of 70000 characters": (raw('{"' + "n" * 70000 + '":' + A_TEXT + "}"), ["long"], "nnn", True),
    "name with escape codes": (raw('{"\\u001b[2J\\n":1}'), [], "\\x1b[2J\\n", True),
    "dtype unknown": (safetensors({"a": entry("Q4_K", [4], 0, 16)}, FOUR), ["Q4_K"], "a", True),
    "dtype small letters": (safetensors({"a": entry("f32", [4], 0, 16)}, FOUR), ["f32"], "a", True),
    "dtype a number": (raw('{"a":{"dtype":1,"shape":[4],"data_offsets":[0,16]}}'), ["dtype"], "a", True),
    "dtype a list": (raw('{"a":{"dtype":["F32"],"shape":[4],"data_offsets":[0,16]}}'), ["dtype"], "a", True),
    "dtype null": (raw('{"a":{"dtype":null,"shape":[4],"data_offsets":[0,16]}}'), ["dtype"], "a", True),
    "dtype with escape codes": (safetensors({"a": entry("\x1b[2J\n" * 99, [4], 0, 16)}, FOUR), ["\\x1b"], "a", True),
    "shape a number": (raw('{"a":{"dtype":"F32","shape":4,"data_offsets":[0,16]}}'), ["shape"], "a", True),
    "shape an object": (raw('{"a":{"dtype":"F32","shape":{},"data_offsets":[0,16]}}'), ["shape"], "a", True),
    "shape of floats": (raw('{"a":{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}}'), ["shape"], "a", True),
    "shape of words": (raw('{"a":{"dtype":"F32","shape":["4"],"data_offsets":[0,16]}}'), ["shape"], "a", True),
    "shape of booleans": (raw('{"a":{"dtype":"F32","shape":[4,true],"data_offsets":[0,16]}}'), ["shape"], "a", True),
    "shape negative": (raw('{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}'), ["shape"], "a", True),
    "shape -0": (raw('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', b""), ["shape"], "a", True),
    "shape 2^64": (raw('{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,16]}}'), [], "a", True),
    "shape product 2^64": (safetensors({"a": entry("F32", [2**32, 2**32], 0, 0)}), ["needs"], "a", True),
    "shape product wraps to 4": (safetensors({"a": entry("F32", [2**62 + 1, 4], 0, 16)}, FOUR), ["needs"], "a", True),
    "shape overflow, then 0": (safetensors({"a": entry("F32", [2**62, 8, 0], 0, 0)}), ["needs"], "a", True),
    "rank 65": (safetensors({"a": entry("F32", [1] * 64 + [4], 0, 16)}, FOUR), ["64"], "a", True),
    "rank 100000": (safetensors({"a": entry("F32", [1] * 100_000, 0, 4)}, bytes(4)), ["64"], "a", True),
    "offsets one": (raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}}'), ["data_offsets"], "a", True),
    "offsets three": (raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8,16]}}'), ["data_offsets"], "a", True),
    "offsets words": (raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":["0","16"]}}'), ["data_offsets"], "a", True),
    "offsets floats": (raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0.0,16.0]}}'), ["data_offsets"], "a", True),
    "offsets -0": (raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":[-0,16]}}'), ["data_offsets"], "a", True),
    "offsets null": (raw('{"a":{"dtype":"F32","shape":[4],"data_offsets":null}}'), ["data_offsets"], "a", True),
    "offsets backwards": (safetensors({"a": entry("F32", [4], 16, 0)}, FOUR), ["data_offsets"], "a", True),
    "offsets negative": (safetensors({"a": entry("F32", [4], -16, 0)}, FOUR), ["data_offsets"], "a", True),
    "offsets 2^63": (safetensors({"a": entry("F32", [4], 2**63, 2**63 + 16)}, FOUR), ["data_offsets"], "a", True),
    "offsets 2^64-16": (safetensors({"a": entry("F32", [4], 2**64 - 16, 2**64)}, FOUR), ["data_offsets"], "a", True),
}  # fmt: skip

_START = 8 + len(json.dumps({"a": A}))
RANGES = {
    "end past the file": (safetensors({"a": entry("F32", [8], 0)}, FOUR), ["truncated", "download"], "a", _START),
    "one byte short": (safetensors({"a": A}, FOUR[:-1]), ["truncated"], "a", _START),
    "no data": (safetensors({"a": A}), ["truncated"], "a", _START),
    "a terabyte": (safetensors({"a": entry("F32", [2**38], 0)}, FOUR), ["truncated"], "a", True),
    "fewer bytes than the shape": (safetensors({"a": entry("F32", [4], 0, 12)}, FOUR), ["12 bytes", "16"], "a", True),
    "more bytes than the shape": (safetensors({"a": entry("F32", [3], 0, 16)}, FOUR), ["16 bytes", "12"], "a", True),
    "a scalar of 8 bytes": (safetensors({"a": entry("F32", [], 0, 8)}, FOUR[:8]), ["8 bytes", "4"], "a", True),
    "hole at the start": (safetensors({"a": entry("F32", [4], 16)}, FOUR * 2), ["hole"], "a", True),
    "hole between": (
        safetensors({"a": A, "b": entry("F32", [4], 24)}, bytes(40)), ["hole", "24", "16"], "b", True,
    ),
    "overlap": (safetensors({"a": A, "b": entry("F32", [4], 12)}, bytes(28)), ["overlaps"], "b", True),
    "the same bytes": (safetensors({"a": A, "b": A}, FOUR), ["overlaps"], "b", True),
    "one inside the other": (
        safetensors({"a": entry("F32", [8], 0), "b": entry("F32", [1], 4)}, bytes(32)), ["overlaps"], "b", True,
    ),
    "bytes behind": (safetensors({"a": A}, FOUR + b"\0"), ["follow"], None, _START + 16),
    "bytes behind nothing": (safetensors({}, b"\0"), ["follow"], None, 10),
    "empty tensor in the middle of another": (
        safetensors({"a": A, "b": entry("F32", [0], 8)}, FOUR), ["overlaps"], "b", True,
    ),
    "empty tensor behind the data": (safetensors({"a": A, "b": entry("F32", [0], 20)}, FOUR), [], "b", True),
}  # fmt: skip

ALL = {
    f"{group}: {name}": case
    for group, cases in (
        ("file", NOT_A_MODEL), ("length", LENGTHS), ("json", JSON), ("entry", MEMBERS), ("range", RANGES),
    )
    for name, case in cases.items()
}  # fmt: skip
"""Every file that must be refused."""


@pytest.mark.parametrize("name", ALL)
def test_refused(tmp_path: Path, name: str) -> None:
    data, words, tensor, offset = ALL[name]
    model = folder(tmp_path / "model", model=data)
    told = [
        refused(*command, names=["model.safetensors", *words], tensor=tensor, offset=offset, watch=tmp_path)
        for command in (
            ("convert", "--from", "safetensors", "--to", "gguf:q8_0", model, tmp_path / "out.gguf"),
            ("inspect", model),
            ("check", model),
            ("plan", "--to", "gguf", model),
        )
    ]
    assert len(set(told)) == 1
    refused("inspect", "--from", "safetensors", model / "model.safetensors", names=["model.safetensors", *words])


ODD = {
    "no tensors": (safetensors({}), "0 tensors"),
    "only metadata": (safetensors({"__metadata__": {"format": "pt"}}), "0 tensors"),
    "metadata null": (safetensors('{"__metadata__":null}'), "0 tensors"),
    "spaces behind the header": (raw(LENGTH_TEXT + "    "), "1 tensors"),
    "a scalar": (safetensors({"a": entry("F32", [], 0)}, FOUR[:4]), "1 tensors"),
    "an empty tensor": (safetensors({"a": entry("F32", [0, 5000], 0)}), "1 tensors"),
    "an empty tensor of many rows": (safetensors({"a": entry("F32", [2**60, 0], 0)}), "1 tensors"),
    "an empty tensor of long rows": (safetensors({"a": entry("F32", [0, 2**60], 0)}), "1 tensors"),
    "empty tensors between": (
        safetensors({"a": A, "b": entry("F32", [0], 16), "c": entry("F32", [0], 0)}, FOUR), "3 tensors",
    ),
    "rank 64": (safetensors({"a": entry("F32", [1] * 63 + [4], 0)}, FOUR), "1 tensors"),
    "entries not in the order of the data": (
        safetensors({"b": entry("F32", [4], 16), "a": A}, FOUR * 2), "2 tensors",
    ),
    "a name in another script": (safetensors({"тензор": A}, FOUR), "1 tensors"),
    "a name with a pair of surrogates": (raw('{"\\ud83d\\ude00":' + A_TEXT + "}"), "1 tensors"),
    "a name that is a path": (safetensors({"../../etc/passwd": A}, FOUR), "1 tensors"),
    "odd alignment of data": (
        safetensors({"b": entry("U8", [1], 0), "a": entry("F32", [1], 1)}, bytes(5)), "2 tensors",
    ),
    "every dtype": (
        safetensors(
            {
                "a": entry("I64", [1], 0), "b": entry("BOOL", [1], 8), "c": entry("F64", [1], 9),
                "d": entry("U8", [], 17),
            },
            bytes(18),
        ), "4 tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_accepted(tmp_path: Path, name: str) -> None:
    data, words = ODD[name]
    path = tmp_path / "odd.safetensors"
    path.write_bytes(data)
    said = accepted("inspect", "--tensors", path)
    assert words in said
    assert said.isascii()
    from hostile_run import run

    outcome = run("check", path)
    assert not outcome.err
    assert outcome.seconds < 10


@pytest.mark.parametrize("dtype", ["I8", "U8", "BOOL", "I64"])
def test_wrong_dtype_for_the_architecture(tmp_path: Path, dtype: str) -> None:
    made = tensors()
    name = "model.layers.0.mlp.up_proj.weight"
    size = {"I64": 8}.get(dtype, 1)
    made[name] = dtype, made[name][1], bytes(64 * 32 * size)
    model = folder(tmp_path / "model", made=made)
    refused("convert", "--to", "gguf:q8_0", model, tmp_path / "o.gguf",
            names=["model.safetensors", dtype.lower()], tensor="blk.0.ffn_up.weight", offset=True,
            watch=tmp_path)  # fmt: skip


@pytest.mark.parametrize("shape", [[32, 64], [64 * 32], [64, 32, 1], [2048, 1], []])
def test_wrong_shape_for_the_config(tmp_path: Path, shape: list[int]) -> None:
    made = tensors()
    name = "model.layers.0.mlp.up_proj.weight"
    made[name] = "F32", shape, weights(shape, "F32")
    model = folder(tmp_path / "model", made=made)
    refused("convert", "--to", "gguf:q8_0", model, tmp_path / "o.gguf", names=["model.safetensors", "[64, 32]"],
            tensor=name, offset=True, watch=tmp_path)  # fmt: skip


@pytest.mark.parametrize("keep", [*range(1, 1400, 97), 0.5, 0.9, 0.9999])
def test_truncated(tmp_path: Path, keep: float) -> None:
    whole = packed(tensors())
    cut = whole[: keep if isinstance(keep, int) else int(len(whole) * keep)]
    model = folder(tmp_path / "model", model=cut)
    refused("convert", "--to", "gguf:q8_0", model, tmp_path / "o.gguf",
            names=["model.safetensors"], offset=True, watch=tmp_path)  # fmt: skip


def test_config_is_used(tmp_path: Path) -> None:
    """The cases above fail for what they say, since the model itself converts."""
    assert CONFIG["head_dim"] == 16
    accepted("convert", "--to", "gguf:q8_0", folder(tmp_path / "model"), tmp_path / "o.gguf")
