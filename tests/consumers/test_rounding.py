"""Rounding of activations, by which programs that round are judged."""

from __future__ import annotations

import numpy as np
import pytest

from hub.consumers.rounding import BLOCK, round_inputs


@pytest.mark.parametrize("width", [BLOCK, 3 * BLOCK, 5, BLOCK + 5])
def test_every_block_has_at_most_255_values_and_keeps_its_largest(width):
    x = np.random.default_rng(1).normal(size=(7, width)).astype(np.float32)
    x[3, :BLOCK] = 0
    before = x.copy()
    round_inputs("any", x)
    for row, was in zip(x, before, strict=True):
        for at in range(0, width, BLOCK):
            part, old = row[at : at + BLOCK], was[at : at + BLOCK]
            largest = np.abs(old).max()
            assert np.abs(part).max() == pytest.approx(largest)
            assert np.abs(part - old).max() <= largest / 127 * 0.501
            if largest:
                steps = part / (largest / 127)
                np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
