"""ggml's reference quantizers, bit for bit, by native kernels; that of MXFP4 in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import hub_native
from hub.api import Calibration, Quantizer
from hub_gguf.types import BY_LAYOUT, GgmlType


class GgmlQuantizer(Quantizer):
    """The rule of `ggml_quantize_chunk`; with importance it is the rule that an imatrix switches on."""

    wants = frozenset({"importance"})

    def __init__(self, kind: GgmlType) -> None:
        self.kind = kind
        self.layout = kind.layout
        self.name = f"{kind.layout}/reference"

    def quantize(
        self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration
    ) -> Mapping[str, np.ndarray[Any, Any]]:
        out = np.empty((rows.shape[0], self.kind.row_bytes(rows.shape[1])), np.uint8)
        hub_native.quantize(self.kind.word, rows, out.reshape(-1), calibration.importance)
        return {"blocks": out}


class Mxfp4Quantizer(Quantizer):
    """`quantize_row_mxfp4_ref`: the scale of 32 weights is the power of two of the largest less 2, codes are nearest.

    ggml takes the first of the codes that come nearest: of a tie the smaller, and 0, never minus zero, for what rounds
    to zero. Its log2f rounds to f32, so that a weight just below a power of two counts as that power.
    """

    name = "ggml.MXFP4/reference"
    layout = "ggml.MXFP4"

    def quantize(
        self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration
    ) -> Mapping[str, np.ndarray[Any, Any]]:
        grouped = rows.reshape(-1, 32)
        most = np.abs(grouped).max(axis=1).astype(np.float64)
        with np.errstate(divide="ignore"):
            floor = np.floor(np.log2(most).astype(np.float32))
        exponent = np.where(most > 0, floor - 2 + 127, 0).astype(np.int64)
        # ggml keeps the byte of what is beyond the range, and so do we; weights so small are nothing beside any others.
        stored = (exponent & 255).astype(np.uint8)
        # Through f64, where dividing by a power of two is exact for every f32.
        size = np.abs(grouped) * np.exp2(128.0 - stored)[:, None]
        codes = np.zeros(grouped.shape, np.uint8)
        for middle in _MIDDLES:
            codes += size > middle
        codes |= ((grouped < 0) & (codes > 0)).astype(np.uint8) << 3
        blocks = np.empty((len(grouped), 17), np.uint8)
        blocks[:, 0] = stored
        blocks[:, 1:] = codes[:, :16] | codes[:, 16:] << 4
        return {"blocks": blocks.reshape(len(rows), -1)}


_MIDDLES = (0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0)
"""Between the values of E2M1, doubled."""


def make(layout: str) -> Quantizer:
    """The quantizer of that layout."""
    return Mxfp4Quantizer() if layout == Mxfp4Quantizer.layout else GgmlQuantizer(BY_LAYOUT[layout])
