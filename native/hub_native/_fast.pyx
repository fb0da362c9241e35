# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary of the products of `fast` mode. Checks are here, arithmetic is in src/fast_*; see src/fast.h."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc

from . import _kernels

cdef extern from "fast.h" nogil:
    enum: HUB_TYPES, HUB_FAST_FAMILIES, FAST_TOKENS
    ctypedef enum hub_fast_family:
        HUB_INT8_32
        HUB_INT8_256
        HUB_ROUNDED
        HUB_PLAIN
    ctypedef enum hub_type:
        HUB_F32
    hub_fast_family fast_family_of "fast_family" (hub_type)
    int64_t fast_scratch(int64_t tokens)

    ctypedef struct hub_fast_input:
        int64_t tokens
        int64_t cols
        void *codes
        float *scales
        float *sums
        float *half_sums
    ctypedef void hub_fast_prepare_fn(const float *, int64_t, int64_t, const hub_fast_input *) noexcept
    ctypedef void hub_fast_linear_fn(const void *, int64_t, const hub_fast_input *, float *, int64_t, void *) noexcept
    ctypedef struct hub_kernels:
        hub_fast_prepare_fn *fast_prepare[HUB_FAST_FAMILIES]
        hub_fast_linear_fn *fast_linear[HUB_TYPES]
    ctypedef struct hub_selection:
        hub_kernels kernels

FAST_TOKEN_BATCH = FAST_TOKENS

cdef tuple _families = ("int8/32", "int8/256", "bf16", "f32")
cdef dict _index = {name: (t, *_kernels.block(name)) for t, name in enumerate(_kernels.types())}
cdef const hub_selection *_selected = NULL


cdef const hub_kernels *_table() except NULL:
    """The kernels of this process; IsaError where HUB_ISA asks for what is not there."""
    global _selected
    if _selected is NULL:
        _selected = <const hub_selection *> PyCapsule_GetPointer(_kernels._selection(), b"hub_selection")
    return &_selected.kernels


cdef tuple _type(kind):
    """(index, weights per block, bytes per block) of a type that has a kernel here."""
    cdef const hub_kernels *kernels = _table()
    found = _index.get(kind) if isinstance(kind, str) else None
    if found is None or kernels.fast_linear[<int> found[0]] is NULL:
        raise ValueError(f"no integer or float product for type {kind!r}; there is one for: {' '.join(fast_kinds())}")
    return found


cdef int _family_of(kind) except -1:
    return fast_family_of(<hub_type> <int> _type(kind)[0])


cdef int _aligned(const void *p, str what) except -1:
    if <uintptr_t> p % sizeof(float) != 0:
        raise ValueError(f"{what}: float32 data lies {<uintptr_t> p % sizeof(float)} bytes past a multiple of 4; copy it")
    return 0


