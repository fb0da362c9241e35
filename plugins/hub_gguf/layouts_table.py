"""ggml's types whose values stand in a table, one weight per code: IQ4, 4-bit floats, ternary ones, 1 and 2 bits.

The 4-bit floats and the bytes that scale them are told by the tables of `hub.microscaling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

import hub_native
from hub.api import HALF_E8M0, HALF_UE4M3, TWICE_E2M1, Affine, Blocks, Codebook, Const, Quantized, Scheme, Shape
from hub_gguf.blocks import (
    B16,
    B32,
    Bytes,
    Codes,
    D,
    Meaning,
    bits,
    crumbs,
    f16,
    known,
    nibbles,
    part,
    product,
    scaled,
    stored,
    words,
)

IQ4 = Codebook(
    (-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0)
)
WHOLE = Blocks((0, 0))
_B64, _B128, _B256 = Blocks((1, 64)), Blocks((1, 128)), Blocks((1, 256))


def byte_scale(table: Codebook) -> Scheme:
    """A scale that is looked up."""
    return Scheme(table, WHOLE, Const(1.0))


def _looked_up(codes: Codes, table: Codebook) -> Quantized:
    return Quantized(codes.shape, part(codes), table, Const(1.0), WHOLE)


def _iq4_nl(blocks: Bytes, shape: Shape) -> Quantized:
    codes = nibbles(blocks[:, 2:]).reshape(shape)
    return Quantized(shape, part(codes), IQ4, stored(f16(blocks, 0, shape[0])), B32)


def _iq4_xs(blocks: Bytes, shape: Shape) -> Quantized:
    rows = shape[0]
    low = bits(blocks[:, 4:8], [0, 4], 4).reshape(-1, 8)
    high = bits(words(blocks, 2, 1, "<u2"), list(range(0, 16, 2)), 2).reshape(-1, 8).astype(np.uint8)
    scale = product((low | high << 4).reshape(rows, -1), f16(blocks, 0, rows), 8, Affine(6), zero=32.0)
    codes = nibbles(blocks[:, 8:].reshape(-1, 16)).reshape(shape)
    return Quantized(shape, part(codes), IQ4, scale, B32)


def _mxfp4(blocks: Bytes, shape: Shape) -> Quantized:
    codes = nibbles(blocks[:, 1:]).reshape(shape)
    exponents = np.ascontiguousarray(blocks[:, 0]).reshape(shape[0], -1)
    return Quantized(shape, part(codes), TWICE_E2M1, _looked_up(exponents, HALF_E8M0), B32)


def _nvfp4(blocks: Bytes, shape: Shape) -> Quantized:
    codes = nibbles(blocks[:, 4:].reshape(-1, 8)).reshape(shape)
    scales = np.ascontiguousarray(blocks[:, :4]).reshape(shape[0], -1)
    return Quantized(shape, part(codes), TWICE_E2M1, _looked_up(scales, HALF_UE4M3), B16)


def _tq1_0(blocks: Bytes, shape: Shape) -> Quantized:
    """A byte is a fraction of 256 in base 3: times 3^n without what overflows, its first digit is digit n."""
    powers = np.array([1, 3, 9, 27, 81], np.uint8).reshape(1, 5, 1)
    runs = [blocks[:, None, :32] * powers, blocks[:, None, 32:48] * powers, blocks[:, None, 48:52] * powers[:, :4]]
    shifted = np.concatenate([run.reshape(len(blocks), -1) for run in runs], axis=1)
    codes = (shifted.astype(np.uint16) * np.uint16(3) >> np.uint16(8)).astype(np.uint8).reshape(shape)
    return Quantized(shape, part(codes), Codebook((-1.0, 0.0, 1.0)), stored(f16(blocks, 52, shape[0])), _B256)


def _tq2_0(blocks: Bytes, shape: Shape) -> Quantized:
    codes = crumbs(blocks[:, :64]).reshape(shape)
    return Quantized(shape, part(codes), Affine(2), stored(f16(blocks, 64, shape[0])), _B256, Const(1.0))


def _q1_0(blocks: Bytes, shape: Shape) -> Quantized:
    codes = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").reshape(shape)
    return Quantized(shape, part(codes), Codebook((-1.0, 1.0)), stored(f16(blocks, 0, shape[0])), _B128)


def _q2_0(blocks: Bytes, shape: Shape) -> Quantized:
    codes = bits(blocks[:, 2:], [0, 2, 4, 6], 2).reshape(shape)
    return Quantized(shape, part(codes), Affine(2), stored(f16(blocks, 0, shape[0])), _B64, Const(1.0))


def _fp4(groups: Blocks, scales: Codebook) -> Scheme:
    return Scheme(TWICE_E2M1, groups, byte_scale(scales))


def _pack_fp4(body: Quantized, group: int, scales: int) -> Bytes:
    """Blocks of `scales` bytes of scale, then nibbles of each group: element j low, element j + half a group high."""
    assert isinstance(body.scale, Quantized)
    rows = body.shape[0]
    codes = np.ascontiguousarray(body.codes.load(0, rows).astype(np.uint8, copy=False)).reshape(-1, group)
    head = body.scale.codes.load(0, rows).astype(np.uint8, copy=False).reshape(-1, scales)
    out = np.empty((len(head), scales * (1 + group // 2)), np.uint8)
    out[:, :scales] = head
    if scales == 1:
        hub_native.pack_halves(codes, out[:, 1:])
    else:
        packed = np.empty((len(codes), group // 2), np.uint8)
        hub_native.pack_halves(codes, packed)
        hub_native.copy_rows(packed.reshape(len(head), -1), out[:, scales:])
    return out


MEANINGS: Mapping[str, Meaning] = {
    "IQ4_NL": Meaning(known(Scheme(IQ4, B32, D)), _iq4_nl),
    "IQ4_XS": Meaning(known(Scheme(IQ4, B32, scaled(6, 8, 32.0))), _iq4_xs),
    "MXFP4": Meaning(known(_fp4(B32, HALF_E8M0)), _mxfp4, partial(_pack_fp4, group=32, scales=1)),
    "NVFP4": Meaning(known(_fp4(B16, HALF_UE4M3)), _nvfp4, partial(_pack_fp4, group=16, scales=4)),
    "TQ1_0": Meaning(known(Scheme(Codebook((-1.0, 0.0, 1.0)), _B256, D)), _tq1_0),
    "TQ2_0": Meaning(known(Scheme(Affine(2), _B256, D, Const(1.0))), _tq2_0),
    "Q1_0": Meaning(known(Scheme(Codebook((-1.0, 1.0)), _B128, D)), _q1_0),
    "Q2_0": Meaning(known(Scheme(Affine(2), _B64, D, Const(1.0))), _q2_0),
}
"""The types by ggml's name."""
