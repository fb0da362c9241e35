"""What a hypothesis says, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hub.verification.diagnosis.case import Case


@dataclass(frozen=True)
class Diagnosis:
    """A known mistake that explains a disagreement.

    Attributes:
        mistake: its name, one of those in docs/verification.md.
        tensor: the canonical name of the tensor; None where it is about settings or the tokenizer.
        evidence: what shows it.
        remedy: what to do.
    """

    mistake: str
    tensor: str | None
    evidence: str
    remedy: str | None = None

    def data(self) -> dict[str, Any]:
        """As a report has it."""
        return {"mistake": self.mistake, "tensor": self.tensor, "evidence": self.evidence, "remedy": self.remedy}


@dataclass(frozen=True)
class Guess:
    """A mistake that may have been made with a tensor, tried on its sample.

    Attributes:
        after: SQNR in dB of the sample when the mistake is undone (or made on the source too).
        detail: what exactly, for the evidence; may be empty.
    """

    mistake: str
    after: float
    detail: str = ""
    remedy: str | None = None


Hypothesis = Callable[[Case], Iterator[Guess]]
"""Tries one kind of mistake on a tensor."""
