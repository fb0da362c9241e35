"""The block layouts of ggml: where scales and codes lie, told to the IR; decoding by native kernels.

Bit positions are those of ggml-common.h (see PROVENANCE.md). `unpack` gives every number a place in
``w = scale * (code - zero) + offset``; mins are stored positive in K-quants and become negative offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import hub_native
from hub.api import (
    F16,
    I8,
    U8,
    Affine,
    ArrayPart,
    Blocks,
    Const,
    Dense,
    DType,
    Holding,
    HubError,
    Layout,
    PartSpec,
    Quantized,
    Scheme,
    Shape,
    Stored,
    rows_spec,
)
from hub_gguf.types import BY_LAYOUT, GgmlType

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Codes = np.ndarray[Any, Any]
Arrays = Mapping[str, np.ndarray[Any, Any]]


class GgmlLayout(Layout):
    """One block layout of ggml; a row is whole blocks.

    `parts`: one, `blocks`, u8 of shape (rows, bytes per row).
    """

    def __init__(self, kind: GgmlType) -> None:
        self.name = kind.layout
        self.kind = kind
        self.kernel = kind.word

    def fits(self, shape: Shape) -> str | None:
        if len(shape) < 2:
            return f"{self.kind.name} wants rows, this has {len(shape)} dimensions"
        if not self.kind.fits(shape):
            return f"rows of {shape[-1]} are not a multiple of {self.kind.block}"
        return None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        rows = rows_spec(U8, shape).shape[0]
        return {"blocks": PartSpec(U8, (rows, self.kind.row_bytes(shape[-1])))}

    def scheme(self, shape: Shape) -> Scheme:
        return _SCHEMES[self.kind.name]

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        holding, mine = super().can_hold(scheme, shape, values), _SCHEMES[self.kind.name]
        if holding.fidelity == "lossy" or isinstance(scheme, DType):
            return holding
        if self.kind.name not in _PACK:
            return Holding("lossy", f"only a quantizer makes {self.kind.name}")
        if self.kind.block == 256 and replace(scheme, values=mine.values) != mine:
            return Holding("lossy", "its scales are shared otherwise")
        if not isinstance(scheme.groups, Blocks) or scheme.groups.shape[0] != 1:
            return Holding("lossy", "rows share its scales")
        if type(scheme.scale) is not type(mine.scale) or type(scheme.offset) is not type(mine.offset):
            return Holding("lossy", "it has no scale or offset of its own for each block")
        return holding

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        blocks = np.ascontiguousarray(arrays["blocks"]).reshape(-1, self.kind.bytes)
        return _UNPACK[self.kind.name](blocks, shape)

    def pack(self, body: Quantized) -> Arrays:
        packer = _PACK.get(self.kind.name)
        if packer is None:
            return super().pack(body)
        return {"blocks": packer(body).reshape(body.shape[0], -1)}

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray[Any, np.dtype[np.float32]]:
        out = np.empty(shape, np.float32)
        blocks = np.ascontiguousarray(arrays["blocks"]).reshape(-1)
        hub_native.dequantize(self.kind.word, blocks, out.reshape(-1, shape[-1]))
        return out


def make(name: str) -> GgmlLayout:
    """The layout of that name."""
    return GgmlLayout(BY_LAYOUT[name])


# Schemes -----------------------------------------------------------------------------------------

_D = Stored(F16)
_B32, _B16, _B256 = Blocks((1, 32)), Blocks((1, 16)), Blocks((1, 256))


def _scaled(bits: int, per: int, zero: float = 0.0, signed: bool = False) -> Scheme:
    """Small integers times the f16 of their super-block: scales and mins of K-quants."""
    return Scheme(Affine(bits, signed), Blocks((1, per)), _D, Const(zero))


_SCHEMES: Mapping[str, Scheme] = {
    "Q4_0": Scheme(Affine(4), _B32, _D, Const(8.0)),
    "Q4_1": Scheme(Affine(4), _B32, _D, offset=_D),
    "Q5_0": Scheme(Affine(5), _B32, _D, Const(16.0)),
    "Q5_1": Scheme(Affine(5), _B32, _D, offset=_D),
    "Q8_0": Scheme(Affine(8, signed=True), _B32, _D),
    "Q2_K": Scheme(Affine(2), _B16, _scaled(4, 16), offset=_scaled(4, 16)),
    "Q3_K": Scheme(Affine(3), _B16, _scaled(6, 16, 32.0), Const(4.0)),
    "Q4_K": Scheme(Affine(4), _B32, _scaled(6, 8), offset=_scaled(6, 8)),
    "Q5_K": Scheme(Affine(5), _B32, _scaled(6, 8), offset=_scaled(6, 8)),
    "Q6_K": Scheme(Affine(6), _B16, _scaled(8, 16, signed=True), Const(32.0)),
}


# Bytes to meaning --------------------------------------------------------------------------------


def _array(array: Codes) -> ArrayPart:
    spec = rows_spec(U8 if array.dtype == np.uint8 else I8 if array.dtype == np.int8 else F16, array.shape)
    return ArrayPart(array, spec)


def _f16(blocks: Bytes, at: int, rows: int) -> Codes:
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").reshape(rows, -1)


def _stored(array: Codes) -> Dense:
    return Dense(_array(array))


def _product(codes: Codes, d: Codes, per: int, values: Affine, zero: float = 0.0) -> Quantized:
    """Codes per sub-block times a number per super-block."""
    return Quantized(codes.shape, _array(codes), values, _stored(d), Blocks((1, per)), Const(zero))


def _nibbles(qs: Bytes) -> Bytes:
    """16 bytes to 32 codes: element j is the low nibble of byte j, j + 16 its high one."""
    return np.concatenate([qs & 15, qs >> 4], axis=1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """Bit i of a little-endian u32 as 16 times element i."""
    bits = np.unpackbits(np.ascontiguousarray(blocks[:, at : at + 4]), axis=1, bitorder="little")
    return (bits << 4).astype(np.uint8)


def _crumbs(qs: Bytes) -> Bytes:
    """64 bytes to 256 two-bit codes: 128 elements share 32 bytes, 32 neighbours one shift."""
    halves = qs.reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    return ((halves >> shifts) & 3).reshape(-1, 256).astype(np.uint8)


def _k4_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Twelve bytes to eight 6-bit scales and eight 6-bit mins."""
    low, mid, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    mins = np.concatenate([mid & 63, (high >> 4) | ((mid >> 6) << 4)], axis=1)
    return scales, mins


