# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary of the runner's exact kernels: check, let go of the interpreter, run. Orders of sums are in src/run.h.

Matrices are C-contiguous float32 [rows, columns]. An `out` may be an input where a docstring says "in place"; apart
from that arguments must not overlap. All errors are ValueError and come before anything is written.
"""
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uintptr_t

from hub_native import _kernels

cdef extern from "run.h" nogil:
    ctypedef void hub_dequantize_fn(const void *, float *, int64_t) noexcept nogil
    ctypedef int hub_type

    ctypedef struct run_attention:
        const float *q
        const float *k
        const float *v
        float *out
        const float *sinks
        int64_t tokens, positions, heads, kv_heads, dim, value_dim, first_head, last_head, window
        float scale, softcap

    ctypedef struct run_spread:
        const float *values
        int64_t row_stride, group_stride
    ctypedef enum run_code:
        RUN_U8, RUN_I8, RUN_U16, RUN_I16, RUN_U32, RUN_I32, RUN_F32
    ctypedef struct run_codes:
        run_code type
        const void *codes
        const float *table
        int64_t entries, width
        const int8_t *signs
        run_spread scale, zero, offset
        const int32_t *group_of
        int64_t group, block_rows

    ctypedef struct hub_run:
        void (*linear)(hub_dequantize_fn *, hub_type, const void *, int64_t, int64_t, const float *, int64_t, float *,
                       int64_t, float *) noexcept nogil
        void (*attention)(const run_attention *, float *) noexcept nogil
        int64_t (*decode)(const run_codes *, int64_t, int64_t, float *) noexcept nogil
        void (*rms_norm)(const float *, int64_t, int64_t, const float *, float, float *) noexcept nogil
        void (*layer_norm)(const float *, int64_t, int64_t, const float *, const float *, float, float *) noexcept nogil
        void (*rope)(float *, int64_t, int64_t, int64_t, const float *, const float *, int64_t, bint) noexcept nogil
        void (*rope_tables)(const float *, int64_t, const int32_t *, int64_t, float, float *, float *) noexcept nogil
        void (*softmax)(const float *, int64_t, int64_t, float *) noexcept nogil
        void (*top_k)(const float *, int64_t, int64_t, int64_t, int32_t *, float *) noexcept nogil
        void (*silu)(const float *, int64_t, float *) noexcept nogil
        void (*silu_mul)(const float *, const float *, int64_t, float *) noexcept nogil
        void (*gelu_tanh)(const float *, int64_t, float *) noexcept nogil
        void (*gelu_tanh_mul)(const float *, const float *, int64_t, float *) noexcept nogil
        void (*gelu_erf)(const float *, int64_t, float *) noexcept nogil
        void (*gelu_erf_mul)(const float *, const float *, int64_t, float *) noexcept nogil
        void (*swiglu_pairs)(const float *, int64_t, float, float, float *) noexcept nogil
        void (*softcap)(const float *, int64_t, float, float *) noexcept nogil
        void (*add)(const float *, const float *, int64_t, float *) noexcept nogil
        void (*add_row)(float *, int64_t, int64_t, const float *) noexcept nogil
        void (*scale)(float *, int64_t, float) noexcept nogil
        void (*log_softmax_stats)(const float *, const float *, int64_t, int64_t, const int32_t *, double *, double *,
                                  double *, uint8_t *) noexcept nogil
        void (*sum_squares)(const float *, int64_t, int64_t, double *) noexcept nogil

    ctypedef struct hub_kernels:
        hub_dequantize_fn *dequantize[1]
        const hub_run *run
    ctypedef struct hub_selection:
        hub_kernels kernels

    int64_t run_linear_scratch(int64_t tokens, int64_t n) noexcept
    int64_t run_attention_scratch(int64_t positions, int64_t dim) noexcept


cdef dict _index = {name: (t, *_kernels.block(name)) for t, name in enumerate(_kernels.types())}
cdef const hub_selection *_selected = NULL


cdef const hub_kernels *_chosen() except NULL:
    """The kernels that hub_native._kernels chose: asked for once, since that may raise IsaError."""
    global _selected
    if _selected is NULL:
        _selected = <const hub_selection *> PyCapsule_GetPointer(_kernels._selection(), b"hub_selection")
    return &_selected.kernels


cdef const hub_run *_run() except NULL:
    return _chosen().run


cdef int _aligned(const void *p, str what) except -1:
    if <uintptr_t> p % sizeof(float) != 0:
        raise ValueError(f"{what}: float32 data lies {<uintptr_t> p % sizeof(float)} bytes past a multiple of 4; "
                         "copy it")
    return 0


cdef const float *_matrix(const float[:, ::1] a, str what) except? NULL:
    _aligned(&a[0, 0], what)
    return &a[0, 0]


cdef float *_target(float[:, ::1] a, str what) except? NULL:
    _aligned(&a[0, 0], what)
    return &a[0, 0]


cdef const float *_vector(const float[::1] a, Py_ssize_t n, str what) except? NULL:
    """NULL for None; otherwise n numbers."""
    if a is None:
        return NULL
    if a.shape[0] != n:
        raise ValueError(f"{what} has {a.shape[0]} values, {n} are needed")
    _aligned(&a[0], what)
    return &a[0]


cdef int _shape(str what, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t wanted_rows,
                Py_ssize_t wanted_columns) except -1:
    if rows != wanted_rows or columns != wanted_columns:
        raise ValueError(f"{what} is {rows} x {columns}, {wanted_rows} x {wanted_columns} is needed")
    return 0


cdef int _same(const float[:, ::1] a, str what, const float[:, ::1] x) except -1:
    return _shape(what, a.shape[0], a.shape[1], x.shape[0], x.shape[1])


cdef void *_scratch(int64_t floats) except NULL:
    cdef void *p = PyMem_RawMalloc(<size_t> floats * sizeof(float) + 64)
    if p is NULL:
        raise MemoryError(f"{floats * 4} bytes of scratch")
    return p


cdef inline float *_at_64(void *p) noexcept nogil:
    return <float *> ((<uintptr_t> p + 63) // 64 * 64)


cdef int _linear(int t, const void *weights, int64_t rows, const float[:, ::1] x, float[:, ::1] out,
                 int64_t column) except -1:
    cdef const hub_kernels *kernels = _chosen()
    cdef int64_t tokens = x.shape[0], n = x.shape[1], stride = out.shape[1]
    cdef const float *from_ = _matrix(x, "x")
    cdef float *to = _target(out, "out")
    cdef void *scratch
    if out.shape[0] != tokens:
        raise ValueError(f"out has {out.shape[0]} rows, x has {tokens}")
    if column < 0 or rows < 0 or column > stride or rows > stride - column:
        raise ValueError(f"{rows} columns from column {column} on do not lie in out, which has {stride}")
    if rows == 0 or tokens == 0:
        return 0
    scratch = _scratch(run_linear_scratch(tokens, n))
    with nogil:
        kernels.run.linear(kernels.dequantize[t], <hub_type> t, weights, rows, n, from_, tokens, to + column, stride,
                           _at_64(scratch))
    PyMem_RawFree(scratch)
    return 0


def linear_exact(kind, const uint8_t[::1] weights not None, int64_t rows, const float[:, ::1] x not None,
                 float[:, ::1] out not None, int64_t column=0):
    """out[t, column + r] = dot(row r of the weights, x[t]).

    kind     one of types(); every row is decoded to f32 as dequantize() does it
    weights  uint8 [rows * n / weights_per_block * bytes], at any address: whole rows as they lie in a file
    x        float32 [tokens, n]; n a multiple of block(kind)[0]
    out      float32 [tokens, any], writable; only columns [column, column + rows) are written

    Decoding is done once for up to 384 tokens, 16 rows at a time: calls with few rows or few tokens pay more for it.
    """
    try:
        t, per_block, size = _index[kind]
    except (KeyError, TypeError):
        raise ValueError(f"unknown type {kind!r}; known: {' '.join(_index)}") from None
    n = x.shape[1]
    if n % per_block != 0:
        raise ValueError(f"{kind}: {n} columns are not a multiple of the block, {per_block} weights")
    wanted = <object> rows * (n // per_block) * size
    if weights.shape[0] != wanted:
        raise ValueError(f"{kind}: weights has {weights.shape[0]} bytes, {rows} x {n} weights take {wanted}")
    _linear(t, &weights[0], rows, x, out, column)


def rows_f32(const float[:, ::1] w not None, const float[:, ::1] x not None, float[:, ::1] out not None,
             int64_t column=0):
    """out[t, column + r] = dot(w[r], x[t]): linear_exact() for rows that are decoded already, w float32 [rows, n]."""
    if w.shape[1] != x.shape[1]:
        raise ValueError(f"w has {w.shape[1]} columns, x has {x.shape[1]}")
    _linear(_index["f32"][0], &w[0, 0], w.shape[0], x, out, column)


# ------------------------------------------------------------------------------------------------------------ decoding

cdef struct _Spread:
    float constant
    run_spread spread


cdef int _spread(_Spread *s, value, Py_ssize_t rows, Py_ssize_t groups, str what) except -1:
    """`value` is None, a number, or float32 [1 or rows, 1 or groups], which the caller keeps alive."""
    cdef const float[:, ::1] values
    s.spread.values = NULL
    s.spread.row_stride = s.spread.group_stride = 0
    if value is None:
        return 0
    if isinstance(value, (int, float)):
        s.constant = value
        s.spread.values = &s.constant
        return 0
    values = value
    if values.shape[0] not in (1, rows) or values.shape[1] not in (1, groups):
        raise ValueError(f"{what} is {values.shape[0]} x {values.shape[1]}, {rows} x {groups} is needed, "
                         "or 1 for either")
    s.spread.values = _matrix(values, what)
    s.spread.row_stride = 0 if values.shape[0] == 1 else values.shape[1]
    s.spread.group_stride = 0 if values.shape[1] == 1 else 1
    return 0


cdef dict _codes_of = {b"B": (RUN_U8, 1), b"b": (RUN_I8, 1), b"H": (RUN_U16, 2), b"h": (RUN_I16, 2), b"I": (RUN_U32, 4),
                       b"i": (RUN_I32, 4), b"f": (RUN_F32, 4)}


cdef int _decode(run_codes *c, codes, scale, zero, offset, groups, float[:, ::1] out, Py_ssize_t block_rows,
                 const int8_t[:, ::1] signs) except -1:
    cdef _Spread s, z, o
    cdef Py_buffer buffer
    cdef const int32_t[::1] group_of
    cdef Py_ssize_t rows = out.shape[0], n = out.shape[1], count, i
    cdef int64_t bad
    cdef int32_t last = -1, first = 0
    cdef const hub_run *run = _run()
    cdef float *to = _target(out, "out")
    if block_rows < 0:
        raise ValueError(f"block_rows {block_rows} must not be negative")
    c.block_rows = block_rows or max(rows, 1)
    c.group_of = NULL
    c.group = 1
    if isinstance(groups, int):
        if groups < 0:
            raise ValueError(f"a group of {groups} columns")
        c.group = groups or max(n, 1)
        count = -(-n // c.group)
    else:
        group_of = groups
        if group_of.shape[0] != n:
            raise ValueError(f"groups has {group_of.shape[0]} indices, out has {n} columns")
        for i in range(n):
            last = max(last, group_of[i])
            first = min(first, group_of[i])
        widths = [a.shape[1] for a in (scale, zero, offset) if hasattr(a, "shape") and len(a.shape) == 2]
        count = max(widths, default=1)
        if first < 0 or (last >= count and widths and count > 1):
            raise ValueError(f"groups has indices {first} to {last}, there are {count} groups")
        if n > 0:
            c.group_of = &group_of[0]
    if scale is None:
        raise ValueError("scale must be given")
    in_rows = -(-rows // c.block_rows)
    _spread(&s, scale, in_rows, count, "scale")
    _spread(&z, zero, in_rows, count, "zero")
    _spread(&o, offset, in_rows, count, "offset")
    c.scale, c.zero, c.offset = s.spread, z.spread, o.spread
    c.signs = NULL
    if signs is not None:
        _shape("signs", signs.shape[0], signs.shape[1], rows, n)
        c.signs = &signs[0, 0]
    PyObject_GetBuffer(codes, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    try:
        form = (<bytes> buffer.format).lstrip(b"<=@") if buffer.format is not NULL else b"B"
        if form not in _codes_of or _codes_of[form][1] != buffer.itemsize or (c.table is not NULL and form == b"f"):
            raise ValueError(f"codes have format {form.decode()!r}; known: uint8 int8 uint16 int16 uint32 int32 "
                             "and, without a table, float32")
        if n % c.width != 0:
            raise ValueError(f"out has {n} columns, a code stands for {c.width}")
        if buffer.ndim != 2:
            raise ValueError(f"codes have {buffer.ndim} dimensions, 2 are needed")
        _shape("codes", buffer.shape[0], buffer.shape[1], rows, n // c.width)
        if <uintptr_t> buffer.buf % <uintptr_t> buffer.itemsize != 0:
            raise ValueError("codes lie at an odd address; copy them")
        c.type = _codes_of[form][0]
        c.codes = buffer.buf
        if rows == 0 or n == 0:
            return 0
        with nogil:
            bad = run.decode(c, rows, n, to)
        if bad >= 0:
            raise ValueError(f"code {bad} of the matrix is not in the codebook of {c.entries} entries")
    finally:
        PyBuffer_Release(&buffer)
    return 0


def decode_affine(codes not None, scale, zero, offset, groups, float[:, ::1] out not None, Py_ssize_t block_rows=1,
                  const int8_t[:, ::1] signs=None):
    """out = scale * (signs * codes - zero) + offset, every step rounded to f32: the formula of the IR.

    codes       [rows, n] of uint8, int8, uint16, int16, uint32, int32 or float32
    scale       float32 [row blocks, groups], either of which may be 1 for "all"; or a number
    zero        the same, or None: nothing is subtracted (0 would turn -0 into 0)
    offset      the same, or None
    groups      columns of a group (0: all of them; the last group may be short), or int32 [n]: the group of each column
    out         float32 [rows, n]
    block_rows  rows that share a row of `scale`, `zero` and `offset`; 0: all of them
    signs       int8 [rows, n], +1 or -1, or None
    """
    cdef run_codes c
    c.table = NULL
    c.entries = 0
    c.width = 1
    _decode(&c, codes, scale, zero, offset, groups, out, block_rows, signs)


def decode_codebook(codes not None, const float[::1] table not None, scale, zero, offset, groups,
                    float[:, ::1] out not None, Py_ssize_t block_rows=1, const int8_t[:, ::1] signs=None,
                    Py_ssize_t width=1):
    """decode_affine() with table[code] in place of the code. A code that the table does not have is a ValueError, found
    while writing.

    codes  integers [rows, n / width]
    table  float32 [entries * width]: `width` weights for each code
    """
    cdef run_codes c
    if width < 1 or table.shape[0] == 0 or table.shape[0] % width != 0:
        raise ValueError(f"a table of {table.shape[0]} values with {width} per code")
    c.table = _vector(table, table.shape[0], "table")
    c.entries = table.shape[0] // width
    c.width = width
    _decode(&c, codes, scale, zero, offset, groups, out, block_rows, signs)


# ------------------------------------------------------------------------------------------------------- rows of tokens

def rms_norm(const float[:, ::1] x not None, const float[::1] weight, float eps, float[:, ::1] out not None,
             Py_ssize_t groups=1):
    """x * (1 / sqrt(mean(x^2) + eps)) * weight over each of `groups` equal parts of a row. In place.

    x, out  float32 [tokens, n]
    weight  float32 [n / groups], the same for every part; or None
    """
    cdef const hub_run *run = _run()
    cdef Py_ssize_t tokens = x.shape[0], n
    if groups < 1 or x.shape[1] % groups != 0:
        raise ValueError(f"{x.shape[1]} columns cannot be divided into {groups} groups")
    n = x.shape[1] // groups
    _same(out, "out", x)
    cdef const float *from_ = _matrix(x, "x")
    cdef const float *w = _vector(weight, n, "weight")
    cdef float *to = _target(out, "out")
    if tokens == 0 or n == 0:
        return
    with nogil:
        run.rms_norm(from_, tokens * groups, n, w, eps, to)


def layer_norm(const float[:, ::1] x not None, const float[::1] weight not None, const float[::1] bias, float eps,
               float[:, ::1] out not None):
    """(x - mean) * (1 / sqrt(mean((x - mean)^2) + eps)) * weight + bias for each row. In place.

    x, out        float32 [tokens, n]
    weight, bias  float32 [n]; bias may be None
    """
    cdef const hub_run *run = _run()
    cdef Py_ssize_t tokens = x.shape[0], n = x.shape[1]
    _same(out, "out", x)
    cdef const float *from_ = _matrix(x, "x")
    cdef const float *w = _vector(weight, n, "weight")
    cdef const float *b = _vector(bias, n, "bias")
    cdef float *to = _target(out, "out")
    if tokens == 0 or n == 0:
        return
    with nogil:
        run.layer_norm(from_, tokens, n, w, b, eps, to)


def rope_tables(const float[::1] inv_freq not None, const int32_t[::1] positions not None, float scale,
                float[:, ::1] cos not None, float[:, ::1] sin not None):
    """cos and sin of the f32 product position * inv_freq, times scale (1, or the attention factor of YaRN).

    inv_freq   float32 [half], radians per position
    positions  int32 [tokens]; |position * inv_freq| up to 2^28
    cos, sin   float32 [tokens, half]
    """
    cdef const hub_run *run = _run()
    cdef Py_ssize_t tokens = positions.shape[0], half = inv_freq.shape[0], i
    cdef float fastest = 0.0, farthest = 0.0
    _shape("cos", cos.shape[0], cos.shape[1], tokens, half)
    _shape("sin", sin.shape[0], sin.shape[1], tokens, half)
    cdef const float *f = _vector(inv_freq, half, "inv_freq")
    cdef float *c = _target(cos, "cos")
    cdef float *s = _target(sin, "sin")
    if tokens == 0 or half == 0:
        return
    for i in range(half):
        if not abs(inv_freq[i]) <= 1e30:
            raise ValueError(f"inv_freq[{i}] is {inv_freq[i]}")
        fastest = max(fastest, abs(inv_freq[i]))
    for i in range(tokens):
        farthest = max(farthest, abs(<float> positions[i]))
    if <double> fastest * farthest > 268435456.0:
        raise ValueError(f"an angle of {<double> fastest * farthest:.4g} radians; the limit is 2^28")
    with nogil:
        run.rope_tables(f, half, &positions[0], tokens, scale, c, s)


def rope(float[:, ::1] x not None, const float[:, ::1] cos not None, const float[:, ::1] sin not None,
         Py_ssize_t heads, pairs):
    """Turn pairs of numbers of each head, in place: a, b -> a cos - b sin, b cos + a sin.

    x         float32 [tokens, heads * dim]
    cos, sin  float32 [tokens, half]: the first 2 * half <= dim numbers of a head are turned
    pairs     "halves": (i, i + half), as transformers; "neighbours": (2i, 2i + 1), as the first Llama
    """
    cdef const hub_run *run = _run()
    cdef Py_ssize_t tokens = x.shape[0], half = cos.shape[1]
    cdef bint neighbours = pairs == "neighbours"
    if pairs not in ("halves", "neighbours"):
        raise ValueError(f"unknown pairs {pairs!r}; known: halves neighbours")
    if heads < 1 or x.shape[1] % heads != 0:
        raise ValueError(f"{x.shape[1]} columns cannot be divided into {heads} heads")
    if 2 * half > x.shape[1] // heads:
        raise ValueError(f"cos has {half} columns, a head has {x.shape[1] // heads} numbers")
    _shape("cos", cos.shape[0], half, tokens, half)
    _same(sin, "sin", cos)
    cdef float *to = _target(x, "x")
    cdef const float *c = _matrix(cos, "cos")
    cdef const float *s = _matrix(sin, "sin")
    if tokens == 0 or half == 0:
        return
    with nogil:
        run.rope(to, tokens, heads, x.shape[1] // heads, c, s, half, neighbours)


def attention(const float[:, ::1] q not None, const float[:, ::1] k not None, const float[:, ::1] v not None,
              float[:, ::1] out not None, Py_ssize_t heads, Py_ssize_t kv_heads, float scale, Py_ssize_t window=0,
              float softcap=0.0, Py_ssize_t first_head=0, last_head=None, const float[::1] sinks=None):
    """Causal attention: softmax of scale * dot(q, k), weighted sum of v. Heads [first_head, last_head) only, so that
    calls can share the work; the other columns of out are left alone.

    q        float32 [tokens, heads * dim]
    k        float32 [positions, kv_heads * dim]; token t stands at position positions - tokens + t
    v        float32 [positions, kv_heads * value_dim]
    out      float32 [tokens, heads * value_dim]
    window   position p sees s with p - window < s <= p; 0: all s <= p
    softcap  scores become softcap * tanh(score / softcap); 0: they stay
    sinks    float32 [heads] or None: a further score in each head's softmax, with no value
    """
    cdef run_attention a
    cdef const hub_run *run = _run()
    cdef Py_ssize_t last = heads if last_head is None else last_head
    cdef void *scratch
    if heads < 1 or kv_heads < 1 or heads % kv_heads != 0:
        raise ValueError(f"{heads} heads cannot share {kv_heads} heads of k and v")
    if q.shape[1] % heads != 0 or out.shape[1] % heads != 0:
        raise ValueError(f"q with {q.shape[1]} columns, out with {out.shape[1]}: not multiples of {heads} heads")
    if k.shape[0] < q.shape[0]:
        raise ValueError(f"k has {k.shape[0]} positions, q has {q.shape[0]} tokens")
    a.dim = q.shape[1] // heads
    a.value_dim = out.shape[1] // heads
    _shape("k", k.shape[0], k.shape[1], k.shape[0], kv_heads * a.dim)
    _shape("v", v.shape[0], v.shape[1], k.shape[0], kv_heads * a.value_dim)
    _shape("out", out.shape[0], out.shape[1], q.shape[0], out.shape[1])
    if not 0 <= first_head <= last <= heads:
        raise ValueError(f"heads [{first_head}, {last}) of {heads}")
    if window < 0 or not softcap >= 0.0:
        raise ValueError(f"window {window} and softcap {softcap} must not be negative")
    a.q = _matrix(q, "q")
    a.k = _matrix(k, "k")
    a.v = _matrix(v, "v")
    a.out = _target(out, "out")
    a.sinks = _vector(sinks, heads, "sinks")
    a.tokens, a.positions = q.shape[0], k.shape[0]
    a.heads, a.kv_heads = heads, kv_heads
    a.first_head, a.last_head = first_head, last
    a.window, a.scale, a.softcap = window, scale, softcap
    if a.tokens == 0 or first_head == last:
        return
    scratch = _scratch(run_attention_scratch(a.positions, a.dim))
    with nogil:
        run.attention(&a, _at_64(scratch))
    PyMem_RawFree(scratch)


def softmax_rows(const float[:, ::1] x not None, float[:, ::1] out not None):
    """exp(x - max) / sum(exp(x - max)) of each row. In place. x, out float32 [rows, n]"""
    cdef const hub_run *run = _run()
    _same(out, "out", x)
    cdef const float *from_ = _matrix(x, "x")
    cdef float *to = _target(out, "out")
    if x.shape[0] == 0 or x.shape[1] == 0:
        return
    with nogil:
        run.softmax(from_, x.shape[0], x.shape[1], to)


def top_k(const float[:, ::1] x not None, Py_ssize_t k, int32_t[:, ::1] ids not None, float[:, ::1] values not None):
    """The k largest of each row, largest first; of equals the lower index first; NaN after all numbers.

    x            float32 [rows, n], k <= n
    ids, values  int32 and float32 [rows, k]
    """
    cdef const hub_run *run = _run()
    if not 0 <= k <= x.shape[1] or x.shape[1] > 2147483647:
        raise ValueError(f"the {k} largest of {x.shape[1]}")
    _shape("ids", ids.shape[0], ids.shape[1], x.shape[0], k)
    _shape("values", values.shape[0], values.shape[1], x.shape[0], k)
    cdef const float *from_ = _matrix(x, "x")
    cdef float *to = _target(values, "values")
    _aligned(&ids[0, 0], "ids")
    if x.shape[0] == 0 or k == 0:
        return
    with nogil:
        run.top_k(from_, x.shape[0], x.shape[1], k, &ids[0, 0], to)


# ---------------------------------------------------------------------------------------------------- number by number

ctypedef void one_fn(const float *, int64_t, float *) noexcept nogil
ctypedef void two_fn(const float *, const float *, int64_t, float *) noexcept nogil


cdef int _one(one_fn *kernel, const float[:, ::1] x, float[:, ::1] out) except -1:
    _same(out, "out", x)
    cdef const float *from_ = _matrix(x, "x")
    cdef float *to = _target(out, "out")
    with nogil:
        kernel(from_, x.shape[0] * x.shape[1], to)
    return 0


cdef int _two(two_fn *kernel, const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] out) except -1:
    _same(b, "the second argument", a)
    _same(out, "out", a)
    cdef const float *first = _matrix(a, "the first argument")
    cdef const float *second = _matrix(b, "the second argument")
    cdef float *to = _target(out, "out")
    with nogil:
        kernel(first, second, a.shape[0] * a.shape[1], to)
    return 0


def silu(const float[:, ::1] x not None, float[:, ::1] out not None):
    """x / (1 + exp(-x)). In place. float32 [rows, n]"""
    _one(<one_fn *> _run().silu, x, out)


def gelu_tanh(const float[:, ::1] x not None, float[:, ::1] out not None):
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). In place. float32 [rows, n]"""
    _one(<one_fn *> _run().gelu_tanh, x, out)


