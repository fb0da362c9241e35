"""Integers of a few bits as a dense stream in 32-bit words: what GPTQ, compressed-tensors and MLX share.

Element `i` occupies bits ``[i * bits, (i + 1) * bits)`` of a little-endian string of bits; n elements take
``ceil(n * bits / 32)`` words, the rest of the last word is zero. Elements of 3, 5, 6 and 7 bits cross words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Codes = np.ndarray[Any, np.dtype[np.uint8]]
Words = np.ndarray[Any, np.dtype[np.uint32]]


def word_count(count: int, bits: int) -> int:
    """Words that `count` elements take."""
    return -(-count * bits // 32)


def codes_of(words: np.ndarray[Any, Any], bits: int, count: int) -> Codes:
    """The first `count` elements of every row.

    Args:
        words: (rows, words), of 32 bits, signed or not.
        bits: 1 to 8.

    Returns:
        (rows, count), each 0 to ``2**bits - 1``.
    """
    rows = len(words)
    raw = np.ascontiguousarray(words).view(np.uint8).reshape(rows, -1)
    if bits == 8:
        return raw[:, :count]
    if bits == 4:
        out = np.empty((rows, 2 * raw.shape[1]), np.uint8)
        np.bitwise_and(raw, 15, out=out[:, 0::2])
        np.right_shift(raw, 4, out=out[:, 1::2])
        return out[:, :count]
    whole = raw.shape[1] * 8 // bits
    each = np.unpackbits(raw, axis=1, bitorder="little")[:, : whole * bits].reshape(rows, whole, bits)
    return np.packbits(each, axis=2, bitorder="little").reshape(rows, whole)[:, :count]


def words_of(codes: Codes, bits: int) -> Words:
    """The words of every row of `codes`, (rows, count) of 0 to ``2**bits - 1``; the inverse of `codes_of`."""
    rows, count = codes.shape
    size = 4 * word_count(count, bits)
    raw = np.zeros((rows, size), np.uint8)
    if bits == 8:
        raw[:, :count] = codes
    elif bits == 4:
        raw[:, : -(-count // 2)] = codes[:, 0::2]
        raw[:, : count // 2] |= codes[:, 1::2] << 4
    else:
        each = np.unpackbits(np.ascontiguousarray(codes)[:, :, None], axis=2, count=bits, bitorder="little")
        stream = np.packbits(each.reshape(rows, count * bits), axis=1, bitorder="little")
        raw[:, : stream.shape[1]] = stream
    return raw.view(np.uint32)
