"""Quantized initializers of ONNX as hub's layouts.

- `onnx.dq/4bit-g32-zero`: what DequantizeLinear takes in front of a MatMul, (in, out), blocks along the first axis.
- `onnx.rows/8bit-g32-zero`: what it takes behind a Gather, (out, in), blocks along the last axis.
- `ort.MatMulNBits/4bit-g32-zero`: what com.microsoft's MatMulNBits takes, (out, blocks, bytes of a block).

Sources: ONNX operators, DequantizeLinear-25; onnxruntime's ContribOperators.md, MatMulNBits. A float `-offset` is no
input of those operators: the graph adds it by one small MatMul of the sums of each group, which is as exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

import hub_native
from hub.api import (
    F32,
    I32,
    U8,
    ArrayPart,
    Blocks,
    Const,
    Dense,
    DType,
    Holding,
    HubError,
    Index,
    Layout,
    PartSpec,
    Quantized,
    Scheme,
    Shape,
    UsageError,
    rows_spec,
)
from hub_onnx.columns import turned
from hub_onnx.told import Told
from hub_safetensors.words import as_bytes

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

NBITS: Final = "ort.MatMulNBits"
BLOCKS: Final = (16, 32, 64, 128, 256)
"""Block sizes of MatMulNBits."""


class Codes(Layout):
    """What the three families share: codes, a scale for each group, and a zero point or an offset where told.

    `parts`: `codes`; `scale`; `zero` like the codes, or like the scales; `offset` f32; `order` i32 (in,), the columns
    in the order in which they are stored, where groups are not those of neighbours.
    """

    absent = 0.0
    """The zero point where none is stored."""

    def __init__(self, family: str, told: Told) -> None:
        self.family, self.told = family, told
        self.name = f"{family}/{told}"
        self.per = 8 // told.bits

    def fits(self, shape: Shape) -> str | None:
        if len(shape) != 2:
            return f"it wants a matrix, this has {len(shape)} dimensions"
        return None if all(shape) else "a matrix without weights"

    def scheme(self, shape: Shape) -> Scheme:
        return self.told.scheme(shape[1], self.absent)

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        """Groups by an index must all have as many columns."""
        found = super().can_hold(scheme, shape, values)
        looks = self.told.ordered and values is None and found.fidelity != "lossy"
        return replace(found, by_value=True) if looks else found

    def refuses(self, body: Quantized) -> str | None:
        if not self.told.ordered:
            return None
        assert isinstance(body.groups, Index) and body.groups.g_idx is not None
        g_idx = np.sort(body.groups.g_idx.whole())
        even = np.array_equal(g_idx, np.arange(len(g_idx)) // self.told.blocks.shape[1])
        return None if even else "groups do not all have as many columns"

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        rows, groups = shape[0], self.told.groups(shape[1])
        found = {"codes": self.code_spec(shape), "scale": self.number_spec(self.told.scale, rows, groups)}
        if self.told.kind == "zero":
            found["zero"] = self.zero_spec(rows, groups)
        elif self.told.kind == "floatzero":
            found["zero"] = self.number_spec(self.told.scale, rows, groups)
        elif self.told.kind == "offset":
            found["offset"] = self.number_spec(F32, rows, groups)
        if self.told.ordered:
            found["order"] = PartSpec(I32, (shape[1],), None)
        return found

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        told, scheme = self.told, self.scheme(shape)
        groups = told.groups(shape[1])
        stored = self.read_codes(arrays["codes"], shape)
        blocks: Blocks | Index = told.blocks
        if told.ordered:
            stored, blocks = self._as_they_were(stored, arrays["order"])
        codes = ArrayPart(stored, rows_spec(told.code, shape))
        zero: Const | Dense
        if told.kind == "zero":
            zero = self._per_group(self.read_zeros(arrays["zero"], shape[0], groups), told.code)
        elif told.kind == "floatzero":
            zero = self._per_group(self.read_numbers(arrays["zero"]), told.scale)
        else:
            assert isinstance(scheme.zero, Const)
            zero = scheme.zero
        return Quantized(
            shape,
            codes,
            told.values,
            self._per_group(self.read_numbers(arrays["scale"]), told.scale),
            blocks,
            zero,
            self._per_group(self.read_numbers(arrays["offset"]), F32) if told.kind == "offset" else Const(0.0),
        )

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Dense)
        codes = body.codes.whole().reshape(body.shape).astype(self.told.code.numpy(), copy=False)
        arrays = {}
        if self.told.ordered:
            assert isinstance(body.groups, Index) and body.groups.g_idx is not None
            arrays["order"] = np.argsort(body.groups.g_idx.whole(), kind="stable").astype("<i4")
            codes = codes[:, arrays["order"]]
        arrays |= {"codes": self.write_codes(codes), "scale": self.write_numbers(body.scale, self.told.scale)}
        if self.told.kind == "zero":
            assert isinstance(body.zero, Dense)
            zeros = body.zero.part.whole().astype(self.told.code.numpy(), copy=False)
            arrays["zero"] = self.write_zeros(zeros.reshape(-1, self.told.groups(body.shape[1])))
        elif self.told.kind == "floatzero":
            assert isinstance(body.zero, Dense)
            arrays["zero"] = self.write_numbers(body.zero, self.told.scale)
        elif self.told.kind == "offset":
            assert isinstance(body.offset, Dense)
            arrays["offset"] = self.write_numbers(body.offset, F32)
        return arrays

    def _as_they_were(self, stored: Array, order: Array) -> tuple[Array, Index]:
        """Columns in the tensor's own order, and their groups."""
        columns = len(order)
        if not np.array_equal(np.sort(order), np.arange(columns)):
            raise HubError("its order of columns does not name each of them once")
        codes, g_idx = np.empty_like(stored), np.empty(columns, np.int32)
        codes[:, order] = stored
        g_idx[order] = np.arange(columns, dtype=np.int32) // self.told.blocks.shape[1]
        return codes, Index(ArrayPart(g_idx, PartSpec(I32, (columns,), None)), self.told.groups(columns))

    def _per_group(self, array: Array, dtype: DType) -> Dense:
        axis = 0 if self.told.blocks.shape[0] else None
        return Dense(ArrayPart(array, PartSpec(dtype, array.shape, axis)))

    # Where codes and numbers stand is what the families differ in.

    def code_spec(self, shape: Shape) -> PartSpec:
        raise NotImplementedError

    def zero_spec(self, rows: int, groups: int) -> PartSpec:
        raise NotImplementedError

    def number_spec(self, dtype: DType, rows: int, groups: int) -> PartSpec:
        """The part of one number for each group."""
        return PartSpec(dtype, (rows, groups))

    def read_codes(self, array: Array, shape: Shape) -> Array:
        raise NotImplementedError

    def write_codes(self, codes: Array) -> Array:
        raise NotImplementedError

    def read_zeros(self, array: Array, rows: int, groups: int) -> Array:
        raise NotImplementedError

    def write_zeros(self, zeros: Array) -> Array:
        raise NotImplementedError

    def read_numbers(self, array: Array) -> Array:
        """Stored numbers as (rows, groups)."""
        return array

    def write_numbers(self, value: Dense, dtype: DType) -> Array:
        return np.ascontiguousarray(value.part.whole().astype(dtype.numpy(), copy=False))


