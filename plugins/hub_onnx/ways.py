"""Which way of using a tensor goes with its layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hub.api import PluginError, Shape
from hub_onnx.codes import BlocksOfCodes, ColumnsOfCodes, RowsOfCodes
from hub_onnx.weights import FLOATS, ColumnsWeight, DenseWeight, Weight

WAYS: Final[dict[str, Callable[[str, Shape, str], Weight]]] = {
    **dict.fromkeys(FLOATS, DenseWeight),
    "onnx.columns": ColumnsWeight,
    "onnx.dq": ColumnsOfCodes,
    "onnx.rows": RowsOfCodes,
    "ort.MatMulNBits": BlocksOfCodes,
}
"""The class for each layout, by the layout's name, or by its family's: what stands before the slash."""


def weight_of(name: str, shape: Shape, layout: str) -> Weight:
    """A tensor in a graph.

    Raises:
        PluginError: no graph uses tensors of that layout.
    """
    family, _, rest = layout.partition("/")
    way = WAYS.get(layout) or WAYS.get(family)
    if way is None or (way is ColumnsWeight and rest not in FLOATS):
        raise PluginError(f"{layout} has no operators in ONNX", tensor=name)
    return way(name, shape, layout)