def gelu_erf(const float[:, ::1] x not None, float[:, ::1] out not None):
    """x/2 (1 + erf(x / sqrt(2))). In place. float32 [rows, n]"""
    _one(<one_fn *> _run().gelu_erf, x, out)


def silu_mul(const float[:, ::1] gate not None, const float[:, ::1] up not None, float[:, ::1] out not None):
    """silu(gate) * up. In place. float32 [rows, n]"""
    _two(<two_fn *> _run().silu_mul, gate, up, out)


def gelu_tanh_mul(const float[:, ::1] gate not None, const float[:, ::1] up not None, float[:, ::1] out not None):
    """gelu_tanh(gate) * up. In place. float32 [rows, n]"""
    _two(<two_fn *> _run().gelu_tanh_mul, gate, up, out)


def gelu_erf_mul(const float[:, ::1] gate not None, const float[:, ::1] up not None, float[:, ::1] out not None):
    """gelu_erf(gate) * up. In place. float32 [rows, n]"""
    _two(<two_fn *> _run().gelu_erf_mul, gate, up, out)


def add(const float[:, ::1] a not None, const float[:, ::1] b not None, float[:, ::1] out not None):
    """a + b. In place. float32 [rows, n]"""
    _two(<two_fn *> _run().add, a, b, out)


