# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary: check what a kernel takes for granted, then let go of the interpreter and run it.

Typed memoryviews check item type and contiguity (ValueError) and that an output is writable; lengths and alignment
are checked here. Nothing in this module imports NumPy: any object with the buffer protocol will do.
"""
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t, uintptr_t

cdef extern from "hub_native.h" nogil:
    ctypedef void hub_quantize_fn(const float *, void *, int64_t, int64_t, const float *) noexcept
    ctypedef void hub_dequantize_fn(const void *, float *, int64_t) noexcept

    ctypedef struct hub_scan:
        int64_t nonfinite
        int64_t first
        float max_abs
    ctypedef void hub_scan_fn(const void *, int64_t, hub_scan *) noexcept

    ctypedef struct hub_difference:
        double max_abs
        double sum_sq
        double sum_sq_a
        int64_t unequal
    ctypedef void hub_compare_fn(const float *, const float *, int64_t, hub_difference *) noexcept

    enum: HUB_TYPES
    ctypedef struct hub_type_info:
        const char *name
        int32_t weights
        int32_t bytes
    const hub_type_info[HUB_TYPES] hub_types

    ctypedef struct hub_kernels:
        hub_quantize_fn *quantize[HUB_TYPES]
        hub_dequantize_fn *dequantize[HUB_TYPES]
        hub_scan_fn *scan[HUB_TYPES]
        hub_compare_fn *compare
    ctypedef struct hub_selection:
        const char *isa
        hub_kernels kernels
    const hub_selection *hub_select(char *why, size_t size) noexcept
    int hub_available(const char **names, int max) noexcept

    ctypedef struct hub_walk:
        int64_t done
        int64_t offset
        uint64_t length
        bint too_long
    void hub_walk_strings(const uint8_t *buf, int64_t size, int64_t offset, int64_t count, uint64_t limit,
                          hub_walk *out) noexcept


cdef extern from "ggml_grids.h" nogil:
    ctypedef int hub_type
    ctypedef struct hub_grid:
        const uint16_t *vectors
        const float levels[8]
        int32_t count
        int32_t width
        int32_t bits
    const hub_grid *hub_grid_of(hub_type type) noexcept


class IsaError(ValueError):
    """HUB_ISA asks for an instruction set that cannot be had; the message names those that can."""


IsaError.__module__ = "hub_native"


cdef dict _index = {hub_types[t].name.decode("ascii"): t for t in range(HUB_TYPES)}


cdef const hub_kernels *_kernels() except NULL:
    cdef char[256] why
    cdef const hub_selection *selection = hub_select(why, sizeof(why))
    if selection is NULL:
        raise IsaError((<bytes> why).decode("utf-8", "replace"))
    return &selection.kernels


cdef int _type(kind) except -1:
    try:
        return _index[kind]
    except (KeyError, TypeError):
        raise ValueError(f"unknown type {kind!r}; known: {' '.join(_index)}") from None


cdef int _plain(dtype) except -1:
    if dtype not in ("f32", "f16", "bf16"):
        raise ValueError(f"unknown dtype {dtype!r}; known: f32 f16 bf16")
    return _index[dtype]


cdef int _aligned(const void *p, str what) except -1:
    # NumPy can make a float32 array at any address (np.frombuffer with an odd offset); C may not read one there.
    if <uintptr_t> p % sizeof(float) != 0:
        raise ValueError(f"{what}: float32 data lies {<uintptr_t> p % sizeof(float)} bytes past a multiple of 4; copy it")
    return 0


cdef int _rows(int t, Py_ssize_t cols) except -1:
    if cols % hub_types[t].weights != 0:
        raise ValueError(f"{hub_types[t].name.decode()}: {cols} columns are not a multiple of the block, "
                         f"{hub_types[t].weights} weights")
    return 0


cdef int _bytes(int t, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t found, str what) except -1:
    wanted = <object> rows * (cols // hub_types[t].weights) * hub_types[t].bytes  # Python integers: cannot overflow
    if found != wanted:
        raise ValueError(f"{hub_types[t].name.decode()}: {what} has {found} bytes, {rows} x {cols} weights take {wanted}")
    return 0


def isa():
    """The instruction set whose kernels run in this process, e.g. "scalar".

    Raises IsaError if HUB_ISA asks for one that cannot be had; nothing else is used in its place.
    """
    cdef const hub_selection *selection
    _kernels()
    selection = hub_select(NULL, 0)
    return selection.isa.decode("ascii")


def _selection():
    """The selection of this process in a capsule, for the other boundary modules: they share these kernels."""
    _kernels()
    return PyCapsule_New(<void *> hub_select(NULL, 0), b"hub_selection", NULL)


def available():
    """The instruction sets that this build contains and this CPU supports, best first."""
    cdef const char *names[8]
    cdef int n = hub_available(names, 8)
    return tuple([names[i].decode("ascii") for i in range(min(n, 8))])


def types():
    """The types that dequantize() knows, e.g. "f16", "q8_0", "q4_k", "iq4_nl"; quantize() knows some of them."""
    return tuple(_index)


def grid(kind):
    """The vectors that a number in a block of type `kind` can name: a tuple of floats, those of vector 0, of 1, ...

    4 weights each for "iq3_xxs" and "iq3_s", else 8; for "iq1_s" and "iq1_m" before the shift.
    """
    cdef const hub_grid *found = hub_grid_of(<hub_type> _type(kind))
    if found is NULL:
        raise ValueError(f"{kind}: its codes do not name vectors")
    return tuple([found.levels[found.vectors[v] >> (found.bits * k) & ((1 << found.bits) - 1)]
                  for v in range(found.count) for k in range(found.width)])


def block(kind):
    """(weights, bytes) of one block of type `kind`: (256, 144) for "q4_k", (1, 2) for "f16"."""
    cdef int t = _type(kind)
    return hub_types[t].weights, hub_types[t].bytes


def quantize(kind, const float[:, ::1] x not None, uint8_t[::1] out not None, const float[::1] importance=None):
    """Write the rows of x into out as type `kind`.

    x           float32 [rows, cols], C-contiguous; cols a multiple of block(kind)[0]
    out         uint8 [rows * cols / weights * bytes], writable, at any address
    importance  float32 [cols] or None: how much each column matters (a row of an imatrix, >= 0), the same for all rows.
                f32, f16, bf16 and q8_0 have nothing to choose and ignore it.

    Rows do not influence each other: any split of a tensor into groups of rows gives the same bytes. Values that are
    not finite are not refused (see scan); what becomes of them is defined, but of no use.
    """
    cdef int t = _type(kind)
    cdef Py_ssize_t rows = x.shape[0], cols = x.shape[1]
    cdef const float *weights = NULL
    cdef hub_quantize_fn *kernel = _kernels().quantize[t]
    if kernel is NULL:
        raise ValueError(f"{kind}: it can be decoded, there is no quantizer for it")
    _rows(t, cols)
    _bytes(t, rows, cols, out.shape[0], "out")
    if importance is not None and importance.shape[0] != cols:
        raise ValueError(f"importance has {importance.shape[0]} values, x has {cols} columns")
    if rows == 0 or cols == 0:
        return
    _aligned(&x[0, 0], "x")
    if importance is not None:
        weights = &importance[0]
        _aligned(weights, "importance")
    with nogil:
        kernel(&x[0, 0], &out[0], rows, cols, weights)


def dequantize(kind, const uint8_t[::1] data not None, float[:, ::1] out not None):
    """Write the weights that `data` stores as type `kind` into out.

    data  uint8 [rows * cols / weights * bytes], at any address; every byte pattern is valid
    out   float32 [rows, cols], C-contiguous, writable; cols a multiple of block(kind)[0]
    """
    cdef int t = _type(kind)
    cdef Py_ssize_t rows = out.shape[0], cols = out.shape[1]
    cdef hub_dequantize_fn *kernel = _kernels().dequantize[t]
    _rows(t, cols)
    _bytes(t, rows, cols, data.shape[0], "data")
    if rows == 0 or cols == 0:
        return
    _aligned(&out[0, 0], "out")
    with nogil:
        kernel(&data[0], &out[0, 0], rows * cols)


def to_f32(dtype, const uint8_t[::1] src not None, float[::1] out not None):
    """Widen "f32", "f16" or "bf16" to float32, exactly. src uint8 [n * size], at any address; out float32 [n]."""
    cdef int t = _plain(dtype)
    cdef Py_ssize_t n = out.shape[0]
    cdef hub_dequantize_fn *kernel = _kernels().dequantize[t]
    _bytes(t, 1, n, src.shape[0], "src")
    if n == 0:
        return
    _aligned(&out[0], "out")
    with nogil:
        kernel(&src[0], &out[0], n)


def scan(dtype, const uint8_t[::1] data not None):
    """(count_nonfinite, first_nonfinite_index, max_abs) of "f32", "f16" or "bf16" values.

    data uint8 [n * size], at any address. The index is -1 where all are finite; max_abs is over the finite ones, 0.0
    if there are none.
    """
    cdef int t = _plain(dtype)
    cdef Py_ssize_t n = data.shape[0] // hub_types[t].bytes
    cdef hub_scan_fn *kernel = _kernels().scan[t]
    cdef hub_scan found
    if data.shape[0] % hub_types[t].bytes != 0:
        raise ValueError(f"{dtype}: {data.shape[0]} bytes are not a multiple of {hub_types[t].bytes}")
    if n == 0:
        return 0, -1, 0.0
    with nogil:
        kernel(&data[0], n, &found)
    return found.nonfinite, found.first, found.max_abs


def compare(const float[::1] a not None, const float[::1] b not None):
    """(max_abs_diff, sum_sq_diff, sum_sq_a, count_unequal_bits) of float32 [n] against float32 [n].

    Sums are in double and in one fixed order, so they do not depend on the CPU. Values with the same 32 bits differ by
    nothing, NaN and infinity included; against anything else NaN makes both differences NaN. 0.0 and -0.0 differ by
    0.0 but count as unequal bits.
    """
    cdef Py_ssize_t n = a.shape[0]
    cdef hub_compare_fn *kernel = _kernels().compare
    cdef hub_difference found
    if b.shape[0] != n:
        raise ValueError(f"a has {n} values, b has {b.shape[0]}")
    if n == 0:
        return 0.0, 0.0, 0.0, 0
    _aligned(&a[0], "a")
    _aligned(&b[0], "b")
    with nogil:
        kernel(&a[0], &b[0], n, &found)
    return found.max_abs, found.sum_sq, found.sum_sq_a, found.unequal


def scan_strings(const uint8_t[::1] buf not None, offset, count, limit):
    """Pass over GGUF strings (u64 little-endian length, then bytes): (n_done, new_offset).

    Starts at buf[offset] and passes up to `count` strings; stops before the first one that does not lie wholly in buf.
    new_offset is where the next one starts. A string longer than `limit` is a ValueError, as soon as its length is
    in buf.
    """
    cdef Py_ssize_t size = buf.shape[0]
    cdef hub_walk walk
    # Compared as Python integers: numbers from a hostile file need not fit 64 bits.
    if not 0 <= offset <= size:
        raise ValueError(f"offset {offset} is outside of the buffer, {size} bytes")
    if count < 0 or limit < 0:
        raise ValueError(f"count {count} and limit {limit} must not be negative")
    cdef int64_t start = offset
    cdef int64_t strings = min(count, size)
    cdef uint64_t longest = min(limit, 0xFFFFFFFFFFFFFFFF)
    if size == 0:
        return 0, 0
    with nogil:
        hub_walk_strings(&buf[0], size, start, strings, longest, &walk)
    if walk.too_long:
        raise ValueError(f"string {walk.done} at offset {walk.offset} has {walk.length} bytes, the limit is {limit}")
    return walk.done, walk.offset
