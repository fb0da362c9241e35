"""Layouts: sizes, meaning and bytes agree, whole and in tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hub import reference
from hub.dtypes import DType
from hub.errors import HubError
from hub.ir.groups import Blocks, Index
from hub.ir.part import Shape
from hub.ir.scheme import Field, Scheme, Stored
from hub.ir.values import Affine, Codebook, Const, Dense, Quantized, Value
from hub.layout import Layout
from hub.plugins import registry
from hub.testing.examples import calibration, cut, difference, random_arrays, row_tiles, same_bits, shapes, step

if TYPE_CHECKING:
    from hub.layout import Arrays

SEEDS = range(4)


@pytest.fixture
def layout(layout_name: str) -> Layout:
    """The layout under test."""
    return registry().layout(layout_name)


@pytest.fixture
def held(layout: Layout) -> Sequence[Shape]:
    """Shapes that it holds."""
    found = shapes(layout)
    assert found, "none of the shapes tried fits"
    return found


def _bytes(layout: Layout, shape: Shape, seed: int) -> Arrays:
    """Random bytes; where not every byte is allowed, what the layout's quantizer makes."""
    arrays = random_arrays(layout, shape, seed)
    try:
        body = layout.unpack({name: array.copy() for name, array in arrays.items()}, shape)
    except HubError:
        quantizer = registry().quantizer(layout.name)
        if quantizer is None:
            pytest.skip("random bytes are refused, and no quantizer makes better ones")
        rows = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
        return quantizer.quantize(rows, calibration(quantizer, shape[1]))
    # What means nothing is 0 in bytes that are to come back.
    return layout.pack(body) if layout.padded and isinstance(body, Quantized) else arrays


