"""Reordering the rows of heads: against the formula of llama.cpp's converter, its own inverse, and any cut into
tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import (
    F16,
    F32,
    U8,
    Affine,
    ArrayPart,
    ConfigError,
    Const,
    Dense,
    Packed,
    PartSpec,
    Quantized,
    Tensor,
    rows_spec,
)
from hub.ir.groups import Blocks
from hub.transforms import MAKERS, STEPS, InterleaveHeads


def dense(array):
    dtype = {"float32": F32, "float16": F16}[array.dtype.name]
    return Tensor("t", array.shape, Dense(ArrayPart(array, rows_spec(dtype, array.shape))))


def load(tensor, start=0, stop=None):
    return tensor.parts["data"].load(start, tensor.rows if stop is None else stop)


def permuted(array, heads):
    """`LlamaModel.permute` of llama.cpp's converter."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


shapes = st.tuples(st.integers(1, 8), st.integers(1, 16), st.sampled_from([(), (1,), (3,), (40,)]))


@given(shapes)
def test_it_is_the_converters_permutation(case):
    heads, half, columns = case
    array = np.arange(heads * 2 * half * int(np.prod(columns)), dtype=np.float32).reshape(heads * 2 * half, *columns)
    np.testing.assert_array_equal(load(InterleaveHeads(heads).forward(dense(array))), permuted(array, heads))


@given(shapes)
def test_backward_undoes_forward_and_the_other_way_round(case):
    heads, half, columns = case
    array = np.arange(heads * 2 * half * int(np.prod(columns)), dtype=np.float32).reshape(heads * 2 * half, *columns)
    step = InterleaveHeads(heads)
    np.testing.assert_array_equal(load(step.backward(step.forward(dense(array)))), array)
    np.testing.assert_array_equal(load(step.forward(step.backward(dense(array)))), array)


@given(shapes, st.data())
def test_any_range_of_rows_is_that_slice_of_the_whole(case, data):
    heads, half, columns = case
    rows = heads * 2 * half
    array = np.arange(rows * int(np.prod(columns)), dtype=np.float32).reshape(rows, *columns)
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    for direction in (InterleaveHeads(heads).forward, InterleaveHeads(heads).backward):
        moved = direction(dense(array))
        np.testing.assert_array_equal(load(moved, start, stop), load(moved)[start:stop])


def test_packed_rows_move_whole():
    raw = np.arange(8 * 18, dtype=np.uint8).reshape(8, 18)
    tensor = Tensor("t", (8, 32), Packed("ggml.Q4_0", (8, 32), {"blocks": ArrayPart(raw, PartSpec(U8, raw.shape))}))
    moved = InterleaveHeads(2).forward(tensor)
    assert moved.layout == "ggml.Q4_0"
    np.testing.assert_array_equal(moved.parts["blocks"].load(0, 8), permuted(raw, 2))
    assert moved.derived == ("interleave_heads",)
    back = InterleaveHeads(2).backward(moved)
    assert back.derived == ("interleave_heads", "undo interleave_heads")
    np.testing.assert_array_equal(back.parts["blocks"].load(0, 8), raw)


@pytest.mark.parametrize(("rows", "heads"), [(8, 3), (6, 4), (8, 0), (8, -2), (7, 1)])
def test_rows_that_are_no_heads_are_refused(rows, heads):
    with pytest.raises(ConfigError, match=r"not .* heads of pairs") as caught:
        InterleaveHeads(heads).forward(dense(np.zeros((rows, 4), np.float32)))
    assert caught.value.tensor == "t"


@pytest.mark.parametrize("spec", [PartSpec(U8, (2, 8), axis=0, per=4), PartSpec(U8, (32, 2), axis=1, per=4)])
def test_rows_that_share_words_are_refused(spec):
    raw = np.zeros(spec.shape, np.uint8)
    tensor = Tensor("t", (8, 32), Packed("x", (8, 32), {"codes": ArrayPart(raw, spec)}))
    with pytest.raises(ConfigError, match="share words"):
        InterleaveHeads(2).forward(tensor)


def test_unpacked_tensors_are_refused():
    codes = ArrayPart(np.zeros((8, 32), np.uint8), PartSpec(U8, (8, 32)))
    tensor = Tensor("t", (8, 32), Quantized((8, 32), codes, Affine(4), Const(1.0), Blocks((0, 0))))
    with pytest.raises(ConfigError, match="by tile"):
        InterleaveHeads(2).forward(tensor)


def test_the_tables_hold_what_architecture_files_name():
    assert set(STEPS) == {"interleave_heads", "transpose", "add", "concat", "stack", "rows"}
    assert set(MAKERS) == {"llama3_rope_factors", "longrope_long_factors", "longrope_short_factors"}
