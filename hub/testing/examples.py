"""Shapes, bytes and weights to try layouts and quantizers with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.ir.part import ArrayPart, Shape
from hub.layout import Layout
from hub.quantizer import Calibration, Quantizer
from hub.tiles import multiple

if TYPE_CHECKING:
    from hub.layout import Arrays, F32Array

Array = np.ndarray[Any, Any]

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Of rows; fewer weights tell little of how a quantizer rounds."""


def shapes(layout: Layout) -> Sequence[Shape]:
    """Matrices that the layout can hold: the least, one of several blocks, and one of many rows."""
    least = next(
        ((rows, width) for rows in (layout.row_multiple, 32, 128) for width in WIDTHS if fits(layout, (rows, width))),
        None,
    )
    if least is None:
        return ()
    rows, width = least
    tried = [least, (5 * rows, 3 * width), (5 * rows, 2 * width), (67 * rows, width)]
    return [shape for shape in tried if fits(layout, shape)]


def fits(layout: Layout, shape: Shape) -> bool:
    """Whether the layout can hold a shape."""
    return layout.fits(shape) is None


def random_arrays(layout: Layout, shape: Shape, seed: int) -> Arrays:
    """The layout's parts, full of random bytes: every scale, NaN and infinity occurs sooner or later."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, spec in layout.parts(shape).items():
        raw = rng.integers(0, 256, spec.nbytes, np.uint8)
        out[name] = raw.view(spec.dtype.numpy()).reshape(spec.shape)
    return out


def step(layout: Layout, shape: Shape) -> int:
    """Rows that tiles of the layout must be a multiple of."""
    return math.lcm(multiple(layout.parts(shape)), layout.row_multiple)


def row_tiles(layout: Layout, shape: Shape) -> Iterator[tuple[int, int]]:
    """Ranges of rows: the least tile, then three times as many, and so on."""
    start, size = 0, step(layout, shape)
    while start < shape[0]:
        stop = min(shape[0], start + size)
        yield start, stop
        start, size = stop, 3 * size


def cut(layout: Layout, arrays: Arrays, shape: Shape, start: int, stop: int) -> Mapping[str, Array]:
    """The parts of rows `start` to `stop`, as the pipeline would load them."""
    specs = layout.parts(shape)
    return {name: ArrayPart(array, specs[name]).load(start, stop) for name, array in arrays.items()}


def weight_sets(shape: Shape) -> Mapping[str, F32Array]:
    """Weights of several kinds, none of them kind to quantizers."""
    rng = np.random.default_rng(7)
    normal = rng.normal(0, 1, shape)
    by_row = np.logspace(-3, 2, shape[0]).reshape(-1, 1)
    sets = {
        "normal": normal,
        "heavy tails": rng.standard_t(2, shape),
        "uniform": rng.uniform(-1, 1, shape),
        "mostly zero": np.where(rng.random(shape) < 0.9, 0, normal),
        "far from zero": 5 + normal,
        "rows of every size": normal * by_row,
    }
    return {name: values.clip(-1e3, 1e3).astype(np.float32) for name, values in sets.items()}


def flat_rows(width: int, rows: int = 1) -> F32Array:
    """Rows of one number each: zeros of both signs, ones, tiny and large."""
    values = [0.0, -0.0, 1.0, -1.0, 3.5, -0.1, 1e-30, -1e-8, 1e4, -1e4]
    return np.repeat(np.array(values, np.float32), rows).reshape(-1, 1) * np.ones((1, width), np.float32)


def calibration(quantizer: Quantizer, width: int) -> Calibration:
    """What the quantizer says that it needs, and nothing else."""
    rng = np.random.default_rng(11)
    activations = rng.normal(0, 1, (4 * width, width)).astype(np.float32)
    return Calibration(
        importance=(activations**2).mean(axis=0) if "importance" in quantizer.needs else None,
        hessian=2 / len(activations) * activations.T @ activations if "hessian" in quantizer.needs else None,
    )


def same_bits(a: F32Array, b: F32Array) -> Array:
    """Where two f32 arrays are the same: equal bits, or NaN in both."""
    equal: Array = (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))
    return equal


def difference(a: F32Array, b: F32Array) -> str:
    """For a message: the first place where two f32 arrays are not the same."""
    wrong = ~same_bits(a, b)
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} of {a.size} differ, first at {first}: {a[first]!r} and {b[first]!r}"
