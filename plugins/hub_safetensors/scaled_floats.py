"""8-bit floats times a scale for a tensor, a row, some neighbours or a square of weights: what several formats keep,
under names of their own.

The weight is ``scale * code``, the scale as it is stored; a scale of one byte (E8M0) is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hub.api import (
    DTYPES,
    E8M0,
    Affine,
    ArrayPart,
    Blocks,
    Codebook,
    Const,
    Dense,
    DType,
    HubError,
    Layout,
    PartSpec,
    Quantized,
    Scheme,
    Shape,
    Stored,
    UsageError,
    printable,
    row_count,
    rows_spec,
)

Arrays = Mapping[str, np.ndarray[Any, Any]]
U8 = DTYPES["u8"]


def scale_spec(dtype: DType, blocks: Blocks, shape: Shape) -> PartSpec:
    """The part of one number per block of a tensor of logical `shape`: (row blocks, column blocks)."""
    rows, columns = row_count(shape), shape[-1]
    high, wide = blocks.shape
    across = -(-columns // wide) if wide else 1
    return PartSpec(dtype, (-(-rows // high), across), 0, high) if high else PartSpec(dtype, (1, across), None)


def scale_value(array: np.ndarray[Any, Any], dtype: DType, blocks: Blocks) -> Dense:
    """A tile's scales as the IR has them."""
    high = blocks.shape[0]
    return Dense(ArrayPart(array, PartSpec(dtype, array.shape, 0 if high else None, max(1, high))))


def byte_scale(table: Codebook) -> Scheme:
    """A scale that is looked up."""
    return Scheme(table, Blocks((0, 0)), Const(1.0))


def looked_up(array: np.ndarray[Any, Any], table: Codebook) -> Quantized:
    """Bytes of scale, one per group."""
    codes = np.ascontiguousarray(array).view(np.uint8)
    return Quantized(codes.shape, ArrayPart(codes, rows_spec(U8, codes.shape)), table, Const(1.0), Blocks((0, 0)))


class ScaledFloats(Layout):
    """Codes of 8-bit floats.

    `parts`: `weight`, and `scale`, both as safetensors has them.

    Args:
        name: the layout's full name.
        codes: their number type.
        blocks: which weights share a scale.
        scale: its number type; of U8 it is an exponent.
    """

    def __init__(self, name: str, codes: DType, blocks: Blocks, scale: DType) -> None:
        self.name = name
        self.codes, self.blocks, self.scale = codes, blocks, scale
        self.row_multiple = max(1, blocks.shape[0])

    def fits(self, shape: Shape) -> str | None:
        if len(shape) < 2:
            return f"it wants rows, this has {len(shape)} dimensions"
        if self.blocks.shape[0] != 1 and len(shape) > 2:
            return "rows of several matrices would share a scale"
        return None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        return {"weight": rows_spec(self.codes, shape), "scale": scale_spec(self.scale, self.blocks, shape)}

    def scheme(self, shape: Shape) -> Scheme:
        scale = byte_scale(E8M0) if self.scale.name == "u8" else Stored(self.scale)
        return Scheme(Affine(8, dtype=self.codes), self.blocks, scale)

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        codes = ArrayPart(arrays["weight"], rows_spec(self.codes, shape))
        scales = arrays["scale"]
        scale = (
            looked_up(scales, E8M0)
            if self.scale.name == "u8"
            else scale_value(refuse_nan(scales), self.scale, self.blocks)
        )
        return Quantized(shape, codes, Affine(8, dtype=self.codes), scale, self.blocks)

    def pack(self, body: Quantized) -> Arrays:
        return {"weight": body.codes.whole(), "scale": packed_scale(body.scale)}


def packed_scale(scale: Any) -> np.ndarray[Any, Any]:
    """The stored numbers, or bytes, of a scale."""
    array: np.ndarray[Any, Any] = (scale.codes if isinstance(scale, Quantized) else scale.part).whole()
    return array


def refuse_nan(scales: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Raises:
    HubError: a scale is no finite number.
    """
    bad = ~np.isfinite(scales.astype(np.float32))
    if bad.any():
        raise HubError(f"{int(bad.sum())} of {bad.size} scales of these rows are not finite; the model is damaged")
    return scales


_NAME: Final = re.compile(
    r"[a-z0-9.]+/(f8_e4m3|f8_e5m2)-(?:block([1-9]\d{0,5})x([1-9]\d{0,5})|(channel)|(tensor)|g([1-9]\d{0,8}))"
    r"-(f32|f16|bf16|u8|f8_e8m0)"
)


def blocks_text(blocks: Blocks) -> str:
    """`block128x128`, `channel`, `tensor` or `g32`."""
    high, wide = blocks.shape
    if not wide:
        return "channel" if high else "tensor"
    return f"g{wide}" if high == 1 else f"block{high}x{wide}"


def name_of(family: str, codes: DType, blocks: Blocks, scale: DType) -> str:
    """The name of a layout: ``fp8.block/f8_e4m3-block128x128-f32``."""
    return f"{family}/{codes}-{blocks_text(blocks)}-{scale}"


def make(name: str) -> ScaledFloats:
    """The layout of that name.

    Raises:
        UsageError: it is none.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"{printable(name)!r} names no layout of 8-bit floats")
    codes, high, wide, channel, tensor, group, scale = found.groups()
    if group:
        blocks = Blocks((1, int(group)))
    else:
        blocks = Blocks((1, 0) if channel else (0, 0) if tensor else (int(high), int(wide)))
    return ScaledFloats(name, DTYPES[codes], blocks, DTYPES[scale])
