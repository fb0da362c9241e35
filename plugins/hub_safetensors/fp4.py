"""4-bit floats (E2M1), two to a byte and a byte of scale for a group of neighbours: what NVFP4 and MXFP4 are in every
folder of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import hub_native
from hub.api import (
    HALF_E8M0,
    TWICE_E2M1,
    U8,
    ArrayPart,
    Blocks,
    DType,
    HubError,
    Layout,
    PartSpec,
    Quantized,
    Scheme,
    Shape,
    row_count,
    rows_spec,
)
from hub_safetensors.scaled_floats import byte_scale, looked_up, packed_scale
from hub_safetensors.words import as_bytes, codes_of

Arrays = Mapping[str, np.ndarray[Any, Any]]


class Fp4(Layout):
    """What NVFP4 and MXFP4 share: `packed` u8 (out, in/2), the even element in the low nibble; `scale`, a byte each."""

    group: int
    bytes_of: DType
    table: Any

    def fits(self, shape: Shape) -> str | None:
        if len(shape) < 2:
            return f"it wants rows, this has {len(shape)} dimensions"
        return f"rows of {shape[-1]} are not a multiple of {self.group}" if shape[-1] % self.group else None

    def parts(self, shape: Shape) -> Mapping[str, PartSpec]:
        reason = self.fits(shape)
        if reason:
            raise HubError(reason)
        rows, columns = row_count(shape), shape[-1]
        return {
            "packed": PartSpec(U8, (rows, columns // 2)),
            "scale": PartSpec(self.bytes_of, (rows, columns // self.group)),
        }

    def scheme(self, shape: Shape) -> Scheme:
        return Scheme(TWICE_E2M1, Blocks((1, self.group)), byte_scale(self.table))

    def unpack(self, arrays: Arrays, shape: Shape) -> Quantized:
        codes = unpack_nibbles(arrays["packed"]).reshape(shape)
        scale = looked_up(arrays["scale"], self.table)
        return Quantized(shape, ArrayPart(codes, rows_spec(U8, shape)), TWICE_E2M1, scale, Blocks((1, self.group)))

    def decode(self, arrays: Arrays, shape: Shape) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Powers of two for 32 weights are ggml's MXFP4 in another order, for which there is a kernel."""
        if self.group != 32 or self.table != HALF_E8M0:
            return super().decode(arrays, shape)
        codes = unpack_nibbles(arrays["packed"]).reshape(-1, 32)
        blocks = np.empty((len(codes), 17), np.uint8)
        blocks[:, 0] = arrays["scale"].view(np.uint8).reshape(-1)
        hub_native.pack_halves(codes, blocks[:, 1:])
        out = np.empty(shape, np.float32)
        hub_native.dequantize("mxfp4", blocks.reshape(-1), out.reshape(-1, shape[-1]))
        return out

    def pack(self, body: Quantized) -> Arrays:
        scale = np.ascontiguousarray(packed_scale(body.scale).astype(np.uint8)).view(self.bytes_of.numpy())
        return {"packed": pack_nibbles(body.codes.whole()), "scale": scale}


def unpack_nibbles(packed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(rows, n) bytes to (rows, 2 n) codes, low nibbles first."""
    return codes_of(packed, 4, 2 * packed.shape[1])


def pack_nibbles(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The way back."""
    out = np.empty((len(codes), codes.shape[1] // 2), np.uint8)
    hub_native.pack_rows(as_bytes(codes.astype(np.uint8, copy=False)), 4, out)
    return out
