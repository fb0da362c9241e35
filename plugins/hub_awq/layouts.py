"""AWQ's tensors as hub's layouts: `awq.gemm/4bit-g128`, and for reading `awq.gemv/...` and `awq.gemv_fast/...`.

The order of nibbles in a word of `gemm`, the padding of `gemv` and the squares of `gemv_fast` are here and nowhere
else. `gemv_fast` stores ``-scale * zero`` rounded to f16; where each is that of a whole zero point, it means that zero
point, and else (`awq.gemv_fast_offset`) an offset.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

import hub_native
from hub.api import (
    DTYPES,
    F16,
    I32,
    U8,
    Affine,
    ArrayPart,
    Blocks,
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
    rows_spec,
)
from hub_safetensors.parameters import Parameters
from hub_safetensors.words import as_bytes, codes_of, words_of

Arrays = Mapping[str, np.ndarray[Any, Any]]
Codes = np.ndarray[Any, np.dtype[np.uint8]]

BITS: Final = 4
"""Of what AutoAWQ writes, and hub."""
WIDTHS: Final = {"awq.gemm": (2, 3, 4, 5, 6, 7, 8), "awq.gemv": (4,), "awq.gemv_fast": (4,)}
"""Bits that are read. `gemm` of others than 4 is auto-round's and GPTQModel's, and its codes are in their own order."""
_COLUMN_OF: Final = np.array([0, 2, 4, 6, 1, 3, 5, 7], np.uint8)
"""Nibble i of word c is column 8c + `_COLUMN_OF[i]`."""
_WIDTHS: Final = {64: 2, 32: 4}
"""Group size -> words of zero points of a row are a multiple of this, where it is not 1."""


class AwqLayout(Layout):
    """Codes with a scale and a zero point for each group of a row; which tensors there are differs."""

    family = ""

    def __init__(self, told: Parameters) -> None:
        self.told = told
        self.name = f"{self.family}/{told}"

    def fits(self, shape: Shape) -> str | None:
        if len(shape) != 2:
            return f"AWQ wants a matrix, this has {len(shape)} dimensions"
        if not shape[0] or not shape[1]:
            return "a matrix without weights"
        if self.told.group > 0 and shape[1] % self.told.group:
            return f"rows of {shape[1]} are not a multiple of {self.told.group}"
        return None

    def scheme(self, shape: Shape) -> Scheme:
        return self.told.scheme(shape[-1])

    def checked(self, shape: Shape) -> tuple[int, int, int]:
        """Rows, columns and groups.

        Raises:
            HubError: not a shape that fits.
        """
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        return shape[0], shape[1], self.told.groups(shape[1])

    @abstractmethod
    def zeros(self, arrays: Arrays, groups: int) -> Codes:
        """The zero points of a tile, (rows, groups); needs no codes."""

    def quantized(self, shape: Shape, codes: Codes, scales: np.ndarray[Any, Any], arrays: Arrays) -> Quantized:
        """The meaning of codes (rows, in) and scales (rows, groups), with the zero points of `arrays`."""
        zeros = self.zeros(arrays, scales.shape[1])
        if self.told.symmetric and np.any(zeros != self.told.middle):
            raise HubError(f"zero points that are not all {self.told.middle}, as {self.name} says")
        return Quantized(
            shape,
            ArrayPart(np.ascontiguousarray(codes), rows_spec(U8, shape)),
            Affine(self.told.bits),
            _part(np.ascontiguousarray(scales), DTYPES[self.told.scale]),
            Blocks((1, max(0, self.told.group))),
            Const(float(self.told.middle)) if self.told.symmetric else _part(np.ascontiguousarray(zeros), U8),
        )


class GemmLayout(AwqLayout):
    """`parts`: `qweight` i32 (in, out / 8), `qzeros` i32 (groups, out / 8), `scales` (groups, out).

    Of other widths words are a stream of bits along the rows; where codes cross words, those of 32 rows are one step,
    (in, out / 32, bits).
    """

    family = "awq.gemm"

    def __init__(self, told: Parameters) -> None:
        super().__init__(told)
        self.row_multiple = 32 if 32 % told.bits else 32 // told.bits

    def fits(self, shape: Shape) -> str | None:
        reason = super().fits(shape)
        if reason is None and shape[0] % self.row_multiple:
            return f"{shape[0]} rows are not a multiple of {self.row_multiple}"
        return reason

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        rows, columns, groups = self.checked(shape)
        per, bits = self.row_multiple, self.told.bits
        words = (rows // per, bits) if 32 % bits else (rows // per,)
        return {
            "qweight": PartSpec(I32, (columns, *words), 1, per),
            "qzeros": PartSpec(I32, (groups, *words), 1, per),
            "scales": PartSpec(DTYPES[self.told.scale], (groups, rows), 1),
        }

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        return self.quantized(shape, self._codes(arrays["qweight"], shape[0]), arrays["scales"].T, arrays)

    def zeros(self, arrays: Arrays, groups: int) -> Codes:
        return self._codes(arrays["qzeros"], arrays["scales"].shape[1])

    def _codes(self, words: np.ndarray[Any, Any], rows: int) -> Codes:
        """(rows, n) of the words of n columns or groups."""
        if self.told.bits == BITS:
            return _natural(words)
        found = codes_of(words.reshape(len(words), -1), self.told.bits, rows)
        return np.ascontiguousarray(found.T)

    def _words(self, codes: Codes) -> np.ndarray[Any, Any]:
        """The inverse of `_codes`."""
        if self.told.bits == BITS:
            return _interleaved(codes)
        words = words_of(np.ascontiguousarray(codes.T), self.told.bits).view(np.int32)
        return words.reshape(len(words), -1, self.told.bits) if 32 % self.told.bits else words

    def pack(self, body: Quantized) -> Arrays:
        rows = body.shape[0]
        assert isinstance(body.scale, Dense)
        scales = np.asarray(body.scale.part.load(0, rows)).reshape(rows, -1)
        if self.told.symmetric:
            zeros = np.full(scales.shape, self.told.middle, np.uint8)
        else:
            assert isinstance(body.zero, Dense)
            zeros = np.asarray(body.zero.part.load(0, rows)).astype(np.uint8, copy=False).reshape(rows, -1)
        return {
            "qweight": self._words(np.asarray(body.codes.load(0, rows)).astype(np.uint8, copy=False)),
            "qzeros": self._words(zeros),
            "scales": np.ascontiguousarray(scales.T.astype(DTYPES[self.told.scale].numpy(), copy=False)),
        }


class GemvLayout(AwqLayout):
    """`parts`: `qweight` i32 (out, in / 8), `qzeros` i32 (out, words), `scales` (out, 8 * words), padded with zeros."""

    family = "awq.gemv"

    def fits(self, shape: Shape) -> str | None:
        reason = super().fits(shape)
        return f"rows of {shape[1]} are not a multiple of 8" if reason is None and shape[1] % 8 else reason

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        rows, columns, _ = self.checked(shape)
        words = padded_words(columns, self.told.group)
        return {
            "qweight": PartSpec(I32, (rows, columns // 8)),
            "qzeros": PartSpec(I32, (rows, words)),
            "scales": PartSpec(DTYPES[self.told.scale], (rows, 8 * words)),
        }

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        groups = self.told.groups(shape[1])
        codes = codes_of(arrays["qweight"], BITS, shape[1])
        return self.quantized(shape, codes, arrays["scales"][:, :groups], arrays)

    def zeros(self, arrays: Arrays, groups: int) -> Codes:
        return codes_of(arrays["qzeros"], BITS, groups)


class FastLayout(AwqLayout):
    """`parts`: `qweight` i16 (out / 4, in), `scales` f16 (8 * words, out), `qzeros` f16 (8 * words, out)."""

    family = "awq.gemv_fast"
    row_multiple = 4

    def fits(self, shape: Shape) -> str | None:
        reason = super().fits(shape)
        if reason is None and (shape[0] % 4 or shape[1] % 64):
            return f"{shape[0]} rows of {shape[1]} are not squares of 4 by 64"
        return reason

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        rows, columns, _ = self.checked(shape)
        height = 8 * padded_words(columns, self.told.group)
        return {
            "qweight": PartSpec(DTYPES["i16"], (rows // 4, columns), 0, 4),
            "scales": PartSpec(F16, (height, rows), 1),
            "qzeros": PartSpec(F16, (height, rows), 1),
        }

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        groups = self.told.groups(shape[1])
        return self.quantized(shape, _from_squares(arrays["qweight"], shape), arrays["scales"][:groups].T, arrays)

    def zeros(self, arrays: Arrays, groups: int) -> Codes:
        return whole_zeros(arrays["scales"][:groups], arrays["qzeros"][:groups])[0].T


class FastOffsetLayout(FastLayout):
    """`gemv_fast` whose ``-scale * zero`` are no such products: they are offsets."""

    family = "awq.gemv_fast_offset"

    def scheme(self, shape: Shape) -> Scheme:
        return replace(super().scheme(shape), zero=Const(0.0), offset=Stored(F16))

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        offsets = np.ascontiguousarray(arrays["qzeros"][: self.told.groups(shape[1])].T)
        return replace(super().unpack(arrays, shape), zero=Const(0.0), offset=_part(offsets, F16))


def padded_words(columns: int, group: int) -> int:
    """Words that the zero points of a row take in `gemv` and `gemv_fast`."""
    groups = 1 if group < 0 else -(-columns // group)
    multiple = _WIDTHS.get(group, 1)
    return -(-groups // (8 * multiple)) * multiple


def whole_zeros(scales: np.ndarray[Any, Any], scaled: np.ndarray[Any, Any]) -> tuple[Codes, bool]:
    """The zero points of which ``-scale * zero`` in f16 is `scaled`, and whether there are such for all."""
    with np.errstate(all="ignore"):
        wide = scales.astype(np.float32)
        found = np.where(wide == 0, 0, np.rint(-scaled.astype(np.float32) / wide))
        zeros = np.clip(np.nan_to_num(found), 0, 15).astype(np.uint8)
        again = (-wide * zeros).astype(np.float16)
    return zeros, bool(np.array_equal(again, scaled))


def _natural(words: np.ndarray[Any, Any]) -> Codes:
    """(n, out / 8) words of `gemm` to codes (out, n)."""
    out = np.empty((8 * words.shape[1], len(words)), np.uint8)
    hub_native.unpack_nibbles(as_bytes(words), _COLUMN_OF, out)
    return out


def _interleaved(codes: Codes) -> np.ndarray[Any, Any]:
    """Codes (out, n) to words (n, out / 8); the inverse of `_natural`."""
    rows, count = codes.shape
    out = np.empty((count, rows // 8), np.int32)
    hub_native.pack_nibbles(as_bytes(codes), _COLUMN_OF, out.view(np.uint8))
    return out


def _from_squares(words: np.ndarray[Any, Any], shape: Shape) -> Codes:
    """Words of `gemv_fast` to codes (out, in): (4 rows, 64 columns) lie as row, half of the columns, column of eight,
    and a word has one code of each eight of a half."""
    rows, columns = shape
    each = np.ascontiguousarray(words).view(np.uint16).reshape(rows // 4, columns // 64, 4, 2, 8, 1)
    fields = (each >> np.array([0, 4, 8, 12], np.uint16)) & 15
    return fields.transpose(0, 2, 1, 3, 5, 4).reshape(rows, columns).astype(np.uint8)


def _part(array: np.ndarray[Any, Any], dtype: DType) -> Dense:
    return Dense(ArrayPart(array, rows_spec(dtype, array.shape)))


_KINDS: Final = {kind.family: kind for kind in (GemmLayout, GemvLayout, FastLayout, FastOffsetLayout)}


def make(name: str) -> AwqLayout:
    """The layout of that name.

    Raises:
        UsageError: its parameters are none that AWQ has.
    """
    family, _, parameters = name.partition("/")
    told = Parameters.parse(parameters)
    widths = WIDTHS[family.removesuffix("_offset")]
    if told.bits not in widths or told.ordered:
        raise UsageError(f"{family} has codes of {', '.join(map(str, widths))} bits in the order of columns only")
    return _KINDS[family](told)
