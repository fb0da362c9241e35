# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary of MLX's quantizers. Checks are here, the work is done in src/mlx_*; see src/mlx.h.

Weights are finite float32 [rows, cols]. What is made is bytes: a caller with words of 32 bits, or with scales of 16,
passes views of their bytes. Inputs and outputs do not overlap.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uintptr_t

from . import _kernels

cdef extern from "mlx.h" nogil:
    ctypedef enum hub_type:
        HUB_F32
        HUB_F16
        HUB_BF16
    ctypedef enum hub_mlx_mode:
        HUB_MLX_MXFP4
        HUB_MLX_MXFP8
        HUB_MLX_NVFP4
    ctypedef void affine_fn(const float *, int64_t, int, int, hub_type, uint8_t *, uint8_t *, uint8_t *) noexcept
    ctypedef void floats_fn(const float *, int64_t, hub_mlx_mode, hub_type, float, uint8_t *, uint8_t *) noexcept
    ctypedef struct hub_mlx:
        affine_fn *affine
        floats_fn *floats
    ctypedef struct hub_kernels:
        const hub_mlx *mlx
    ctypedef struct hub_selection:
        hub_kernels kernels

cdef dict _types = {"f32": HUB_F32, "f16": HUB_F16, "bf16": HUB_BF16}
cdef dict _modes = {"mxfp4": (HUB_MLX_MXFP4, 32, 4), "mxfp8": (HUB_MLX_MXFP8, 32, 8), "nvfp4": (HUB_MLX_NVFP4, 16, 4)}
cdef const hub_mlx *_selected = NULL


cdef const hub_mlx *_table() except NULL:
    """The kernels of this process; IsaError where HUB_ISA asks for what is not there."""
    global _selected
    if _selected is NULL:
        _selected = (<const hub_selection *> PyCapsule_GetPointer(_kernels._selection(), b"hub_selection")).kernels.mlx
    return _selected


cdef _one_of(dict known, name):
    try:
        return known[name]
    except (KeyError, TypeError):
        raise ValueError(f"{name!r} is not among {' '.join(known)}") from None


cdef int64_t _groups(const float[:, ::1] x, int group) except -1:
    """How many groups there are."""
    if x.shape[1] % group != 0:
        raise ValueError(f"rows of {x.shape[1]} are not a multiple of {group}")
    if x.shape[0] and x.shape[1] and <uintptr_t> &x[0, 0] % sizeof(float) != 0:
        raise ValueError("x: float32 data is not aligned; copy it")
    return x.shape[0] * (x.shape[1] // group)


cdef int _same(Py_ssize_t found, Py_ssize_t wanted, str what) except -1:
    if found != wanted:
        raise ValueError(f"bytes of {what}: {found}, expected {wanted}")
    return 0


def mlx_affine(const float[:, ::1] x not None, int group, int bits, type, uint8_t[::1] words not None,
               uint8_t[::1] scales not None, uint8_t[::1] biases not None):
    """The bytes of ``mx.quantize(x, group, bits)``, x of number type `type` ("f32", "f16", "bf16").

    x       float32 [rows, cols], finite, rounded to `type` first; cols a multiple of `group`, 32, 64 or 128
    bits    1 to 6, or 8
    words   uint8 [rows * cols * bits / 8], writable
    scales  uint8 [rows * cols / group * size of a `type`], writable; biases the same
    """
    if bits not in (1, 2, 3, 4, 5, 6, 8) or group not in (32, 64, 128):
        raise ValueError(f"{bits} bits in groups of {group}; MLX has 1 to 6 and 8 bits, and groups of 32, 64 and 128")
    cdef hub_type kind = _one_of(_types, type)
    cdef int64_t groups = _groups(x, group)
    cdef Py_ssize_t size = groups * (4 if kind == HUB_F32 else 2)
    cdef const hub_mlx *table = _table()
    _same(words.shape[0], groups * group * bits // 8, "words")
    _same(scales.shape[0], size, "scales")
    _same(biases.shape[0], size, "biases")
    if groups == 0:
        return
    with nogil:
        table.affine(&x[0, 0], groups, group, bits, kind, &words[0], &scales[0], &biases[0])


def mlx_floats(const float[:, ::1] x not None, mode, type, float global_scale, uint8_t[::1] words not None,
               uint8_t[::1] scales not None):
    """The bytes of ``mx.quantize(x, mode=mode)``, x of number type `type` ("f32", "f16", "bf16").

    x             float32 [rows, cols], finite, rounded to `type` first; cols a multiple of 32, of 16 for "nvfp4"
    mode          "mxfp4", "mxfp8", "nvfp4"
    global_scale  of "nvfp4"; 0 for none
    words         uint8 [rows * cols / 2], or [rows * cols] for "mxfp8", writable
    scales        uint8 [rows * groups], writable
    """
    cdef int of_mode, group, bits
    of_mode, group, bits = _one_of(_modes, mode)
    cdef hub_type kind = _one_of(_types, type)
    cdef int64_t groups = _groups(x, group)
    cdef const hub_mlx *table = _table()
    if not 0 <= global_scale < float("inf") or (global_scale and of_mode != HUB_MLX_NVFP4):
        raise ValueError(f"a global scale of {global_scale} for {mode}")
    _same(words.shape[0], groups * group * bits // 8, "words")
    _same(scales.shape[0], groups, "scales")
    if groups == 0:
        return
    with nogil:
        table.floats(&x[0, 0], groups, <hub_mlx_mode> of_mode, kind, global_scale, &words[0], &scales[0])
