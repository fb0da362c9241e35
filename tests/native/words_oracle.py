"""What the kernels of codes in words do, told in NumPy: the oracle of `test_words.py`."""

import numpy as np


def bits_of(codes, bits):
    """(rows, cols) codes as bits, (rows, cols * bits)."""
    each = np.unpackbits(np.ascontiguousarray(codes)[:, :, None], axis=2, count=bits, bitorder="little")
    return each.reshape(len(codes), -1)


def pack_rows(codes, bits, size):
    """Rows of `size` bytes."""
    out = np.zeros((len(codes), size), np.uint8)
    stream = np.packbits(bits_of(codes, bits), axis=1, bitorder="little")
    out[:, : stream.shape[1]] = stream
    return out


def unpack_rows(data, bits, cols):
    each = np.unpackbits(data, axis=1, bitorder="little")[:, : cols * bits].reshape(len(data), cols, bits)
    return np.packbits(each, axis=2, bitorder="little").reshape(len(data), cols)


def words(cols, bits):
    return -(-cols * bits // 32)


def pack_columns(codes, bits):
    """(words, 4 * rows) bytes."""
    packed = pack_rows(codes, bits, 4 * words(codes.shape[1], bits)).view(np.uint32)
    return np.ascontiguousarray(packed.T).view(np.uint8)


def unpack_columns(data, bits, cols):
    return unpack_rows(np.ascontiguousarray(np.ascontiguousarray(data).view(np.uint32).T).view(np.uint8), bits, cols)


def pack_nibbles(codes, order):
    """(cols, rows / 2) bytes."""
    rows, cols = codes.shape
    fields = codes.T.reshape(cols, rows // 8, 8)[:, :, np.asarray(order)].astype(np.uint32)
    words = np.bitwise_or.reduce(fields << np.arange(0, 32, 4, dtype=np.uint32), axis=2)
    return np.ascontiguousarray(words).view(np.uint8)


def unpack_nibbles(data, order):
    fields = (np.ascontiguousarray(data).view(np.uint32)[:, :, None] >> np.arange(0, 32, 4, dtype=np.uint32)) & 15
    out = np.empty_like(fields)
    out[:, :, np.asarray(order)] = fields
    return out.reshape(len(data), -1).T.astype(np.uint8)


def pack_halves(codes):
    half = codes.shape[1] // 2
    return codes[:, :half] | codes[:, half:] << 4


def unpack_halves(data):
    return np.concatenate([data & 15, data >> 4], axis=1)


def move(codes, moves, height, width):
    """Sums as int32."""
    rows, cols = codes.shape
    each = np.repeat(np.repeat(moves, height, axis=0)[:rows], width, axis=1)[:, :cols]
    return codes.astype(np.int32) + each
