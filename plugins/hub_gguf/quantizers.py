"""ggml's reference quantizers, bit for bit, by native kernels."""

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


def make(layout: str) -> GgmlQuantizer:
    """The quantizer of that layout."""
    return GgmlQuantizer(BY_LAYOUT[layout])
