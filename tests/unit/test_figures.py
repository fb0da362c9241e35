"""Figures of comparisons, counted in piece by piece."""

from __future__ import annotations

import math

import numpy as np

from hub.verification.comparison import TensorResult
from hub.verification.divergence import Gap


def test_a_difference_that_is_no_number_stays():
    result, gap = TensorResult("t", 3), Gap("layer 0")
    for figures in ((0.5, 0.25, 1.0, 1), (math.nan, math.nan, 1.0, 1), (2.0, 4.0, 1.0, 1)):
        result.add(*figures)
    for other in ([1.5], [math.nan], [3.0]):
        gap.add(np.ones(1, np.float32), np.array(other, np.float32))
    assert math.isnan(result.max_abs) and math.isnan(gap.max_abs)