class Columns(Codes):
    """`onnx.dq`: codes (in, out), numbers (groups, out); with one group for a row (out,), for the tensor ().

    Codes of less than 8 bits are packed along the rows of the tensor, the first in the low bits.
    """

    def __init__(self, family: str, told: Told) -> None:
        super().__init__(family, told)
        self.row_multiple = self.per

    def fits(self, shape: Shape) -> str | None:
        reason = super().fits(shape)
        if reason is None and shape[0] % self.per:
            return f"{self.per} rows share a byte, and {shape[0]} rows are no multiple of that"
        return reason

    def code_spec(self, shape: Shape) -> PartSpec:
        dtype = self.told.code if self.per == 1 else U8
        return PartSpec(dtype, (shape[1], shape[0] // self.per), 1, self.per)

    def number_spec(self, dtype: DType, rows: int, groups: int) -> PartSpec:
        high, wide = self.told.blocks.shape
        if wide:
            return PartSpec(dtype, (groups, rows), 1)
        return PartSpec(dtype, (rows,)) if high else PartSpec(dtype, (), None)

    def zero_spec(self, rows: int, groups: int) -> PartSpec:
        high, wide = self.told.blocks.shape
        dtype = self.told.code if self.per == 1 else U8
        if wide:
            return PartSpec(dtype, (groups, rows // self.per), 1, self.per)
        return PartSpec(dtype, (rows // self.per,), 0, self.per) if high else PartSpec(dtype, (1,), None)

    def read_codes(self, array: Array, shape: Shape) -> Array:
        if self.per == 1:
            return turned(array)
        # Bytes are turned, not codes, which are several times as many.
        whole, bits = turned(array), self.told.bits
        out = np.empty(shape, np.uint8)
        for i in range(self.per):
            np.bitwise_and(whole >> np.uint8(i * bits), np.uint8((1 << bits) - 1), out=out[i :: self.per])
        return _with_sign(out, bits) if self.told.signed else out

    def write_codes(self, codes: Array) -> Array:
        if self.per == 1:
            return turned(codes)
        bits, plain = self.told.bits, codes.view(np.uint8)
        whole = plain[:: self.per] & np.uint8((1 << bits) - 1)
        for i in range(1, self.per):
            field = plain[i :: self.per] & np.uint8((1 << bits) - 1)
            whole |= field << np.uint8(i * bits)
        return turned(whole)

    def read_zeros(self, array: Array, rows: int, groups: int) -> Array:
        if self.told.blocks.shape[0] == 0:
            return self._fields(array.reshape(1, -1), 1).reshape(1, 1)
        return turned(self._fields(array.reshape(groups, -1), rows))

    def write_zeros(self, zeros: Array) -> Array:
        high, wide = self.told.blocks.shape
        if not high:
            padded = np.zeros((1, self.per), zeros.dtype)
            padded[0, 0] = zeros.reshape(-1)[0]
            return self._stored(padded).reshape(1)
        stored = self._stored(turned(zeros))
        return stored if wide else stored.reshape(-1)

    def read_numbers(self, array: Array) -> Array:
        if self.told.blocks.shape[1]:
            return turned(array)
        return array.reshape(-1, 1)

    def write_numbers(self, value: Dense, dtype: DType) -> Array:
        kept = super().write_numbers(value, dtype)
        high, wide = self.told.blocks.shape
        if not high:
            return kept.reshape(-1)[:1].reshape(())
        kept = kept.reshape(-1, kept.shape[-1] if kept.ndim > 1 else 1)
        return turned(kept) if wide else kept.reshape(-1)

    def _fields(self, array: Array, count: int) -> Array:
        """The codes of rows of bytes, (n, count)."""
        if self.per == 1:
            return array
        out = np.empty((len(array), count), np.uint8)
        hub_native.unpack_rows(as_bytes(array), self.told.bits, out)
        return _with_sign(out, self.told.bits) if self.told.signed else out

    def _stored(self, codes: Array) -> Array:
        """Rows of bytes of codes; the inverse of `_fields`."""
        if self.per == 1:
            return codes
        fields = codes.view(np.uint8) & np.uint8((1 << self.told.bits) - 1) if self.told.signed else codes
        out = np.empty((len(codes), codes.shape[1] // self.per), np.uint8)
        hub_native.pack_rows(as_bytes(np.ascontiguousarray(fields)), self.told.bits, out)
        return out


class Rows(Columns):
    """`onnx.rows`: codes (out, in), numbers (out, groups); with one group for a row (out,), for the tensor (). Several
    matrices, (experts, out, in), are one below the other.

    Codes of less than 8 bits are packed along the columns of the tensor, zero points of a row filled up to whole bytes
    (ONNX packs on over the end of a row; readers tell them row by row). hub reads such codes, and writes none.
    """

    def __init__(self, family: str, told: Told) -> None:
        super().__init__(family, told)
        self.row_multiple = 1 if told.blocks.shape != (1, 0) or told.kind != "zero" else self.per

    def scheme(self, shape: Shape) -> Scheme:
        return super().scheme(_as_matrix(shape))

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        return super().parts(_as_matrix(shape))

    def fits(self, shape: Shape) -> str | None:
        shape = _as_matrix(shape)
        reason = Codes.fits(self, shape)
        if reason is None and shape[1] % self.per:
            return f"{self.per} columns share a byte, and {shape[1]} columns are no multiple of that"
        channel = self.told.blocks.shape == (1, 0) and self.told.kind == "zero"
        if reason is None and channel and shape[0] % self.per:
            return f"{self.per} zero points share a byte, and {shape[0]} rows are no multiple of that"
        return reason

    def code_spec(self, shape: Shape) -> PartSpec:
        dtype = self.told.code if self.per == 1 else U8
        return PartSpec(dtype, (shape[0], shape[1] // self.per))

    def number_spec(self, dtype: DType, rows: int, groups: int) -> PartSpec:
        if self.told.blocks.shape[1]:
            return Codes.number_spec(self, dtype, rows, groups)
        return super().number_spec(dtype, rows, groups)

    def zero_spec(self, rows: int, groups: int) -> PartSpec:
        if self.told.blocks.shape[1]:
            return PartSpec(self.told.code if self.per == 1 else U8, (rows, -(-groups // self.per)))
        return super().zero_spec(rows, groups)

    def read_codes(self, array: Array, shape: Shape) -> Array:
        return self._fields(array.reshape(shape[0], -1), shape[1])

    def write_codes(self, codes: Array) -> Array:
        return self._stored(np.ascontiguousarray(codes))

    def read_zeros(self, array: Array, rows: int, groups: int) -> Array:
        if self.told.blocks.shape[1]:
            fields = self._fields(array.reshape(rows, -1), -(-groups // self.per) * self.per)
            return np.ascontiguousarray(fields[:, :groups])
        return super().read_zeros(array, rows, groups)

    def write_zeros(self, zeros: Array) -> Array:
        if self.told.blocks.shape[1]:
            return self._stored(np.pad(zeros, ((0, 0), (0, -zeros.shape[1] % self.per))))
        return super().write_zeros(zeros)

    def read_numbers(self, array: Array) -> Array:
        return array if self.told.blocks.shape[1] else super().read_numbers(array)

    def write_numbers(self, value: Dense, dtype: DType) -> Array:
        if self.told.blocks.shape[1]:
            return Codes.write_numbers(self, value, dtype)
        return super().write_numbers(value, dtype)


def _as_matrix(shape: Shape) -> Shape:
    """All rows of several matrices as those of one."""
    return (shape[0] * shape[1], shape[2]) if len(shape) == 3 else shape


class MatMulNBits(Codes):
    """`ort.MatMulNBits`: codes u8 (out, blocks, bytes of a block), numbers (out, blocks), zero points u8 packed along
    the blocks of a row, (out, bytes).

    Codes are a string of bits from the low ones on. The last block of a row, and the last byte of its zero points, may
    be longer than they need to be: what stands there means nothing, and is written as 0.
    """

    def __init__(self, family: str, told: Told) -> None:
        super().__init__(family, told)
        self.absent, self.padded = float(1 << (told.bits - 1)), True

    def code_spec(self, shape: Shape) -> PartSpec:
        group = self.told.blocks.shape[1]
        return PartSpec(U8, (shape[0], self.told.groups(shape[1]), group * self.told.bits // 8))

    def zero_spec(self, rows: int, groups: int) -> PartSpec:
        return PartSpec(U8, (rows, -(-groups * self.told.bits // 8)))

    def read_codes(self, array: Array, shape: Shape) -> Array:
        return self._fields(array.reshape(shape[0], -1), shape[1])

    def write_codes(self, codes: Array) -> Array:
        rows, columns = codes.shape
        groups, group = self.told.groups(columns), self.told.blocks.shape[1]
        return self._stored(codes, groups * group).reshape(rows, groups, -1)

    def read_zeros(self, array: Array, rows: int, groups: int) -> Array:
        return self._fields(array.reshape(rows, -1), groups)

    def write_zeros(self, zeros: Array) -> Array:
        return self._stored(zeros, -(-zeros.shape[1] // self.per) * self.per)

    def _fields(self, array: Array, count: int) -> Array:
        if self.per == 1:
            return np.ascontiguousarray(array[:, :count])
        out = np.empty((len(array), array.shape[1] * self.per), np.uint8)
        hub_native.unpack_rows(as_bytes(array), self.told.bits, out)
        return np.ascontiguousarray(out[:, :count])

    def _stored(self, codes: Array, width: int) -> Array:
        if codes.shape[1] < width:
            codes = np.pad(codes, ((0, 0), (0, width - codes.shape[1])))
        if self.per == 1:
            return np.ascontiguousarray(codes)
        out = np.empty((len(codes), width // self.per), np.uint8)
        hub_native.pack_rows(as_bytes(np.ascontiguousarray(codes)), self.told.bits, out)
        return out


def _with_sign(fields: Array, bits: int) -> Array:
    """Two's complement of a few bits as int8."""
    shift = np.int8(8 - bits)
    return (fields << np.uint8(shift)).view(np.int8) >> shift


def make(name: str) -> Codes:
    """The layout of that name.

    Raises:
        UsageError: its parameters are none that the family has.
    """
    family, _, parameters = name.partition("/")
    told = Told.parse(parameters)
    if family == "onnx.dq":
        if told.kind == "floatzero":
            raise UsageError(f"{family}: zero points are codes")
        return Columns(family, told)
    if family == "onnx.rows":
        if told.kind == "floatzero" or told.ordered:
            raise UsageError(f"{family}: zero points are codes, and columns in their order")
        return Rows(family, told)
    if told.blocks.shape[1] == 0:
        raise UsageError(f"{family}: groups have a size")
    wrong = told.floats or told.signed or told.blocks.shape[1] not in BLOCKS
    if wrong or (told.kind == "floatzero" and told.bits == 8):
        raise UsageError(f"{family} has unsigned codes in blocks of {', '.join(map(str, BLOCKS))}, and no {parameters}")
    return MatMulNBits(family, told)
