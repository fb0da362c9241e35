"""Named, invertible transforms between canonical tensors and those of a format.

Architecture files name them in `steps`; each one is a class with two directions. `Maker`s give
tensors that are computed from the settings alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hub.architecture import Configured
from hub.dtypes import F32
from hub.errors import ConfigError
from hub.ir.part import ArrayPart, GatherPart, Part, rows_spec
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Dense


class Step(ABC):
    """A transform of one tensor.

    Args:
        argument: what the architecture file gives for it, evaluated over the settings.
    """

    name: str

    def __init__(self, argument: Any) -> None:
        self.argument = argument

    @abstractmethod
    def forward(self, tensor: Tensor) -> Tensor:
        """From the canonical tensor towards the format's.

        Raises:
            ConfigError: the tensor's shape does not allow it.
        """

    @abstractmethod
    def backward(self, tensor: Tensor) -> Tensor:
        """The inverse of `forward`."""


class InterleaveHeads(Step):
    """Reorder the rows of each head from halves to neighbouring pairs.

    Hugging Face rotates row `j` of a head with row `j + d/2`, llama.cpp row `2j` with `2j + 1`. With
    `argument` heads of `d` rows, row `2j + s` of the result is row `s * d/2 + j` of the canonical
    tensor. Works on weights (rows) and on biases (elements), dense or packed: rows stay whole.
    """

    name = "interleave_heads"

    def forward(self, tensor: Tensor) -> Tensor:
        d = self._head_rows(tensor)
        return gather_rows(tensor, lambda start, stop: [_paired(row, d) for row in range(start, stop)], self.name)

    def backward(self, tensor: Tensor) -> Tensor:
        d = self._head_rows(tensor)
        return gather_rows(
            tensor, lambda start, stop: [_halved(row, d) for row in range(start, stop)], f"undo {self.name}"
        )

    def _head_rows(self, tensor: Tensor) -> int:
        heads = int(self.argument)
        if heads < 1 or tensor.rows % (2 * heads):
            raise ConfigError(f"{tensor.rows} rows are not {heads} heads of pairs", tensor=tensor.name)
        return tensor.rows // heads


def _paired(row: int, d: int) -> int:
    head, r = divmod(row, d)
    return head * d + (r % 2) * (d // 2) + r // 2


def _halved(row: int, d: int) -> int:
    head, r = divmod(row, d)
    return head * d + 2 * (r % (d // 2)) + r // (d // 2)


def gather_rows(tensor: Tensor, rows: Callable[[int, int], Sequence[int]], name: str) -> Tensor:
    """`tensor` with its logical rows in another order; `rows` gives the old rows of a range of new ones."""

    def moved(part: Part) -> Part:
        if part.spec.axis is None:
            return part
        if part.spec.per != 1:
            raise ConfigError("its rows share words, they cannot be reordered as bytes", tensor=tensor.name)
        return GatherPart(part, part.spec, rows)

    body = tensor.body
    if isinstance(body, Dense):
        body = Dense(moved(body.part))
    elif isinstance(body, Packed):
        body = replace(body, parts={key: moved(part) for key, part in body.parts.items()})
    else:
        raise ConfigError("unpacked tensors are reordered by tile", tensor=tensor.name)
    return replace(tensor, body=body, derived=(*tensor.derived, name))


STEPS: Mapping[str, type[Step]] = {step.name: step for step in (InterleaveHeads,)}
"""All transforms by the name that architecture files use."""


def llama3_rope_factors(name: str, configured: Configured) -> Tensor:
    """The divisors of rotary frequencies that Llama 3.1 scales its context with, (head_dim / 2,) f32.

    Per frequency `f` of wavelength `w = 2 pi / f`, with context `C`: 1 where `w < C / high`, `factor`
    where `w > C / low`, between them ``1 / ((1 - s) / factor + s)``, ``s = (C / w - low) / (high - low)``
    (transformers, modeling_rope_utils). Computed in f32, reciprocals first, as llama.cpp's converter does through
    torch, so that the bits agree.
    """
    import numpy as np

    value = configured.values
    dim = int(value["head_dim"])
    f32 = np.float32
    exponent = np.arange(0, dim, 2, dtype=f32) / f32(dim)
    # torch rounds a correctly computed power to f32; NumPy's own f32 power is an ulp off at times.
    power = np.power(float(value["rope.theta"]), exponent.astype(np.float64)).astype(f32)
    frequency = f32(1) / power
    wavelength = (f32(1) / frequency) * f32(2 * np.pi)
    context, factor = value["rope.original_max_position_embeddings"], f32(value["rope.factor"])
    low, high = value["rope.low_freq_factor"], value["rope.high_freq_factor"]
    smooth = ((f32(1) / wavelength) * f32(context) - f32(low)) / f32(high - low)
    with np.errstate(all="ignore"):
        between = f32(1) / ((f32(1) - smooth) / factor + smooth)
        short = wavelength < f32(context / high) if high else np.ones(len(wavelength), bool)
        long = wavelength > f32(context / low) if low else np.zeros(len(wavelength), bool)
    out = np.where(short, f32(1), np.where(long, factor, between)).astype(f32)
    return Tensor(name, out.shape, Dense(ArrayPart(out, rows_spec(F32, out.shape))), ("llama3_rope_factors",))


MAKERS: Mapping[str, Callable[[str, Configured], Tensor]] = {"llama3_rope_factors": llama3_rope_factors}
"""All makers by the name that architecture files use."""
