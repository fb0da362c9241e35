# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary of codes in words. Checks are here, bits are moved in src/words_*; see src/words.h.

Codes are uint8 [rows, cols], one each. What is packed lies in bytes: a caller with words of 32 bits passes a view of
their bytes. Rows may be any number of bytes apart, within a row everything is contiguous; nothing need be aligned.
Inputs and outputs do not overlap.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int16_t, int64_t, uint8_t
from libc.string cimport memcpy

from . import _kernels

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint bool_t "bool"

cdef extern from "words.h" nogil:
    ctypedef void unpack_rows_fn(const uint8_t *, int64_t, int, uint8_t *, int64_t, int64_t) noexcept
    ctypedef void pack_rows_fn(const uint8_t *, int64_t, int, int64_t, int64_t, uint8_t *, int64_t, int64_t) noexcept
    ctypedef void unpack_columns_fn(const uint8_t *, int64_t, int, uint8_t *, int64_t, int64_t) noexcept
    ctypedef void pack_columns_fn(const uint8_t *, int64_t, int, int64_t, int64_t, uint8_t *, int64_t) noexcept
    ctypedef void unpack_nibbles_fn(const uint8_t *, int64_t, const uint8_t *, uint8_t *, int64_t, int64_t) noexcept
    ctypedef void pack_nibbles_fn(const uint8_t *, int64_t, const uint8_t *, int64_t, int64_t, uint8_t *, int64_t) noexcept
    ctypedef void unpack_halves_fn(const uint8_t *, int64_t, int64_t, uint8_t *, int64_t) noexcept
    ctypedef void pack_halves_fn(const uint8_t *, int64_t, int64_t, uint8_t *, int64_t) noexcept
    ctypedef bool_t move_fn(const uint8_t *, bool_t, const int16_t *, int64_t, int64_t, int, int, uint8_t *) noexcept
    ctypedef struct hub_words:
        unpack_rows_fn *unpack_rows
        pack_rows_fn *pack_rows
        unpack_columns_fn *unpack_columns
        pack_columns_fn *pack_columns
        unpack_nibbles_fn *unpack_nibbles
        pack_nibbles_fn *pack_nibbles
        unpack_halves_fn *unpack_halves
        pack_halves_fn *pack_halves
        move_fn *move

cdef extern from "hub_native.h" nogil:
    ctypedef struct hub_kernels:
        const hub_words *words
    ctypedef struct hub_selection:
        hub_kernels kernels

cdef const hub_words *_selected = NULL


cdef const hub_words *_table() except NULL:
    """The kernels of this process; IsaError where HUB_ISA asks for what is not there."""
    global _selected
    if _selected is NULL:
        _selected = (<const hub_selection *> PyCapsule_GetPointer(_kernels._selection(), b"hub_selection")).kernels.words
    return _selected


cdef int _width(int bits) except -1:
    if not 1 <= bits <= 8:
        raise ValueError(f"codes of {bits} bits; there are kernels for 1 to 8")
    return 0


cdef int _contiguous(const uint8_t[:, :] array, str what) except -1:
    if array.shape[1] > 1 and array.strides[1] != 1:
        raise ValueError(f"{what}: bytes of a row lie {array.strides[1]} apart; copy it")
    return 0


cdef int _same(Py_ssize_t found, Py_ssize_t wanted, str what) except -1:
    if found != wanted:
        raise ValueError(f"{what} {found}, expected {wanted}")
    return 0


def unpack_rows(const uint8_t[:, :] data not None, int bits, uint8_t[:, ::1] out not None):
    """Codes of a dense little-endian stream of bits per row.

    data  uint8 [rows, n], n at least ceil(cols * bits / 8)
    out   uint8 [rows, cols], writable: code i is bits i * bits and following
    """
    cdef Py_ssize_t rows = out.shape[0], cols = out.shape[1]
    cdef const hub_words *table = _table()
    _width(bits)
    _contiguous(data, "data")
    _same(data.shape[0], rows, "rows of data:")
    if data.shape[1] < (cols * bits + 7) // 8:
        raise ValueError(f"data has {data.shape[1]} bytes a row, {cols} codes of {bits} bits take {(cols * bits + 7) // 8}")
    if rows == 0 or cols == 0:
        return
    with nogil:
        table.unpack_rows(&data[0, 0], data.strides[0], bits, &out[0, 0], rows, cols)


