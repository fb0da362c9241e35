"""ggml's lattice types: IQ1, IQ2 and IQ3, whose codes name vectors of 4 or 8 weights.

The vectors are ggml's grids, which the kernels carry (`hub_native.grid`). Those of IQ2 and IQ3 are magnitudes, and
signs stand apart. IQ1's are -1, 0 and 1 and moved up or down by 1/8; that bit is told as the top bit of the code, so
the codebook has every vector twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import numpy as np

import hub_native
from hub.api import Blocks, Codebook, Quantized, Scheme, Shape
from hub_gguf.blocks import B16, B32, Bytes, Codes, D, Meaning, bits, f16, part, product, words

_IQ1_SHIFT = 0.125
_SEVEN = np.arange(128, dtype=np.uint8)
_EVEN = _SEVEN | (np.unpackbits(_SEVEN[:, None], axis=1).sum(axis=1, dtype=np.uint8) & 1) << 7
"""Seven signs to eight: the last one makes the number of minus signs even."""

_HALVES = Codebook(tuple((0.5 + s) / 4 for s in range(16)))
_IQ3_XXS_SCALES = Codebook(tuple((0.5 + s) / 2 for s in range(16)))
_IQ3_S_SCALES = Codebook(tuple(float(2 * s + 1) for s in range(16)))
_IQ1_SCALES = Codebook(tuple(float(2 * s + 1) for s in range(8)))


@cache
def _grid(kind: str) -> Codebook:
    vectors = hub_native.grid(kind)
    if kind.startswith("iq1"):
        return Codebook((*(v + _IQ1_SHIFT for v in vectors), *(v - _IQ1_SHIFT for v in vectors)), 8)
    return Codebook(vectors, 4 if kind.startswith("iq3") else 8)


def _signs(eights: Bytes, shape: Shape) -> Codes:
    """A byte per eight weights to -1 and 1 per weight."""
    minus = np.unpackbits(np.ascontiguousarray(eights), axis=1, bitorder="little").astype(np.int8)
    return (1 - 2 * minus).reshape(shape)


def _vectors(
    kind: str, codes: Codes, scales: Bytes, steps: Codebook, d: Codes, shape: Shape, signs: Bytes | None = None
) -> Quantized:
    """Codes and scales of a tile, (blocks, n); as many scales per block as there are."""
    rows, per = shape[0], scales.shape[1]
    return Quantized(
        shape,
        part(codes.reshape(rows, -1)),
        _grid(kind),
        product(scales.reshape(rows, -1), d, per, steps),
        Blocks((1, 256 // per)),
        signs=None if signs is None else part(_signs(signs, shape)),
    )


def _sevens(quads: Codes) -> Bytes:
    """u32 of four times seven signs (and a scale on top) to four bytes of eight."""
    eights: Bytes = _EVEN[bits(quads, [0, 7, 14, 21], 7)]
    return eights.reshape(len(quads), -1)


def _top_scale(quads: Codes) -> Bytes:
    return (quads >> np.uint32(28)).astype(np.uint8)


def _iq2_xxs(blocks: Bytes, shape: Shape) -> Quantized:
    subs = words(blocks, 2, 16, "<u4").reshape(-1, 8, 2)
    codes = np.ascontiguousarray(subs[:, :, 0]).view(np.uint8)
    quads, d = subs[:, :, 1], f16(blocks, 0, shape[0])
    return _vectors("iq2_xxs", codes, _top_scale(quads), _HALVES, d, shape, _sevens(quads))


def _iq2_xs(blocks: Bytes, shape: Shape) -> Quantized:
    both = words(blocks, 2, 32, "<u2")
    scales = bits(blocks[:, 66:74], [0, 4], 4).reshape(-1, 16)
    d, signs = f16(blocks, 0, shape[0]), _EVEN[both >> np.uint16(9)]
    return _vectors("iq2_xs", both & np.uint16(511), scales, _HALVES, d, shape, signs)


def _iq2_s(blocks: Bytes, shape: Shape) -> Quantized:
    high = bits(blocks[:, 66:74], [0, 2, 4, 6], 2).reshape(-1, 32)
    codes = blocks[:, 2:34] | high.astype(np.uint16) << 8
    scales = bits(blocks[:, 74:82], [0, 4], 4).reshape(-1, 16)
    return _vectors("iq2_s", codes, scales, _HALVES, f16(blocks, 0, shape[0]), shape, blocks[:, 34:66])


def _iq3_xxs(blocks: Bytes, shape: Shape) -> Quantized:
    quads, d = words(blocks, 66, 8, "<u4"), f16(blocks, 0, shape[0])
    return _vectors("iq3_xxs", blocks[:, 2:66], _top_scale(quads), _IQ3_XXS_SCALES, d, shape, _sevens(quads))


def _iq3_s(blocks: Bytes, shape: Shape) -> Quantized:
    high = bits(blocks[:, 66:74], list(range(8)), 1).reshape(-1, 64)
    codes = blocks[:, 2:66] | high.astype(np.uint16) << 8
    scales = bits(blocks[:, 106:110], [0, 4], 4).reshape(-1, 8)
    return _vectors("iq3_s", codes, scales, _IQ3_S_SCALES, f16(blocks, 0, shape[0]), shape, blocks[:, 74:106])


def _iq1_s(blocks: Bytes, shape: Shape) -> Quantized:
    qh = words(blocks, 34, 8, "<u2")
    high = bits(qh, [0, 3, 6, 9], 3).reshape(-1, 32)
    down = np.repeat(qh >> np.uint16(15), 4, axis=1)
    codes = blocks[:, 2:34] | high << np.uint16(8) | down << np.uint16(11)
    scales = (qh >> np.uint16(12) & np.uint16(7)).astype(np.uint8)
    return _vectors("iq1_s", codes, scales, _IQ1_SCALES, f16(blocks, 0, shape[0]), shape)


def _iq1_m(blocks: Bytes, shape: Shape) -> Quantized:
    high = bits(blocks[:, 32:48], [0, 4], 4).reshape(-1, 32)  # three bits of the vector, and the shift
    codes = blocks[:, :32] | high.astype(np.uint16) << 8
    packed = words(blocks, 48, 4, "<u2")
    scales = bits(packed, [0, 3, 6, 9], 3).reshape(-1, 16).astype(np.uint8)
    d = np.bitwise_or.reduce((packed >> np.uint16(12)) << np.array([0, 4, 8, 12], np.uint16), axis=1)
    return _vectors("iq1_m", codes, scales, _IQ1_SCALES, d.view("<f2").reshape(shape[0], -1), shape)


@cache
def _scheme(kind: str, steps: Codebook, per_block: int, signs: bool) -> Scheme:
    return Scheme(
        _grid(kind),
        B32 if per_block == 8 else B16,
        Scheme(steps, Blocks((1, per_block)), D),
        signs=signs,
    )


MEANINGS: Mapping[str, Meaning] = {
    "IQ3_S": Meaning(partial(_scheme, "iq3_s", _IQ3_S_SCALES, 8, True), _iq3_s),
    "IQ3_XXS": Meaning(partial(_scheme, "iq3_xxs", _IQ3_XXS_SCALES, 8, True), _iq3_xxs),
    "IQ2_S": Meaning(partial(_scheme, "iq2_s", _HALVES, 16, True), _iq2_s),
    "IQ2_XS": Meaning(partial(_scheme, "iq2_xs", _HALVES, 16, True), _iq2_xs),
    "IQ2_XXS": Meaning(partial(_scheme, "iq2_xxs", _HALVES, 8, True), _iq2_xxs),
    "IQ1_M": Meaning(partial(_scheme, "iq1_m", _IQ1_SCALES, 16, False), _iq1_m),
    "IQ1_S": Meaning(partial(_scheme, "iq1_s", _IQ1_SCALES, 8, False), _iq1_s),
}
"""The types by ggml's name."""
