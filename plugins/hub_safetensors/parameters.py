"""The parameters of integer layouts whose groups run along rows, as they stand behind the slash of a layout's name:
`4bit-g128`, `8bit-channel-sym`, `4bit-g64-sym-order-bf16`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hub.api import DTYPES, U8, Affine, Blocks, Const, Index, Scheme, Stored, UsageError, printable

_PATTERN: Final = re.compile(r"([1-8])bit-(?:g(all|[1-9]\d{0,8})|channel)(-a?sym)?(-order)?(-bf16|-f32)?")


@dataclass(frozen=True)
class Parameters:
    """Width, groups and what is stored for a group.

    Attributes:
        bits: of a code.
        group: weights of a row that share a scale; -1 for all of them.
        symmetric: whether every zero point is ``2**(bits - 1)``.
        ordered: whether columns are in groups by an index, and not by their order.
        scale: hub's name of the number type of scales.
    """

    bits: int
    group: int
    symmetric: bool = False
    ordered: bool = False
    scale: str = "f16"

    def __str__(self) -> str:
        group = "channel" if self.group < 0 else f"g{self.group}"
        scale = "" if self.scale == "f16" else f"-{self.scale}"
        return f"{self.bits}bit-{group}{'-sym' * self.symmetric}{'-order' * self.ordered}{scale}"

    @classmethod
    def parse(cls, text: str) -> Parameters:
        """The parameters that `text` spells; `-asym` may be said and is what saying nothing means, `gall` is `channel`.

        Raises:
            UsageError: it spells none.
        """
        found = _PATTERN.fullmatch(text)
        if found is None:
            raise UsageError(
                f"{printable(text, 60)!r} is not BITSbit-gGROUP or BITSbit-channel, and perhaps -sym or -asym behind it"
            )
        bits, group, kind, order, scale = found.groups()
        across = -1 if group in (None, "all") else int(group)
        return cls(int(bits), across, kind == "-sym", order is not None, (scale or "-f16")[1:])

    @property
    def middle(self) -> int:
        """The zero point of symmetric codes."""
        return 1 << (self.bits - 1)

    def groups(self, columns: int) -> int:
        """Groups of a row of `columns` weights; the last one may be short."""
        return 1 if self.group < 0 else -(-columns // self.group)

    def scheme(self, columns: int) -> Scheme:
        """What codes, scales and zero points mean: ``w = scale * (code - zero)``."""
        blocks = Blocks((1, max(0, self.group)))
        return Scheme(
            Affine(self.bits),
            Index(None, self.groups(columns)) if self.ordered else blocks,
            Stored(DTYPES[self.scale]),
            Const(float(self.middle)) if self.symmetric else Stored(U8),
        )
