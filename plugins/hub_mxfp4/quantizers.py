"""MXFP4 from floats: the search of a scale that compressed-tensors' layout has, too."""

from __future__ import annotations

from hub.api import Quantizer
from hub_compressed_tensors.quantizers import NearestFp4
from hub_mxfp4.layouts import make as layout_of


def make(layout: str) -> Quantizer:
    """The quantizer of that layout."""
    return NearestFp4(layout_of(layout))
