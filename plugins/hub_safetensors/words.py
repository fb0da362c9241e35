"""Integers of a few bits as a dense stream in 32-bit words: what GPTQ, compressed-tensors and MLX share.

Element `i` occupies bits ``[i * bits, (i + 1) * bits)`` of a little-endian string of bits; n elements take
``ceil(n * bits / 32)`` words, the rest of the last word is zero. Elements of 3, 5, 6 and 7 bits cross words.

The bits are moved by native kernels (`native/src/words.h`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import hub_native

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

    Raises:
        ValueError: there are not as many elements.
    """
    out = np.empty((len(words), count), np.uint8)
    hub_native.unpack_rows(as_bytes(words), bits, out)
    return out


def words_of(codes: Codes, bits: int) -> Words:
    """The words of every row of `codes`, (rows, count) of 0 to ``2**bits - 1``; the inverse of `codes_of`."""
    rows, count = codes.shape
    out = np.empty((rows, word_count(count, bits)), np.uint32)
    hub_native.pack_rows(as_bytes(codes), bits, out.view(np.uint8))
    return out


def codes_of_columns(words: np.ndarray[Any, Any], bits: int, count: int) -> Codes:
    """As `codes_of` for words that stand below each other: (words, rows) to (rows, count).

    Raises:
        ValueError: not as many words as `count` elements take.
    """
    out = np.empty((words.shape[1], count), np.uint8)
    hub_native.unpack_columns(as_bytes(words), bits, out)
    return out


def columns_of(codes: Codes, bits: int) -> Words:
    """(rows, count) codes to (words, rows); the inverse of `codes_of_columns`."""
    rows, count = codes.shape
    out = np.empty((word_count(count, bits), rows), np.uint32)
    hub_native.pack_columns(as_bytes(codes), bits, out.view(np.uint8))
    return out


def as_bytes(array: np.ndarray[Any, Any]) -> Codes:
    """(rows, n) numbers as the bytes of each row; a copy only where those of a row do not lie together."""
    close = array.shape[1] < 2 or array.strides[1] == array.itemsize
    return (array if close else np.ascontiguousarray(array)).view(np.uint8)
