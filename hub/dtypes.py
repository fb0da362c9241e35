"""Names of the number types that files store, and their NumPy equivalents.

Names are short and lower-case (`f16`, `bf16`, `f8_e4m3`); formats map their own spelling to them.
NumPy is imported only when an array is really wanted, so headers can be read without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class DType:
    """A number type.

    Attributes:
        name: hub's name.
        bytes: bytes per number.
        numpy_name: the name of the NumPy (or ml_dtypes) type of the same bits.
        is_float: whether it is a floating-point type.
    """

    name: str
    bytes: int
    numpy_name: str
    is_float: bool

    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype, little-endian."""
        import numpy as np

        if hasattr(np, self.numpy_name):
            return np.dtype(self.numpy_name).newbyteorder("<")
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.numpy_name))
        return found

    def __str__(self) -> str:
        return self.name


_ALL = (
    DType("f64", 8, "float64", True),
    DType("f32", 4, "float32", True),
    DType("f16", 2, "float16", True),
    DType("bf16", 2, "bfloat16", True),
    DType("f8_e4m3", 1, "float8_e4m3fn", True),
    DType("f8_e5m2", 1, "float8_e5m2", True),
    DType("f8_e8m0", 1, "float8_e8m0fnu", True),
    DType("i64", 8, "int64", False),
    DType("i32", 4, "int32", False),
    DType("i16", 2, "int16", False),
    DType("i8", 1, "int8", False),
    DType("u64", 8, "uint64", False),
    DType("u32", 4, "uint32", False),
    DType("u16", 2, "uint16", False),
    DType("u8", 1, "uint8", False),
    DType("bool", 1, "bool_", False),
)
DTYPES = {dtype.name: dtype for dtype in _ALL}
"""All types by name."""

F32, F16, BF16, F64 = DTYPES["f32"], DTYPES["f16"], DTYPES["bf16"], DTYPES["f64"]
U8, I8, I32, U32 = DTYPES["u8"], DTYPES["i8"], DTYPES["i32"], DTYPES["u32"]

_WIDENS = {"f16": {"f32", "f64"}, "bf16": {"f32", "f64"}, "f32": {"f64"}}


def widens(source: DType, target: DType) -> bool:
    """Whether every value of `source` is a value of `target`."""
    return source == target or target.name in _WIDENS.get(source.name, ())
