"""GPTQ's tensors as hub's layouts: `gptq.v1/4bit-g128`, `gptq.v2/...` and `gptq.v1words/...`.

All quirks of the format are here: codes run down the columns, zero points along the rows, and version 1 stores them
less one, modulo the field (`v1`) or borrowing across the whole word (`v1words`, what GPTQModel writes and reads).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hub.api import (
    DTYPES,
    I32,
    U8,
    Affine,
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
    row_count,
    rows_spec,
)
from hub_safetensors.parameters import Parameters
from hub_safetensors.words import codes_of, codes_of_columns, columns_of, word_count, words_of

Arrays = Mapping[str, np.ndarray[Any, Any]]

WIDTHS: Final = (2, 3, 4, 8)
"""Bits that the format has; 5, 6 and 7 exist in planes of bits only, which one tool reads."""
V1_WORDS: Final = "gptq.v1words"


class GptqLayout(Layout):
    """Codes in 32-bit words along the columns of the stored matrix, (in, out).

    `parts`: `qweight` i32 (in * bits / 32, out), `qzeros` i32 (groups, out * bits / 32), `scales` (groups, out), and
    for columns in groups by an index `g_idx` i32 (in). Without that, `g_idx` says nothing that the group's size does
    not, and is the writer's to add.
    """

    def __init__(self, family: str, told: Parameters) -> None:
        self.family = family
        self.told = told
        self.name = f"{family}/{told}"
        self.per = 32 if told.bits == 3 else 32 // told.bits
        self.row_multiple = self.per
        self.less_one = family != "gptq.v2"

    def fits(self, shape: Shape) -> str | None:
        if len(shape) != 2:
            return f"GPTQ wants a matrix, this has {len(shape)} dimensions"
        if not shape[0] or not shape[1]:
            return "a matrix without weights"
        if shape[1] * self.told.bits % 32 or (self.told.bits == 3 and shape[0] % self.per):
            return f"{shape[0]} rows of {shape[1]} codes of {self.told.bits} bits do not fill whole words"
        return None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        rows, columns = row_count(shape), shape[-1]
        bits, groups = self.told.bits, self.told.groups(columns)
        # Three words of 32 zero points are one step along the rows.
        zeros = (groups, rows // 32, 3) if bits == 3 else (groups, word_count(rows, bits))
        parts = {
            "qweight": PartSpec(I32, (word_count(columns, bits), rows), 1),
            "qzeros": PartSpec(I32, zeros, 1, self.per),
            "scales": PartSpec(DTYPES[self.told.scale], (groups, rows), 1),
        }
        if self.told.ordered:
            parts["g_idx"] = PartSpec(I32, (columns,), None)
        return parts

    def scheme(self, shape: Shape) -> Scheme:
        return self.told.scheme(shape[-1])

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        found = super().can_hold(scheme, shape, values)
        looks = self.less_one and not self.told.symmetric and values is None and found.fidelity != "lossy"
        return replace(found, by_value=True) if looks else found

    def refuses(self, body: Quantized) -> str | None:
        if not self.less_one or not isinstance(body.zero, Dense) or np.all(body.zero.part.whole()):
            return None
        return "version 1 stores zero points less one, and one of them is 0"

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        rows, columns = shape
        told = self.told
        codes = codes_of_columns(arrays["qweight"], told.bits, columns)
        scales = np.ascontiguousarray(arrays["scales"].T)
        groups: Blocks | Index = Blocks((1, max(0, told.group)))
        if told.ordered:
            g_idx = np.ascontiguousarray(arrays["g_idx"])
            groups = Index(ArrayPart(g_idx, PartSpec(I32, g_idx.shape, None)), scales.shape[1])
        zeros = self.zeros(arrays["qzeros"], rows)
        if told.symmetric and np.any(zeros != told.middle):
            raise HubError(f"zero points that are not all {told.middle}, as {self.name} says")
        zero = Const(float(told.middle)) if told.symmetric else _part(zeros, U8)
        return Quantized(
            shape,
            ArrayPart(codes, rows_spec(U8, shape)),
            Affine(told.bits),
            _part(scales, DTYPES[told.scale]),
            groups,
            zero,
        )

    def zeros(self, stored: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Zero points as (rows, groups) of `qzeros`."""
        words = np.ascontiguousarray(stored).view(np.uint32).reshape(len(stored), -1)
        if self.family == V1_WORDS:
            words = words + np.uint32(_ones(self.told.bits))
        fields = codes_of(words, self.told.bits, rows)
        if self.less_one and self.family != V1_WORDS:
            fields = (fields + np.uint8(1)) & np.uint8((1 << self.told.bits) - 1)
        return np.ascontiguousarray(fields.T)

    def pack(self, body: Quantized) -> Arrays:
        rows, _ = body.shape
        bits = self.told.bits
        assert isinstance(body.scale, Dense)
        codes = np.asarray(body.codes.load(0, rows)).astype(np.uint8, copy=False).reshape(body.shape)
        scales = np.asarray(body.scale.part.load(0, rows)).reshape(rows, -1)
        if self.told.symmetric:
            zeros = np.full((rows, scales.shape[1]), self.told.middle, np.uint8)
        else:
            assert isinstance(body.zero, Dense)
            zeros = np.asarray(body.zero.part.load(0, rows)).astype(np.uint8, copy=False).reshape(rows, -1)
        arrays = {
            "qweight": columns_of(codes, bits).view(np.int32),
            "qzeros": self.stored_zeros(zeros),
            "scales": np.ascontiguousarray(scales.T.astype(DTYPES[self.told.scale].numpy(), copy=False)),
        }
        if self.told.ordered:
            assert isinstance(body.groups, Index) and body.groups.g_idx is not None
            arrays["g_idx"] = np.ascontiguousarray(body.groups.g_idx.load(0, rows)).astype("<i4")
        return arrays

    def stored_zeros(self, zeros: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
        """`qzeros` of zero points (rows, groups); the inverse of `zeros`."""
        bits = self.told.bits
        fields = np.ascontiguousarray(zeros.T)
        if self.less_one and self.family != V1_WORDS:
            fields = (fields - np.uint8(1)) & np.uint8((1 << bits) - 1)
        words = words_of(fields, bits)
        if self.family == V1_WORDS:
            words = words - np.uint32(_ones(bits))
        return words.view(np.int32).reshape((len(fields), -1, 3) if bits == 3 else words.shape)


def _ones(bits: int) -> int:
    """A word with 1 in each field."""
    return sum(1 << at for at in range(0, 32, bits))


def _part(array: np.ndarray[Any, Any], dtype: DType) -> Dense:
    return Dense(ArrayPart(array, rows_spec(dtype, array.shape)))


def make(name: str) -> GptqLayout:
    """The layout of that name.

    Raises:
        UsageError: its parameters are none that GPTQ has.
    """
    family, _, parameters = name.partition("/")
    told = Parameters.parse(parameters)
    if told.bits not in WIDTHS or (family == V1_WORDS and told.bits == 3):
        raise UsageError(f"{family} has no codes of {told.bits} bits")
    return GptqLayout(family, told)
