"""Key-values of GGUF: bytes, limits, and overrides by the user."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError, UsageError
from hub_gguf.kv import Kv, KvType, encode, merge, parse_override, text, texts

RANGES = {
    KvType.U8: (0, 255),
    KvType.I8: (-128, 127),
    KvType.U16: (0, 65535),
    KvType.I16: (-32768, 32767),
    KvType.U32: (0, (1 << 32) - 1),
    KvType.I32: (-(1 << 31), (1 << 31) - 1),
    KvType.U64: (0, (1 << 64) - 1),
    KvType.I64: (-(1 << 63), (1 << 63) - 1),
}


def read_back(kvs: list[Kv], path: Path) -> dict[str, Any]:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(kvs)) + encode(kvs) + bytes(64))
    reader = gguf.GGUFReader(path)
    return {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}


def test_the_numbers_of_types_are_ggufs() -> None:
    theirs = {kind.name: int(kind) for kind in gguf.GGUFValueType}
    words = {"U": "UINT", "I": "INT", "F": "FLOAT"}
    for kind in KvType:
        name = kind.name if kind.name in theirs else words[kind.name[0]] + kind.name[1:]
        assert theirs[name] == kind


def test_every_type_comes_back(tmp_path: Path) -> None:
    kvs = [Kv(f"k.{kind.name}", kind, high) for kind, (_, high) in RANGES.items()]
    kvs += [Kv(f"a.{kind.name}", KvType.ARRAY, [low, high, 1], kind) for kind, (low, high) in RANGES.items()]
    kvs += [
        Kv("f32", KvType.F32, 1.5),
        Kv("f64", KvType.F64, 0.1),
        Kv("f32s", KvType.ARRAY, [1, 0.5, -3.0], KvType.F32),
        Kv("yes", KvType.BOOL, True),
        Kv("bools", KvType.ARRAY, [True, False], KvType.BOOL),
        text("s", "grüße"),
        texts("ss", ["a", "", "ü"]),
        texts("bs", [b"a", "▁".encode()]),
    ]
    found = read_back(kvs, tmp_path / "x.gguf")
    assert list(found) == [kv.key for kv in kvs]
    for kv in kvs:
        value = kv.value
        if kv.key == "bs":
            value = ["a", "▁"]
        assert found[kv.key].contents() == value, kv
        assert int(found[kv.key].types[0]) == kv.type
        if kv.item is not None:
            assert int(found[kv.key].types[-1]) == kv.item


def test_numpy_arrays_are_arrays(tmp_path: Path) -> None:
    kvs = [
        Kv("i", KvType.ARRAY, np.arange(5, dtype=np.int32), KvType.I32),
        Kv("f", KvType.ARRAY, np.linspace(0, 1, 3), KvType.F32),
        Kv("n", KvType.U32, np.uint32(7)),
        Kv("raw", KvType.ARRAY, b"\x00\xff", KvType.U8),
    ]
    found = read_back(kvs, tmp_path / "x.gguf")
    assert found["i"].contents() == [0, 1, 2, 3, 4]
    assert found["f"].contents() == [0.0, 0.5, 1.0]
    assert found["n"].contents() == 7
    assert found["raw"].contents() == [0, 255]


def test_text_that_was_not_utf8_goes_back_as_it_came() -> None:
    assert encode([text("k", b"\xff".decode("utf-8", "surrogateescape"))]).endswith(b"\x01" + bytes(7) + b"\xff")


@pytest.mark.parametrize("kind", RANGES)
def test_integers_out_of_range_are_refused(kind: KvType) -> None:
    low, high = RANGES[kind]
    for value in (low - 1, high + 1, 10**30, -(10**30)):
        with pytest.raises(HubError, match=f"does not fit {kind.name}"):
            encode([Kv("k", kind, value)])
        with pytest.raises(HubError, match="does not fit"):
            encode([Kv("k", KvType.ARRAY, [low, value], kind)])


@pytest.mark.parametrize(
    ("kv", "message"),
    [
        (Kv("", KvType.U8, 1), "a key of 0 bytes"),
        (Kv("k" * 65536, KvType.U8, 1), "a key of 65536 bytes"),
        (Kv("k\ud800", KvType.U8, 1), "surrogate"),
        (Kv("k", KvType.U8, True), "true or false"),
        (Kv("k", KvType.U8, 1.0), "integers are wanted"),
        (Kv("k", KvType.U8, "1"), "a number is wanted"),
        (Kv("k", KvType.U8, None), "a number is wanted"),
        (Kv("k", KvType.BOOL, 1), "true or false is wanted"),
        (Kv("k", KvType.F32, 1e39), "beyond the range of F32"),
        (Kv("k", KvType.F32, 10**400), "beyond the range of F32"),
        (Kv("k", KvType.F32, True), "a number is wanted"),
        (Kv("k", KvType.STRING, 1), "a string is wanted"),
        (Kv("k", KvType.STRING, "\ud800"), "surrogate"),
        (Kv("k", KvType.STRING, "x", KvType.U8), "it is no array"),
        (Kv("k", KvType.ARRAY, [1]), "needs an item type"),
        (Kv("k", KvType.ARRAY, [[1]], KvType.ARRAY), "needs an item type"),
        (Kv("k", KvType.ARRAY, "abc", KvType.STRING), "an array is wanted"),
        (Kv("k", KvType.ARRAY, 5, KvType.U8), "an array is wanted"),
        (Kv("k", KvType.ARRAY, [1, "a"], KvType.U8), "integers are wanted"),
        (Kv("k", KvType.ARRAY, ["a", 1], KvType.STRING), "a string is wanted"),
        (Kv("k", KvType.ARRAY, [1.0, "a"], KvType.F32), "numbers are wanted"),
        (Kv("k", KvType.ARRAY, [1, 0], KvType.BOOL), "true or false is wanted"),
        (Kv("k", KvType.ARRAY, [True], KvType.I32), "a number is wanted"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(kv: Kv, message: str) -> None:
    with pytest.raises(HubError, match=message):
        encode([kv])


def test_a_key_twice_is_refused_and_can_be_merged() -> None:
    twice = [Kv("a", KvType.U8, 1), Kv("b", KvType.U8, 2), Kv("a", KvType.U16, 3)]
    with pytest.raises(HubError, match="stands twice"):
        encode(twice)
    assert merge(twice) == [Kv("a", KvType.U16, 3), Kv("b", KvType.U8, 2)]


def test_many_strings_are_quick() -> None:
    values = [b"token %d" % index for index in range(260_000)]
    begin = time.process_time()
    encode([texts("k", values), Kv("t", KvType.ARRAY, [1] * 260_000, KvType.I32)])
    assert time.process_time() - begin < 1.5


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(KvType)),
    st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none(), st.binary()),
)
def test_any_value_is_written_or_refused(kind: KvType, value: Any) -> None:
    for kv in (Kv("k", kind, value), Kv("k", KvType.ARRAY, [value], kind)):
        with contextlib.suppress(HubError):
            encode([kv])


U32 = {"k": Kv("k", KvType.U32, 1), "f": Kv("f", KvType.F64, 1.0), "l": Kv("l", KvType.ARRAY, [1], KvType.I32)}


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("k=7", Kv("k", KvType.U32, 7)),
        ("k=i64:-7", Kv("k", KvType.I64, -7)),
        ("k=int:7", Kv("k", KvType.U32, 7)),
        ("f=7", Kv("f", KvType.F64, 7.0)),
        ("f=float:7", Kv("f", KvType.F64, 7.0)),
        ("l=[1, 2]", Kv("l", KvType.ARRAY, [1, 2], KvType.I32)),
        ("x=arr[str]:[\"a\"]", Kv("x", KvType.ARRAY, ["a"], KvType.STRING)),
        ("x=arr[f32]:[1, 2.5]", Kv("x", KvType.ARRAY, [1, 2.5], KvType.F32)),
        ("tokenizer.ggml.pre=qwen2", Kv("tokenizer.ggml.pre", KvType.STRING, "qwen2")),
        ("tokenizer.ggml.eos_token_id=2", Kv("tokenizer.ggml.eos_token_id", KvType.U32, 2)),
        ("tokenizer.ggml.add_bos_token=false", Kv("tokenizer.ggml.add_bos_token", KvType.BOOL, False)),
        ("tokenizer.chat_template={{ a=b }}", Kv("tokenizer.chat_template", KvType.STRING, "{{ a=b }}")),
        ("general.name=7", Kv("general.name", KvType.STRING, "7")),
        ("general.url=https://example.org/x", Kv("general.url", KvType.STRING, "https://example.org/x")),
        ("general.license.link=x", Kv("general.license.link", KvType.STRING, "x")),
        ("general.file_type=15", Kv("general.file_type", KvType.U32, 15)),
        ("general.sampling.temp=1", Kv("general.sampling.temp", KvType.F32, 1.0)),
        ("general.sampling.top_k=40", Kv("general.sampling.top_k", KvType.I32, 40)),
        ("llama.context_length=4096", Kv("llama.context_length", KvType.U32, 4096)),
        ("llama.rope.freq_base=10000", Kv("llama.rope.freq_base", KvType.F32, 10000.0)),
        ("llama.attention.layer_norm_rms_epsilon=1e-5", Kv("llama.attention.layer_norm_rms_epsilon", KvType.F32, 1e-5)),
        ("x.y=true", Kv("x.y", KvType.BOOL, True)),
        ("x.y=-1", Kv("x.y", KvType.I32, -1)),
        ("x.y=4294967296", Kv("x.y", KvType.I64, 1 << 32)),
        ("x.y=18446744073709551615", Kv("x.y", KvType.U64, (1 << 64) - 1)),
        ("x.y=1.5", Kv("x.y", KvType.F32, 1.5)),
        ("x.y=a:b", Kv("x.y", KvType.STRING, "a:b")),
        ("x.y=str:5", Kv("x.y", KvType.STRING, "5")),
        ("x.y=string:u8:5", Kv("x.y", KvType.STRING, "u8:5")),
        ("x.y=", Kv("x.y", KvType.STRING, "")),
        ("x.y=line\nline", Kv("x.y", KvType.STRING, "line\nline")),
    ],
)  # fmt: skip
def test_overrides(argument: str, wanted: Kv) -> None:
    assert parse_override(argument, U32) == wanted


@pytest.mark.parametrize(
    "argument",
    [
        "", "k", "=5", "k=x", "k=-1", "k=4294967296", "k=1.5", "k=true", "k=u8:256", "k=bool:1", "k=f32:nan",
        "k=f32:1e39",
        "l=5", "l=[1.5]", "l=[\"a\"]", "l={}", "l=[1", "x=arr[arr]:[]", "x=arr[what]:[]", "x=int:a", "x=u64:-1",
        "k\x1b[0m=5", "general.file_type=Q4", "x=int:" + "9" * 5000, "x=u32:" + "9" * 5000,
    ],
)  # fmt: skip
def test_overrides_that_are_refused(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_override(argument, U32)
    assert str(caught.value).isprintable()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"[a-z.]{1,9}=([a-z0-9]{1,4}:)?[-0-9a-z\[\]\".,e]{0,9}", fullmatch=True)))
def test_any_override_is_read_or_refused(argument: str) -> None:
    try:
        made = parse_override(argument, U32)
    except UsageError:
        return
    encode([made])
