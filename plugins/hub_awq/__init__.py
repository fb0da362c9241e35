"""AWQ for hub: Hugging Face folders whose linear layers have AutoAWQ's `qweight`, `qzeros` and `scales`.

This module only registers. Facts come from AutoAWQ 88e4c76 and auto-round 0.16.1; PROVENANCE.md says which.
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, QuantizerEntry, hookimpl

FAMILIES = ("awq.gemm", "awq.gemv", "awq.gemv_fast", "awq.gemv_fast_offset")


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="awq",
            summary="AWQ checkpoint (AutoAWQ, auto-round): 4 bits in groups along rows; reads 2 to 8 bits, and GEMV",
            detect="hub_awq.detect:detect",
            reader="hub_awq.reader:AwqReader",
            writer="hub_awq.writer:AwqWriter",
            variants={
                "4bit-g128": "128 weights to a scale and a zero point; symmetric where the source's codes are",
                "4bit-g128-sym": "the same with every zero point in the middle",
                "4bit-g128-asym": "the same with zero points of their own",
                "4bit-channel": "a scale for each row; other groups are spelled alike",
            },
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    examples = {name: tuple(f"{name}/4bit-{rest}" for rest in ("g32", "g64", "g128", "channel")) for name in FAMILIES}
    examples[FAMILIES[0]] += (f"{FAMILIES[0]}/3bit-g32", f"{FAMILIES[0]}/8bit-g64-sym")
    return [LayoutEntry(name, "hub_awq.layouts:make", examples[name]) for name in FAMILIES]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry(f"{FAMILIES[0]}/nearest", FAMILIES[0], "hub_awq.quantizers:make")]