cdef class FastInput:
    """Activations [tokens, cols] as the kernels of one family take them. Made by fast_buffer() and fast_input()."""
    cdef hub_fast_input _input
    cdef int _family
    cdef void *_memory
    cdef readonly Py_ssize_t nbytes

    def __cinit__(self, family, tokens, cols):
        # In bytes, each a multiple of 64, so that the parts that follow the first one are aligned like it.
        cdef list parts
        self._family = family
        if family == HUB_ROUNDED:
            parts = [tokens * ((cols + 1) // 2) * 4]
        elif family == HUB_PLAIN:
            parts = [tokens * cols * 4]
        else:
            block = 32 if family == HUB_INT8_32 else 256
            if cols % block != 0:
                raise ValueError(f"{_families[family]}: {cols} columns are not a multiple of the block, {block} activations")
            parts = [tokens * cols, tokens * (cols // block) * 4, tokens * (cols // 32) * 4]
            if family == HUB_INT8_256:
                parts.append(tokens * (cols // 16) * 4)
        sizes = [-(-part // 64) * 64 for part in parts]
        self.nbytes = sum(sizes)
        self._memory = calloc(<size_t> self.nbytes + 64, 1)
        if self._memory is NULL:
            raise MemoryError(f"{self.nbytes} bytes for activations")
        cdef char *at = <char *> ((<uintptr_t> self._memory + 63) // 64 * 64)
        self._input.tokens = tokens
        self._input.cols = cols
        self._input.codes = at
        if len(sizes) > 1:
            self._input.scales = <float *> (at + <Py_ssize_t> sizes[0])
            self._input.sums = <float *> (at + <Py_ssize_t> (sizes[0] + sizes[1]))
        if len(sizes) > 3:
            self._input.half_sums = <float *> (at + <Py_ssize_t> (sizes[0] + sizes[1] + sizes[2]))

    def __dealloc__(self):
        free(self._memory)

    @property
    def tokens(self):
        return self._input.tokens

    @property
    def cols(self):
        return self._input.cols

    @property
    def family(self):
        return _families[self._family]


def fast_kinds():
    """The types of weights that linear_fast() multiplies, e.g. "q4_k", "bf16"."""
    cdef const hub_kernels *kernels = _table()
    return tuple([kind for kind, (t, _, _) in _index.items() if kernels.fast_linear[<int> t] is not NULL])


def fast_family(kind):
    """How activations are prepared for weights of type `kind`; kinds of one family can share what was prepared.

    "int8/32" and "int8/256": int8 codes with a scale, max |x| / 127, per 32 or 256 activations of a token.
    "bf16": rounded to bf16. "f32": as they are.
    """
    return _families[_family_of(kind)]


def fast_buffer(kind, int64_t tokens, int64_t cols):
    """A FastInput for activations [tokens, cols], all zero, to be filled by fast_input_rows().

    cols must be a multiple of the family's block, 32 or 256.
    """
    if tokens < 0 or cols < 0:
        raise ValueError(f"{tokens} x {cols} activations")
    return FastInput(_family_of(kind), tokens, cols)


def fast_input_rows(FastInput buffer not None, const float[:, ::1] x not None, int64_t start, int64_t stop):
    """Prepare tokens start..stop of x, float32 [tokens, cols], for which `buffer` was made.

    start is a multiple of FAST_TOKEN_BATCH and stop another one or the end, so that threads share a buffer without
    touching each other's bytes. A block that holds a NaN or an infinity makes every product of its token NaN.
    """
    cdef const hub_fast_input *to = &buffer._input
    cdef hub_fast_prepare_fn *kernel = _table().fast_prepare[buffer._family]
    if x.shape[0] != to.tokens or x.shape[1] != to.cols:
        raise ValueError(f"x is {x.shape[0]} x {x.shape[1]}, the buffer {to.tokens} x {to.cols}")
    if not 0 <= start <= stop <= to.tokens or start % FAST_TOKENS or (stop % FAST_TOKENS and stop != to.tokens):
        raise ValueError(f"tokens {start}..{stop} of {to.tokens}: start and stop are multiples of {FAST_TOKENS}, or the end")
    if start == stop or to.cols == 0:
        return
    _aligned(&x[0, 0], "x")
    with nogil:
        kernel(&x[0, 0], start, stop, to)


def fast_input(kind, const float[:, ::1] x not None):
    """The FastInput of activations x, float32 [tokens, cols], for weights of type `kind` and all of its fast_family()."""
    cdef FastInput out = FastInput(_family_of(kind), x.shape[0], x.shape[1])
    fast_input_rows(out, x, 0, x.shape[0])
    return out


def linear_fast(kind, const uint8_t[::1] weights not None, int64_t rows, FastInput prepared not None,
                float[:, ::1] out not None, int64_t column):
    """out[t, column + r] = the product of weight row r and token t.

    weights   uint8 [rows * cols / block * bytes] of type `kind`, at any address
    prepared  activations [tokens, cols], of the family fast_family(kind)
    out       float32 [tokens, n], writable; columns column..column + rows are set and nothing else is touched

    Threads may work on disjoint columns of one `out`; how rows are split does not change a bit. The result does not
    depend on the instruction set, bf16 weights excepted (AVX512-BF16 adds in pairs).
    """
    t, per_block, size = _type(kind)
    cdef int family = _family_of(kind)
    cdef const hub_fast_input *x = &prepared._input
    cdef hub_fast_linear_fn *kernel = _table().fast_linear[<int> t]
    if family != prepared._family:
        raise ValueError(f"{kind} takes activations of family {_families[family]}, these are {prepared.family}")
    if rows < 0:
        raise ValueError(f"{rows} rows")
    wanted = <object> rows * (x.cols // per_block) * size  # Python integers: cannot overflow
    if weights.shape[0] != wanted:
        raise ValueError(f"{kind}: {weights.shape[0]} bytes of weights, {rows} x {x.cols} take {wanted}")
    if out.shape[0] != x.tokens:
        raise ValueError(f"out has {out.shape[0]} rows, there are {x.tokens} tokens")
    if column < 0 or column > out.shape[1] or rows > out.shape[1] - column:
        raise ValueError(f"columns {column}..{<object> column + rows} do not lie in out's {out.shape[1]}")
    if rows == 0 or x.tokens == 0:
        return
    _aligned(&out[0, 0], "out")
    cdef const uint8_t *first = NULL if x.cols == 0 else &weights[0]
    cdef void *memory = malloc(<size_t> fast_scratch(x.tokens) + 64)
    if memory is NULL:
        raise MemoryError(f"{fast_scratch(x.tokens)} bytes for a product")
    cdef void *scratch = <void *> ((<uintptr_t> memory + 63) // 64 * 64)
    with nogil:
        kernel(first, rows, x, &out[0, column], out.shape[1], scratch)
    free(memory)
