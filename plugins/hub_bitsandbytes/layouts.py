"""How bitsandbytes keeps weights. Source: bitsandbytes 0.50, functional.py (dequantize_4bit, dequantize_blockwise,
int8_vectorwise_dequant).

A matrix of 4-bit codes is flattened, and blocks run over all of it: where rows are no multiple of a block, some rows
that begin and end with one are handled together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import gcd
from typing import Any, Final

import numpy as np

from hub.api import (
    F32,
    I8,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Codebook,
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

NF4: Final = Codebook((
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
))  # fmt: skip
"""Quantiles of the normal distribution (QLoRA, appendix E)."""
_FP4: Final = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
FP4: Final = Codebook(tuple(float(np.float32(sign * size) / np.float32(12)) for sign in (1, -1) for size in _FP4))
"""bitsandbytes' own order of 4-bit floats, over the largest of them."""
TABLES: Final = {"nf4": NF4, "fp4": FP4}
NESTED: Final = 256
"""Blocks that share a number where their scales are quantized themselves."""
_NAME: Final = re.compile(r"bnb\.(nf4|fp4)/b(\d{1,6})(-double)?")


def steps(shape: Shape, unit: int) -> tuple[int, int]:
    """How units of `unit` flattened weights lie along rows: (rows that end with a unit, units in them).

    All rows are one step where they end with one only together.
    """
    rows, columns = shape
    per = unit // gcd(columns, unit)
    return (per, per * columns // unit) if rows % per == 0 else (rows, -(-rows * columns // unit))


class FourBit(Layout):
    """`weight` u8, the even element in the high nibble; `absmax` f32, one per block; with double quantization `absmax`
    u8, `map` f32 (256), `nested` f32, one per 256 blocks, and `offset` f32 (1)."""

    def __init__(self, kind: str, block: int, double: bool) -> None:
        self.name = f"bnb.{kind}/b{block}{'-double' * double}"
        self.table, self.block, self.double = TABLES[kind], block, double

    def fits(self, shape: Shape) -> str | None:
        return misfit_of(shape)

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        found = {"weight": _spec(U8, shape, 2), "absmax": _spec(U8 if self.double else F32, shape, self.block)}
        if self.double:
            found["nested"] = _spec(F32, shape, self.block * NESTED)
            found |= {"map": PartSpec(F32, (NESTED,), None), "offset": PartSpec(F32, (1,), None)}
        return found

    def scheme(self, shape: Shape) -> Scheme | DType:
        if shape[-1] % self.block:
            return F32  # blocks cross rows, and the weights are all that can be told
        return Scheme(self.table, Blocks((1, self.block)), Stored(F32))

    def unpack(self, arrays: Arrays, shape: Shape) -> Dense | Quantized:
        rows, columns = shape
        raw = np.ascontiguousarray(arrays["weight"]).reshape(-1)
        codes = np.stack([raw >> 4, raw & 15], axis=1).reshape(-1)[: rows * columns].reshape(shape)
        scales = self._scales(arrays)
        if not np.isfinite(scales).all():
            raise HubError("absmax holds numbers that are not finite; the model is damaged")
        if columns % self.block:
            each = np.repeat(scales, self.block)[: rows * columns].reshape(shape)
            weights = np.array(self.table.table, np.float32)[codes] * each
            return Dense(ArrayPart(weights, rows_spec(F32, shape)))
        per_row = scales.reshape(rows, -1)
        scale = Dense(ArrayPart(per_row, rows_spec(F32, per_row.shape)))
        return Quantized(shape, ArrayPart(codes, rows_spec(U8, shape)), self.table, scale, Blocks((1, self.block)))

    def _scales(self, arrays: Arrays) -> np.ndarray[Any, Any]:
        absmax = np.ascontiguousarray(arrays["absmax"]).reshape(-1)
        if not self.double:
            return absmax.astype(np.float32)
        nested = np.repeat(np.asarray(arrays["nested"], np.float32).reshape(-1), NESTED)[: len(absmax)]
        with np.errstate(all="ignore"):
            table = np.asarray(arrays["map"], np.float32)
            return np.asarray(table[absmax] * nested + np.asarray(arrays["offset"], np.float32))


class RowInt8(Layout):
    """`weight` i8 (out, in); `SCB` f32 (out), the largest magnitude of each row, which code 127 stands for."""

    name = "bnb.int8"

    def fits(self, shape: Shape) -> str | None:
        return misfit_of(shape)

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        return {"weight": rows_spec(I8, shape), "SCB": PartSpec(F32, (row_count(shape), 1))}

    def scheme(self, shape: Shape) -> Scheme:
        return Scheme(Affine(8, signed=True), Blocks((1, 0)), Stored(F32))

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        scale = np.asarray(arrays["SCB"], np.float32) / np.float32(127)
        if not np.isfinite(scale).all():
            raise HubError("SCB holds numbers that are not finite; the model is damaged")
        codes = ArrayPart(np.asarray(arrays["weight"]), rows_spec(I8, shape))
        table = Dense(ArrayPart(scale, PartSpec(F32, scale.shape)))
        return Quantized(shape, codes, Affine(8, signed=True), table, Blocks((1, 0)))


def misfit_of(shape: Shape) -> str | None:
    """Why a tensor of that shape cannot be kept so."""
    if len(shape) != 2:
        return f"bitsandbytes wants a matrix, this has {len(shape)} dimensions"
    return None if all(shape) else "a matrix without weights"


def _spec(dtype: DType, shape: Shape, unit: int) -> PartSpec:
    per, count = steps(shape, unit)
    return PartSpec(dtype, (shape[0] // per, count), 0, per)


def make(name: str) -> Layout:
    """The layout of that name.

    Raises:
        UsageError: the parameters are none.
    """
    if name == RowInt8.name:
        return RowInt8()
    found = _NAME.fullmatch(name)
    if found is None or int(found[2]) < 2:
        raise UsageError(f"{printable(name)!r} names no layout of bitsandbytes")
    return FourBit(found[1], int(found[2]), found[3] is not None)
