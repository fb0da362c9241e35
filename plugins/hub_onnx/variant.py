"""What may stand behind `onnx:`: how the model is told, and what becomes of its matrices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from hub.api import UsageError, printable

Flavour = Literal["std", "genai", "weights"]
FLOATS: Final = ("f32", "f16", "bf16")
_INTEGERS: Final = re.compile(r"([48])bit-g(16|32|64|128)(?:-(sym|asym))?")


@dataclass(frozen=True)
class Integers:
    """Codes asked for.

    Attributes:
        bits: of a code.
        group: weights of a row that share a scale.
        zeros: whether groups have zero points; None where that is left open.
    """

    bits: int
    group: int
    zeros: bool | None = None

    @classmethod
    def parse(cls, text: str) -> Integers | None:
        """The codes that `text` spells, as ``4bit-g32`` or ``4bit-g32-sym``, or None."""
        found = _INTEGERS.fullmatch(text)
        if found is None:
            return None
        return cls(int(found[1]), int(found[2]), {"sym": False, "asym": True, None: None}[found[3]])


@dataclass(frozen=True)
class Variant:
    """A variant.

    Attributes:
        flavour: `std`, plain operators; `genai`, onnxruntime's own; `weights`, no graph at all.
        matrices: a number type, codes, or None: what the source has.
    """

    flavour: Flavour
    matrices: str | Integers | None

    @classmethod
    def parse(cls, text: str) -> Variant:
        """The variant that `text` spells.

        Raises:
            UsageError: it spells none.
        """
        head, _, rest = text.partition("-")
        flavour: Flavour = "genai" if head == "genai" else "weights" if head == "weights" else "std"
        word = text if flavour == "std" else rest
        matrices = word if word in FLOATS else Integers.parse(word)
        if (word and matrices is None) or text.endswith("-"):
            raise UsageError(
                f"onnx has no variant {printable(text)!r}; known: f32, f16, bf16, and codes as 4bit-g32, 8bit-g32, "
                "8bit-g128-sym or 4bit-g64-asym; genai and weights, which keep the source's, and genai-f16, "
                "genai-4bit-g32 and so on"
            )
        return cls(flavour, matrices)
