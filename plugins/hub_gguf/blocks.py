"""What ggml's block layouts share: numbers out of columns of bytes, and the IR's names for them.

Blocks are an array (blocks, bytes per block); what is read keeps that order, so it is cut into the tensor's rows by
reshaping alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import hub_native
from hub.api import (
    DTYPES,
    F16,
    F32,
    I8,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Codebook,
    Const,
    Dense,
    Quantized,
    Scheme,
    Shape,
    Stored,
    rows_spec,
)

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Codes = np.ndarray[Any, Any]

D = Stored(F16)
B32, B16 = Blocks((1, 32)), Blocks((1, 16))

_DTYPES = {"uint8": U8, "int8": I8, "uint16": DTYPES["u16"], "float16": F16, "float32": F32}


@dataclass(frozen=True)
class Meaning:
    """What the blocks of a type mean.

    Attributes:
        scheme: made when it is asked for, since some have large codebooks; use `known` for those that have not.
        unpack: (blocks, shape) to the numbers of a tile of that shape.
        pack: the way back, to blocks; None where only a quantizer makes the type.
    """

    scheme: Callable[[], Scheme]
    unpack: Callable[[Bytes, Shape], Quantized]
    pack: Callable[[Quantized], Bytes] | None = None


def known(scheme: Scheme) -> Callable[[], Scheme]:
    """A scheme that costs nothing to have at hand."""
    return lambda: scheme


def part(array: Codes) -> ArrayPart:
    """Rows of numbers as a part."""
    return ArrayPart(array, rows_spec(_DTYPES[array.dtype.name], array.shape))


def stored(array: Codes) -> Dense:
    """Numbers as they are."""
    return Dense(part(array))


def f16(blocks: Bytes, at: int, rows: int) -> Codes:
    """The f16 at byte `at` of each block, (rows, blocks per row)."""
    out = np.empty((len(blocks), 2), np.uint8)
    hub_native.copy_rows(blocks[:, at : at + 2], out)
    return out.view("<f2").reshape(rows, -1)


def words(blocks: Bytes, at: int, count: int, dtype: str) -> Codes:
    """`count` little-endian integers from byte `at` on, (blocks, count)."""
    size = np.dtype(dtype).itemsize
    return np.ascontiguousarray(blocks[:, at : at + count * size]).view(dtype)


def bits(source: Codes, shifts: list[int], width: int) -> Codes:
    """(..., n) integers to (..., n, len(shifts)): `width` bits of each from every one of `shifts` on."""
    out: Codes = (source[..., None] >> np.array(shifts, source.dtype)) & source.dtype.type((1 << width) - 1)
    return out


def scaled(bits: int, per: int, zero: float = 0.0, signed: bool = False) -> Scheme:
    """Small integers times the f16 of their super-block: scales and mins of K-quants."""
    return Scheme(Affine(bits, signed), Blocks((1, per)), D, Const(zero))


def product(codes: Codes, d: Codes, per: int, values: Affine | Codebook, zero: float = 0.0) -> Quantized:
    """Codes per sub-block times a number per super-block of `per` sub-blocks."""
    return Quantized(codes.shape, part(codes), values, stored(d), Blocks((1, per)), Const(zero))


def nibbles(qs: Bytes) -> Bytes:
    """16 bytes to 32 codes: element j is the low nibble of byte j, j + 16 its high one. (n, half) to (n, 2 half)."""
    out = np.empty((len(qs), 2 * qs.shape[1]), np.uint8)
    hub_native.unpack_halves(qs, out)
    return out


def crumbs(qs: Bytes) -> Bytes:
    """64 bytes to 256 two-bit codes: 128 elements share 32 bytes, 32 neighbours one shift."""
    halves = qs.reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    return ((halves >> shifts) & 3).reshape(-1, 256).astype(np.uint8)
