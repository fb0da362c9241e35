"""The types of GGUF's key-values, apart from `kv` so that headers are read without NumPy."""

from __future__ import annotations

from enum import IntEnum


class KvType(IntEnum):
    """The type of a value, with its number in the file."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    U64 = 10
    I64 = 11
    F64 = 12