def swiglu_pairs(const float[:, ::1] x not None, float alpha, float limit, float[:, ::1] out not None):
    """Of pairs (gate, up) of columns: c / (1 + exp(-alpha c)) * (u + 1), with c the gate but at most limit, and u the
    up kept within -limit and limit (gpt-oss).

    x    float32 [rows, 2 n]
    out  float32 [rows, n]
    """
    cdef const hub_run *run = _run()
    _shape("x", x.shape[0], x.shape[1], out.shape[0], 2 * out.shape[1])
    if not limit >= 0.0:
        raise ValueError(f"limit {limit} must not be negative")
    cdef const float *from_ = _matrix(x, "x")
    cdef float *to = _target(out, "out")
    with nogil:
        run.swiglu_pairs(from_, out.shape[0] * out.shape[1], alpha, limit, to)


def softcap(const float[:, ::1] x not None, float cap, float[:, ::1] out not None):
    """cap * tanh(x / cap), cap > 0. In place. float32 [rows, n]"""
    cdef const hub_run *run = _run()
    _same(out, "out", x)
    if not cap > 0.0:
        raise ValueError(f"cap {cap} must be positive")
    cdef const float *from_ = _matrix(x, "x")
    cdef float *to = _target(out, "out")
    with nogil:
        run.softcap(from_, x.shape[0] * x.shape[1], cap, to)


