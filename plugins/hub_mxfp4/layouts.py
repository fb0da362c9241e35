"""`X_blocks` and `X_scales` of experts."""

from __future__ import annotations

from hub.api import HALF_E8M0, U8
from hub_safetensors.fp4 import Fp4


class Blocks32(Fp4):
    """`packed` u8 (rows, in/2), of the file's (experts, out, in/32, 16); `scale` u8 (rows, in/32), a power of two."""

    name = "mxfp4.blocks"
    group, bytes_of, table = 32, U8, HALF_E8M0


def make(name: str) -> Blocks32:
    """The layout."""
    return Blocks32()
