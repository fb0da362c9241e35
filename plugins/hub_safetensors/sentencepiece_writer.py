"""tokenizer.model: a sentencepiece BPE with its scores, which tokenizer.json has no place for.

Field numbers are those of sentencepiece_model.proto (google/sentencepiece, Apache-2.0).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hub.api import Tokenizer, TokenType

_BPE: Final = 2
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_NONE: Final = (1 << 64) - 1
"""-1 as a varint: there is no such piece."""


def sentencepiece_bytes(tokenizer: Tokenizer) -> bytes | None:
    """The model, or None for a tokenizer that is none: of another kind, without scores that order its pieces, or with
    pieces that sentencepiece refuses."""
    scores = tokenizer.scores
    if tokenizer.model != Tokenizer.SENTENCEPIECE_BPE or scores is None:
        return None
    # There must be one unknown piece; files have none where a token was put on top of it, or one for each gap.
    found = [index for index, kind in enumerate(tokenizer.types) if kind == TokenType.UNKNOWN]
    unknown = tokenizer.special_ids.get("unk", found[0] if found else 0)
    if not 0 <= unknown < len(tokenizer.tokens):
        return None
    types: list[TokenType] = [TokenType.UNUSED if kind == TokenType.UNKNOWN else kind for kind in tokenizer.types]
    types[unknown] = TokenType.UNKNOWN
    normal = {scores[index] for index, kind in enumerate(tokenizer.types) if kind == TokenType.NORMAL}
    if len(normal) < 2 or not all(map(_is_piece, tokenizer.tokens)):
        return None
    pieces = [
        _field(1, _field(1, piece) + _number(2, score) + _field(3, int(kind)))
        for piece, score, kind in zip(tokenizer.tokens, scores, types, strict=True)
    ]
    ids = tokenizer.special_ids
    trainer = [
        _field(3, _BPE),
        _field(4, len(pieces)),
        _field(35, int(TokenType.BYTE in tokenizer.types)),
        _field(40, unknown),
        *(_field(at, ids.get(role, _NONE)) for at, role in ((41, "bos"), (42, "eos"), (43, "pad"))),
    ]
    normalizer = [
        _field(1, b"identity"),
        _field(3, int(tokenizer.add_space_prefix is not False)),
        _field(4, int(tokenizer.remove_extra_whitespaces is True)),
        _field(5, 1),
    ]
    return b"".join([*pieces, _field(2, b"".join(trainer)), _field(3, b"".join(normalizer))])


def _is_piece(token: bytes) -> bool:
    if not token or b"\0" in token:
        return False
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return _varint(number << 3 | _BYTES) + _varint(len(value)) + value
    return _varint(number << 3 | _VARINT) + _varint(value)


def _number(number: int, value: float) -> bytes:
    return _varint(number << 3 | _FIXED32) + np.array(value, "<f4").tobytes()