def add_row(float[:, ::1] x not None, const float[::1] bias not None):
    """x += bias for every row, in place. x float32 [rows, n], bias float32 [n]"""
    cdef const hub_run *run = _run()
    cdef const float *b = _vector(bias, x.shape[1], "bias")
    cdef float *to = _target(x, "x")
    with nogil:
        run.add_row(to, x.shape[0], x.shape[1], b)


def scale(float[:, ::1] x not None, float by):
    """x *= by, in place. x float32 [rows, n]"""
    cdef const hub_run *run = _run()
    cdef float *to = _target(x, "x")
    with nogil:
        run.scale(to, x.shape[0] * x.shape[1], by)


# ---------------------------------------------------------------------------------------------------------- statistics

def log_softmax_stats(const float[:, ::1] a not None, const float[:, ::1] b not None, const int32_t[::1] next not None,
                      double[::1] kl not None, double[::1] nll_a not None, double[::1] nll_b not None,
                      uint8_t[::1] same_top not None):
    """What two models' logits say about each token, in double and natural logarithms.

    a, b          float32 [rows, n]
    next          int32 [rows]: the id that came next, or -1 if there is none
    kl            float64 [rows]: KL(softmax a || softmax b)
    nll_a, nll_b  float64 [rows]: -log softmax[next], 0 where next is -1
    same_top      uint8 [rows]: 1 where the largest logit (the first of equals) has the same id in both
    """
    cdef const hub_run *run = _run()
    cdef Py_ssize_t rows = a.shape[0], n = a.shape[1], i
    _same(b, "b", a)
    for what, found in (("next", next.shape[0]), ("kl", kl.shape[0]), ("nll_a", nll_a.shape[0]),
                        ("nll_b", nll_b.shape[0]), ("same_top", same_top.shape[0])):
        if found != rows:
            raise ValueError(f"{what} has {found} values, a has {rows} rows")
    for i in range(rows):
        if not -1 <= next[i] < n:
            raise ValueError(f"next[{i}] is {next[i]}, there are {n} logits")
    cdef const float *pa = _matrix(a, "a")
    cdef const float *pb = _matrix(b, "b")
    if rows == 0 or n == 0:
        return
    with nogil:
        run.log_softmax_stats(pa, pb, rows, n, &next[0], &kl[0], &nll_a[0], &nll_b[0], &same_top[0])


def sum_squares(const float[:, ::1] x not None, double[::1] out not None):
    """out[c] += sum over the rows of x[:, c]^2. x float32 [rows, n], out float64 [n]"""
    cdef const hub_run *run = _run()
    if out.shape[0] != x.shape[1]:
        raise ValueError(f"out has {out.shape[0]} values, x has {x.shape[1]} columns")
    cdef const float *from_ = _matrix(x, "x")
    if x.shape[0] == 0 or x.shape[1] == 0:
        return
    with nogil:
        run.sum_squares(from_, x.shape[0], x.shape[1], &out[0])
