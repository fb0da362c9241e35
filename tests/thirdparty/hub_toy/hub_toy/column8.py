"""`toy.column8`: int8 codes stored by columns, with an f16 scale for 32 neighbours in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hub.api import (
    F16,
    I8,
    Affine,
    ArrayPart,
    Blocks,
    Calibration,
    Dense,
    DType,
    Holding,
    HubError,
    Layout,
    PartSpec,
    Quantized,
    Quantizer,
    Scheme,
    Shape,
    Stored,
    row_count,
    rows_spec,
)

Arrays = Mapping[str, np.ndarray[Any, Any]]

BLOCK = 32
SCHEME = Scheme(Affine(8, signed=True), Blocks((1, BLOCK)), Stored(F16))
"""w = scale * code, a scale for each 32 weights of a row."""


class Column8(Layout):
    """Codes as (in, out) and scales as (in / 32, out): a tensor's rows run along the second axis of both."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fits(self, shape: Shape) -> str | None:
        if len(shape) < 2:
            return "it is no matrix"
        return f"rows of {shape[-1]} are not a multiple of {BLOCK}" if shape[-1] % BLOCK else None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        if reason := self.fits(shape):
            raise HubError(reason)
        rows, width = row_count(shape), shape[-1]
        return {
            "codes": PartSpec(I8, (width, rows), axis=1),
            "scales": PartSpec(F16, (width // BLOCK, rows), axis=1),
        }

    def scheme(self, shape: Shape) -> Scheme:
        return SCHEME

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        if isinstance(scheme, Scheme) and (scheme.groups != SCHEME.groups or not isinstance(scheme.scale, Stored)):
            return Holding("lossy", "its scales are not one f16 for 32 weights")
        return super().can_hold(scheme, shape, values)

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        codes, scales = (np.ascontiguousarray(arrays[name].T) for name in ("codes", "scales"))
        return Quantized(
            shape,
            ArrayPart(codes, rows_spec(I8, codes.shape)),
            SCHEME.values,
            Dense(ArrayPart(scales, rows_spec(F16, scales.shape))),
            SCHEME.groups,
        )

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Dense)  # can_hold saw to it
        rows = body.shape[0]
        codes, scales = body.codes.load(0, rows), body.scale.part.load(0, rows)
        return _stored(codes.reshape(body.shape), scales.reshape(rows, -1))


class Nearest(Quantizer):
    """The largest weight of each 32 becomes 127, the others the nearest code."""

    name = "toy.column8/nearest"

    def __init__(self, layout: str) -> None:
        self.layout = layout

    def quantize(self, rows: np.ndarray[Any, np.dtype[np.float32]], calibration: Calibration) -> Arrays:
        blocks = rows.reshape(len(rows), -1, BLOCK)
        scales = np.minimum(np.abs(blocks).max(axis=2, initial=0) / np.float32(127), 65504).astype(np.float16)
        step = scales.astype(np.float32)
        step[step == 0] = np.inf
        codes = np.rint(blocks / step[:, :, None]).clip(-127, 127)
        return _stored(codes.reshape(rows.shape), scales)


def _stored(codes: np.ndarray[Any, Any], scales: np.ndarray[Any, Any]) -> Arrays:
    return {
        "codes": np.ascontiguousarray(codes.T.astype(np.int8)),
        "scales": np.ascontiguousarray(scales.T.astype(np.float16)),
    }
