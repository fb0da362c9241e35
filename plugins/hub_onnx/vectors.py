"""Parts that a file holds in another way than layouts tell.

Vectors in codes: norms and biases of models whose activations are quantized, too. Tables of GatherBlockQuantized whose
last blocks are short, where those of MatMulNBits are filled up. Zero points that are packed on over the end of a row.
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


@dataclass(frozen=True)
class AlignedRows(Part):
    """Rows of small codes that are packed on over the ends of rows, each row filled up to whole bytes.

    Attributes:
        part: all of them as bytes, (n,).
        bits: of a code, 2 or 4.
        width: codes in a row.
    """

    spec: PartSpec
    part: Part
    bits: int
    width: int

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        per = 8 // self.bits
        first, last = start * self.width, stop * self.width
        low = first // per
        data = self.part.load(low, -(-last // per))
        shifts = np.arange(per, dtype=np.uint8) * np.uint8(self.bits)
        codes = ((data[:, None] >> shifts) & np.uint8((1 << self.bits) - 1)).reshape(-1)
        rows = codes[first - low * per : last - low * per].reshape(stop - start, self.width)
        fields = np.pad(rows, ((0, 0), (0, -self.width % per))).reshape(stop - start, -1, per) << shifts
        made: np.ndarray[Any, Any] = np.bitwise_or.reduce(fields, axis=2).astype(np.uint8)
        return made


def _some(part: Part, start: int, stop: int) -> np.ndarray[Any, Any]:
    return part.load(start, stop) if part.spec.axis == 0 else part.load(0, 0).reshape(-1)
