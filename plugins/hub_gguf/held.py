"""Which of GGUF's types holds the codes of another format as they are."""

from __future__ import annotations

from hub.api import Scheme, Tensor, scheme_of
from hub_gguf.layouts import make
from hub_gguf.types import BY_NAME, SCALED

CANDIDATES = (
    *(BY_NAME[name].layout for name in ("Q4_0", "Q5_0", "Q8_0", "MXFP4", "NVFP4")),
    *(kind.scaled_layout for kind in SCALED),
    *(BY_NAME[name].layout for name in ("Q4_1", "Q5_1")),
)
"""Smallest first; those with an offset last, since it is rounded."""


def held(tensor: Tensor) -> str:
    """The first type that holds a tensor's codes, whatever its numbers are; else the first for which they decide; ""
    for plain numbers, and where there is none."""
    scheme = scheme_of(tensor)
    if not isinstance(scheme, Scheme):
        return ""
    perhaps = ""
    for name in CANDIDATES:
        layout = make(name)
        if layout.fits(tensor.shape) is not None:
            continue
        holding = layout.can_hold(scheme, tensor.shape)
        if holding.fidelity != "lossy" and not holding.by_value:
            return name
        if holding.fidelity != "lossy":
            perhaps = perhaps or name
    return perhaps
