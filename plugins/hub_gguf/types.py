"""The tensor types of ggml: id, name, weights and bytes per block.

A test compares the table with `gguf.GGML_QUANT_SIZES`; it stands here so that headers can be read
without importing that package.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub.api import Shape


@dataclass(frozen=True)
class GgmlType:
    """One tensor type.

    Attributes:
        id: the number in files.
        name: ggml's name, upper case.
        block: weights per block; rows are whole blocks.
        bytes: bytes per block.
        dense: hub's name of the number type, for types that are not quantized.
    """

    id: int
    name: str
    block: int
    bytes: int
    dense: str | None = None

    @property
    def layout(self) -> str:
        """hub's name of the layout."""
        return self.dense or f"ggml.{self.name}"

    @property
    def scaled_layout(self) -> str:
        """hub's name of the layout with a factor in a tensor of its own, for those in `SCALED`."""
        return f"{self.layout}/scaled"

    @property
    def word(self) -> str:
        """What a user may type for it."""
        return self.name.lower()

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of `width` weights, which must be whole blocks."""
        return width // self.block * self.bytes

    def fits(self, shape: Shape) -> bool:
        """Whether rows of that shape are whole blocks."""
        return (shape[-1] if shape else 1) % self.block == 0


_ALL = (
    GgmlType(0, "F32", 1, 4, "f32"),
    GgmlType(1, "F16", 1, 2, "f16"),
    GgmlType(2, "Q4_0", 32, 18),
    GgmlType(3, "Q4_1", 32, 20),
    GgmlType(6, "Q5_0", 32, 22),
    GgmlType(7, "Q5_1", 32, 24),
    GgmlType(8, "Q8_0", 32, 34),
    GgmlType(9, "Q8_1", 32, 36),
    GgmlType(10, "Q2_K", 256, 84),
    GgmlType(11, "Q3_K", 256, 110),
    GgmlType(12, "Q4_K", 256, 144),
    GgmlType(13, "Q5_K", 256, 176),
    GgmlType(14, "Q6_K", 256, 210),
    GgmlType(15, "Q8_K", 256, 292),
    GgmlType(16, "IQ2_XXS", 256, 66),
    GgmlType(17, "IQ2_XS", 256, 74),
    GgmlType(18, "IQ3_XXS", 256, 98),
    GgmlType(19, "IQ1_S", 256, 50),
    GgmlType(20, "IQ4_NL", 32, 18),
    GgmlType(21, "IQ3_S", 256, 110),
    GgmlType(22, "IQ2_S", 256, 82),
    GgmlType(23, "IQ4_XS", 256, 136),
    GgmlType(24, "I8", 1, 1, "i8"),
    GgmlType(25, "I16", 1, 2, "i16"),
    GgmlType(26, "I32", 1, 4, "i32"),
    GgmlType(27, "I64", 1, 8, "i64"),
    GgmlType(28, "F64", 1, 8, "f64"),
    GgmlType(29, "IQ1_M", 256, 56),
    GgmlType(30, "BF16", 1, 2, "bf16"),
    GgmlType(34, "TQ1_0", 256, 54),
    GgmlType(35, "TQ2_0", 256, 66),
    GgmlType(39, "MXFP4", 32, 17),
    GgmlType(40, "NVFP4", 64, 36),
    GgmlType(41, "Q1_0", 128, 18),
    GgmlType(42, "Q2_0", 64, 18),
)
BY_ID = {t.id: t for t in _ALL}
BY_NAME = {t.name: t for t in _ALL}
BY_LAYOUT = {t.layout: t for t in _ALL}

QUANTIZED = tuple(
    BY_NAME[name] for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
)
"""The types that hub has layouts and native quantizers for."""

DECODED = tuple(
    BY_NAME[name]
    for name in (
        "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS",
        "TQ1_0", "TQ2_0", "IQ1_M", "IQ1_S", "Q1_0", "Q2_0",
    )
)  # fmt: skip
"""The types that hub has layouts for and no native quantizer; all but MXFP4 are read, run, decoded and copied only."""

SCALED = tuple(BY_NAME[name] for name in ("NVFP4",))
"""The types whose tensors `X.weight` may have a factor `X.scale`."""

WRITABLE = {t.word: t for t in (*(BY_NAME[name] for name in ("F32", "F16", "BF16")), *QUANTIZED, BY_NAME["MXFP4"])}
"""The types that a tensor can be given, by the word a user types."""

REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip
"""Ids that old files may have and llama.cpp does not read any more."""


def type_of(layout: str) -> GgmlType | None:
    """The tensor type that a layout is written as, None if it is none of GGUF; what stands behind a slash is told by
    further tensors."""
    return BY_LAYOUT.get(layout.partition("/")[0])
