"""How much a model magnifies small errors: its own answers with noise of eight bits put on its weights.

Random weights, deep stacks of them above all, magnify every rounding; trained ones hardly do. Where the answers of a
conversion are further from the source's than usual, this tells a sensitive model from a broken conversion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.architecture import configure
from hub.dtypes import F32
from hub.ir.model import Model
from hub.ir.part import Part, PartSpec, row_length, rows_spec
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Dense
from hub.layout import Layout
from hub.mapping import as_kept
from hub.pipeline import weights
from hub.plugins import registry
from hub.tiles import step
from hub.verification import divergence
from hub.verification.sample import Sample

if TYPE_CHECKING:
    from hub.pipeline import Progress

BITS = 8.0
"""The noise is that of rounding to codes of so many bits, a scale for each row."""
_PERIOD = 1021
"""Rows after which the noise repeats; a prime, so that it does not follow heads or blocks."""


@dataclass(frozen=True)
class NoisyPart(Part):
    """The weights of a tensor in f32 with uniform noise of half a code on each, the same at every load."""

    tensor: Tensor
    layout: Layout
    spec: PartSpec

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        together = step(self.tensor, self.layout)
        low, high = start // together * together, min(self.tensor.rows, -(-stop // together) * together)
        values = weights(self.tensor, self.layout, low, high).reshape(high - low, -1)[start - low : stop - low]
        width = values.shape[1]
        noise = _noise(width + _PERIOD)
        shifted = np.stack([noise[row % _PERIOD :][:width] for row in range(start, stop)])
        half = np.abs(values).max(axis=1, keepdims=True) * np.float32(2.0**-BITS)
        return np.ascontiguousarray(values + shifted * half, dtype=np.float32)


def _noise(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(20261121).uniform(-1, 1, count).astype(np.float32)


def noisy(model: Model) -> Model:
    """The same model with noise on all matrices."""
    plugins, configured = registry(), configure(model)
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if len(tensor.shape) > 1:
            made = _noisy(tensor, plugins.layout(tensor.layout))
            packed = isinstance(tensor.body, Packed)
            tensors[name] = as_kept(made, F32.name, model.convention, configured) if packed else made
    return replace(model, tensors=tensors)


def _noisy(tensor: Tensor, layout: Layout) -> Tensor:
    assert row_length(tensor.shape) > 0
    return replace(tensor, body=Dense(NoisyPart(tensor, layout, rows_spec(F32, tensor.shape))))


def sensitivity(model: Model, sample: Sample, threads: int, progress: Progress) -> float:
    """Mean KL divergence in nats between a model and itself with noise of eight bits.

    Raises:
        HubError: it cannot be run.
    """
    from hub.runner import Runner

    shorter = replace(sample, sequences=sample.sequences[:1])
    with Runner(model, threads=threads) as a, Runner(noisy(model), threads=threads) as b:
        return float(divergence.measure(a, b, shorter, progress).kl.mean())
