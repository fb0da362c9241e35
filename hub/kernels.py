"""The native kernels as functions on NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import hub_native
from hub.dtypes import DTYPES
from hub.errors import UsageError

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

_NATIVE = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def isa() -> str:
    """The instruction set that the kernels use.

    Raises:
        UsageError: HUB_ISA names one that does not exist or that this machine lacks.
    """
    try:
        return hub_native.isa()
    except hub_native.IsaError as error:
        raise UsageError(str(error)) from None


def to_f32(array: np.ndarray[Any, Any]) -> F32Array:
    """`array` (any shape, any number type) as C-contiguous f32; exact for f16 and bf16."""
    array = np.ascontiguousarray(array)
    if array.dtype == np.float32:
        return array
    name = _NATIVE.get(array.dtype.name)
    if name is None:
        with np.errstate(over="ignore"):  # a double beyond f32 is infinite, and `scan` finds it
            return array.astype(np.float32)
    out = np.empty(array.shape, np.float32)
    hub_native.to_f32(name, array.reshape(-1).view(np.uint8), out.reshape(-1))
    return out


def from_f32(array: F32Array, name: str) -> np.ndarray[Any, Any]:
    """f32 rounded to the float type `name`, half to even; the same shape."""
    if name == "f32":
        return array
    dtype = DTYPES[name].numpy()
    if name not in _NATIVE.values():
        return array.astype(dtype)
    out = np.empty(array.shape, dtype)
    hub_native.quantize(name, array.reshape(1, -1), out.reshape(-1).view(np.uint8), None)
    return out


class Scan(NamedTuple):
    """What `scan` saw: how many numbers are not finite, the index of the first (-1: none), and
    the largest magnitude of the others."""

    nonfinite: int
    first: int
    max_abs: float


def scan(array: np.ndarray[Any, Any]) -> Scan:
    """Look for NaN and infinity in an array of floats."""
    array = np.ascontiguousarray(array)
    name = _NATIVE.get(array.dtype.name)
    if name is None:
        array, name = to_f32(array), "f32"
    return Scan(*hub_native.scan(name, array.reshape(-1).view(np.uint8)))


class Difference(NamedTuple):
    """How two arrays differ: largest difference, sum of squared differences, sum of the squares of
    the first, and how many items are not the same bits (zeros of either sign are the same)."""

    max_abs: float
    sum_sq: float
    sum_sq_reference: float
    unequal: int


def compare(reference: F32Array, other: F32Array) -> Difference:
    """Compare two f32 arrays of one shape; sums are f64, in order."""
    return Difference(*hub_native.compare(reference.reshape(-1), other.reshape(-1)))
