"""gpt-oss' MXFP4 for hub: experts in 4-bit floats, all of a layer in one tensor.

This module only registers. Facts come from openai/gpt-oss' files and transformers 5.23 (integrations/mxfp4.py).
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="mxfp4",
            summary="Hugging Face folder with experts in MXFP4, as gpt-oss has them (read only)",
            detect="hub_mxfp4.detect:detect",
            reader="hub_mxfp4.reader:Mxfp4Reader",
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [LayoutEntry("mxfp4.blocks", "hub_mxfp4.layouts:make")]
