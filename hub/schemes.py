"""What a tensor's numbers mean, for writers that choose a layout by it; no data is read."""

from __future__ import annotations

from hub.dtypes import DType
from hub.ir.scheme import Scheme
from hub.ir.tensor import Tensor
from hub.ir.values import Dense
from hub.plugins import registry


def scheme_of(tensor: Tensor) -> Scheme | DType:
    """The scheme of a tensor's layout; the number type of plain numbers.

    Raises:
        UsageError: no such layout is registered.
    """
    if isinstance(tensor.body, Dense):
        return tensor.body.part.spec.dtype
    return registry().layout(tensor.layout).scheme(tensor.shape)


def plain_layout(tensor: Tensor) -> str:
    """The layout of plain numbers that keeps every weight of a tensor.

    That is its own number type, also of floats that lie otherwise than row by row, and `f32` of codes.

    Raises:
        UsageError: its layout is not registered.
    """
    scheme = scheme_of(tensor)
    return scheme.name if isinstance(scheme, DType) else "f32"