def _legacy(name: str, blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    d = _stored(_f16(blocks, 0, rows))
    if name == "Q8_0":
        codes: Codes = np.ascontiguousarray(blocks[:, 2:34]).view(np.int8).reshape(shape)
        return Quantized(shape, _array(codes), Affine(8, signed=True), d, _B32)
    has_min = name.endswith("_1")
    at = 4 if has_min else 2
    offset = _stored(_f16(blocks, 2, rows)) if has_min else Const(0.0)
    if name.startswith("Q4"):
        codes = _nibbles(blocks[:, at:])
        zero = Const(0.0 if has_min else 8.0)
        return Quantized(shape, _array(codes.reshape(shape)), Affine(4), d, _B32, zero, offset)
    codes = _nibbles(blocks[:, at + 4 :]) | _fifth_bits(blocks, at)
    zero = Const(0.0 if has_min else 16.0)
    return Quantized(shape, _array(codes.reshape(shape)), Affine(5), d, _B32, zero, offset)


def _q2_k(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    sc = blocks[:, :16]
    scale = _product((sc & 15).reshape(rows, -1), _f16(blocks, 80, rows), 16, Affine(4))
    offset = _product((sc >> 4).reshape(rows, -1), -_f16(blocks, 82, rows), 16, Affine(4))
    codes = _crumbs(blocks[:, 16:80]).reshape(shape)
    return Quantized(shape, _array(codes), Affine(2), scale, _B16, offset=offset)


def _q3_k(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    masks = blocks[:, None, :32] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    codes = _crumbs(blocks[:, 32:96]) | ((masks & 1).reshape(-1, 256) << 2)
    packed = blocks[:, 96:108]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 4, 1)
    high = ((packed[:, None, 8:12] >> shifts) & 3).reshape(-1, 16)
    scale = _product((low | (high << 4)).reshape(rows, -1), _f16(blocks, 108, rows), 16, Affine(6), zero=32.0)
    return Quantized(shape, _array(codes.reshape(shape)), Affine(3), scale, _B16, Const(4.0))


def _q45_k(blocks: Bytes, shape: Shape, bits: int) -> Quantized:
    rows = shape[0]
    scales, mins = _k4_scales(blocks[:, 4:16])
    qs = blocks[:, 48:176] if bits == 5 else blocks[:, 16:144]
    pairs = qs.reshape(-1, 4, 1, 32)
    codes = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 256)
    if bits == 5:
        high = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)) & 1
        codes = codes | (high.reshape(-1, 256) << 4)
    scale = _product(scales.reshape(rows, -1), _f16(blocks, 0, rows), 8, Affine(6))
    offset = _product(mins.reshape(rows, -1), -_f16(blocks, 2, rows), 8, Affine(6))
    return Quantized(shape, _array(codes.reshape(shape)), Affine(bits), scale, _B32, offset=offset)


