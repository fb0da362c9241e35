"""The block layouts of ggml as hub's layouts: what they mean is in `layouts_*.py`, decoding is by native kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import hub_native
from hub.api import (
    F32,
    HALF_UE4M3,
    U8,
    Blocks,
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
from hub_gguf import layouts_affine, layouts_grid, layouts_table
from hub_gguf.blocks import stored
from hub_gguf.factors import scale_spec
from hub_gguf.types import GgmlType, type_of

MEANINGS = {**layouts_affine.MEANINGS, **layouts_table.MEANINGS, **layouts_grid.MEANINGS}

Arrays = Mapping[str, np.ndarray[Any, Any]]
F32Array = np.ndarray[Any, np.dtype[np.float32]]


class GgmlLayout(Layout):
    """One block layout of ggml; a row is whole blocks.

    `parts`: one, `blocks`, u8 of shape (rows, bytes per row).
    """

    def __init__(self, kind: GgmlType) -> None:
        self.name = kind.layout
        self.kind = kind
        self.meaning = MEANINGS[kind.name]
        self.kernel = kind.word if kind.word in hub_native.types() else None

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
        return self.meaning.scheme()

    def can_hold(self, scheme: Scheme | DType, shape: Shape, values: Quantized | None = None) -> Holding:
        if self.meaning.pack is None:
            return Holding("lossy", f"only a quantizer makes {self.kind.name}")
        return super().can_hold(scheme, shape, values)

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        blocks = np.ascontiguousarray(arrays["blocks"]).reshape(-1, self.kind.bytes)
        return self.meaning.unpack(blocks, shape)

    def pack(self, body: Quantized) -> Arrays:
        if self.meaning.pack is None:
            return super().pack(body)
        return {"blocks": self.meaning.pack(body).reshape(body.shape[0], -1)}

    def decode(self, arrays: Arrays, shape: Shape) -> F32Array:
        out = np.empty(shape, np.float32)
        blocks = np.ascontiguousarray(arrays["blocks"]).reshape(-1)
        hub_native.dequantize(self.kind.word, blocks, out.reshape(-1, shape[-1]))
        return out


class ScaledLayout(GgmlLayout):
    """NVFP4 with a factor for the whole tensor, or for each expert, in a tensor of its own: `X.scale` of `X.weight`.

    `parts`: `blocks`, and `scale`, f32 of shape (1,), or (experts,) for (experts, out, in). The scale of 16 weights is
    the product of the two, rounded to f32; then comes the code, as in every other layout.
    """

    def __init__(self, kind: GgmlType) -> None:
        super().__init__(kind)
        self.name = kind.scaled_layout
        self.kernel = None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        return {**super().parts(shape), "scale": scale_spec(shape)}

    def scheme(self, shape: Shape) -> Scheme:
        bare = super().scheme(shape)
        assert isinstance(bare.scale, Scheme)
        groups = Blocks((shape[-2] if len(shape) > 2 else 0, 0))
        return replace(bare, scale=replace(bare.scale, scale=Stored(F32), groups=groups))

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        bare = super().unpack(arrays, shape)
        assert isinstance(bare.scale, Quantized)
        factors = np.ascontiguousarray(arrays["scale"], np.float32).reshape(-1, 1)
        groups = Blocks((shape[0] // len(factors) if len(factors) > 1 else 0, 0))
        return replace(bare, scale=replace(bare.scale, scale=stored(factors), groups=groups))

    def pack(self, body: Quantized) -> Arrays:
        assert isinstance(body.scale, Quantized) and isinstance(body.scale.scale, Dense)
        factors = body.scale.scale.part.load(0, body.shape[0])
        return {**super().pack(body), "scale": np.ascontiguousarray(factors, np.float32).reshape(-1)}

    def decode(self, arrays: Arrays, shape: Shape) -> F32Array:
        blocks = np.array(arrays["blocks"], np.uint8).reshape(-1, self.kind.bytes)
        scales = np.array(HALF_UE4M3.table, np.float32)[blocks[:, :4]]
        factors = np.asarray(arrays["scale"], np.float32).reshape(-1, 1, 1)
        with np.errstate(all="ignore"):
            scales = scales.reshape(len(factors), -1, 4) * factors
            blocks[:, :4] = HALF_UE4M3.table.index(1.0)
            out = super().decode({"blocks": blocks}, shape)
            out.reshape(-1, 4, 16)[...] *= scales.reshape(-1, 4, 1)
        return out


def make(name: str) -> GgmlLayout:
    """The layout of that name."""
    kind = type_of(name)
    assert kind is not None
    return ScaledLayout(kind) if name == kind.scaled_layout else GgmlLayout(kind)
