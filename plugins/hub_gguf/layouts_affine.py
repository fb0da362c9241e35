"""ggml's types whose values are their codes: Q4_0 to Q8_0 and the K-quants.

``w = scale * (code - zero) + offset``; mins are stored positive in K-quants and become negative offsets. Bit positions
are those of ggml-common.h (see PROVENANCE.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

import hub_native
from hub.api import Affine, Blocks, Const, Dense, Quantized, Scheme, Shape
from hub_gguf.blocks import (
    B16,
    B32,
    Bytes,
    Codes,
    D,
    Meaning,
    crumbs,
    f16,
    known,
    nibbles,
    part,
    product,
    scaled,
    stored,
)

# Schemes -----------------------------------------------------------------------------------------

_SCHEMES: Mapping[str, Scheme] = {
    "Q4_0": Scheme(Affine(4), B32, D, Const(8.0)),
    "Q4_1": Scheme(Affine(4), B32, D, offset=D),
    "Q5_0": Scheme(Affine(5), B32, D, Const(16.0)),
    "Q5_1": Scheme(Affine(5), B32, D, offset=D),
    "Q8_0": Scheme(Affine(8, signed=True), B32, D),
    "Q2_K": Scheme(Affine(2), B16, scaled(4, 16), offset=scaled(4, 16)),
    "Q3_K": Scheme(Affine(3), B16, scaled(6, 16, 32.0), Const(4.0)),
    "Q4_K": Scheme(Affine(4), B32, scaled(6, 8), offset=scaled(6, 8)),
    "Q5_K": Scheme(Affine(5), B32, scaled(6, 8), offset=scaled(6, 8)),
    "Q6_K": Scheme(Affine(6), B16, scaled(8, 16, signed=True), Const(32.0)),
}


# Bytes to meaning --------------------------------------------------------------------------------


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """Bit i of a little-endian u32 as 16 times element i."""
    words, out = np.empty((len(blocks), 4), np.uint8), np.empty((len(blocks), 32), np.uint8)
    hub_native.copy_rows(blocks[:, at : at + 4], words)
    hub_native.unpack_rows(words.reshape(1, -1), 1, out.reshape(1, -1))
    return np.left_shift(out, 4, out=out)


def _k4_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Twelve bytes to eight 6-bit scales and eight 6-bit mins."""
    low, mid, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    mins = np.concatenate([mid & 63, (high >> 4) | ((mid >> 6) << 4)], axis=1)
    return scales, mins


def _legacy(name: str, blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    d = stored(f16(blocks, 0, rows))
    if name == "Q8_0":
        codes: Codes = np.empty(shape, np.int8)
        hub_native.copy_rows(blocks[:, 2:34], codes.view(np.uint8).reshape(-1, 32))
        return Quantized(shape, part(codes), Affine(8, signed=True), d, B32)
    has_min = name.endswith("_1")
    at = 4 if has_min else 2
    offset = stored(f16(blocks, 2, rows)) if has_min else Const(0.0)
    if name.startswith("Q4"):
        codes = nibbles(blocks[:, at:])
        zero = Const(0.0 if has_min else 8.0)
        return Quantized(shape, part(codes.reshape(shape)), Affine(4), d, B32, zero, offset)
    codes = nibbles(blocks[:, at + 4 :]) | _fifth_bits(blocks, at)
    zero = Const(0.0 if has_min else 16.0)
    return Quantized(shape, part(codes.reshape(shape)), Affine(5), d, B32, zero, offset)


def _q2_k(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    sc = blocks[:, :16]
    scale = product((sc & 15).reshape(rows, -1), f16(blocks, 80, rows), 16, Affine(4))
    offset = product((sc >> 4).reshape(rows, -1), -f16(blocks, 82, rows), 16, Affine(4))
    codes = crumbs(blocks[:, 16:80]).reshape(shape)
    return Quantized(shape, part(codes), Affine(2), scale, B16, offset=offset)


def _q3_k(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    masks = blocks[:, None, :32] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    codes = crumbs(blocks[:, 32:96]) | ((masks & 1).reshape(-1, 256) << 2)
    packed = blocks[:, 96:108]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 4, 1)
    high = ((packed[:, None, 8:12] >> shifts) & 3).reshape(-1, 16)
    scale = product((low | (high << 4)).reshape(rows, -1), f16(blocks, 108, rows), 16, Affine(6), zero=32.0)
    return Quantized(shape, part(codes.reshape(shape)), Affine(3), scale, B16, Const(4.0))


def _q45_k(blocks: Bytes, shape: Shape, bits: int) -> Quantized:
    rows = shape[0]
    scales, mins = _k4_scales(blocks[:, 4:16])
    qs = blocks[:, 48:176] if bits == 5 else blocks[:, 16:144]
    pairs = qs.reshape(-1, 4, 1, 32)
    codes = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 256)
    if bits == 5:
        high = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)) & 1
        codes = codes | (high.reshape(-1, 256) << 4)
    scale = product(scales.reshape(rows, -1), f16(blocks, 0, rows), 8, Affine(6))
    offset = product(mins.reshape(rows, -1), -f16(blocks, 2, rows), 8, Affine(6))
    return Quantized(shape, part(codes.reshape(shape)), Affine(bits), scale, B32, offset=offset)


def _q6_k(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    pairs = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(-1, 256)
    codes = low | (crumbs(blocks[:, 128:192]) << 4)
    sc = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).reshape(rows, -1)
    scale = product(sc, f16(blocks, 208, rows), 16, Affine(8, signed=True))
    return Quantized(shape, part(codes.reshape(shape)), Affine(6), scale, B16, Const(32.0))


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
    array = value.part.load(0, rows).astype("<f2", copy=False).reshape(rows, -1)
    times = (body.groups.shape[1] or columns) // 32
    # The last block of a row may be short.
    each = array if times == 1 else np.repeat(array, times, axis=1)[:, : columns // 32]
    return np.ascontiguousarray(each).reshape(-1, 1).view(np.uint8)


def _pack_legacy(body: Quantized, bits: int, has_min: bool) -> Bytes:
    codes = np.ascontiguousarray(body.codes.load(0, body.shape[0]))
    codes = codes.astype(np.int8 if bits == 8 else np.uint8, copy=False).view(np.uint8).reshape(-1, 32)
    head = [_repeated(body.scale, body)] + ([_repeated(body.offset, body)] if has_min else [])
    if bits == 5:
        fifth = np.empty((len(codes), 4), np.uint8)
        hub_native.pack_rows((codes >> 4).reshape(1, -1), 1, fifth.reshape(1, -1))
        head.append(fifth)
    at = sum(field.shape[1] for field in head)
    out = np.empty((len(codes), at + (32 if bits == 8 else 16)), np.uint8)
    start = 0
    for field in head:
        hub_native.copy_rows(field, out[:, start : start + field.shape[1]])
        start += field.shape[1]
    if bits == 8:
        hub_native.copy_rows(codes, out[:, at:])
    else:
        hub_native.pack_halves(codes, out[:, at:])
    return out


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

MEANINGS: Mapping[str, Meaning] = {
    name: Meaning(known(scheme), _UNPACK[name], _PACK.get(name)) for name, scheme in _SCHEMES.items()
}
"""The types by ggml's name."""
