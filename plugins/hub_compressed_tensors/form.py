"""The names of layouts: what follows the slash says width, groups, and what is stored beside the codes.

`4bit-g32-bf16-asym`: words joined by dashes, width first where the family has one, then groups, then the number type of
scales, then what is not usual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hub.api import DTYPES, Blocks, DType, Shape, UsageError, printable

SCALES: Final = ("f32", "f16", "bf16", "u8", "f8_e8m0")
_GROUPS: Final = re.compile(r"g([1-9][0-9]{0,8})|block([1-9][0-9]{0,5})x([1-9][0-9]{0,5})|channel|tensor")
_WHOLE: Final = {"channel": Blocks((1, 0)), "tensor": Blocks((0, 0))}


@dataclass(frozen=True)
class Form:
    """What the name of a layout says.

    Attributes:
        bits: width of a code.
        blocks: which weights share a scale.
        scale: the number type of scales.
        asym: whether zero points are stored.
        indexed: whether a list says which group a column belongs to.
        padded: whether codes do not straddle words (before compressed-tensors 0.18).
        codes: the number type of codes that are floats; "" for integers.
    """

    bits: int
    blocks: Blocks
    scale: DType
    asym: bool = False
    indexed: bool = False
    padded: bool = False
    codes: str = ""

    def text(self) -> str:
        """The words, joined."""
        words = [self.codes or f"{self.bits}bit", groups_text(self.blocks), self.scale.name]
        extra = {"asym": self.asym, "gidx": self.indexed, "padded": self.padded}
        return "-".join([*words, *(word for word, there in extra.items() if there)])

    def group_count(self, shape: Shape) -> tuple[int, int]:
        """Rows and columns of the table of scales."""
        rows, columns = shape[-2], shape[-1]
        high, wide = self.blocks.shape
        return -(-rows // high) if high else 1, -(-columns // wide) if wide else 1


def groups_text(blocks: Blocks) -> str:
    """`g32`, `channel`, `tensor` or `block128x128`."""
    for name, known in _WHOLE.items():
        if known == blocks:
            return name
    high, wide = blocks.shape
    return f"g{wide}" if high == 1 else f"block{high}x{wide}"


def parse(name: str) -> Form:
    """The form in a layout's full name.

    Raises:
        UsageError: the name is not one.
    """
    words = name.partition("/")[2].split("-")
    try:
        head, groups, scale, *rest = words
        matched = _GROUPS.fullmatch(groups)
        if matched is None or scale not in SCALES or not set(rest) <= {"asym", "gidx", "padded"}:
            raise ValueError
        codes = head if head in ("f8_e4m3", "f8_e5m2") else ""
        bits = 8 if codes else int(head.removesuffix("bit"))
        if not 1 <= bits <= 8:
            raise ValueError
    except ValueError:
        raise UsageError(f"{printable(name)!r} names no layout") from None
    if matched[1]:
        blocks = Blocks((1, int(matched[1])))
    elif matched[2]:
        blocks = Blocks((int(matched[2]), int(matched[3])))
    else:
        blocks = _WHOLE[groups]
    return Form(bits, blocks, DTYPES[scale], "asym" in rest, "gidx" in rest, "padded" in rest, codes)
