"""Names the mistake behind a disagreement, where it is one of the classic ones.

A tensor that does not agree with its source is compared with what each known mistake would have made of that source:
if one of them explains it far better than chance, it is named, with the figures that show it.

    roles     what a tensor does, from the graph
    case      a tensor of both models, and the rows to look at
    order     rows and columns that moved
    values    numbers that changed
    codes     packed codes and scales
    settings  settings, and tensors made of them
    tokens    vocabularies
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hub.verification.diagnosis.case import Case
from hub.verification.diagnosis.codes import nibble_order, scale_sign, zero_point
from hub.verification.diagnosis.finding import Diagnosis, Guess, Hypothesis
from hub.verification.diagnosis.order import (
    another_tensor,
    expert_rows,
    fused_halves,
    rotary_rows,
    shifted_rows,
    transposed,
)
from hub.verification.diagnosis.values import factor, norm_plus_one, nothing, sign

__all__ = ["HYPOTHESES", "Case", "Diagnosis", "Guess", "diagnose"]

HYPOTHESES: Sequence[Hypothesis] = (
    nothing,
    rotary_rows,
    norm_plus_one,
    fused_halves,
    another_tensor,
    expert_rows,
    shifted_rows,
    sign,
    scale_sign,
    nibble_order,
    zero_point,
    transposed,
    factor,
)
"""All that is tried on a tensor, in this order; of two that explain it alike the first is named."""

GAIN_DB = 6.0
"""By how much a mistake must explain a tensor better than none does. Orders and signs tried by chance gain less than
1 dB; the coarsest two-bit codes still leave 8 dB when the mistake is undone, where it leaves -3 dB."""
LEAST_DB = 3.0
"""What it must explain at least."""


@np.errstate(all="ignore")  # damaged weights may be anything; what they give no number for is no explanation
def diagnose(case: Case) -> Diagnosis | None:
    """The mistake that explains a tensor best, or None.

    Raises:
        HubError: its weights cannot be read.
    """
    if case.a.shape != case.b.shape:
        guesses = list(transposed(case))
        before = float("-inf")
    else:
        guesses = list(_tried(case))
        before = case.before
    likely = [guess for guess in guesses if guess.after >= max(before + GAIN_DB, LEAST_DB)]
    if not likely:
        return None
    best = max(likely, key=lambda guess: guess.after)
    detail = f"{best.detail}; " if best.detail else ""
    evidence = f"{detail}SQNR rises from {_db(before)} to {_db(best.after)} when undone"
    return Diagnosis(best.mistake, case.name, evidence, best.remedy)


def _tried(case: Case) -> Iterator[Guess]:
    for hypothesis in HYPOTHESES:
        for guess in hypothesis(case):
            yield guess
            if guess.after == float("inf"):
                return


def _db(value: float) -> str:
    if value == float("inf"):
        return "equal"
    return "nothing in common" if value == float("-inf") else f"{value:.1f} dB"
