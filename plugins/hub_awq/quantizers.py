"""The quantizer of AWQ's layout that needs no calibration: rounding, without AWQ's search of channels."""

from __future__ import annotations

from hub_awq.layouts import make as layout_of
from hub_safetensors.nearest_groups import NearestQuantizer


def make(layout: str) -> NearestQuantizer:
    """The quantizer of that layout."""
    packing = layout_of(layout)
    return NearestQuantizer(packing, packing.told)
