"""How MLX keeps quantized weights: `mlx.affine/4bit-g64-bf16`, `mlx.mxfp4`, `mlx.mxfp8`, `mlx.nvfp4`.

Codes are a dense stream of bits along each row, from the lowest bit of little-endian words of 32 on. Parts have the
names that mlx-lm's tensors have behind the module's path, and all of them have rows along their first axis; a stack
of experts is the rows of all experts. Source: mlx 0.32.4 as it computes (mx.quantize, mx.dequantize), mlx-lm 0.32.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from hub.api import (
    DTYPES,
    E4M3_END,
    E8M0,
    F32,
    HALF_E8M0,
    HALF_UE4M3,
    TWICE_E2M1,
    U8,
    U32,
    Affine,
    ArrayPart,
    Blocks,
    Codebook,
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
    UsageError,
    printable,
    row_count,
    rows_spec,
)
from hub_safetensors.scaled_floats import byte_scale, looked_up, packed_scale
from hub_safetensors.words import codes_of, word_count, words_of

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

AFFINE: Final = "mlx.affine"
WIDTHS: Final = (1, 2, 3, 4, 5, 6, 8)
GROUPS: Final = (32, 64, 128)
GLOBAL: Final = np.float32(2688)
"""What `global_scale` is divided by: the largest E2M1 times the largest E4M3."""
LAST: Final = 0xFF
"""The byte of scale that is no number, of E8M0 and of E4M3."""
E4M3: Final = DTYPES["f8_e4m3"]


class MlxLayout(Layout):
    """What all of MLX's layouts share: `weight` u32 (rows, in * bits / 32) and numbers for each group of neighbours.

    Attributes:
        bits: of a code.
        group: neighbours of a row that share a scale.
    """

    bits: int
    group: int

    def fits(self, shape: Shape) -> str | None:
        if len(shape) < 2:
            return f"MLX quantizes rows, this has {len(shape)} dimensions"
        return f"rows of {shape[-1]} are not a multiple of {self.group}" if shape[-1] % self.group else None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        rows, columns = row_count(shape), shape[-1]
        groups = {name: PartSpec(kind, (rows, columns // self.group)) for name, kind in self.per_group().items()}
        return {"weight": PartSpec(U32, (rows, word_count(columns, self.bits))), **groups}

    def per_group(self) -> Mapping[str, DType]:
        """The parts that have a number for each group, and their type."""
        raise NotImplementedError

    def codes(self, arrays: Arrays, shape: Shape) -> ArrayPart:
        """One code to a byte."""
        return ArrayPart(codes_of(arrays["weight"], self.bits, shape[-1]), rows_spec(U8, shape))

    def words(self, codes: Array) -> Array:
        """The way back, `weight`."""
        return words_of(np.ascontiguousarray(codes).view(np.uint8), self.bits).astype("<u4", copy=False)


@dataclass(frozen=True)
class Form:
    """The parameters of `mlx.affine`: ``4bit-g64``, and ``-bf16`` or ``-f32`` where scales and biases are no f16."""

    bits: int
    group: int
    scale: str = "f16"

    def __str__(self) -> str:
        return f"{self.bits}bit-g{self.group}{'' if self.scale == 'f16' else f'-{self.scale}'}"

    @property
    def layout(self) -> str:
        """The layout's name."""
        return f"{AFFINE}/{self}"

    @classmethod
    def parse(cls, text: str) -> Form:
        """The parameters that `text` spells; f16 is what saying no type means.

        Raises:
            UsageError: it spells none, or none that MLX has.
        """
        found = re.fullmatch(r"(\d)bit-g([1-9]\d{1,2})(?:-(bf16|f32))?", text)
        form = cls(int(found[1]), int(found[2]), found[3] or "f16") if found else None
        if form is None or form.bits not in WIDTHS or form.group not in GROUPS:
            raise UsageError(
                f"{printable(text, 60)!r} is not BITSbit-gGROUP with {', '.join(map(str, WIDTHS))} bits and groups of "
                f"{', '.join(map(str, GROUPS))}, and perhaps -bf16 or -f32 behind it"
            )
        return form


