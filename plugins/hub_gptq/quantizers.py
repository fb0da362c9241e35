"""The quantizer of GPTQ's layouts that needs no calibration."""

from __future__ import annotations

from hub_gptq.layouts import make as layout_of
from hub_safetensors.nearest_groups import NearestQuantizer


def make(layout: str) -> NearestQuantizer:
    """The quantizer of that layout."""
    packing = layout_of(layout)
    return NearestQuantizer(packing, packing.told)
