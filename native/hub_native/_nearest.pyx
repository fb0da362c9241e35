# cython: boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True, embedsignature.format=python
"""The boundary of rounding to the nearest. Checks are here, the work is done in src/nearest_*; see src/nearest.h.

`x` is float32 [groups, size], finite; scale (positive) and zero (0 to `most`, whole) float32 [groups]; weights float32 [period,
size] for groups in turns, or None. Inputs and outputs do not overlap.
"""
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uintptr_t

from . import _kernels

cdef extern from "nearest.h" nogil:
    ctypedef void errors_fn(const float *, int64_t, int64_t, const float *, const float *, float, const float *, int64_t,
                            float *) noexcept
    ctypedef void codes_fn(const float *, int64_t, int64_t, const float *, const float *, float, uint8_t *) noexcept
    ctypedef void fit_fn(const float *, int64_t, int64_t, const float *, const float *, float, const float *, int64_t,
                         double *) noexcept
    ctypedef struct hub_nearest:
        errors_fn *errors
        codes_fn *codes
        fit_fn *fit
    ctypedef struct hub_kernels:
        const hub_nearest *nearest
    ctypedef struct hub_selection:
        hub_kernels kernels

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


cdef int _check(const float[:, ::1] x, const float[::1] scale, const float[::1] zero, int most, Py_ssize_t out) except -1:
    _same(scale.shape[0], x.shape[0], "scales")
    _same(zero.shape[0], x.shape[0], "zero points")
    _same(out, x.shape[0], "groups of out")
    if not 1 <= most <= 255:
        raise ValueError(f"codes up to {most}; there are kernels for 1 to 255")
    if x.shape[0] and x.shape[1] and <uintptr_t> &x[0, 0] % sizeof(float) != 0:
        raise ValueError("x: float32 data is not aligned; copy it")
    return 0


cdef int64_t _period(const float[:, ::1] x, const float[:, ::1] weights) except -1:
    if weights is None:
        return 1
    _same(weights.shape[1], x.shape[1], "weights of a group")
    if weights.shape[0] == 0 or x.shape[0] % weights.shape[0] != 0:
        raise ValueError(f"{x.shape[0]} groups are not a multiple of {weights.shape[0]}")
    return weights.shape[0]


def nearest_errors(const float[:, ::1] x not None, const float[::1] scale not None, const float[::1] zero not None, int most,
                   const float[:, ::1] weights, float[::1] out not None):
    """The sum of weighted squared errors of every group. out  float32 [groups], writable"""
    cdef const hub_nearest *table = _table()
    _check(x, scale, zero, most, out.shape[0])
    cdef int64_t period = _period(x, weights)
    if x.shape[0] == 0 or x.shape[1] == 0:
        out[:] = 0
        return
    cdef const float *w = NULL if weights is None else &weights[0, 0]
    with nogil:
        table.errors(&x[0, 0], x.shape[0], x.shape[1], &scale[0], &zero[0], <float> most, w, period, &out[0])


def nearest_codes(const float[:, ::1] x not None, const float[::1] scale not None, const float[::1] zero not None, int most,
                  uint8_t[:, ::1] out not None):
    """The nearest codes. out  uint8 [groups, size], writable"""
    cdef const hub_nearest *table = _table()
    _check(x, scale, zero, most, out.shape[0])
    _same(out.shape[1], x.shape[1], "codes of a group")
    if x.shape[0] == 0 or x.shape[1] == 0:
        return
    with nogil:
        table.codes(&x[0, 0], x.shape[0], x.shape[1], &scale[0], &zero[0], <float> most, &out[0, 0])


def nearest_fit(const float[:, ::1] x not None, const float[::1] scale not None, const float[::1] zero not None, int most,
                const float[:, ::1] weights, double[::1] out not None):
    """The scale of the least squared error for the nearest codes less zero point. out  float64 [groups], writable"""
    cdef const hub_nearest *table = _table()
    _check(x, scale, zero, most, out.shape[0])
    cdef int64_t period = _period(x, weights)
    if x.shape[0] == 0 or x.shape[1] == 0:
        out[:] = float("nan")
        return
    cdef const float *w = NULL if weights is None else &weights[0, 0]
    with nogil:
        table.fit(&x[0, 0], x.shape[0], x.shape[1], &scale[0], &zero[0], <float> most, w, period, &out[0])
