"""Which operators a graph is made of, by the flavour that a variant names."""

from __future__ import annotations

from hub_onnx.decoder import Decoder
from hub_onnx.genai import GenaiDecoder


def decoder_of(flavour: str) -> type[Decoder]:
    """The class that builds the graph of a flavour."""
    return {"std": Decoder, "genai": GenaiDecoder}[flavour]
