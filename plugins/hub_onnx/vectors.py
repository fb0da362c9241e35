"""Parts that a file holds in another way than layouts tell.

Vectors in codes: norms and biases of models whose activations are quantized, too. Tables of GatherBlockQuantized whose
last blocks are short, where those of MatMulNBits are filled up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hub.api import Part, PartSpec


@dataclass(frozen=True)
class DecodedVector(Part):
    """``(codes - zero) * scale`` in f32, as DequantizeLinear computes it; read when it is asked for.

    Attributes:
        codes: of any type of whole numbers, (n,).
        scale, zero: (n,) or (1,) each; zero None for 0.
    """

    spec: PartSpec
    codes: Part
    scale: Part
    zero: Part | None

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        codes = self.codes.load(start, stop).astype(np.int64)
        if self.zero is not None:
            codes = codes - _some(self.zero, start, stop).astype(np.int64)
        made: np.ndarray[Any, Any] = codes.astype(np.float32) * _some(self.scale, start, stop).astype(np.float32)
        return made


@dataclass(frozen=True)
class FilledRows(Part):
    """Rows of bytes, filled up with zeros to whole blocks.

    Attributes:
        part: (rows, bytes).
    """

    spec: PartSpec
    part: Part

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        out = np.zeros(self.spec.tile_shape(start, stop), np.uint8)
        stored = self.part.load(start, stop)
        out.reshape(stop - start, -1)[:, : stored.shape[1]] = stored
        return out


def _some(part: Part, start: int, stop: int) -> np.ndarray[Any, Any]:
    return part.load(start, stop) if part.spec.axis == 0 else part.load(0, 0).reshape(-1)
