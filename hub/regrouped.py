"""Columns brought together that share a scale: a tensor whose groups are told by an index (act-order), as blocks.

Its weights are those of the tensor it is made of, in another order of columns. Codes stay what they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hub.errors import ConfigError
from hub.ir.groups import Blocks, Index
from hub.ir.part import Shape, row_length
from hub.ir.scheme import Scheme
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Affine
from hub.ir.woven import ColumnsPart
from hub.layout import Layout
from hub.opened import OpenedLayout, opened
from hub.plugins import REGROUPED

if TYPE_CHECKING:
    import numpy as np

_BY_COLUMN = ("codes", "signs")
_INDEX = "g_idx"


class RegroupedLayout(OpenedLayout):
    """The codes of another layout with columns by group: blocks in the place of the index."""

    def __init__(self, inner: Layout) -> None:
        super().__init__(inner)
        self.name = REGROUPED + inner.name

    def scheme(self, shape: Shape) -> Scheme:
        scheme = super().scheme(shape)
        if not isinstance(scheme.groups, Index) or row_length(shape) % scheme.groups.groups:
            raise ConfigError(f"{self.inner.name} has no groups by an index that blocks could tell")
        return replace(scheme, groups=Blocks((1, row_length(shape) // scheme.groups.groups)))


def order_of(tensor: Tensor, layout: Layout) -> np.ndarray[Any, Any] | None:
    """The order that brings columns of a group together: (columns,), old numbers of new columns.

    Groups come by their number, columns of a group in the order they had. None where the tensor has no index, or
    groups of unlike size, or codes that many columns share: blocks could not tell these.
    """
    import numpy as np

    if not isinstance(tensor.body, Packed) or len(tensor.shape) != 2:
        return None
    scheme = layout.scheme(tensor.shape)
    if not isinstance(scheme, Scheme) or not isinstance(scheme.groups, Index) or _INDEX not in tensor.parts:
        return None
    groups, columns = scheme.groups.groups, row_length(tensor.shape)
    if not isinstance(scheme.values, Affine) and scheme.values.width != 1:
        return None
    g_idx = np.asarray(tensor.parts[_INDEX].load(0, tensor.rows)).astype(np.int64)
    if columns % groups or np.any(np.bincount(g_idx, minlength=groups) != columns // groups):
        return None
    return np.argsort(g_idx, kind="stable")


def regrouped(tensor: Tensor, layout: Layout, order: np.ndarray[Any, Any], step: str) -> Tensor:
    """`tensor` with its columns in `order`, which `order_of` gave.

    Args:
        step: what to call that in the report.
    """
    inner = layout.inner if isinstance(layout, OpenedLayout) else layout
    source = tensor if isinstance(layout, OpenedLayout) else opened(tensor, layout)
    target = RegroupedLayout(inner)
    parts = {
        name: ColumnsPart(source.parts[name], spec, order) if name in _BY_COLUMN else source.parts[name]
        for name, spec in target.parts(tensor.shape).items()
    }
    body = Packed(target.name, tensor.shape, parts)
    return replace(tensor, body=body, derived=(*tensor.derived, step))
