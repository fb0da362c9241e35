"""How compressed-tensors keeps weights. Source: compressed_tensors/compressors, version 0.20; 0.17 for padded words.

Integers are signed there and stored with ``2**(bits-1)`` added, so codes are those of GPTQ. Zero points are packed
along rows of the weight: the words of eight rows of 4 bits are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hub.api import (
    DTYPES,
    E4M3_END,
    F32,
    HALF_E8M0,
    HALF_UE4M3,
    I8,
    I32,
    U8,
    Affine,
    ArrayPart,
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
    Stored,
    rows_spec,
)
from hub_compressed_tensors.form import Form, parse
from hub_compressed_tensors.packing import codes_of, word_count, words_of
from hub_safetensors.fp4 import Fp4
from hub_safetensors.scaled_floats import (
    ScaledFloats,
    packed_scale,
    refuse_nan,
    scale_spec,
    scale_value,
)

Arrays = Mapping[str, np.ndarray[Any, Any]]
E4M3: Final = DTYPES["f8_e4m3"]


class Integers(Layout):
    """What the two layouts of integers share: scales, zero points, groups.

    `parts`: the codes; `scale` one per group; `zero`, where the form is asymmetric; `g_idx` i32 (in,), the group of
    each column, where it is indexed.
    """

    codes: str
    signed: bool

    def __init__(self, form: Form, family: str) -> None:
        self.form = form
        self.name = f"{family}/{form.text()}"
        self.row_multiple = max(1, form.blocks.shape[0])

    def fits(self, shape: Shape) -> str | None:
        if len(shape) != 2:
            return f"compressed-tensors wants matrices, this has {len(shape)} dimensions"
        return None if all(shape) else "a matrix without weights"

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        found = {self.codes: self.code_spec(shape), "scale": scale_spec(self.form.scale, self.form.blocks, shape)}
        if self.form.asym:
            found["zero"] = self.zero_spec(shape)
        if self.form.indexed:
            found["g_idx"] = PartSpec(I32, (shape[1],), None)
        return found

    def scheme(self, shape: Shape) -> Scheme:
        groups = Index(None, self.form.group_count(shape)[1]) if self.form.indexed else self.form.blocks
        zero = Stored(I8 if self.signed else U8) if self.form.asym else self.middle
        return Scheme(Affine(self.form.bits, self.signed), groups, Stored(self.form.scale), zero)

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        form = self.form
        codes = ArrayPart(self.read_codes(arrays[self.codes], shape), rows_spec(I8 if self.signed else U8, shape))
        scale = scale_value(refuse_nan(arrays["scale"]), form.scale, form.blocks)
        zero: Any = self.middle
        if form.asym:
            zero = scale_value(self.read_zeros(arrays["zero"], shape), I8 if self.signed else U8, form.blocks)
        groups: Any = form.blocks
        if form.indexed:
            table = np.ascontiguousarray(arrays["g_idx"])
            groups = Index(ArrayPart(table, PartSpec(I32, table.shape, None)), form.group_count(shape)[1])
        return Quantized(shape, codes, Affine(form.bits, self.signed), scale, groups, zero)

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Dense)
        arrays = {self.codes: self.write_codes(body.codes.whole()), "scale": packed_scale(body.scale)}
        if self.form.asym:
            assert isinstance(body.zero, Dense)
            arrays["zero"] = self.write_zeros(body.zero.part.whole())
        if self.form.indexed:
            assert isinstance(body.groups, Index) and body.groups.g_idx is not None
            arrays["g_idx"] = body.groups.g_idx.whole().astype("<i4")
        return arrays

    @property
    def middle(self) -> Const:
        """The zero point of symmetric codes."""
        return Const(0.0 if self.signed else float(1 << (self.form.bits - 1)))

    def code_spec(self, shape: Shape) -> PartSpec:
        raise NotImplementedError

    def zero_spec(self, shape: Shape) -> PartSpec:
        raise NotImplementedError

    def read_codes(self, array: np.ndarray[Any, Any], shape: Shape) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def write_codes(self, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def read_zeros(self, array: np.ndarray[Any, Any], shape: Shape) -> np.ndarray[Any, Any]:
        return array

    def write_zeros(self, zeros: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return zeros


class PackedInts(Integers):
    """`pack-quantized`: `packed` i32 (out, words), codes from bit 0 on; `zero` i32 (words of rows, groups)."""

    codes = "packed"
    signed = False
    padded = True

    def fits(self, shape: Shape) -> str | None:
        reason = super().fits(shape)
        straddling = self.dense and 32 % self.form.bits  # the last words could not be told as a step of 32 rows
        if reason is None and self.form.asym and straddling and shape[0] % 32:
            return f"zero points of {shape[0]} rows, {self.form.bits} bits each, do not fill whole words"
        return reason

    @property
    def dense(self) -> bool:
        """Whether codes straddle words."""
        return not self.form.padded

    def code_spec(self, shape: Shape) -> PartSpec:
        return PartSpec(I32, (shape[0], word_count(shape[1], self.form.bits, dense=self.dense)))

    def zero_spec(self, shape: Shape) -> PartSpec:
        bits, rows = self.form.bits, shape[0]
        groups = self.form.group_count(shape)[1]
        if 32 % bits == 0 or not self.dense:
            per = 32 // bits
            return PartSpec(I32, (-(-rows // per), groups), 0, per)
        return PartSpec(I32, (rows // 32, bits, groups), 0, 32)

    def read_codes(self, array: np.ndarray[Any, Any], shape: Shape) -> np.ndarray[Any, Any]:
        return codes_of(array, self.form.bits, shape[1], dense=self.dense)

    def write_codes(self, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return words_of(codes.astype(np.uint8, copy=False), self.form.bits, dense=self.dense)

    def read_zeros(self, array: np.ndarray[Any, Any], shape: Shape) -> np.ndarray[Any, Any]:
        columns = np.ascontiguousarray(array.reshape(-1, array.shape[-1]).T)
        return np.ascontiguousarray(codes_of(columns, self.form.bits, shape[0], dense=self.dense).T)

    def write_zeros(self, zeros: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        columns = np.ascontiguousarray(zeros.astype(np.uint8).T)
        packed = np.ascontiguousarray(words_of(columns, self.form.bits, dense=self.dense).T)
        whole_words = 32 % self.form.bits == 0 or not self.dense
        return packed if whole_words else packed.reshape(-1, self.form.bits, packed.shape[1])


class Int8s(Integers):
    """`int-quantized`: `weight` i8 (out, in), signed codes; `zero` i8, one per group."""

    codes = "weight"
    signed = True

    def code_spec(self, shape: Shape) -> PartSpec:
        return rows_spec(I8, shape)

    def zero_spec(self, shape: Shape) -> PartSpec:
        return scale_spec(I8, self.form.blocks, shape)

    def read_codes(self, array: np.ndarray[Any, Any], shape: Shape) -> np.ndarray[Any, Any]:
        low, high = -(1 << (self.form.bits - 1)), (1 << (self.form.bits - 1)) - 1
        if self.form.bits < 8 and array.size and (array.min() < low or array.max() > high):
            raise HubError(f"codes beyond {low} to {high}, which is all that {self.form.bits} bits have")
        return array

    def write_codes(self, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return codes.astype(np.int8)


class Mxfp4(Fp4):
    """`mxfp4-pack-quantized`: powers of two, u8."""

    name = "ct.mxfp4"
    group, bytes_of, table = 32, U8, HALF_E8M0


class Nvfp4(Fp4):
    """`nvfp4-pack-quantized`: E4M3 bytes, and `global` f32 (1,), by which they are *divided*.

    In the IR the tensor's factor is multiplied, so it is the reciprocal, rounded to f32.
    """

    name = "ct.nvfp4"
    group, bytes_of, table = 16, E4M3, HALF_UE4M3

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        return {**super().parts(shape), "global": PartSpec(F32, (1,), None)}

    def scheme(self, shape: Shape) -> Scheme:
        bare = super().scheme(shape)
        assert isinstance(bare.scale, Scheme)
        return replace(bare, scale=replace(bare.scale, scale=Stored(F32)))

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        """Bytes that are no E4M3 cannot be told, and a factor must survive being divided by."""
        holding = super().can_hold(scheme, shape, values)
        if holding.fidelity == "lossy" or (values is None and holding.by_value):
            return holding
        if values is None:
            return Holding("codes", "the factor is kept as its reciprocal", by_value=True)
        assert isinstance(values.scale, Quantized)
        if np.any(values.scale.codes.whole() >= E4M3_END):
            return Holding("lossy", "a scale is no positive E4M3")
        factor = values.scale.scale
        kept = np.float32(factor.value) if isinstance(factor, Const) else factor.part.whole()  # type: ignore[union-attr]
        with np.errstate(all="ignore"):
            again = np.float32(1) / (np.float32(1) / kept)
        if np.any(again != kept):
            return Holding("codes", "the factor is kept as its reciprocal")
        return holding

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        bare = super().unpack(arrays, shape)
        assert isinstance(bare.scale, Quantized)
        if np.any(bare.scale.codes.whole() >= E4M3_END):
            raise HubError("weight_scale holds NaN or negative numbers; the model is damaged")
        divisor = np.asarray(arrays["global"], np.float32).reshape(1, 1)
        if not np.isfinite(divisor).all() or not (divisor > 0).all():
            raise HubError(f"weight_global_scale is {divisor.flat[0]}, which nothing can be divided by")
        factor = np.float32(1) / divisor
        spec = PartSpec(F32, (1, 1), None)
        return replace(bare, scale=replace(bare.scale, scale=Dense(ArrayPart(factor, spec))))

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Quantized)
        factor = body.scale.scale
        one = np.float32(factor.value) if isinstance(factor, Const) else factor.part.whole()  # type: ignore[union-attr]
        return {**super().pack(body), "global": (np.float32(1) / np.asarray(one, np.float32)).reshape(1)}


def make(name: str) -> Layout:
    """The layout of that name.

    Raises:
        UsageError: the parameters are none.
    """
    family = name.partition("/")[0]
    if family in ("ct.nvfp4", "ct.mxfp4"):
        return Nvfp4() if family == "ct.nvfp4" else Mxfp4()
    form = parse(name)
    if family == "ct.float":
        return ScaledFloats(name, DTYPES[form.codes or "f8_e4m3"], form.blocks, form.scale)
    return PackedInts(form, family) if family == "ct.pack" else Int8s(form, family)
