# cython: embedsignature=True, embedsignature.format=python
"""Mapped files that outlive their being cut short; see src/mapping.h."""
from cpython.buffer cimport PyBuffer_FillInfo

import os

cdef extern from "mapping.h" nogil:
    ctypedef struct hub_mapping:
        void *data
        size_t size
    int mapping_open(int fd, size_t size, hub_mapping *out)
    int mapping_lost(const hub_mapping *mapping)
    void mapping_close(hub_mapping *mapping)


cdef class MappedFile:
    """All of an open file as a read-only buffer; mapped until nothing looks at it any more.

    Where the file has become shorter, or fails, its bytes read as zeros and `lost` is true.
    """
    cdef hub_mapping mapping

    def __cinit__(self, int fd, size_t size):
        error = mapping_open(fd, size, &self.mapping)
        if error:
            raise OSError(error, os.strerror(error))

    def __dealloc__(self):
        mapping_close(&self.mapping)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.mapping.data, <Py_ssize_t>self.mapping.size, 1, flags)

    @property
    def lost(self):
        """Whether a part could not be read."""
        return bool(mapping_lost(&self.mapping))
