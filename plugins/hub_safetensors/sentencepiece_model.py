"""tokenizer.model: the protobuf that sentencepiece writes, parsed with bounds.

The file is read by hand because the sentencepiece library had memory errors on hostile models
(CVE-2026-1260), and because hub needs only the pieces and a handful of flags. Field numbers are
those of sentencepiece_model.proto (google/sentencepiece, Apache-2.0).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from hub.api import FormatError, TokenType, printable

MAX_PIECES: Final = 1 << 24
"""Most pieces; the largest vocabularies in the field have 2^18."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_UNIGRAM, _BPE = 1, 2


@dataclass(frozen=True)
class SentencePieceModel:
    """What hub needs of a tokenizer.model.

    Attributes:
        pieces: the text of each piece, UTF-8.
        scores: of each piece.
        types: of each piece.
        unigram: whether the model was trained as unigram; otherwise as BPE.
        byte_fallback: whether unknown characters become byte pieces.
        add_dummy_prefix: whether a space is put before text.
        remove_extra_whitespaces: whether runs of spaces are made one.
    """

    pieces: list[bytes]
    scores: list[float]
    types: list[TokenType]
    unigram: bool
    byte_fallback: bool
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


class _Wire:
    """The fields of one protobuf message between two offsets of the file."""

    def __init__(self, data: bytes, start: int, end: int, path: str) -> None:
        self.data = data
        self.offset = start
        self.end = end
        self.path = path

    def fail(self, message: str, offset: int) -> FormatError:
        return FormatError(f"not a sentencepiece model: {message}", path=self.path, offset=offset)

    def varint(self) -> int:
        data, offset, end = self.data, self.offset, self.end
        value = shift = 0
        while True:
            if offset >= end:
                raise self.fail("a number is cut off", self.offset)
            byte = data[offset]
            offset += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise self.fail("a number of more than 10 bytes", self.offset)
        if value >= 1 << 64:
            raise self.fail("a number of more than 64 bits", self.offset)
        self.offset = offset
        return value

    def fields(self) -> Iterator[tuple[int, int, int, int]]:
        """Number, wire type, and for numbers value and 0, for the rest start and end of each field."""
        while self.offset < self.end:
            at = self.offset
            tag = self.varint()
            number, kind = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise self.fail(f"field number {number}", at)
            if kind == _VARINT:
                yield number, kind, self.varint(), 0
                continue
            if kind == _BYTES:
                size = self.varint()
            elif kind == _FIXED32:
                size = 4
            elif kind == _FIXED64:
                size = 8
            else:
                raise self.fail(f"unknown wire type {kind} of field {number}", at)
            start = self.offset
            if size > self.end - start:
                raise self.fail(f"field {number} of {size} bytes, {self.end - start} are left", at)
            self.offset = start + size
            yield number, kind, start, start + size


def _flags(wire: _Wire, wanted: dict[int, int]) -> dict[int, int]:
    """The varint fields of a message that are `wanted`, given with their defaults."""
    found = dict(wanted)
    for number, kind, value, _ in wire.fields():
        if number in wanted:
            if kind != _VARINT:
                raise wire.fail(f"field {number} has wire type {kind}", wire.offset)
            found[number] = value
    return found


def parse(data: bytes, *, path: str | os.PathLike[str]) -> SentencePieceModel:
    """Parse `data`, which was read from `path`.

    Raises:
        FormatError: the bytes are no sentencepiece model: a field leaves the file, has the wrong
            wire type or an unknown value, a piece is empty, not UTF-8 or stands twice, a score is
            not finite, or there is not exactly one unknown piece.
    """
    name = os.fspath(path)
    top = _Wire(data, 0, len(data), name)
    pieces: list[bytes] = []
    raw_scores: list[bytes] = []
    types: list[TokenType] = []
    places: list[int] = []
    kinds = {int(kind): kind for kind in TokenType}
    trainer = {3: _UNIGRAM, 35: 0}
    normalizer = {3: 1, 4: 1}
    for number, wire_type, start, end in top.fields():
        if number not in (1, 2, 3):
            continue
        if wire_type != _BYTES:
            raise top.fail(f"field {number} has wire type {wire_type}", top.offset)
        wire = _Wire(data, start, end, name)
        if number == 2:
            trainer = _flags(wire, trainer)
            continue
        if number == 3:
            normalizer = _flags(wire, normalizer)
            continue
        if len(pieces) == MAX_PIECES:
            raise top.fail(f"more than {MAX_PIECES} pieces", start)
        piece, score, kind = b"", b"\0\0\0\0", 1
        for field, field_type, value, stop in wire.fields():
            if field > 3:
                continue
            if field_type != (_BYTES, _FIXED32, _VARINT)[field - 1]:
                raise wire.fail(f"field {field} of piece {len(pieces)} has wire type {field_type}", start)
            if field == 1:
                piece = data[value:stop]
            elif field == 2:
                score = data[value:stop]
            else:
                kind = value
        if kind not in kinds:
            raise wire.fail(f"unknown type {kind} of piece {len(pieces)}", start)
        if not piece:
            raise wire.fail(f"piece {len(pieces)} is empty", start)
        pieces.append(piece)
        raw_scores.append(score)
        types.append(kinds[kind])
        places.append(start)
    if not pieces:
        raise top.fail("it has no pieces", 0)
    _check_pieces(pieces, types, places, top)
    scores = np.frombuffer(b"".join(raw_scores), dtype="<f4")
    finite = np.isfinite(scores)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise top.fail(f"the score of piece {bad} is {float(scores[bad])}", places[bad])
    if trainer[3] not in (_UNIGRAM, _BPE):
        raise top.fail(f"model type {trainer[3]}, only unigram (1) and BPE (2) are read", 0)
    return SentencePieceModel(
        pieces=pieces,
        scores=scores.tolist(),
        types=types,
        unigram=trainer[3] == _UNIGRAM,
        byte_fallback=bool(trainer[35]),
        add_dummy_prefix=bool(normalizer[3]),
        remove_extra_whitespaces=bool(normalizer[4]),
    )


def _check_pieces(pieces: list[bytes], types: list[TokenType], places: list[int], top: _Wire) -> None:
    for index, piece in enumerate(pieces):
        if not piece.isascii():
            try:
                piece.decode("utf-8")
            except UnicodeDecodeError:
                raise top.fail(f"piece {index} is not UTF-8", places[index]) from None
    if len(set(pieces)) != len(pieces):
        seen: dict[bytes, int] = {}
        for index, piece in enumerate(pieces):
            if piece in seen:
                shown = printable(piece.decode("utf-8"), 60)
                raise top.fail(f"piece {shown!r} stands twice, at {seen[piece]} and {index}", places[index])
            seen[piece] = index
    unknown = types.count(TokenType.UNKNOWN)
    if unknown != 1:
        raise top.fail(f"{unknown} unknown pieces, there must be one", 0)
