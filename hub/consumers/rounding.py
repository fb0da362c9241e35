"""What a model makes of rounded activations: hub's own runner with the inputs of all matrices rounded to int8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    F32Array = np.ndarray[Any, np.dtype[np.float32]]

BLOCK = 32
"""Neighbours in a row that share a scale, as in the fast kernels of llama.cpp and onnxruntime."""
_LARGEST = np.float32(127)


def round_inputs(module: str, x: F32Array) -> None:
    """An observer of a `Runner`: rounds what a matrix is about to be multiplied with, in place, (tokens, width).

    Independent of how weights are stored, which the runner's own `fast` mode is not.
    """
    whole = x.shape[1] // BLOCK * BLOCK
    x[:, :whole] = _rounded(x[:, :whole].reshape(len(x), -1, BLOCK)).reshape(len(x), whole)
    x[:, whole:] = _rounded(x[:, whole:])


def _rounded(blocks: F32Array) -> F32Array:
    """Blocks along the last axis, each to 255 steps of which its largest value is the last."""
    if not blocks.size:
        return blocks
    step = np.abs(blocks).max(axis=-1, keepdims=True) / _LARGEST
    step[step == 0] = 1
    out: F32Array = np.rint(blocks / step) * step
    return out
