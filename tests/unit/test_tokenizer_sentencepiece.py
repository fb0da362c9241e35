"""The parser of tokenizer.model, against sentencepiece itself and against damage."""

from __future__ import annotations

import random
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest

from hub.errors import FormatError, HubError
from hub.ir.tokenizer import TokenType
from hub_safetensors.sentencepiece_model import parse

PATH = Path(__file__).parents[1] / "data" / "tiny-llama" / "tokenizer.model"
DATA = PATH.read_bytes()


def processor(data: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        sentencepiece = pytest.importorskip("sentencepiece")
    made = sentencepiece.SentencePieceProcessor()
    made.LoadFromSerializedProto(data)
    return made


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text: bytes, score: float = 0.0, kind: int = 1) -> bytes:
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind))


UNK = piece(b"<unk>", 0, 2)


def test_pieces_are_those_of_sentencepiece() -> None:
    theirs = processor(DATA)
    ours = parse(DATA, path=PATH)
    assert len(ours.pieces) == theirs.vocab_size()
    for index, (text, score, kind) in enumerate(zip(ours.pieces, ours.scores, ours.types, strict=True)):
        assert text.decode() == theirs.IdToPiece(index)
        assert score == theirs.GetScore(index)
        assert (kind is TokenType.UNKNOWN) == theirs.IsUnknown(index)
        assert (kind is TokenType.CONTROL) == theirs.IsControl(index)
        assert (kind is TokenType.UNUSED) == theirs.IsUnused(index)
        assert (kind is TokenType.BYTE) == theirs.IsByte(index)
    assert (ours.unigram, ours.byte_fallback, ours.add_dummy_prefix) == (False, True, True)


def test_fields_of_a_later_version_are_passed_over() -> None:
    more = (
        field(200, b"x")
        + varint(201 << 3)
        + b"\x05"
        + varint(202 << 3 | 1)
        + b"12345678"
        + varint(203 << 3 | 5)
        + b"1234"
    )
    made = parse(UNK + field(1, field(1, b"a") + more) + more, path="m")
    assert made.pieces == [b"<unk>", b"a"]
    assert made.types == [TokenType.UNKNOWN, TokenType.NORMAL]
    assert made.scores == [0.0, 0.0]
    assert made.unigram  # the default of model_type


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no pieces"),
        (b"\x0a", "cut off"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "64 bits"),
        (b"\x0a" + b"\x80" * 11, "10 bytes"),
        (b"\x0a\x05abc", "3 are left"),
        (UNK + b"\x0a\x02\x0a\x05" + b"abcdefgh", "0 are left"),
        (b"\x03", "field number 0"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0f", "unknown wire type 7"),
        (b"\x00\x01", "field number 0"),
        (b"\x08\x01", "wire type 0"),
        (UNK + field(1, b"\x08\x01"), "piece 1 has wire type 0"),
        (UNK + field(1, field(2, b"abcd")), "piece 1 has wire type 2"),
        (UNK + field(1, field(3, b"a")), "piece 1 has wire type 2"),
        (UNK + piece(b"a", kind=7), "unknown type 7"),
        (UNK + piece(b"a", kind=1 << 40), "unknown type"),
        (UNK + piece(b""), "piece 1 is empty"),
        (UNK + piece(b"\xff"), "piece 1 is not UTF-8"),
        (UNK + piece(b"a") + piece(b"a"), "stands twice, at 1 and 2"),
        (UNK + piece(b"a", float("nan")), "score of piece 1 is nan"),
        (UNK + piece(b"a", float("-inf")), "score of piece 1 is -inf"),
        (piece(b"a"), "0 unknown pieces"),
        (UNK + piece(b"b", kind=2), "2 unknown pieces"),
        (UNK + field(2, b"\x18\x03"), "model type 3"),
        (UNK + field(2, field(3, b"x")), "field 3 has wire type 2"),
        (UNK + field(3, field(3, b"x")), "field 3 has wire type 2"),
        (UNK + b"\x10\x01", "field 2 has wire type 0"),
        (b"PK\x03\x04" + b"\0" * 30, "not a sentencepiece model"),
        (b"GGUF" + b"\0" * 30, "not a sentencepiece model"),
    ],
)
def test_refused_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        parse(data, path="some/tokenizer.model")
    assert str(caught.value).startswith("some/tokenizer.model: at byte ")


def test_a_length_allocates_nothing() -> None:
    with pytest.raises(FormatError, match="are left"):
        parse(b"\x0a" + varint(1 << 62) + b"abc", path="m")


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    head = DATA[:4000]
    for _ in range(300):
        data = bytearray(DATA if rng.random() < 0.1 else head)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            how = rng.random()
            if how < 0.6:
                data[at] = rng.randrange(256)
            elif how < 0.8:
                del data[at : at + rng.randint(1, 9)]
            else:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
        try:
            made = parse(bytes(data), path="m")
        except HubError:
            continue
        assert len(made.pieces) == len(made.scores) == len(made.types)