def _q6_k(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    pairs = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 256)
    codes = low | (_crumbs(blocks[:, 128:192]) << 4)
    sc = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).reshape(rows, -1)
    scale = _product(sc, _f16(blocks, 208, rows), 16, Affine(8, signed=True))
    return Quantized(shape, _array(codes.reshape(shape)), Affine(6), scale, _B16, Const(32.0))


_UNPACK: Mapping[str, Callable[[Bytes, Shape], Quantized]] = {
    **{name: partial(_legacy, name) for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")},
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": lambda blocks, shape: _q45_k(blocks, shape, 4),
    "Q5_K": lambda blocks, shape: _q45_k(blocks, shape, 5),
    "Q6_K": _q6_k,
}


# Meaning to bytes --------------------------------------------------------------------------------


def _repeated(value: Any, body: Quantized) -> Bytes:
    """A stored f16 per block of 32, whatever larger blocks the body shares it over."""
    assert isinstance(value, Dense) and isinstance(body.groups, Blocks)
    rows, columns = body.shape
    array = value.part.load(0, rows).astype("<f2").reshape(rows, -1)
    times = (body.groups.shape[1] or columns) // 32
    each = np.repeat(array, times, axis=1)[:, : columns // 32]  # the last block of a row may be short
    return np.ascontiguousarray(each).reshape(-1, 1).view(np.uint8)


def _pack_legacy(body: Quantized, bits: int, has_min: bool) -> Bytes:
    codes = body.codes.load(0, body.shape[0])
    head = [_repeated(body.scale, body)] + ([_repeated(body.offset, body)] if has_min else [])
    if bits == 8:
        return np.concatenate([*head, codes.astype(np.int8).reshape(-1, 32).view(np.uint8)], axis=1)
    codes = codes.astype(np.uint8).reshape(-1, 32)
    if bits == 5:
        head.append(np.packbits(codes >> 4, axis=1, bitorder="little"))
    return np.concatenate([*head, (codes[:, :16] & 15) | ((codes[:, 16:] & 15) << 4)], axis=1)


def _super_block(value: Any, rows: int) -> tuple[Bytes, Codes]:
    """Eight small integers and the f16 of each super-block."""
    assert isinstance(value, Quantized) and isinstance(value.scale, Dense)
    codes = value.codes.load(0, rows).astype(np.uint8).reshape(-1, 8)
    return codes, value.scale.part.load(0, rows).astype("<f2").reshape(-1, 1)


def _pack_q45_k(body: Quantized, bits: int) -> Bytes:
    rows = body.shape[0]
    codes = body.codes.load(0, rows).astype(np.uint8).reshape(-1, 4, 2, 32)
    (scales, d), (mins, dmin) = _super_block(body.scale, rows), _super_block(body.offset, rows)
    packed = [
        (scales[:, :4] & 63) | (scales[:, 4:] >> 4 << 6),
        (mins[:, :4] & 63) | (mins[:, 4:] >> 4 << 6),
        (scales[:, 4:] & 15) | ((mins[:, 4:] & 15) << 4),
    ]
    if bits == 5:
        bits_of = (codes.reshape(-1, 8, 32) >> 4) << np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
        packed.append(np.bitwise_or.reduce(bits_of, axis=1))
    low = codes & 15
    head = [d.view(np.uint8), (-dmin).view(np.uint8)]
    return np.concatenate([*head, *packed, (low[:, :, 0] | (low[:, :, 1] << 4)).reshape(-1, 128)], axis=1)


_PACK: Mapping[str, Callable[[Quantized], Bytes]] = {
    "Q4_0": lambda body: _pack_legacy(body, 4, False),
    "Q4_1": lambda body: _pack_legacy(body, 4, True),
    "Q5_0": lambda body: _pack_legacy(body, 5, False),
    "Q5_1": lambda body: _pack_legacy(body, 5, True),
    "Q8_0": lambda body: _pack_legacy(body, 8, False),
    "Q4_K": lambda body: _pack_q45_k(body, 4),
    "Q5_K": lambda body: _pack_q45_k(body, 5),
}
