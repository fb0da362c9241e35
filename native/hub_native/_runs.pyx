# cython: embedsignature=True, embedsignature.format=python
"""Ranges of equal length at equal distances of a file; see src/runs.h."""
from libc.stdint cimport int64_t

cdef extern from "runs.h" nogil:
    size_t runs_read(int fd, unsigned char *out, size_t length, size_t count, int64_t offset, int64_t stride)
    size_t runs_write(int fd, const unsigned char *data, size_t length, size_t count, int64_t offset, int64_t stride)


def read_runs(int fd, unsigned char[::1] out not None, Py_ssize_t length, int64_t offset, int64_t stride):
    """Fill `out` with runs of `length` bytes, the first from byte `offset` of the file and each `stride` after the last.

    Returns how many were read whole; fewer than there are where the file ends or cannot be read.
    """
    cdef size_t done, count = _count(out.shape[0], length, offset, stride)
    if not count:
        return 0
    with nogil:
        done = runs_read(fd, &out[0], length, count, offset, stride)
    return done


def write_runs(int fd, const unsigned char[::1] data not None, Py_ssize_t length, int64_t offset, int64_t stride):
    """Write `data` as runs of `length` bytes, the first at byte `offset` of the file and each `stride` after the last.

    Returns how many were written whole; fewer than there are where the file cannot be written.
    """
    cdef size_t done, count = _count(data.shape[0], length, offset, stride)
    if not count:
        return 0
    with nogil:
        done = runs_write(fd, &data[0], length, count, offset, stride)
    return done


cdef size_t _count(Py_ssize_t size, Py_ssize_t length, int64_t offset, int64_t stride) except? 0:
    if length < 1 or size % length or offset < 0 or stride < 0:
        raise ValueError(f"{size} bytes in runs of {length}, from byte {offset}, {stride} bytes apart")
    return <size_t>(size // length)
