"""8-bit floats by rounding to the nearest, with the scale that the largest weight of a block asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hub.api import Calibration, Quantizer
from hub_safetensors.nearest import rounded
from hub_safetensors.scaled_floats import ScaledFloats
from hub_safetensors.scaled_floats import make as layout_of


class NearestFloats(Quantizer):
    """``scale = absmax / largest``, as compressed-tensors and DeepSeek's files have it; codes by the stored scale, half
    to even, and clipped."""

    def __init__(self, layout: ScaledFloats) -> None:
        self.made = layout
        self.layout = layout.name
        self.name = f"{layout.name}/nearest"
        self.whole_tensor = layout.blocks.shape[0] == 0

    def quantize(
        self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration
    ) -> Mapping[str, np.ndarray[Any, Any]]:
        import ml_dtypes

        most = float(ml_dtypes.finfo(self.made.codes.numpy()).max)  # type: ignore[no-untyped-call]
        count, columns = rows.shape
        high, wide = self.made.blocks.shape[0] or count, self.made.blocks.shape[1] or columns
        padded = np.pad(np.abs(rows), ((0, -count % high), (0, -columns % wide)))
        largest = padded.reshape(-1, high, padded.shape[1] // wide, wide).max(axis=(1, 3))
        wanted = np.where(largest == 0, 1, largest / np.float32(most))
        if self.made.scale.name == "u8":
            exponents = np.clip(np.ceil(np.log2(wanted)) + 127, 0, 254).astype(np.uint8)
            scale, stored = np.ldexp(np.float32(1), exponents.astype(np.int32) - 127), exponents
        else:
            scale = rounded(wanted, self.made.scale)
            stored = scale.astype(self.made.scale.numpy())
        each = np.repeat(np.repeat(scale, high, axis=0)[:count], wide, axis=1)[:, :columns]
        codes = np.clip(rows / each, -most, most).astype(self.made.codes.numpy())
        return {"weight": codes, "scale": stored}


def make(layout: str) -> NearestFloats:
    """The quantizer of that layout."""
    return NearestFloats(layout_of(layout))
