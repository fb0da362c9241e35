"""Which of GGUF's types holds the codes of another format as they are."""

from __future__ import annotations

from hub.api import Tensor, keeper
from hub_gguf.layouts import make
from hub_gguf.types import BY_NAME, SCALED

CANDIDATES = (
    *(BY_NAME[name].layout for name in ("MXFP4", "NVFP4")),
    *(kind.scaled_layout for kind in SCALED),
    *(BY_NAME[name].layout for name in ("Q4_0", "Q5_0", "Q8_0", "Q4_1", "Q5_1", "Q4_K", "Q5_K")),
)
"""4-bit floats first, which Q5_0 holds, too, as the whole numbers that they are twice of; then the smallest; those with
an offset last, since it is rounded."""


def held(tensor: Tensor) -> str:
    """The type that keeps a tensor's codes, "" for plain numbers, and where there is none."""
    layout = keeper(tensor, [make(name) for name in CANDIDATES])
    return layout.name if layout else ""
