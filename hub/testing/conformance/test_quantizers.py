"""Quantizers: the same bytes every time, for any tiles, and no worse than any working quantizer of that width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hub.ir.part import Shape
from hub.layout import Layout
from hub.plugins import registry, resolve
from hub.quantizer import Quantizer
from hub.testing.examples import calibration, cut, flat_rows, row_tiles, shapes, step, weight_sets
from hub.testing.subject import Subject
from hub.verification.verifier import least_sqnr

if TYPE_CHECKING:
    from hub.layout import Arrays, F32Array


@pytest.fixture
def layout(quantizer_name: tuple[str, str]) -> Layout:
    """The layout that is filled."""
    return registry().layout(quantizer_name[1])


@pytest.fixture
def quantizer(subject: Subject, quantizer_name: tuple[str, str]) -> Quantizer:
    """The quantizer under test."""
    name, layout = quantizer_name
    entry = next(entry for entry in subject.quantizers if entry.name == name)
    made: Quantizer = resolve(entry.factory)(layout)
    return made


@pytest.fixture
def held(layout: Layout) -> Sequence[Shape]:
    """Shapes that the layout holds."""
    found = shapes(layout)
    assert found, "none of the shapes tried fits"
    return found


def _quantized(quantizer: Quantizer, rows: F32Array) -> Arrays:
    return quantizer.quantize(rows, calibration(quantizer, rows.shape[1]))


def test_fills_the_parts(quantizer: Quantizer, layout: Layout, held: Sequence[Shape]) -> None:
    for shape in held:
        rows = weight_sets(shape)["normal"]
        before = rows.tobytes()
        made = _quantized(quantizer, rows)
        assert rows.tobytes() == before, "the weights were changed"
        specs = layout.parts(shape)
        assert set(made) == set(specs)
        for name, spec in specs.items():
            assert made[name].dtype == spec.dtype.numpy(), name
            assert made[name].nbytes == spec.nbytes, name


def test_is_deterministic(quantizer: Quantizer, held: Sequence[Shape]) -> None:
    for shape in held:
        rows = weight_sets(shape)["heavy tails"]
        first, second = _quantized(quantizer, rows), _quantized(quantizer, rows)
        for name in first:
            assert first[name].tobytes() == second[name].tobytes(), f"{shape}: part {name} differs between two runs"


def test_tiles_are_independent(quantizer: Quantizer, layout: Layout, held: Sequence[Shape]) -> None:
    if quantizer.whole_tensor:
        pytest.skip("it must see the whole tensor, and says so")
    for shape in held[1:] or held:
        for what in ("heavy tails", "rows of every size"):
            rows = weight_sets(shape)[what]
            whole = _quantized(quantizer, rows)
            for start, stop in row_tiles(layout, shape):
                alone = _quantized(quantizer, np.ascontiguousarray(rows[start:stop]))
                together = cut(layout, whole, shape, start, stop)
                for name in alone:
                    assert alone[name].tobytes() == together[name].tobytes(), (
                        f"{what}, {shape}: rows {start} to {stop} alone give another part {name} than together; "
                        "a quantizer that needs the whole tensor says so by whole_tensor"
                    )


def test_error_is_small(quantizer: Quantizer, layout: Layout, held: Sequence[Shape]) -> None:
    for shape in held:
        least = least_sqnr(layout.scheme(shape), shape)
        for what, rows in weight_sets(shape).items():
            decoded = layout.decode(_quantized(quantizer, rows), shape)
            noise = float(((decoded.astype(np.float64) - rows) ** 2).sum())
            signal = float((rows.astype(np.float64) ** 2).sum())
            sqnr = 10 * math.log10(signal / noise) if noise else math.inf
            assert sqnr >= least, f"{what}, {shape}: {sqnr:.1f} dB, at least {least:.1f} dB is expected"


def test_flat_rows_stay_finite(quantizer: Quantizer, layout: Layout, held: Sequence[Shape]) -> None:
    width = held[0][1]
    rows = flat_rows(width, step(layout, held[0]))
    shape = (len(rows), width)
    decoded = layout.decode(_quantized(quantizer, rows), shape)
    assert np.isfinite(decoded).all()
    assert not decoded[rows == 0].any(), "zero does not stay zero"
    assert np.allclose(decoded, rows, rtol=0.5, atol=1e-4), "rows of one number are far from it"
