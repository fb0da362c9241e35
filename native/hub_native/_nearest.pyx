# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary of rounding to the nearest. Checks are here, the work is done in src/nearest_*; see src/nearest.h."""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uintptr_t

from . import _kernels

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint bool_t "bool"

cdef extern from "nearest.h" nogil:
    ctypedef enum hub_type:
        HUB_F32
        HUB_F16
        HUB_BF16
    ctypedef void search_fn(const float *, int64_t, int64_t, int, bool_t, hub_type, const float *, int64_t, uint8_t *, float *,
                            uint8_t *) noexcept
    ctypedef struct hub_nearest:
        search_fn *search
    ctypedef struct hub_kernels:
        const hub_nearest *nearest
    ctypedef struct hub_selection:
        hub_kernels kernels

cdef dict _types = {"f32": HUB_F32, "f16": HUB_F16, "bf16": HUB_BF16}
cdef const hub_nearest *_selected = NULL


cdef const hub_nearest *_table() except NULL:
    """The kernels of this process; IsaError where HUB_ISA asks for what is not there."""
    global _selected
    if _selected is NULL:
        _selected = (<const hub_selection *> PyCapsule_GetPointer(_kernels._selection(), b"hub_selection")).kernels.nearest
    return _selected


cdef int _same(Py_ssize_t found, Py_ssize_t wanted, str what) except -1:
    if found != wanted:
        raise ValueError(f"{what}: {found}, expected {wanted}")
    return 0


def nearest(const float[:, ::1] x not None, int bits, bint symmetric, type, const float[:, ::1] weights, uint8_t[:, ::1] codes not None,
            float[::1] scales not None, uint8_t[::1] zeros not None):
    """Codes, scales and zero points of the least squared error among those that are tried; see src/nearest.h.

    x        float32 [groups, size], finite
    bits     1 to 8
    type     "f32", "f16" or "bf16": what scales are stored as, and numbers of which they therefore are
    weights  float32 [period, size]: what squared errors count, of groups in turns; or None
    codes    uint8 [groups, size], writable; scales float32 [groups], zeros uint8 [groups] likewise
    """
    cdef const hub_nearest *table = _table()
    cdef int64_t groups = x.shape[0], size = x.shape[1], period = 1
    cdef const float *w = NULL
    if not 1 <= bits <= 8:
        raise ValueError(f"codes of {bits} bits; there are kernels for 1 to 8")
    if type not in _types:
        raise ValueError(f"{type!r} is not among {' '.join(_types)}")
    cdef hub_type kind = _types[type]
    _same(codes.shape[0], groups, "groups of codes")
    _same(codes.shape[1], size, "codes of a group")
    _same(scales.shape[0], groups, "scales")
    _same(zeros.shape[0], groups, "zero points")
    if weights is not None:
        _same(weights.shape[1], size, "weights of a group")
        period = weights.shape[0]
        if period == 0 or groups % period != 0:
            raise ValueError(f"{groups} groups are not a multiple of {period}")
    if groups == 0:
        return
    if size == 0:
        raise ValueError("groups of no weights")
    if <uintptr_t> &x[0, 0] % sizeof(float) != 0:
        raise ValueError("x: float32 data is not aligned; copy it")
    if weights is not None:
        w = &weights[0, 0]
    with nogil:
        table.search(&x[0, 0], groups, size, bits, symmetric, kind, w, period, &codes[0, 0], &scales[0], &zeros[0])
