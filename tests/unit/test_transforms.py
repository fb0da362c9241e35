"""Reordering the rows of heads: against the formula of llama.cpp's converter, its own inverse, and any cut into
tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import (
    BF16,
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
from hub.makers import MAKERS
from hub.steps import STEPS
from hub.transforms import InterleaveHeads, cast


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


def test_unpacked_tensors_are_refused():
    codes = ArrayPart(np.zeros((8, 32), np.uint8), PartSpec(U8, (8, 32)))
    tensor = Tensor("t", (8, 32), Quantized((8, 32), codes, Affine(4), Const(1.0), Blocks((0, 0))))
    with pytest.raises(ConfigError, match="by tile"):
        InterleaveHeads(2).forward(tensor)


def test_the_tables_hold_what_architecture_files_name():
    assert set(STEPS) == {"interleave_heads", "transpose", "add", "concat", "stack", "rows", "every", "every_column"}
    assert set(MAKERS) == {"llama3_rope_factors", "longrope_long_factors", "longrope_short_factors"}


def packed(array):
    """(rows, width) bytes as a packed tensor: one part by rows, a second one with a number for each row."""
    scale = np.arange(len(array), dtype=np.float32)[:, None] + array[:, :1]
    parts = {
        "codes": ArrayPart(array, PartSpec(U8, array.shape)),
        "scale": ArrayPart(scale, PartSpec(F32, scale.shape)),
    }
    return Tensor("p", array.shape, Packed("toy.row", array.shape, parts))


def everything(tensor):
    return {key: part.load(0, tensor.rows) for key, part in tensor.parts.items()}


members = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5))


@given(members, st.data())
def test_experts_of_two_tensors_become_one_and_come_back(case, data):
    """gate and up of every expert as (experts, 2 rows, in), by NumPy; any cut of it, dense and packed."""
    experts, rows_a, rows_b, width = case
    total = experts * (rows_a + rows_b)
    whole = np.arange(total * width, dtype=np.uint8).reshape(total, width)
    ends = np.cumsum([rows_a, rows_b] * experts)[:-1]
    arrays = np.split(whole, ends)
    concat, stack = STEPS["concat"](2), STEPS["stack"](experts)
    for make in (lambda a: dense(a.astype(np.float32)), packed):
        flow = concat.forward([make(array) for array in arrays])
        level = [concat.shape([a.shape, b.shape]) for a, b in zip(arrays[::2], arrays[1::2], strict=True)]
        (joined,) = stack.forward(flow)
        assert joined.shape == (experts, rows_a + rows_b, width)
        start = data.draw(st.integers(0, total - 1))
        stop = data.draw(st.integers(start + 1, total))
        first = next(iter(joined.parts.values()))
        np.testing.assert_array_equal(first.load(start, stop), whole[start:stop])
        back = concat.backward(stack.backward([joined], level), [array.shape for array in arrays])
        for before, after in zip([make(array) for array in arrays], back, strict=True):
            assert after.shape == before.shape
            for key, found in everything(after).items():
                np.testing.assert_array_equal(found, everything(before)[key])


def test_a_stack_tells_where_a_weight_comes_from():
    tensors = [
        Tensor(f"e{i}", (3, 4), Dense(ArrayPart(np.full((3, 4), i, np.float32), rows_spec(F32, (3, 4)))))
        for i in range(2)
    ]
    (joined,) = STEPS["stack"](2).forward(tensors)
    place = joined.parts["data"].place(4, 2, 4)
    assert (place.name, place.number) == ("e1", 6)
    assert joined.stored_name == "e0 to e1"


def test_tensors_that_do_not_fit_are_not_joined():
    a, b = dense(np.zeros((2, 3), np.float32)), dense(np.zeros((2, 4), np.float32))
    with pytest.raises(ConfigError, match="one shape"):
        STEPS["stack"](2).forward([a, b])
    with pytest.raises(ConfigError, match="differ in length"):
        STEPS["concat"](2).forward([a, b])
    with pytest.raises(ConfigError, match="one type"):
        STEPS["stack"](2).forward([a, dense(np.zeros((2, 3), np.float16))])
    with pytest.raises(ConfigError, match="4 rows, 2 tensors need 6"):
        STEPS["concat"](2).backward([dense(np.zeros((4, 3), np.float32))], [(3, 3), (3, 3)])
    shared = Tensor(
        "s", (2, 3), Packed("toy", (2, 3), {"scale": ArrayPart(np.ones(1, np.float32), PartSpec(F32, (1,), None))})
    )
    with pytest.raises(ConfigError, match="a scale of its own"):
        STEPS["stack"](2).forward([shared, shared])


@given(st.integers(1, 7), st.integers(1, 9), st.data())
def test_transposing_turns_any_tile(rows, width, data):
    array = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    step = STEPS["transpose"](1)
    turned = step.forward(dense(array))
    start = data.draw(st.integers(0, width - 1))
    stop = data.draw(st.integers(start + 1, width))
    np.testing.assert_array_equal(load(turned, start, stop), array.T[start:stop])
    assert turned.parts["data"].place(start, 0, rows).number == start
    np.testing.assert_array_equal(load(step.backward(turned)), array)


def test_a_file_is_transposed_by_columns(tmp_path):
    from hub.io.source import FileSource
    from hub.ir.part import FilePart

    array = np.arange(35, dtype=np.float32).reshape(5, 7)
    (tmp_path / "x").write_bytes(bytes(8) + array.tobytes())
    with FileSource(tmp_path / "x") as source:
        whole = Tensor("t", (5, 7), Dense(FilePart(rows_spec(F32, (5, 7)), source, 8)))
        turned = STEPS["transpose"](1).forward(whole)
        np.testing.assert_array_equal(load(turned, 2, 6), array.T[2:6])
        place = turned.parts["data"].place(3, 2, 5)
        assert (place.number, place.span.offset) == (2 * 7 + 3, 8 + 4 * 17)
        (_, second) = STEPS["concat"](2).backward([whole], [(2, 7), (3, 7)])
        part = second.parts["data"]
        assert (part.span.offset, part.stored_row(0)) == (8 + 4 * 14, 2)
        np.testing.assert_array_equal(load(second), array[2:])


def test_a_packed_tensor_is_turned_as_numbers_and_back_as_itself():
    blocks = np.zeros((4, 34), np.uint8)
    blocks[:, 1] = 0x3C  # f16 1.0
    blocks[:, 2:] = np.arange(4)[:, None]
    before = Tensor("q", (4, 32), Packed("ggml.Q8_0", (4, 32), {"blocks": ArrayPart(blocks, PartSpec(U8, (4, 34)))}))
    step = STEPS["transpose"](1)
    turned = step.forward(before)
    assert (turned.layout, turned.shape) == ("f32", (32, 4))
    assert turned.derived == ("dequantize", "transpose")
    np.testing.assert_array_equal(load(turned, 30, 32), np.tile(np.arange(4, dtype=np.float32), (2, 1)))
    assert step.forward(turned).body is before.body


finite = st.floats(-4, 4, width=16)


@given(st.lists(finite, min_size=1, max_size=20))
def test_adding_one_comes_back_or_says_so(numbers):
    array = np.array(numbers, np.float16)
    step = STEPS["add"](1)
    more = step.forward(dense(array))
    assert more.layout == "f32"
    wide = array.astype(np.float32)
    np.testing.assert_array_equal(load(more), wide + np.float32(1))
    back = load(step.backward(more))
    assert more.parts["data"].reversible() == np.array_equal(back.view(np.uint32), wide.view(np.uint32))


def test_what_adding_one_loses():
    def survives(number):
        return STEPS["add"](1).forward(dense(np.array([0.5, number], np.float32))).parts["data"].reversible()

    assert survives(0.0)
    assert survives(2.0**-23)
    assert not survives(2.0**-25)
    assert not survives(-0.0)
    assert not survives(0.1)


def test_rows_are_cut_out():
    array = np.arange(24, dtype=np.float32).reshape(6, 4)
    step = STEPS["rows"]([2, 5])
    np.testing.assert_array_equal(load(step.forward(dense(array))), array[2:5])
    with pytest.raises(ConfigError, match="rows 2 to 5 of 4"):
        step.forward(dense(array[:4]))


def test_a_cast_tensor_is_of_that_type_and_says_whether_it_lost_anything():
    numbers = np.array([[1.0, 1.0 + 2.0**-9], [-0.0, 3.0]], np.float32)
    made = cast(Tensor("t", (2, 2), Dense(ArrayPart(numbers, rows_spec(F32, (2, 2))))), BF16)
    (part,) = made.parts.values()
    assert (made.layout, made.derived) == ("bf16", ("cast to bf16",))
    np.testing.assert_array_equal(part.load(0, 2).astype(np.float32), [[1.0, 1.0], [-0.0, 3.0]])
    assert not part.reversible() and cast(made, BF16) is made
    whole = cast(Tensor("t", (1, 2), Dense(ArrayPart(numbers[1:], rows_spec(F32, (1, 2))))), BF16)
    assert whole.body.part.reversible()
