"""GPTQ for hub: Hugging Face folders whose linear layers have `qweight`, `qzeros`, `scales` and mostly `g_idx`.

This module only registers. Facts come from GPTQModel 7.7.0, AutoGPTQ 0.7.1 and auto-round 0.16.1; PROVENANCE.md says
which.
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, QuantizerEntry, hookimpl

FAMILIES = {
    "gptq.v1": ("2bit-g32", "3bit-g32-sym", "4bit-g32", "4bit-g128-sym", "8bit-channel-sym-bf16"),
    "gptq.v2": ("2bit-g16", "3bit-g32", "4bit-g32", "4bit-g128-sym", "8bit-channel"),
    "gptq.v1words": ("2bit-g32", "4bit-g32", "8bit-g64"),
}
"""Families of layouts, with parameters that stand for all."""


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="gptq",
            summary="GPTQ checkpoint (GPTQModel, AutoGPTQ, auto-round): 2, 3, 4 or 8 bits in groups along rows",
            detect="hub_gptq.detect:detect",
            reader="hub_gptq.reader:GptqReader",
            writer="hub_gptq.writer:GptqWriter",
            variants={
                "4bit-g128": "4 bits, 128 weights to a scale; symmetric unless the source's codes have zero points",
                "4bit-g128-sym": "the same, symmetric always; what every loader runs",
                "4bit-g128-asym": "the same with a zero point for each group, checkpoint format v2",
                "4bit-channel": "a scale for each row; 2, 3 and 8 bits and other groups are spelled alike",
            },
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [
        LayoutEntry(name, "hub_gptq.layouts:make", tuple(f"{name}/{told}" for told in examples))
        for name, examples in FAMILIES.items()
    ]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry(f"{name}/nearest", name, "hub_gptq.quantizers:make") for name in ("gptq.v1", "gptq.v2")]
