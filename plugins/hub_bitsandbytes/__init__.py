"""bitsandbytes for hub: folders whose linear layers are NF4, FP4 or int8, as transformers saves them.

This module only registers. Facts come from bitsandbytes 0.50 (functional.py, nn/modules.py).
"""

from __future__ import annotations

from hub.api import Format, LayoutEntry, hookimpl


@hookimpl
def hub_formats() -> list[Format]:
    return [
        Format(
            name="bitsandbytes",
            summary="Hugging Face folder saved with bitsandbytes: NF4, FP4, int8 (read only)",
            detect="hub_bitsandbytes.detect:detect",
            reader="hub_bitsandbytes.reader:BitsandbytesReader",
        )
    ]


@hookimpl
def hub_layouts() -> list[LayoutEntry]:
    return [LayoutEntry(name, "hub_bitsandbytes.layouts:make") for name in ("bnb.nf4", "bnb.fp4", "bnb.int8")]
