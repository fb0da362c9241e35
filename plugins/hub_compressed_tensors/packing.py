"""Codes in 32-bit words: as one stream of bits, or in the older packing as many whole codes as fit into a word.

The older one, of compressed-tensors before 0.18, leaves the highest bits of a word unused where the width does not
divide 32. For 1, 2, 4 and 8 bits both are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hub_safetensors import words

Array = np.ndarray[Any, Any]


def word_count(count: int, bits: int, *, dense: bool = True) -> int:
    """Words that `count` codes take."""
    return words.word_count(count, bits) if dense or 32 % bits == 0 else -(-count // (32 // bits))


def codes_of(packed: Array, bits: int, count: int, *, dense: bool = True) -> Array:
    """(rows, words) of 32 bits to (rows, count) codes."""
    if dense or 32 % bits == 0:
        return words.codes_of(packed, bits, count)
    shifts = np.arange(0, 32 // bits * bits, bits, dtype=np.uint32)
    each = (np.ascontiguousarray(packed).view(np.uint32)[:, :, None] >> shifts) & np.uint32((1 << bits) - 1)
    return each.reshape(len(packed), -1)[:, :count].astype(np.uint8)


def words_of(codes: Array, bits: int, *, dense: bool = True) -> Array:
    """(rows, count) codes to (rows, words), i32; bits that no code has are 0."""
    codes = np.ascontiguousarray(codes, np.uint8)
    if dense or 32 % bits == 0:
        return words.words_of(codes, bits).view("<i4")
    rows, count = codes.shape
    per = 32 // bits
    padded = np.zeros((rows, word_count(count, bits, dense=False) * per), np.uint32)
    padded[:, :count] = codes
    shifts = np.arange(0, per * bits, bits, dtype=np.uint32)
    out: Array = np.bitwise_or.reduce(padded.reshape(rows, -1, per) << shifts, axis=2).view("<i4")
    return out
