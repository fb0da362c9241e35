"""Codes carried from scheme to scheme: what moves, what is only told again, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hub.dtypes import F16, F32, I8, I32, U8
from hub.ir.groups import Blocks, Index
from hub.ir.part import ArrayPart, PartSpec, rows_spec
from hub.ir.scheme import Scheme, Stored
from hub.ir.values import Affine, Codebook, Const, Dense, Quantized, Value
from hub.plugins import registry
from hub.reference import decode
from hub.transcode import Misfit, carry, prospect

ROWS, COLUMNS = 6, 256
DTYPES = {"uint8": U8, "int8": I8, "float16": F16, "int32": I32}


def part(array: np.ndarray[Any, Any]) -> ArrayPart:
    return ArrayPart(array, rows_spec(DTYPES[array.dtype.name], array.shape))


def numbers(value: Value) -> np.ndarray[Any, Any]:
    assert isinstance(value, Dense)
    return np.asarray(value.part.load(0, ROWS))


def body(groups: Blocks | Index, zero: Value, signed: bool = False, scales: int = 2) -> Quantized:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 16, (ROWS, COLUMNS)).astype(np.int8 if signed else np.uint8) - (8 if signed else 0)
    scale = (rng.integers(1, 1024, (ROWS, scales)) / 4096).astype(np.float16)
    return Quantized((ROWS, COLUMNS), part(codes), Affine(4, signed), Dense(part(scale)), groups, zero)


def zeros(low: int = 0, high: int = 16, kind: type = np.uint8, groups: int = 2) -> Dense:
    return Dense(part(np.random.default_rng(2).integers(low, high, (ROWS, groups)).astype(kind)))


def scheme(of: Quantized, **changes: Any) -> Scheme:
    told = {
        "zero": Stored(of.zero.part.spec.dtype) if isinstance(of.zero, Dense) else of.zero,
        "offset": of.offset,
        "values": of.values,
        "groups": of.groups,
        "scale": Stored(F16),
    }
    return Scheme(**{**told, **changes})


def same_weights(a: Quantized, b: Quantized) -> bool:
    return bool(np.array_equal(decode(a).view(np.uint32), decode(b).view(np.uint32)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [128, 64, 32])
def test_smaller_groups_share_codes_and_scales(signed: bool, width: int) -> None:
    made = body(Blocks((1, 128)), Const(0.0 if signed else 8.0), signed)
    carried = carry(made, scheme(made), scheme(made, groups=Blocks((1, width))))
    assert carried.lost is None
    assert carried.body.codes is made.codes
    assert np.array_equal(numbers(carried.body.scale), np.repeat(numbers(made.scale), 128 // width, axis=1))
    assert same_weights(carried.body, made)


def test_stored_zero_points_follow_smaller_groups() -> None:
    made = body(Blocks((1, 128)), zeros())
    carried = carry(made, scheme(made), scheme(made, groups=Blocks((1, 32))))
    assert np.array_equal(numbers(carried.body.zero), np.repeat(numbers(made.zero), 4, axis=1))
    assert same_weights(carried.body, made)


def test_a_zero_point_beyond_the_codes_is_refused_with_smaller_groups() -> None:
    made = body(Blocks((1, 128)), zeros(16, 17))
    with pytest.raises(Misfit, match="zero points lie beyond"):
        carry(made, scheme(made), scheme(made, groups=Blocks((1, 32))))


@pytest.mark.parametrize("width", [128, 32])
def test_codes_move_with_the_zero_points_of_their_groups(width: int) -> None:
    made = body(Blocks((1, 128)), zeros())
    target = scheme(made, values=Affine(8, True), zero=Const(0.0), groups=Blocks((1, width)))
    carried = carry(made, scheme(made), target)
    moved = np.asarray(made.codes.load(0, ROWS)).astype(int) - np.repeat(numbers(made.zero).astype(int), 128, axis=1)
    assert np.array_equal(carried.body.codes.load(0, ROWS), moved)
    assert carried.body.codes.load(0, ROWS).dtype == np.int8
    assert same_weights(carried.body, made)


@pytest.mark.parametrize("width", [128, 32])
def test_zero_points_become_offsets(width: int) -> None:
    made = body(Blocks((1, 128)), zeros())
    target = scheme(made, zero=Const(0.0), offset=Stored(F16), groups=Blocks((1, width)))
    carried = carry(made, scheme(made), target)
    wanted = -numbers(made.scale).astype(np.float64) * numbers(made.zero)
    assert np.array_equal(numbers(carried.body.offset), np.repeat(wanted.astype(np.float16), 128 // width, axis=1))
    assert numbers(carried.body.scale).shape == (ROWS, COLUMNS // width)


def test_codes_that_do_not_fit_once_moved_are_refused() -> None:
    made = body(Blocks((1, 128)), zeros())
    with pytest.raises(Misfit, match="codes lie beyond 0 to 15"):
        carry(made, scheme(made), scheme(made, zero=Const(8.0)))


def test_signed_codes_become_unsigned() -> None:
    made = body(Blocks((1, 128)), Const(0.0), signed=True)
    carried = carry(made, scheme(made), scheme(made, values=Affine(4), zero=Const(8.0)))
    assert np.array_equal(carried.body.codes.load(0, ROWS), made.codes.load(0, ROWS).astype(int) + 8)
    assert same_weights(carried.body, made)


def test_zero_points_between_codes_do_not_move_codes() -> None:
    made = body(Blocks((1, 128)), Dense(part(np.full((ROWS, 2), 7.5, np.float16))))
    with pytest.raises(Misfit, match="not whole numbers"):
        carry(made, scheme(made), scheme(made, values=Affine(8), zero=Const(8.0)))


def ordered(table: list[int], zero: Value) -> Quantized:
    g_idx = np.array(table, np.int32)
    return body(Index(ArrayPart(g_idx, PartSpec(I32, g_idx.shape, None)), 2), zero)


def test_groups_by_an_index_keep_it() -> None:
    made = ordered([k % 2 for k in range(COLUMNS)], zeros())
    source = scheme(made, groups=Index(None, 2))
    carried = carry(made, source, scheme(made, groups=Index(None, 2), values=Affine(8, True), zero=Const(0.0)))
    assert same_weights(carried.body, made)
    with pytest.raises(Misfit, match="act-order"):
        carry(made, source, scheme(made, groups=Blocks((1, 128))))


def test_an_index_in_order_becomes_groups() -> None:
    made = ordered([k // 128 for k in range(COLUMNS)], Const(8.0))
    carried = carry(made, scheme(made, groups=Index(None, 2)), scheme(made, groups=Blocks((1, 32))))
    assert carried.body.groups == Blocks((1, 32))
    assert same_weights(carried.body, made)


def test_scales_that_are_not_finite_are_no_warning():
    """Planning looks at the numbers of files that nothing has checked yet; the suite makes an error of every warning."""
    layout, target = registry().layout("ggml.Q4_1"), registry().layout("ggml.Q4_0")
    raw = np.full((4, 20), 0xFF, np.uint8)
    raw[:, :4] = np.array([np.inf, 0, np.inf, 1, -np.inf, 2, np.inf, -1], "<f2").view(np.uint8).reshape(4, 4)
    body = layout.unpack({"blocks": raw}, (4, 32))
    assert target.can_hold(layout.scheme((4, 32)), (4, 32), body).fidelity == "lossy"


@pytest.mark.parametrize(("table", "fits"), [((0.0, 1.0, -12.0), True), ((0.5, 1.0), False), ((0.0, 128.0), False)])
def test_a_table_of_whole_numbers_is_told_by_them(table: tuple[float, ...], fits: bool) -> None:
    codes = np.arange(8, dtype=np.uint8).reshape(2, 4) % len(table)
    scale = Dense(part(np.array([[0.1], [-3.0]], np.float16)))
    source = Quantized((2, 4), part(codes), Codebook(table), scale, Blocks((1, 4)))
    target = Scheme(Affine(8), Blocks((1, 2)), Stored(F32), Const(128.0))
    told = Scheme(source.values, source.groups, Stored(F16))
    assert (prospect(told, target)[0] == "always") == fits
    if fits:
        carried = carry(source, told, target)
        assert carried.lost is None
        assert same_weights(source, carried.body)
    else:
        with pytest.raises(Misfit):
            carry(source, told, target)


def test_codes_that_do_not_use_their_type_stay_what_they_are() -> None:
    """4-bit codes in a type of 8 bits, with an offset: nothing moves, so that the offset does not either."""
    codes = np.arange(8, dtype=np.uint8).reshape(2, 4) + 8
    scale, offset = np.array([[0.3], [-0.7]], np.float32), np.array([[1.1], [0.01]], np.float32)
    dense = (Dense(ArrayPart(array, rows_spec(F32, array.shape))) for array in (scale, offset))
    wide = Quantized((2, 4), part(codes), Affine(8), next(dense), Blocks((1, 4)), Const(0.0), next(dense))
    source = Scheme(Affine(8), wide.groups, Stored(F32), Const(0.0), Stored(F32))
    carried = carry(wide, source, Scheme(Affine(4), wide.groups, Stored(F32), Const(0.0), Stored(F32)))
    assert carried.lost is None
    np.testing.assert_array_equal(carried.body.codes.whole(), codes)
    np.testing.assert_array_equal(numbers(carried.body.offset), offset)
