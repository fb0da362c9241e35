"""The meaning of stored numbers: ``w = scale * (sign * value(code) - zero) + offset``.

A recursive definition: scale, zero and offset are values themselves, and may be quantized again
(the 6-bit scales of a K-quant, the fp8 scales of NVFP4). The order of evaluation is part of the
meaning and stands in `hub.reference`, nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub.dtypes import DType
from hub.ir.groups import Groups
from hub.ir.part import Part, Shape


@dataclass(frozen=True)
class Const:
    """One number for all weights."""

    value: float


@dataclass(frozen=True)
class Dense:
    """A number for each weight or for each group, stored as it is."""

    part: Part


@dataclass(frozen=True)
class Affine:
    """The value of a code is the code.

    Attributes:
        bits: width of a code.
        signed: whether codes run from ``-2**(bits-1)`` instead of 0.
        dtype: for floating-point codes (fp8) their type; None for integers.
    """

    bits: int
    signed: bool = False
    dtype: DType | None = None


@dataclass(frozen=True)
class Codebook:
    """The value of a code is looked up.

    Attributes:
        table: a value per code, or `width` values per code for vector codebooks, flattened.
        width: weights that one code stands for.
    """

    table: tuple[float, ...]
    width: int = 1


@dataclass(frozen=True)
class Quantized:
    """Codes with what they mean.

    Attributes:
        shape: the logical shape, (out, in).
        codes: one code per weight (per `width` weights with a vector codebook), one per array
            item, whatever the bits they take in a file.
        values: what a code stands for.
        scale, zero, offset: the rest of the formula, one per group of `groups`.
        groups: which weights share a scale.
        signs: +1 or -1 per weight, for codebooks of magnitudes.
    """

    shape: Shape
    codes: Part
    values: Affine | Codebook
    scale: Value
    groups: Groups
    zero: Value = Const(0.0)
    offset: Value = Const(0.0)
    signs: Part | None = None


Value = Const | Dense | Quantized