def pack_rows(const uint8_t[:, :] codes not None, int bits, uint8_t[:, :] out not None):
    """The way back from unpack_rows; bits of `out` [rows, n] that no code has become 0."""
    cdef Py_ssize_t rows = codes.shape[0], cols = codes.shape[1]
    cdef const hub_words *table = _table()
    _width(bits)
    _contiguous(codes, "codes")
    _contiguous(out, "out")
    _same(out.shape[0], rows, "rows of out:")
    if out.shape[1] < (cols * bits + 7) // 8:
        raise ValueError(f"out has {out.shape[1]} bytes a row, {cols} codes of {bits} bits take {(cols * bits + 7) // 8}")
    if rows == 0 or out.shape[1] == 0:
        return
    cdef const uint8_t *first = &out[0, 0] if cols == 0 else &codes[0, 0]  # an empty array has no first
    with nogil:
        table.pack_rows(first, codes.strides[0], bits, rows, cols, &out[0, 0], out.strides[0], out.shape[1])


def unpack_columns(const uint8_t[:, :] data not None, int bits, uint8_t[:, ::1] out not None):
    """Codes of rows whose words stand below each other.

    data  uint8 [ceil(cols * bits / 32), 4 * rows]: the words of 32 bits of a row are a column
    out   uint8 [rows, cols], writable
    """
    cdef Py_ssize_t rows = out.shape[0], cols = out.shape[1]
    cdef const hub_words *table = _table()
    _width(bits)
    _contiguous(data, "data")
    _same(data.shape[0], (cols * bits + 31) // 32, "words of a row in data:")
    _same(data.shape[1], 4 * rows, "bytes of a row of data:")
    if rows == 0 or cols == 0:
        return
    with nogil:
        table.unpack_columns(&data[0, 0], data.strides[0], bits, &out[0, 0], rows, cols)


def pack_columns(const uint8_t[:, :] codes not None, int bits, uint8_t[:, :] out not None):
    """The way back from unpack_columns; bits of the last words that no code has become 0."""
    cdef Py_ssize_t rows = codes.shape[0], cols = codes.shape[1]
    cdef const hub_words *table = _table()
    _width(bits)
    _contiguous(codes, "codes")
    _contiguous(out, "out")
    _same(out.shape[0], (cols * bits + 31) // 32, "words of a row in out:")
    _same(out.shape[1], 4 * rows, "bytes of a row of out:")
    if rows == 0 or cols == 0:
        return
    with nogil:
        table.pack_columns(&codes[0, 0], codes.strides[0], bits, rows, cols, &out[0, 0], out.strides[0])


cdef int _order(const uint8_t[::1] order) except -1:
    if sorted(order) != list(range(8)):
        raise ValueError("order is no permutation of 0 to 7")
    return 0


def unpack_nibbles(const uint8_t[:, :] data not None, const uint8_t[::1] order not None, uint8_t[:, ::1] out not None):
    """Codes of 4 bits whose words hold eight rows each.

    data   uint8 [cols, rows / 2]: words of 32 bits
    order  uint8 [8]: nibble i of a word, from its lowest bits on, is row order[i] of its eight
    out    uint8 [rows, cols], writable; rows a multiple of 8
    """
    cdef Py_ssize_t rows = out.shape[0], cols = out.shape[1]
    cdef const hub_words *table = _table()
    _order(order)
    _contiguous(data, "data")
    _same(data.shape[0], cols, "rows of data:")
    _same(2 * data.shape[1], rows, "codes in a row of data:")
    _same(rows % 8, 0, "rows beyond whole words:")
    if rows == 0 or cols == 0:
        return
    with nogil:
        table.unpack_nibbles(&data[0, 0], data.strides[0], &order[0], &out[0, 0], rows, cols)


def pack_nibbles(const uint8_t[:, :] codes not None, const uint8_t[::1] order not None, uint8_t[:, :] out not None):
    """The way back from unpack_nibbles."""
    cdef Py_ssize_t rows = codes.shape[0], cols = codes.shape[1]
    cdef const hub_words *table = _table()
    _order(order)
    _contiguous(codes, "codes")
    _contiguous(out, "out")
    _same(out.shape[0], cols, "rows of out:")
    _same(2 * out.shape[1], rows, "codes in a row of out:")
    _same(rows % 8, 0, "rows beyond whole words:")
    if rows == 0 or cols == 0:
        return
    with nogil:
        table.pack_nibbles(&codes[0, 0], codes.strides[0], &order[0], rows, cols, &out[0, 0], out.strides[0])


def unpack_halves(const uint8_t[:, :] data not None, uint8_t[:, ::1] out not None):
    """Codes of 4 bits: code j in the low nibble of byte j, code half + j in its high one.

    data  uint8 [n, half]
    out   uint8 [n, 2 * half], writable
    """
    cdef Py_ssize_t n = out.shape[0], half = data.shape[1]
    cdef const hub_words *table = _table()
    _contiguous(data, "data")
    _same(data.shape[0], n, "rows of data:")
    _same(out.shape[1], 2 * half, "columns of out:")
    if n == 0 or half == 0:
        return
    with nogil:
        table.unpack_halves(&data[0, 0], data.strides[0], half, &out[0, 0], n)


def pack_halves(const uint8_t[:, ::1] codes not None, uint8_t[:, :] out not None):
    """The way back from unpack_halves."""
    cdef Py_ssize_t n = codes.shape[0], half = out.shape[1]
    cdef const hub_words *table = _table()
    _contiguous(out, "out")
    _same(out.shape[0], n, "rows of out:")
    _same(codes.shape[1], 2 * half, "columns of codes:")
    if n == 0 or half == 0:
        return
    with nogil:
        table.pack_halves(&codes[0, 0], half, n, &out[0, 0], out.strides[0])


cdef void _copy(const uint8_t *data, Py_ssize_t stride, uint8_t *out, Py_ssize_t out_stride, Py_ssize_t n,
                Py_ssize_t size) noexcept nogil:
    # memcpy of a size that the compiler knows is a load and a store.
    cdef Py_ssize_t i
    if size == 2:
        for i in range(n):
            memcpy(out + i * out_stride, data + i * stride, 2)
    elif size == 32:
        for i in range(n):
            memcpy(out + i * out_stride, data + i * stride, 32)
    else:
        for i in range(n):
            memcpy(out + i * out_stride, data + i * stride, <size_t> size)


def copy_rows(const uint8_t[:, :] data not None, uint8_t[:, :] out not None):
    """Rows of bytes into rows elsewhere, both uint8 [n, size]: a field of blocks out of them or into them."""
    cdef Py_ssize_t n = data.shape[0], size = data.shape[1]
    _contiguous(data, "data")
    _contiguous(out, "out")
    _same(out.shape[0], n, "rows of out:")
    _same(out.shape[1], size, "columns of out:")
    if n == 0 or size == 0:
        return
    with nogil:
        _copy(&data[0, 0], data.strides[0], &out[0, 0], out.strides[0], n, size)


def move_codes(const uint8_t[:, ::1] codes not None, bint signed, const int16_t[:, ::1] moves not None,
               Py_ssize_t height, Py_ssize_t width, int low, int high, uint8_t[:, ::1] out not None):
    """Add an integer per rectangle of height x width codes; whether every sum lies in low..high.

    codes  uint8 [rows, cols], or the bytes of int8 where `signed`
    moves  int16 [ceil(rows / height), ceil(cols / width)], each within +-16384
    out    uint8 [rows, cols], writable: the sums' low bytes; of no use where the answer is False
    """
    cdef Py_ssize_t rows = codes.shape[0], cols = codes.shape[1], r
    cdef const hub_words *table = _table()
    cdef bint inside = True
    if height < 1 or width < 1:
        raise ValueError(f"rectangles of {height} x {width}")
    _same(out.shape[0], rows, "rows of out:")
    _same(out.shape[1], cols, "columns of out:")
    _same(moves.shape[0], (rows + height - 1) // height, "rows of moves:")
    _same(moves.shape[1], (cols + width - 1) // width, "columns of moves:")
    if rows == 0 or cols == 0:
        return True
    with nogil:
        for r in range(rows):
            inside &= table.move(&codes[r, 0], signed, &moves[r // height, 0], width, cols, low, high, &out[r, 0])
    return inside
