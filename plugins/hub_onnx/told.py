"""Width, groups and what is stored for a group: the part of a layout's name behind the slash."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hub.api import (
    DTYPES,
    F16,
    F32,
    I8,
    U8,
    Affine,
    Blocks,
    Const,
    DType,
    Index,
    Scheme,
    Stored,
    UsageError,
    printable,
)

_PATTERN: Final = re.compile(
    r"(?:([248])bit|(f8_e4m3|f8_e5m2))-(?:g([1-9]\d{0,8})|(channel)|(tensor))(-zero|-offset|-floatzero)?(-signed)?(-f16)?(-order)?"
)


@dataclass(frozen=True)
class Told:
    """Parameters of one member of a family.

    Attributes:
        bits: of a code.
        blocks: which weights share a scale.
        kind: what is stored for a group beside its scale: "" nothing, "zero" a code, "offset" an f32 that is added,
            "floatzero" a zero point of the scale's type.
        signed: whether codes run from ``-2**(bits - 1)``.
        scale: the number type of scales, f32 or f16.
        floats: for codes that are 8-bit floats their type.
        ordered: whether columns are stored by group, and their order beside them (GPTQ's act-order).
    """

    bits: int
    blocks: Blocks
    kind: str = ""
    signed: bool = False
    scale: DType = F32
    floats: DType | None = None
    ordered: bool = False

    def __str__(self) -> str:
        high, wide = self.blocks.shape
        codes = self.floats.name if self.floats else f"{self.bits}bit"
        group = f"g{wide}" if wide else "channel" if high else "tensor"
        kind = f"-{self.kind}" if self.kind else ""
        return f"{codes}-{group}{kind}{'-signed' * self.signed}{'-f16' * (self.scale == F16)}{'-order' * self.ordered}"

    @classmethod
    def parse(cls, text: str) -> Told:
        """The parameters that `text` spells.

        Raises:
            UsageError: it spells none.
        """
        found = _PATTERN.fullmatch(text)
        if found is None or (found[2] and (found[6] or found[7])) or (found[9] and not found[3]):
            raise UsageError(
                f"{printable(text, 60)!r} is not BITSbit-gGROUP, -channel or -tensor, "
                "and perhaps -zero, -offset, -signed, -f16 or -order behind it"
            )
        bits, floats, group, channel, _, kind, signed, half, order = found.groups()
        blocks = Blocks((1, int(group)) if group else (1, 0) if channel else (0, 0))
        scale, kept = F16 if half else F32, DTYPES[floats] if floats else None
        return cls(int(bits or 8), blocks, (kind or "")[1:], bool(signed), scale, kept, bool(order))

    @property
    def values(self) -> Affine:
        """What a code stands for."""
        return Affine(8, dtype=self.floats) if self.floats else Affine(self.bits, self.signed)

    @property
    def code(self) -> DType:
        """The type of unpacked codes."""
        return self.floats or (I8 if self.signed else U8)

    def groups(self, columns: int) -> int:
        """Groups of a row of `columns` weights; the last one may be short."""
        wide = self.blocks.shape[1]
        return -(-columns // wide) if wide else 1

    def scheme(self, columns: int, absent: float = 0.0) -> Scheme:
        """What codes and numbers mean, for rows of `columns` weights; `absent` is the zero point where neither zero
        point nor offset is stored."""
        zero: Const | Stored = Const(0.0 if self.kind == "offset" else absent)
        if self.kind == "zero":
            zero = Stored(self.code)
        elif self.kind == "floatzero":
            zero = Stored(self.scale)
        offset = Stored(F32) if self.kind == "offset" else Const(0.0)
        groups = Index(None, self.groups(columns)) if self.ordered else self.blocks
        return Scheme(self.values, groups, Stored(self.scale), zero, offset)
