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
    return [
        LayoutEntry("bnb.nf4", "hub_bitsandbytes.layouts:make", ("bnb.nf4/b64", "bnb.nf4/b64-double")),
        LayoutEntry("bnb.fp4", "hub_bitsandbytes.layouts:make", ("bnb.fp4/b64",)),
        LayoutEntry("bnb.int8", "hub_bitsandbytes.layouts:make"),
    ]
