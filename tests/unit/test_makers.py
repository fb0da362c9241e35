"""Tensors that are made from settings, and the settings back from them."""

from __future__ import annotations

import numpy as np
import pytest

from hub.api import F32, ArrayPart, Dense, Tensor, rows_spec
from hub.makers import MAKERS, MAX_FACTORS, numbers

LLAMA3 = MAKERS["llama3_rope_factors"]


def dense(array):
    return Tensor("t", array.shape, Dense(ArrayPart(array, rows_spec(F32, array.shape))))


def settings(factor, context, low, high, dim, theta):
    return {
        "head_dim": dim, "max_position_embeddings": int(factor * context), "rope.theta": theta, "rope.factor": factor,
        "rope.original_max_position_embeddings": context, "rope.low_freq_factor": low, "rope.high_freq_factor": high,
    }  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        (8.0, 8192, 1.0, 4.0, 128, 5e5),  # Llama 3.1
        (32.0, 8192, 1.0, 4.0, 64, 5e5),  # Llama 3.2
        (8.0, 64, 1.0, 4.0, 16, 5e5),  # one interpolated entry only
        (2.5, 100, 1.0, 3.5, 64, 1e4),
        (3.0, 777, 1.25, 5.0, 128, 1e5),
        (4.0, 256, 2.0, 8.0, 64, 1e4),  # the same as 128, 1, 4
    ],
)
def test_llama3_settings_come_back(given):
    before = settings(*given)
    found = LLAMA3.values(before)
    told = {key: before[key] for key in ("head_dim", "max_position_embeddings", "rope.theta")}
    recovered = LLAMA3.recover(found, told)
    assert recovered["rope_type"] == "llama3"
    again = told | {f"rope.{key}": value for key, value in recovered.items()}
    np.testing.assert_array_equal(LLAMA3.values(again), found)
    assert recovered["factor"] == before["rope.factor"]


@pytest.mark.parametrize(
    "found",
    [
        np.array([1, 1, 2, 1, 8, 8, 8, 8], np.float32),  # no ramp
        np.array([np.nan] * 8, np.float32),
        np.array([np.inf] * 8, np.float32),
        np.zeros(8, np.float32),
        np.ones(7, np.float32),  # of another head
        np.full(8, 3e38, np.float32),
    ],
)
def test_numbers_that_no_settings_make(found):
    told = {"head_dim": 16, "max_position_embeddings": 512, "rope.theta": 1e4}
    assert LLAMA3.recover(found, told) == {}


def test_longrope_lists_come_back_as_short_decimals():
    maker = MAKERS["longrope_long_factors"]
    given = [1.08, 1.1, 34.5, 64.85]
    found = maker.values({"rope.long_factor": given})
    assert maker.recover(found, {}) == {"rope_type": "longrope", "long_factor": given}
    np.testing.assert_array_equal(found, np.array(given, np.float32))


def test_only_small_vectors_are_read():
    assert numbers(dense(np.ones(4, np.float32))) is not None
    assert numbers(dense(np.ones((2, 2), np.float32))) is None
    assert numbers(dense(np.ones(MAX_FACTORS + 1, np.float32))) is None
