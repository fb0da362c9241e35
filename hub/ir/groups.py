"""Who shares a scale."""

from __future__ import annotations

from dataclasses import dataclass

from hub.ir.part import Part


@dataclass(frozen=True)
class Blocks:
    """Weights in a rectangle share a scale.

    `Blocks((1, 32))` is 32 neighbours in a row; `(128, 128)` a square of fp8; `(1, 0)` a whole
    row, `(0, 0)` the whole tensor. The last block of an axis may be short.
    """

    shape: tuple[int, int]


@dataclass(frozen=True)
class Index:
    """Column `k` belongs to group `g_idx[k]` (GPTQ with act-order).

    Attributes:
        g_idx: (in,) integers, shared by all rows; None in a scheme, which has no data.
        groups: how many groups there are.
    """

    g_idx: Part | None
    groups: int


Groups = Blocks | Index
