"""Protocol buffers as bytes: tags, varints and lengths (protobuf.dev, "Encoding").

Writing only; `hub_onnx.decode` reads by ranges and has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


def varint(value: int) -> bytes:
    """An integer, -2**63 to 2**64 - 1, 7 bits a byte from the low end; negative ones as their two's complement of 64
    bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """What stands before each field."""
    return varint(number << 3 | wire_type)


def integer(number: int, value: int) -> bytes:
    """A field of one integer."""
    return tag(number, VARINT) + varint(value)


def integers(number: int, values: Iterable[int]) -> bytes:
    """A repeated field of integers, packed; nothing for none."""
    packed = b"".join(varint(value) for value in values)
    return data(number, packed) if packed else b""


def real(number: int, value: float) -> bytes:
    """A field of one f32."""
    return tag(number, FIXED32) + np.asarray(value, "<f4").tobytes()


def reals(number: int, values: Sequence[float]) -> bytes:
    """A repeated field of f32, packed; nothing for none."""
    return data(number, np.asarray(values, "<f4").tobytes()) if values else b""


def data(number: int, value: bytes) -> bytes:
    """A field of bytes, or of an encoded message."""
    return tag(number, BYTES) + varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    """A field of text, UTF-8."""
    return data(number, value.encode())
