"""GGUF files that lie in one field each: the cases of llama.cpp's test-gguf.cpp, and more."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hostile_build import (
    ARR,
    BOOL,
    F32,
    GGML_I8,
    GGML_I64,
    GGML_Q4_0,
    GGML_Q4_K,
    I8,
    I32,
    STR,
    U8,
    U32,
    U64,
    Info,
    array,
    gguf,
    kv,
    llama_gguf,
    llama_infos,
    llama_kvs,
    string,
)
from hostile_run import accepted, refused

HEAD = 24
"""Bytes before the first key-value."""
NAME = kv("general.name", STR, "x")
ALIGN = "general.alignment"
BIG = 1 << 62


def one(info: Info, *kvs: bytes, **lies: object) -> bytes:
    """A file of one tensor."""
    return gguf(list(kvs), [info], **lies)  # type: ignore[arg-type]


def two(first: Info, second: Info, *kvs: bytes, **lies: object) -> bytes:
    return gguf(list(kvs), [first, second], **lies)  # type: ignore[arg-type]


# name: bytes, words of the message, tensor, offset (True: any)
HEADER = {
    "empty file": (b"", ["empty"], None, None),
    "three bytes": (b"GGU", [], None, None),
    "magic only": (b"GGUF", ["truncated", "version"], None, 4),
    "magic FUGG": (gguf(magic=b"FUGG"), ["FUGG"], None, 0),
    "magic backwards": (gguf(magic=b"FUGU"), [], None, 0),
    "version 0": (gguf(version=0), ["version 0"], None, 4),
    "version 1": (gguf(version=1), ["version 1"], None, 4),
    "version 4": (gguf(version=4), ["version 4"], None, 4),
    "version huge": (gguf(version=0xFFFFFFFF), ["version 4294967295"], None, 4),
    "big-endian 3": (b"GGUF" + struct.pack(">Iqq", 3, 0, 0), ["big-endian"], None, 4),
    "big-endian 2": (b"GGUF" + struct.pack(">Iqq", 2, 0, 0), ["big-endian"], None, 4),
    "no counts": (gguf()[:8], ["truncated"], None, 8),
    "no second count": (gguf()[:16], ["truncated"], None, 16),
    "-1 tensors": (gguf(n_tensors=-1), ["-1 tensors"], None, 8),
    "-1 key-values": (gguf(n_kv=-1), ["-1 key-values"], None, 16),
    "2^62 tensors": (gguf(n_tensors=BIG), ["impossible count"], None, 8),
    "2^62 key-values": (gguf(n_kv=BIG), ["impossible count"], None, 16),
    "a billion tensors": (gguf(n_tensors=10**9, tail=bytes(4096)), ["impossible count"], None, 8),
    "more tensors than there are": (gguf([NAME], [Info("a")], n_tensors=2), [], None, True),
    "more key-values than there are": (gguf([NAME], n_kv=2, tail=bytes(8)), [], None, True),
    "fewer key-values than there are": (gguf([NAME, kv("b", U32, 1)], [Info("a")], n_kv=1), [], None, True),
}

KEY_VALUES = {
    "key length -1": (gguf([kv("a", U32, 1, key_length=-1)]), ["impossible length"], None, HEAD),
    "key length past the end": (gguf([kv("a", U32, 1, key_length=5000)]), ["impossible length"], None, HEAD),
    "key of 70000 bytes": (gguf([kv("k" * 70000, U32, 1)]), ["impossible length"], None, HEAD),
    "empty key": (gguf([kv("", U32, 1)]), ["empty key"], None, HEAD),
    "key not UTF-8": (gguf([kv(b"\xff\xfe", U32, 1)]), ["not UTF-8"], None, HEAD),
    "key with NUL": (gguf([kv(b"a\0b", U32, 1)]), ["NUL"], None, HEAD),
    "key with escape codes": (gguf([kv("a\x1b[2J\nb", U32, 1, type_id=99)]), ["\\x1b[2J\\nb", "type 99"], None, True),
    "key twice": (gguf([kv("a", U32, 1), kv("b", U32, 1), kv("a", U32, 2)]), ["key a stands twice"], None, 58),
    "key twice, other type": (gguf([kv("a", U32, 1), kv("a", STR, "x")]), ["stands twice"], None, 41),
    "type 13": (gguf([kv("a", U32, 1, type_id=13)]), ["type 13"], None, 33),
    "type -1": (gguf([kv("a", U32, 1, type_id=-1)]), ["type -1"], None, 33),
    "type 2^31-1": (gguf([kv("a", U32, 1, type_id=2**31 - 1)]), ["type 2147483647"], None, 33),
    "value cut": (gguf([kv("a", U32, 1)])[:-1], ["truncated"], None, 37),
    "u64 value cut": (gguf([kv("a", U64, 1)])[:-3], ["truncated"], None, 37),
    "bool value missing": (gguf([kv("a", BOOL, 1)])[:-1], ["truncated"], None, 37),
    "type cut": (gguf([kv("abcdef", U32, 1)])[:-6], ["truncated", "type"], None, 38),
    "string length -1": (gguf([kv("a", ARR, string("x", -1), type_id=STR)]), ["impossible length"], None, 37),
    "string past the end": (gguf([kv("a", ARR, string("xyz", 4), type_id=STR)]), ["impossible length"], None, 37),
    "string length 2^63": (gguf([kv("a", ARR, string("x", 1 << 63), type_id=STR)]), ["impossible length"], None, 37),
    "array of arrays": (
        gguf([kv("a", ARR, array(ARR, [], count=1) + array(U8, [1]))]), ["array of arrays"], None, True,
    ),
    "array of type 13": (gguf([kv("a", ARR, array(U8, [1], item_id=13))]), ["type 13"], None, 37),
    "array of type -5": (gguf([kv("a", ARR, array(U8, [1], item_id=-5))]), ["type -5"], None, 37),
    "array count past the end": (gguf([kv("a", ARR, array(U8, [1, 2], count=3))]), ["impossible count"], None, 41),
    "array count 2^30+1": (gguf([kv("a", ARR, array(U8, [1], count=2**30 + 1))]), ["impossible count"], None, 41),
    "array count -1": (gguf([kv("a", ARR, array(U8, [1], count=2**64 - 1))]), ["impossible count"], None, 41),
    "array count wraps": (gguf([kv("a", ARR, array(U64, [1], count=2**61))]), ["impossible count"], None, 41),
    "string array count past the end": (gguf([kv("a", ARR, array(STR, ["x"], count=2))]), [], None, True),
    "string array item past the end": (
        gguf([kv("a", ARR, array(U8, [], item_id=STR, count=2) + string("x") + string("y", 99))]),
        ["impossible length"], None, 58,
    ),
    "string array item length -1": (
        gguf([kv("a", ARR, array(U8, [], item_id=STR, count=1) + string("x", -1))]), ["impossible length"], None, 49,
    ),
    "array header cut": (gguf([kv("a", ARR, array(U8, [1, 2])[:6])]), ["truncated"], None, 41),
}  # fmt: skip

ALIGNMENT = {
    "alignment 0": (one(Info("a"), kv(ALIGN, U32, 0)), ["alignment is 0", "powers of two"], None, True),
    "alignment 13": (one(Info("a"), kv(ALIGN, U32, 13), alignment=13), ["alignment is 13"], None, True),
    "alignment 2^31": (one(Info("a"), kv(ALIGN, U32, 2**31)), ["alignment is 2147483648"], None, True),
    "alignment 2^32-1": (one(Info("a"), kv(ALIGN, U32, 2**32 - 1)), ["alignment is 4294967295"], None, True),
    "alignment i32": (one(Info("a"), kv(ALIGN, I32, 32)), ["I32", "U32"], None, True),
    "alignment u64": (one(Info("a"), kv(ALIGN, U64, 32)), ["U64", "U32"], None, True),
    "alignment text": (one(Info("a"), kv(ALIGN, STR, "32")), ["STRING", "U32"], None, True),
    "alignment array": (one(Info("a"), kv(ALIGN, ARR, array(U32, [32]))), ["ARRAY", "U32"], None, True),
    "alignment not kept": (two(Info("a", (3,)), Info("b"), alignment=1), ["offset 12", "alignment 32"], "b", True),
    "alignment kept, not said": (two(Info("a"), Info("b"), kv(ALIGN, U32, 256)), ["alignment 256"], "b", True),
}

INFO_AT = 24
TENSORS = {
    "name length -1": (one(Info("a", name_length=-1)), ["impossible length"], None, INFO_AT),
    "name of 64 bytes": (one(Info("n" * 64)), ["64 bytes", "63"], None, INFO_AT),
    "name of 70000 bytes": (one(Info("n" * 70000)), ["impossible length"], None, INFO_AT),
    "name not UTF-8": (one(Info(b"a\xff")), ["not UTF-8"], None, INFO_AT),
    "name with NUL": (one(Info(b"a\0b")), ["NUL"], None, INFO_AT),
    "name twice": (two(Info("a"), Info("a")), ["twice"], "a", True),
    "name with escape codes twice": (
        two(Info("\x1b]0;x\x07"), Info("\x1b]0;x\x07")),
        ["twice"],
        "\\x1b]0;x\\x07",
        True,
    ),
    "5 dimensions": (one(Info("a", (1, 1, 1, 1, 1))), ["5 dimensions", "4"], "a", INFO_AT),
    "1 dimension of blocks": (one(Info("a", (64,), GGML_Q4_0)), ["1 dimensions of type Q4_0"], "a", INFO_AT),
    "2^32-1 dimensions": (one(Info("a", n_dims=2**32 - 1)), ["4294967295 dimensions"], "a", INFO_AT),
    "dimension -1": (one(Info("a", (32, -1))), ["negative"], "a", INFO_AT),
    "dimension -2^63": (one(Info("a", (-(2**63),))), ["negative"], "a", INFO_AT),
    "elements overflow": (one(Info("a", (4 * (2**31 - 1), 4 * (2**31 - 1), 2))), [], "a", INFO_AT),
    "elements overflow 2^64": (one(Info("a", (2**32, 2**32))), [], "a", INFO_AT),
    "bytes overflow": (one(Info("a", (2**60, 4), GGML_I64)), [], "a", INFO_AT),
    "padded bytes wrap": (one(Info("a", (4, 2**30 - 1, 2**30 + 1))), [], "a", INFO_AT),
    "elements overflow, a zero last": (one(Info("a", (2**62, 2**62, 0))), [], "a", INFO_AT),
    "elements overflow, a zero first": (one(Info("a", (0, 2**62, 2**62))), [], "a", INFO_AT),
    "two tensors of 2^63-64": (
        two(Info("a", (2**63 - 64,), GGML_I8), Info("b", (2**63 - 64,), GGML_I8)),
        [],
        "a",
        True,
    ),
    "a petabyte": (one(Info("a", (2**48,))), ["truncated"], "a", True),
    "type 43": (one(Info("a", type=43)), ["type 43"], "a", INFO_AT),
    "type -1": (one(Info("a", type=-1)), ["type -1"], "a", INFO_AT),
    "type 2^31-1": (one(Info("a", type=2**31 - 1)), ["type 2147483647"], "a", INFO_AT),
    "type 4, removed": (one(Info("a", type=4)), ["Q4_2", "removed"], "a", INFO_AT),
    "type 5, removed": (one(Info("a", type=5)), ["Q4_3", "removed"], "a", INFO_AT),
    "type 31, removed": (one(Info("a", type=31)), ["Q4_0_4_4", "removed"], "a", INFO_AT),
    "type 36, removed": (one(Info("a", type=36)), ["removed"], "a", INFO_AT),
    "Q4_0 with a row of 33": (one(Info("a", (33,), GGML_Q4_0)), ["33", "32"], "a", INFO_AT),
    "Q4_K with a row of 255": (one(Info("a", (255, 2), GGML_Q4_K)), ["255", "256"], "a", INFO_AT),
    "Q4_0 scalar": (one(Info("a", (), GGML_Q4_0)), ["blocks of 32"], "a", INFO_AT),
    "offset -1": (one(Info("a", offset=-1)), ["offset 18446744073709551615"], "a", INFO_AT),
    "offset 2^63": (one(Info("a", offset=2**63)), ["offset"], "a", INFO_AT),
    "offset odd": (one(Info("a", offset=1)), ["alignment"], "a", INFO_AT),
    "first offset 32": (one(Info("a", offset=32), tail=bytes(64)), ["hole"], "a", INFO_AT),
    "hole": (two(Info("a"), Info("b", offset=256), tail=bytes(512)), ["hole"], "b", True),
    "overlap": (two(Info("a"), Info("b", offset=64)), ["overlaps"], "b", True),
    "same offset": (two(Info("a"), Info("b", offset=0)), ["overlaps"], "b", True),
    "out of order": (two(Info("a", offset=128), Info("b", offset=0)), [], "a", True),
    "name cut": (one(Info("abcdef"))[: INFO_AT + 10], [], None, True),
    "dimensions cut": (one(Info("a", (4, 8)))[: INFO_AT + 20], ["truncated"], None, True),
    "type cut": (one(Info("a", (4,)))[: INFO_AT + 21], ["truncated"], None, True),
    "offset cut": (one(Info("a", (4,)))[: INFO_AT + 27], ["truncated"], None, True),
}

_WHOLE = one(Info("a", (5,)), pad_last=False)
DATA = {
    "one byte short": (_WHOLE[:-1], ["truncated", str(len(_WHOLE) - 1)], "a", len(_WHOLE) - 20),
    "no data": (_WHOLE[:-20], ["truncated"], "a", len(_WHOLE) - 20),
    "no padding before the data": (one(Info("a", (5,)), pad_last=False)[: INFO_AT + 33], ["truncated"], "a", True),
    "second tensor cut": (two(Info("a"), Info("b"))[:-1], ["truncated"], "b", True),
    "last padding and a byte cut": (two(Info("a"), Info("b", (9,)))[:-29], ["truncated"], "b", True),
}

ALL = {
    f"{group}: {name}": case
    for group, cases in (
        ("header", HEADER), ("kv", KEY_VALUES), ("alignment", ALIGNMENT), ("tensor", TENSORS), ("data", DATA),
    )
    for name, case in cases.items()
}  # fmt: skip
"""Every file that must be refused."""


@pytest.mark.parametrize("name", ALL)
def test_refused(tmp_path: Path, name: str) -> None:
    data, words, tensor, offset = ALL[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    out = tmp_path / "out.gguf"
    told = [
        refused(*command, names=["bad.gguf", *words], tensor=tensor, offset=offset, watch=tmp_path)
        for command in (
            ("convert", "--from", "gguf", "--to", "gguf:q8_0", path, out),
            ("inspect", "--from", "gguf", path),
            ("check", "--from", "gguf", path),
        )
    ]
    assert len(set(told)) == 1
    if data[:4] == b"GGUF":
        assert refused("inspect", path, watch=tmp_path) == told[0]


@pytest.mark.parametrize("keep", [*range(1, 400, 13), 0.3, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, keep: float) -> None:
    whole = llama_gguf()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    refused("convert", "--from", "gguf", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["cut.gguf"],
            offset=None if keep == 1 else True, watch=tmp_path)  # fmt: skip


# --- odd, and right ----------------------------------------------------------------------------------------------

ODD = {
    "no tensors, no key-values": (gguf(), "0 tensors"),
    "no tensors, padded": (gguf([NAME], tail=bytes(100)), "0 tensors"),
    "version 2": (gguf([NAME], [Info("a")], version=2), "version: 2"),
    "a zero dimension": (one(Info("a", (32, 0))), "1 tensors"),
    "a zero first dimension": (one(Info("a", (0, 5))), "1 tensors"),
    "a zero dimension beside large ones": (one(Info("a", (2**40, 0))), "1 tensors"),
    "zero dimension, then another": (two(Info("a", (4, 0)), Info("b")), "2 tensors"),
    "no dimensions": (one(Info("a", ())), "1 tensors"),
    "trailing dimensions of 1": (one(Info("a", (32, 1, 1, 1))), "1 tensors"),
    "alignment 1": (two(Info("a", (3,)), Info("b"), kv(ALIGN, U32, 1), alignment=1), "alignment: 1"),
    "alignment 8": (two(Info("a", (3,)), Info("b"), kv(ALIGN, U32, 8), alignment=8), "alignment: 8"),
    "alignment 4096": (two(Info("a"), Info("b"), kv(ALIGN, U32, 4096), alignment=4096), "alignment: 4096"),
    "last tensor not padded": (one(Info("a", (3,)), pad_last=False), "not padded"),
    "bytes after the data": (one(Info("a"), tail=b"more"), "1 tensors"),
    "empty string": (gguf([kv("a", STR, "")]), "a ="),
    "empty array": (gguf([kv("a", ARR, array(U32, []))]), "a = []"),
    "empty array of strings": (gguf([kv("a", ARR, array(STR, []))]), "a = []"),
    "array of empty strings": (gguf([kv("a", ARR, array(STR, [""] * 5))]), "5 items"),
    "string value not UTF-8": (gguf([kv("a", STR, b"\xff\xfe!")]), "a ="),
    "string value with NUL and ESC": (gguf([kv("a", STR, b"\0\x1b[2J")]), "a = \\x00\\x1b[2J"),
    "bool 2": (gguf([kv("a", BOOL, 2)]), "a = true"),
    "NaN": (gguf([kv("a", F32, float("nan"))]), "a ="),
    "i8": (gguf([kv("a", I8, -128)]), "a = -128"),
    "63-byte name": (one(Info("n" * 63)), "1 tensors"),
    "name in another script": (one(Info("тензор")), "1 tensors"),
    "a token of 2 MiB": (gguf([kv("a", ARR, array(STR, ["x" * (2 << 20), "y", "z" * (1 << 20), ""]))]), "4 items"),
}


@pytest.mark.parametrize("name", ODD)
def test_accepted(tmp_path: Path, name: str) -> None:
    data, words = ODD[name]
    path = tmp_path / "odd.gguf"
    path.write_bytes(data)
    said = accepted("inspect", "--tensors", path)
    assert words in said
    assert said.isascii()
    assert "internal" not in said


@pytest.mark.parametrize("name", ODD)
def test_accepted_by_check(tmp_path: Path, name: str) -> None:
    """`check` reads all data; what is odd may not stop it, nor take long."""
    from hostile_run import run

    path = tmp_path / "odd.gguf"
    path.write_bytes(ODD[name][0])
    outcome = run("check", path)
    assert not outcome.err
    assert outcome.seconds < 10


def test_converts_whatever_the_alignment(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    path.write_bytes(gguf([*llama_kvs(), kv(ALIGN, U32, 4096)], llama_infos(), alignment=4096))
    accepted("convert", "--to", "gguf:q8_0", path, tmp_path / "out.gguf")


# --- wrong values in a right file ----------------------------------------------------------------------------------

VALUES = {
    "no architecture": ({"architecture": b""}, ["architecture"]),
    "architecture unknown": ({"architecture": kv("general.architecture", STR, "zeta")}, ["zeta"]),
    "architecture not UTF-8": ({"architecture": kv("general.architecture", STR, b"\xff")}, ["architecture"]),
    "architecture a number": ({"architecture": kv("general.architecture", U32, 7)}, ["general.architecture"]),
    "architecture an array": (
        {"architecture": kv("general.architecture", ARR, array(STR, ["llama"]))}, ["general.architecture"],
    ),
    "no layer count": ({"block_count": b""}, ["num_hidden_layers"]),
    "0 layers": ({"block_count": kv("llama.block_count", U32, 0)}, ["num_hidden_layers"]),
    "2 layers": ({"block_count": kv("llama.block_count", U32, 2)}, ["missing", "model.layers.1."]),
    "13 layers": ({"block_count": kv("llama.block_count", U32, 13)}, ["13 layers", "12 tensors"]),
    "a billion layers": ({"block_count": kv("llama.block_count", U32, 10**9)}, ["num_hidden_layers"]),
    "layers as text": ({"block_count": kv("llama.block_count", STR, "one")}, ["num_hidden_layers"]),
    "layers as float": ({"block_count": kv("llama.block_count", F32, 1.0)}, ["num_hidden_layers"]),
    "layers as array": ({"block_count": kv("llama.block_count", ARR, array(U32, [1]))}, ["num_hidden_layers"]),
    "layers true": ({"block_count": kv("llama.block_count", BOOL, 1)}, ["num_hidden_layers"]),
    "0 heads": ({"head_count": kv("llama.attention.head_count", U32, 0)}, ["num_attention_heads"]),
    "3 heads": ({"head_count": kv("llama.attention.head_count", U32, 3)}, ["3"]),
    "heads 2^32-1": ({"head_count": kv("llama.attention.head_count", U32, 2**32 - 1)}, []),
    "hidden 64": ({"embedding_length": kv("llama.embedding_length", U32, 64)}, ["shape"]),
    "hidden u64 2^63": ({"embedding_length": kv("llama.embedding_length", U64, 2**63)}, ["hidden_size"]),
    "epsilon NaN": ({"epsilon": kv("llama.attention.layer_norm_rms_epsilon", F32, float("nan"))}, ["rms_norm_eps"]),
    "epsilon Inf": ({"epsilon": kv("llama.attention.layer_norm_rms_epsilon", F32, float("inf"))}, ["rms_norm_eps"]),
    "theta NaN": ({"freq_base": kv("llama.rope.freq_base", F32, float("nan"))}, ["rope_theta"]),
    "theta negative": ({"freq_base": kv("llama.rope.freq_base", F32, -1.0)}, ["rope_theta"]),
    "theta text": ({"freq_base": kv("llama.rope.freq_base", STR, "many")}, ["rope_theta"]),
    "rope type unknown": ({"rope": kv("llama.rope.scaling.type", STR, "spiral")}, ["spiral"]),
    "rope type a number": ({"rope": kv("llama.rope.scaling.type", U32, 1)}, ["rope"]),
    "rope linear, no factor": ({"rope": kv("llama.rope.scaling.type", STR, "linear")}, ["factor"]),
    "head_dim 15": ({"key_length": kv("llama.attention.key_length", U32, 15)}, []),
    "vocabulary of 65": ({"vocab_size": kv("llama.vocab_size", U32, 65)}, ["shape", "[65, 32]"]),
    "split.count text": ({"split": kv("split.count", STR, "two")}, ["split.count"]),
    "split.count array": ({"split": kv("split.count", ARR, array(U32, [2]))}, ["split.count"]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_settings_refused(tmp_path: Path, name: str) -> None:
    more, words = VALUES[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(llama_gguf(**more))
    refused("convert", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["bad.gguf", *words], watch=tmp_path)


def test_settings_wrong_for_check(tmp_path: Path) -> None:
    """`check` lists faults of values that nothing else reads; no type of them may stop it."""
    from hostile_run import run

    values = (
        kv("tokenizer.ggml.tokens", U32, 5), kv("tokenizer.ggml.tokens", STR, "abc"),
        kv("tokenizer.ggml.scores", BOOL, 1), kv("tokenizer.ggml.token_type", F32, 1.0),
        kv("tokenizer.ggml.model", U32, 1),
        kv("tokenizer.ggml.model", ARR, array(U8, [1])),
    )  # fmt: skip
    for number, value in enumerate(values):
        path = tmp_path / f"{number}.gguf"
        tokens = [] if b"ggml.tokens" in value else [kv("tokenizer.ggml.tokens", ARR, array(STR, ["a", "b"]))]
        path.write_bytes(gguf([*llama_kvs(), *tokens, value], llama_infos()))
        outcome = run("check", path)
        assert outcome.status == 1
        assert not outcome.err, outcome.err


def test_tensor_missing(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(gguf(llama_kvs(), llama_infos()[:-2]))
    refused("convert", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["bad.gguf", "missing"], watch=tmp_path)


@pytest.mark.parametrize("name", ["blk.0.attn_qkv.weight", "model.norm.weight", "blk.1.attn_q.weight", "x\ny"])
def test_tensor_without_a_name_in_the_architecture(tmp_path: Path, name: str) -> None:
    """Also one that bears another format's right name: it must not take the place of the real one."""
    path = tmp_path / "bad.gguf"
    path.write_bytes(gguf(llama_kvs(), [*llama_infos(), Info(name)]))
    shown = name.replace("\n", "\\n")
    refused("convert", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["bad.gguf", shown], watch=tmp_path)


def test_a_format_s_names_under_the_other_format(tmp_path: Path) -> None:
    """The canonical names inside a GGUF file: rows would not be put back in order, so none is taken."""
    path = tmp_path / "bad.gguf"
    infos = llama_infos()
    infos[-2].name = "model.norm.weight"
    path.write_bytes(gguf(llama_kvs(), infos))
    refused("convert", "--to", "gguf:q8_0", path, tmp_path / "o.gguf", names=["model.norm.weight"], watch=tmp_path)


def test_no_name_of_a_file_is_printed_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\nb.gguf"
    path.write_bytes(b"GGUF")
    line = refused("inspect", path, watch=tmp_path)
    assert "\\x1b[31m\\nb.gguf" in line


def test_end_of_a_long_path_is_told(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(4):
        folder = folder / ("d" * 100)
    os.makedirs(folder)
    (folder / "named.gguf").write_bytes(b"GGUF")
    refused("inspect", folder / "named.gguf", names=["named.gguf"])