class AffineLayout(MlxLayout):
    """``w = scales * code + biases``, for each group. Scales may be negative, biases need be no multiple of them.

    `parts`: `weight`; `scales` and `biases` (rows, in / group) of the form's number type.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.name = form.layout
        self.bits, self.group = form.bits, form.group
        self.scale = DTYPES[form.scale]

    def per_group(self) -> Mapping[str, DType]:
        return {"scales": self.scale, "biases": self.scale}

    def scheme(self, shape: Shape) -> Scheme:
        return Scheme(Affine(self.bits), Blocks((1, self.group)), Stored(self.scale), offset=Stored(self.scale))

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        scale, offset = (Dense(ArrayPart(array, rows_spec(self.scale, array.shape))) for array in self._pair(arrays))
        groups = Blocks((1, self.group))
        return Quantized(shape, self.codes(arrays, shape), Affine(self.bits), scale, groups, offset=offset)

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Dense) and isinstance(body.offset, Dense)
        kind = self.scale.numpy()
        scales, biases = (
            np.ascontiguousarray(value.part.whole().astype(kind, copy=False)) for value in (body.scale, body.offset)
        )
        return {"weight": self.words(body.codes.whole()), "scales": scales, "biases": biases}

    @staticmethod
    def _pair(arrays: Arrays) -> tuple[Array, Array]:
        return np.ascontiguousarray(arrays["scales"]), np.ascontiguousarray(arrays["biases"])


class FloatLayout(MlxLayout):
    """Small floats with a byte of scale: `mlx.mxfp4`, `mlx.mxfp8`, `mlx.nvfp4`.

    `parts`: `weight`, and `scales` u8 (rows, in / group), E8M0 or E4M3. Bytes that are no positive number there are
    refused: MLX takes them for infinity, NaN or a negative scale, and writes none.
    """

    table: Codebook
    end: int
    """The first byte of scale that is none."""

    def per_group(self) -> Mapping[str, DType]:
        return {"scales": U8}

    def scheme(self, shape: Shape) -> Scheme:
        return Scheme(self.values, Blocks((1, self.group)), byte_scale(self.table))

    @property
    def values(self) -> Affine | Codebook:
        """What a code stands for."""
        return Affine(8, dtype=E4M3) if self.bits == 8 else TWICE_E2M1

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        """The last byte of scale is one more number in other formats, and none here."""
        holding = super().can_hold(scheme, shape, values)
        if holding.fidelity == "lossy":
            return holding
        reason = f"a byte of scale may be {LAST:#x}, which is no number to MLX"
        if values is None:
            return replace(holding, reason=reason, by_value=True)
        assert isinstance(values.scale, Quantized)
        return Holding("lossy", reason) if np.any(values.scale.codes.whole() == LAST) else holding

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        scales = arrays["scales"]
        bad = int(np.count_nonzero(scales >= self.end))
        if bad:
            raise HubError(
                f"{bad} of {scales.size} bytes of scale of these rows are {self.end:#x} or above, no positive numbers; "
                "the model is damaged"
            )
        codes = self.codes(arrays, shape)
        if self.bits == 8:
            codes = ArrayPart(codes.array.view(E4M3.numpy()), rows_spec(E4M3, shape))
        return Quantized(shape, codes, self.values, looked_up(scales, self.table), Blocks((1, self.group)))

    def pack(self, body: Quantized) -> Arrays:
        scales = np.ascontiguousarray(packed_scale(body.scale)).view(np.uint8)
        return {"weight": self.words(body.codes.whole()), "scales": scales}


class Mxfp4(FloatLayout):
    """E2M1 in groups of 32, times a power of two."""

    name, bits, group, table, end = "mlx.mxfp4", 4, 32, HALF_E8M0, LAST


class Mxfp8(FloatLayout):
    """E4M3 in groups of 32, times a power of two."""

    name, bits, group, table, end = "mlx.mxfp8", 8, 32, E8M0, LAST


class Nvfp4(FloatLayout):
    """E2M1 in groups of 16, times an E4M3."""

    name, bits, group, table, end = "mlx.nvfp4", 4, 16, HALF_UE4M3, E4M3_END

    def pack(self, body: Quantized) -> Arrays:
        """Bytes of scale whose sign other formats pass over are told by those that are the same number here."""
        packed = super().pack(body)
        scales = packed["scales"]
        return {**packed, "scales": np.where(scales == E4M3_END, np.uint8(0), scales & np.uint8(0x7F))}


class ScaledNvfp4(Nvfp4):
    """NVFP4 with `global_scale`, f32 (1,), or (experts,) for (experts, out, in): scales are multiplied by it / 2688.

    What the IR has is that quotient, rounded to f32 as MLX rounds it. Two numbers may have the same one; `pack` finds
    the rounder of them, which is what was there where it was the largest of weights in f16 or bf16.
    """

    name = "mlx.nvfp4/scaled"

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        experts = PartSpec(F32, (math.prod(shape[:-2]),), 0, max(1, shape[-2])) if len(shape) > 2 else None
        return {**super().parts(shape), "global_scale": experts or PartSpec(F32, (1,), None)}

    def scheme(self, shape: Shape) -> Scheme:
        bare = super().scheme(shape)
        assert isinstance(bare.scale, Scheme)
        return replace(bare, scale=replace(bare.scale, scale=Stored(F32), groups=_per_expert(shape)))

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        holding = super().can_hold(scheme, shape, values)
        if holding.fidelity == "lossy" or values is None:
            return holding
        assert isinstance(values.scale, Quantized)
        factor = _factors(values.scale)
        if np.any(_quotients(_global_scales(factor)) != factor):
            return Holding("codes", "the factor is kept as 2688 times it")
        return holding

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        bare = super().unpack(arrays, shape)
        assert isinstance(bare.scale, Quantized)
        scale = np.ascontiguousarray(arrays["global_scale"], np.float32).reshape(-1, 1)
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise HubError("a global_scale is no positive number; the model is damaged")
        stored = Dense(ArrayPart(_quotients(scale), PartSpec(F32, scale.shape, None)))
        groups = Blocks((shape[0] // len(scale) if len(scale) > 1 else 0, 0))
        return replace(bare, scale=replace(bare.scale, scale=stored, groups=groups))

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Quantized)
        return {**super().pack(body), "global_scale": _global_scales(_factors(body.scale)).reshape(-1)}


def _per_expert(shape: Shape) -> Blocks:
    return Blocks((shape[-2] if len(shape) > 2 else 0, 0))


def _factors(scale: Quantized) -> Array:
    """The factors of bytes of scale, f32 (experts, 1)."""
    one = scale.scale
    if isinstance(one, Const):
        return np.full((1, 1), one.value, np.float32)
    assert isinstance(one, Dense)
    return np.asarray(one.part.whole(), np.float32).reshape(-1, 1)


def _quotients(global_scales: Array) -> Array:
    """The factors that MLX makes of global scales."""
    return np.asarray(global_scales / GLOBAL, np.float32)


def _global_scales(factors: Array) -> Array:
    """The global scale that gives each factor, that of fewest digits where there are two; the nearest if none."""
    with np.errstate(all="ignore"):
        near = np.asarray(factors * GLOBAL, np.float32)
        tried = np.stack([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))])
        gives = _quotients(tried) == factors
    bits = tried.view(np.uint32)
    lowest = np.where(gives, bits & (~bits + np.uint32(1)), np.uint32(0))
    return np.asarray(np.take_along_axis(tried, lowest.argmax(axis=0)[None], axis=0)[0])


_FLOATS: Final = {layout.name: layout for layout in (Mxfp4, Mxfp8, Nvfp4, ScaledNvfp4)}


def make(name: str) -> MlxLayout:
    """The layout of that name.

    Raises:
        UsageError: there is none.
    """
    family, _, parameters = name.partition("/")
    if family == AFFINE:
        return AffineLayout(Form.parse(parameters))
    if name not in _FLOATS:
        raise UsageError(f"no layout {printable(name)!r}; MLX has {', '.join(_FLOATS)} and {AFFINE}/4bit-g64")
    return _FLOATS[name]()
