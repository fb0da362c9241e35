"""compressed-tensors for hub: what llm-compressor writes and vLLM and transformers load.

This module only registers. Facts come from compressed-tensors 0.20 (and 0.17 for the older packing of codes).
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, QuantizerEntry, hookimpl

FAMILIES = {
    "ct.pack": (
        "2bit-g32-f16",
        "3bit-g32-f16-asym",
        "4bit-g32-f16-asym",
        "4bit-g128-bf16",
        "8bit-channel-f16",
    ),
    "ct.int": ("8bit-channel-f32", "4bit-g32-bf16-asym"),
    "ct.float": ("f8_e4m3-channel-bf16", "f8_e4m3-block128x128-f32", "f8_e4m3-g32-u8"),
    "ct.nvfp4": (),
    "ct.mxfp4": (),
}
"""Families of layouts, with parameters that stand for all."""
VARIANTS = {
    "keep": "every tensor as the source has it, codes moved; what cannot be told in floats",
    "4bit-g128": "4-bit integers, a scale for each 128 weights; any width from 2 to 8, any group, -sym or -asym",
    "8bit": "8-bit integers, a scale for each row",
    "fp8": "E4M3, a scale for each row",
    "fp8-block": "E4M3, a scale for each 128x128 weights",
    "nvfp4": "E2M1 with an E4M3 scale for each 16 weights and one f32 for the tensor",
    "mxfp4": "E2M1 with a power of two for each 32 weights",
}


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="compressed-tensors",
            summary="Hugging Face folder of vLLM's and llm-compressor's: integers, fp8, nvfp4, mxfp4",
            detect="hub_compressed_tensors.detect:detect",
            reader="hub_compressed_tensors.reader:CompressedReader",
            writer="hub_compressed_tensors.writer:CompressedWriter",
            variants=VARIANTS,
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [
        LayoutEntry(name, "hub_compressed_tensors.layouts:make", tuple(f"{name}/{words}" for words in examples))
        for name, examples in FAMILIES.items()
    ]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry(f"{name}/nearest", name, "hub_compressed_tensors.quantizers:make") for name in FAMILIES]