def test_size_is_known_without_data(layout: Layout, held: Sequence[Shape]) -> None:
    for shape in held:
        parts = layout.parts(shape)
        assert parts
        assert layout.nbytes(shape) == sum(spec.nbytes for spec in parts.values())
        for spec in parts.values():
            assert spec.per >= 1
            if spec.axis is not None:
                assert spec.shape[spec.axis] == -(-shape[0] // spec.per), "the rows do not run along that axis"


def test_odd_shapes_have_a_reason(layout: Layout, held: Sequence[Shape]) -> None:
    rows, width = held[0]
    odd: list[Shape] = [(), (width,), (0, width), (1, width), (rows + 1, width), (2, rows, width), (rows, 0)]
    odd += [(rows, other) for other in (1, width - 1, width + 1, 3 * width + 7)]
    for shape in odd:
        reason = layout.fits(shape)
        if reason is None:
            assert layout.nbytes(shape) == sum(spec.nbytes for spec in layout.parts(shape).values())
            layout.scheme(shape)
        else:
            assert isinstance(reason, str) and reason, f"{shape}: a reason is a few words"
            with pytest.raises(HubError):
                layout.parts(shape)


@pytest.mark.parametrize("seed", SEEDS)
def test_decodes_as_its_meaning_says(layout: Layout, held: Sequence[Shape], seed: int) -> None:
    for shape in held:
        arrays = _bytes(layout, shape, seed)
        before = {name: array.tobytes() for name, array in arrays.items()}
        decoded = layout.decode(arrays, shape)
        assert decoded.dtype == np.float32
        assert decoded.shape == shape
        meant = reference.decode(layout.unpack(arrays, shape))
        assert same_bits(decoded, meant).all(), f"{shape}: {difference(decoded, meant)}"
        assert before == {name: array.tobytes() for name, array in arrays.items()}, "the input was changed"


@pytest.mark.parametrize("seed", SEEDS)
def test_tiles_decode_as_the_whole(layout: Layout, held: Sequence[Shape], seed: int) -> None:
    for shape in held:
        arrays = _bytes(layout, shape, seed)
        whole = layout.decode(arrays, shape)
        for start, stop in row_tiles(layout, shape):
            tile = layout.decode(cut(layout, arrays, shape, start, stop), (stop - start, shape[1]))
            assert same_bits(tile, whole[start:stop]).all(), f"rows {start} to {stop} of {shape}"


@pytest.mark.parametrize("seed", SEEDS)
def test_packing_undoes_unpacking(layout: Layout, held: Sequence[Shape], seed: int) -> None:
    for shape in held:
        arrays = _bytes(layout, shape, seed)
        body = layout.unpack(arrays, shape)
        if isinstance(body, Dense):
            pytest.skip("it is not quantized")
        try:
            packed = layout.pack(body)
        except NotImplementedError:
            pytest.skip("it cannot be packed")
        assert set(packed) == set(arrays)
        for name, spec in layout.parts(shape).items():
            assert packed[name].dtype == spec.dtype.numpy(), name
            assert packed[name].tobytes() == arrays[name].tobytes(), f"{shape}: part {name} has other bytes"


def test_tiles_pack_as_the_whole(layout: Layout, held: Sequence[Shape]) -> None:
    for shape in held:
        arrays = _bytes(layout, shape, 0)
        for start, stop in row_tiles(layout, shape):
            tile = cut(layout, arrays, shape, start, stop)
            body = layout.unpack(tile, (stop - start, shape[1]))
            if isinstance(body, Dense):
                pytest.skip("it is not quantized")
            try:
                packed = layout.pack(body)
            except NotImplementedError:
                pytest.skip("it cannot be packed")
            for name in tile:
                assert packed[name].tobytes() == tile[name].tobytes(), f"{shape}, rows {start} to {stop}: part {name}"


def test_holds_what_it_can_pack(layout: Layout, held: Sequence[Shape]) -> None:
    """The planner believes `can_hold`; what it calls exact is packed."""
    for shape in held:
        holding = layout.can_hold(layout.scheme(shape), shape)
        body = layout.unpack(_bytes(layout, shape, 0), shape)
        if isinstance(body, Dense) or type(layout).pack is Layout.pack:
            continue
        arrays = _bytes(layout, shape, 0)
        if holding.by_value:  # a factor that is divided by, say, may be kept or rounded
            holding = layout.can_hold(layout.scheme(shape), shape, body)
            if holding.fidelity == "lossy":  # numbers that it reads and nobody should write
                assert holding.reason, "it does not say why it cannot hold what it unpacked itself"
                continue
        try:
            packed = layout.pack(body)
        except NotImplementedError:
            assert holding.fidelity == "lossy" and holding.reason, "can_hold promises codes that pack does not take"
            continue
        if holding.fidelity == "codes":
            assert layout.can_hold(layout.scheme(shape), shape).by_value, "it rounds its own numbers, whatever they are"
            assert holding.reason
        else:
            assert holding.fidelity in ("exact", "identical"), holding.reason
            assert same_bits(layout.decode(packed, shape), layout.decode(arrays, shape)).all()
    if isinstance(layout.scheme(shape), DType):
        return  # wide enough floats hold whatever decodes to f32
    other = layout.can_hold(Scheme(Codebook((0.0, 1.5, -1.5)), Blocks((3, 7)), Const(1.0)), shape)
    assert other.fidelity == "lossy" and other.reason, "codes of a strange kind are not refused with a reason"


def test_scheme_says_what_unpacking_gives(layout: Layout, held: Sequence[Shape]) -> None:
    for shape in held:
        scheme, body = layout.scheme(shape), layout.unpack(_bytes(layout, shape, 0), shape)
        if isinstance(scheme, DType) or isinstance(body, Dense):
            assert isinstance(body, Dense) and body.part.spec.dtype == scheme
        else:
            _agree(scheme, body, shape, "")
        # What the planner asks before it knows a tensor.
        layout.scheme((step(layout, shape), 0))


def _agree(scheme: Scheme, body: Quantized, shape: Shape, where: str) -> None:
    assert body.values == scheme.values, f"{where}values"
    width = body.values.width if isinstance(body.values, Codebook) else 1
    codes = body.codes.load(0, shape[0])
    assert codes.size * width == math.prod(body.shape), f"{where}number of codes"
    if isinstance(body.values, Affine) and body.values.dtype is None:
        low = -(1 << (body.values.bits - 1)) if body.values.signed else 0
        assert codes.min() >= low and codes.max() < low + (1 << body.values.bits), f"{where}codes out of their bits"
    if isinstance(scheme.groups, Index):
        assert isinstance(body.groups, Index), f"{where}groups"
        assert body.groups.groups == scheme.groups.groups, f"{where}groups"
    else:
        assert body.groups == scheme.groups, f"{where}groups"
    assert (body.signs is not None) == scheme.signs, f"{where}signs"
    for name in ("scale", "zero", "offset"):
        _field_agrees(getattr(scheme, name), getattr(body, name), f"{where}{name}: ")


def _field_agrees(field: Field, value: Value, where: str) -> None:
    if isinstance(field, Const):
        assert value == field, where
    elif isinstance(field, Stored):
        assert isinstance(value, Dense), where
        assert value.part.spec.dtype == field.dtype, where
    else:
        assert isinstance(value, Quantized), where
        _agree(field, value, value.shape, where)
