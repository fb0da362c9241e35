"""Codes of floats for every layout of compressed-tensors, by rounding to the nearest with a search of the scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from hub.api import E4M3_END, HALF_UE4M3, I8, TWICE_E2M1, U8, Calibration, Quantizer
from hub_compressed_tensors.layouts import Integers, Mxfp4, Nvfp4
from hub_compressed_tensors.layouts import make as layout_of
from hub_safetensors.fp4 import Fp4, pack_nibbles
from hub_safetensors.nearest import asymmetric, symmetric
from hub_safetensors.nearest_floats import NearestFloats
from hub_safetensors.scaled_floats import ScaledFloats

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
_STEPS: Final = ((0.25, False), (0.75, True), (1.25, False), (1.75, True), (2.5, False), (3.5, True), (5.0, False))
"""Between two magnitudes of E2M1, and whether what lies there exactly goes up: to the even code."""


class NearestInts(Quantizer):
    """Integers; the search is that of `hub_safetensors.nearest`."""

    wants = frozenset({"importance"})

    def __init__(self, layout: Integers) -> None:
        self.made = layout
        self.layout = layout.name
        self.name = f"{layout.name}/nearest"
        self.whole_tensor = layout.form.blocks.shape[0] == 0

    def quantize(self, rows: Array, calibration: Calibration) -> Arrays:
        form, made = self.made.form, self.made
        high, wide = form.blocks.shape
        flat = rows if high == 1 else rows.reshape(1, -1)
        weight = None if high != 1 else calibration.importance
        search = asymmetric if form.asym else symmetric
        codes, scale, *zero = search(flat, form.bits, wide, form.scale, weight)
        low = 1 << (form.bits - 1) if made.signed else 0
        kind = (I8 if made.signed else U8).numpy()
        arrays = {
            made.codes: made.write_codes((codes.reshape(rows.shape).astype(np.int16) - low).astype(kind)),
            "scale": scale.astype(form.scale.numpy()),
        }
        if zero:
            arrays["zero"] = made.write_zeros((zero[0].astype(np.int16) - low).astype(kind))
        return arrays


class NearestFp4(Quantizer):
    """E2M1 with a byte of scale for each group, the best of a few near the one that the largest weight asks for."""

    wants = frozenset({"importance"})

    def __init__(self, layout: Fp4) -> None:
        self.made = layout
        self.layout = layout.name
        self.name = f"{layout.name}/nearest"
        self.whole_tensor = isinstance(layout, Nvfp4)

    def quantize(self, rows: Array, calibration: Calibration) -> Arrays:
        grouped = rows.reshape(len(rows), -1, self.made.group)
        weight = None if calibration.importance is None else calibration.importance.reshape(1, -1, self.made.group)
        most = np.abs(grouped).max(axis=2)
        if isinstance(self.made, Nvfp4):
            divisor = _divisor(float(most.max(initial=0.0)))
            tried = _e4m3_bytes(most * divisor)
            scales = np.array(HALF_UE4M3.table, np.float32) * np.float32(2) / divisor
            more = {"global": np.array([divisor], np.float32)}
        else:
            tried, more = _e8m0_bytes(most), {}
            scales = np.exp2(np.arange(256, dtype=np.float64) - 127).clip(0, 2.0**127).astype(np.float32)
        codes, bytes_of = _best(grouped, weight, tried, scales)
        return {
            "packed": pack_nibbles(codes.reshape(rows.shape)),
            "scale": bytes_of.view(self.made.bytes_of.numpy()),
            **more,
        }


def _divisor(most: float) -> np.float32:
    """compressed-tensors' ``448 * 6 / absmax``, down to a power of two: its reciprocal is a number, too, so that
    formats which multiply hold the same weights, and layers that are run as one mostly share it."""
    if most == 0:
        return np.float32(1)
    return np.float32(2.0 ** np.clip(np.floor(np.log2(448 * 6 / most)), -120, 120))


def _e4m3_bytes(wanted: Array) -> Sequence[Array]:
    """Bytes whose scale maps a magnitude of `wanted` to 6, to 4, and their neighbours."""
    table = np.array(HALF_UE4M3.table[:E4M3_END], np.float32) * 2
    found = []
    for top in (6.0, 4.0):
        nearest = np.searchsorted((table[1:] + table[:-1]) / 2, wanted / np.float32(top))
        found += [np.clip(nearest + step, 0, E4M3_END - 1).astype(np.uint8) for step in (0, -1, 1)]
    return found


def _e8m0_bytes(most: Array) -> Sequence[Array]:
    """compressed-tensors' exponent - that of the largest, one more from 1.75 on, less 2 - and its neighbours."""
    _, exponent = np.frexp(np.where(most == 0, 1, most * np.float32(8 / 7)).astype(np.float32))
    return [np.clip(exponent - 1 - 2 + 127 + step, 0, 254).astype(np.uint8) for step in (0, -1, 1)]


def _best(grouped: Array, weight: Array | None, tried: Sequence[Array], scales: Array) -> tuple[Array, Array]:
    """Codes, and for each group the byte of the least squared error."""
    table = np.array(TWICE_E2M1.table, np.float32) / 2
    least = np.full(grouped.shape[:2], np.inf, np.float32)
    codes, bytes_of = np.zeros(grouped.shape, np.uint8), np.zeros(grouped.shape[:2], np.uint8)
    for candidate in tried:
        scale = scales[candidate][:, :, None]
        with np.errstate(all="ignore"):
            made = nearest_e2m1(np.where(scale > 0, grouped / scale, 0))
            off = table[made] * scale - grouped
            error = np.einsum("rgk,rgk->rg", off, off if weight is None else off * weight)
        better = error < least
        least = np.where(better, error, least)
        codes = np.where(better[:, :, None], made, codes)
        bytes_of = np.where(better, candidate, bytes_of)
    return codes, bytes_of


def nearest_e2m1(values: Array) -> Array:
    """Codes of the nearest E2M1, ties to the even code; what rounds to zero has no sign."""
    size = np.abs(values)
    code = np.zeros(values.shape, np.uint8)
    for step, up in _STEPS:
        code += size >= step if up else size > step
    return np.where((values < 0) & (code > 0), code | 8, code).astype(np.uint8)


def make(layout: str) -> Quantizer:
    """The quantizer of that layout."""
    made = layout_of(layout)
    if isinstance(made, ScaledFloats):
        return NearestFloats(made)
    if isinstance(made, (Mxfp4, Nvfp4)):
        return NearestFp4(made)
    assert isinstance(made, Integers)
    return NearestInts(made)
