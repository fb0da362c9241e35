"""MLX's own quantizers, byte for byte: what `mx.quantize` of mlx 0.32.4 writes on a CPU, by native kernels.

What MLX computes depends on the number type of its input. For affine codes that is the type of scales and biases:
weights are rounded to it first, as mlx-lm casts a model. For small floats it is the type that the weights were
stored in.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import hub_native
from hub.api import Calibration, Quantizer
from hub_mlx.layouts import AffineLayout, FloatLayout, MlxLayout
from hub_mlx.layouts import make as layout_of

Array = np.ndarray[Any, Any]
_TYPES: Final = ("f32", "f16", "bf16")


class MlxAffine(Quantizer):
    """Affine codes. The weight of the largest magnitude of each group is kept but for the rounding of its bias."""

    name = "mlx.affine/mlx"

    def __init__(self, layout: AffineLayout) -> None:
        self.made = layout
        self.layout = layout.name

    def quantize(self, rows: Array, calibration: Calibration) -> dict[str, Array]:
        made = _empty(self.made, rows)
        form = self.made.form
        hub_native.mlx_affine(rows, form.group, form.bits, form.scale, *(_bytes(array) for array in made.values()))
        return made


class MlxFloats(Quantizer):
    """E2M1 or E4M3 with a byte of scale for each group."""

    wants = frozenset({"stored"})

    def __init__(self, layout: FloatLayout) -> None:
        self.made = layout
        self.layout = layout.name
        self.name = f"{layout.name}/mlx"

    def quantize(self, rows: Array, calibration: Calibration) -> dict[str, Array]:
        stored = calibration.stored.name if calibration.stored is not None else "f32"
        made = _empty(self.made, rows)
        words, scales = (_bytes(array) for array in made.values())
        mode = self.made.name.removeprefix("mlx.")
        hub_native.mlx_floats(rows, mode, stored if stored in _TYPES else "f32", 0.0, words, scales)
        return made


def _empty(layout: MlxLayout, rows: Array) -> dict[str, Array]:
    """The parts that rows take, `weight` first."""
    return {name: np.empty(spec.shape, spec.dtype.numpy()) for name, spec in layout.parts(rows.shape).items()}


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def make(layout: str) -> Quantizer:
    """The quantizer of that layout.

    Raises:
        UsageError: there is no such layout.
    """
    made = layout_of(layout)
    if isinstance(made, AffineLayout):
        return MlxAffine(made)
    assert isinstance(made, FloatLayout)
    return MlxFloats(made)
