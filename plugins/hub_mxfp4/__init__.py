"""gpt-oss' MXFP4 for hub: experts in 4-bit floats, all of a layer in one tensor.

This module only registers. Facts come from openai/gpt-oss' files and transformers 5.23 (integrations/mxfp4.py).
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, QuantizerEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="mxfp4",
            summary="Hugging Face folder with experts in MXFP4, as gpt-oss has them",
            detect="hub_mxfp4.detect:detect",
            reader="hub_mxfp4.reader:Mxfp4Reader",
            writer="hub_mxfp4.writer:Mxfp4Writer",
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [LayoutEntry("mxfp4.blocks", "hub_mxfp4.layouts:make")]


@hookimpl
def hub_quantizers() -> list[QuantizerEntry]:
    return [QuantizerEntry("mxfp4.blocks/nearest", "mxfp4.blocks", "hub_mxfp4.quantizers:make")]
