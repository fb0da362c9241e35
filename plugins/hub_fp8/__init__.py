"""fp8 for hub: folders of 8-bit floats with a scale for each 128x128 weights (DeepSeek's), or for the tensor.

This module only registers. Facts come from DeepSeek-V3's published files, transformers 5.23 (finegrained_fp8) and vLLM.
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, QuantizerEntry, hookimpl

EXAMPLES = ("fp8.block/f8_e4m3-block128x128-f32", "fp8.block/f8_e4m3-tensor-f32")


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="fp8",
            summary="Hugging Face folder of 8-bit floats in squares of 128x128 (DeepSeek, Qwen3-FP8)",
            detect="hub_fp8.detect:detect",
            reader="hub_fp8.reader:Fp8Reader",
            writer="hub_fp8.writer:Fp8Writer",
            variants={"block": "E4M3, a scale for each 128x128 weights"},
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [LayoutEntry("fp8.block", "hub_safetensors.scaled_floats:make", EXAMPLES)]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry("fp8.block/nearest", "fp8.block", "hub_safetensors.nearest_floats:make")]
