"""4-bit floats and the bytes that scale them, as tables: E2M1, E8M0 and unsigned E4M3.

E2M1 is told as twice its values, which are integers, and scales as half of theirs: what ggml computes, and every
product is the same. A byte of scale is looked up like a code, because no number type means every byte as the kernels
do. Source: OCP Microscaling Formats 1.0; ggml-common.h (kvalues_mxfp4) and ggml-impl.h. Code 8, minus zero, is told as
zero, as ggml's table has it: no product of a model can tell them apart.
"""

from __future__ import annotations

from hub.ir.values import Codebook

TWICE_E2M1 = Codebook((0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0))
"""Bits: sign, two of exponent, one of mantissa."""
HALF_E8M0 = Codebook(tuple(2.0 ** (e - 128) for e in range(256)))
"""Powers of two. 255, which is NaN in the specification, is a power like the others, as in ggml and transformers."""


def _half_ue4m3(code: int) -> float:
    exponent, mantissa = code >> 3 & 15, code & 7
    if code == 0x7F:
        return 0.0
    return (1 + mantissa / 8) * 2.0 ** (exponent - 8) if exponent else mantissa * 2.0**-10


HALF_UE4M3 = Codebook(tuple(_half_ue4m3(code) for code in range(256)))
"""Half of E4M3. The sign bit is passed over and 0x7F, NaN in E4M3, is 0, as in ggml; formats that mean these bytes as
E4M3 does refuse them."""
E8M0 = Codebook(tuple(2.0 ** (e - 127) for e in range(256)))
"""Powers of two for codes that are not doubled (8-bit floats)."""
E4M3_END = 0x7F
"""The first byte that is no positive E4M3."""
