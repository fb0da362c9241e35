"""Tensors that a format holds and that are made from settings alone; and the settings back from such tensors.

Architecture files name them in `make`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from hub.dtypes import F32
from hub.errors import ConfigError
from hub.ir.part import ArrayPart, rows_spec
from hub.ir.tensor import Tensor
from hub.ir.values import Dense

if TYPE_CHECKING:
    import numpy as np

    from hub.architecture import Configured

    F32Array = np.ndarray[Any, np.dtype[np.float32]]

MAX_FACTORS = 1 << 16
"""Most divisors of frequencies: half of the elements of a head."""
LARGEST = 1e9
"""Largest factor that a context is stretched by."""
ROUNDING = 1e-5
"""Relative difference between makers that compute one formula in f32; settings that differ give more."""


def numbers(tensor: Tensor) -> F32Array | None:
    """The numbers of a small dense vector, None for anything else."""
    from hub.kernels import to_f32

    if not isinstance(tensor.body, Dense) or len(tensor.shape) != 1 or tensor.shape[0] > MAX_FACTORS:
        return None
    return to_f32(tensor.body.part.load(0, tensor.shape[0]))


def alike(a: F32Array, b: F32Array) -> bool:
    """Whether two tensors are the same but for how their maker rounded."""
    import numpy as np

    return a.shape == b.shape and np.allclose(a, b, rtol=ROUNDING, atol=0)


class Maker(ABC):
    """Makes a tensor of f32 from settings, and finds the settings of such a tensor."""

    name: ClassVar[str]

    @abstractmethod
    def values(self, settings: Mapping[str, Any]) -> F32Array:
        """The numbers of the tensor.

        Args:
            settings: as `Configured.values` has them.

        Raises:
            ConfigError: settings that it needs are missing.
        """

    @abstractmethod
    def recover(self, found: F32Array, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """The members of ``rope_parameters`` that the numbers of a file tell.

        Args:
            found: what the file has.
            settings: what the file's metadata tell, as `Configured.values` has it.

        Returns:
            What the numbers tell; nothing where they do not follow from any settings.
        """

    def __call__(self, name: str, configured: Configured) -> Tensor:
        """The tensor, under `name`."""
        out = self.values(configured.values)
        return Tensor(name, out.shape, Dense(ArrayPart(out, rows_spec(F32, out.shape))), (self.name,))


class Llama3RopeFactors(Maker):
    """The divisors of rotary frequencies that Llama 3.1 scales its context with, (head_dim / 2,).

    Per frequency `f` of wavelength `w = 2 pi / f`, with context `C`: 1 where `w < C / high`, `factor`
    where `w > C / low`, between them ``1 / ((1 - s) / factor + s)``, ``s = (C / w - low) / (high - low)``
    (transformers, modeling_rope_utils). Computed in f32, reciprocals first, as llama.cpp's converter does through
    torch, so that the bits agree.
    """

    name = "llama3_rope_factors"

    def values(self, settings: Mapping[str, Any]) -> F32Array:
        import numpy as np

        f32 = np.float32
        wavelength = _wavelengths(int(settings["head_dim"]), float(settings["rope.theta"]))
        context, factor = settings["rope.original_max_position_embeddings"], f32(settings["rope.factor"])
        low, high = settings["rope.low_freq_factor"], settings["rope.high_freq_factor"]
        smooth = ((f32(1) / wavelength) * f32(context) - f32(low)) / f32(high - low)
        with np.errstate(all="ignore"):
            between = f32(1) / ((f32(1) - smooth) / factor + smooth)
            short = wavelength < f32(context / high) if high else np.ones(len(wavelength), bool)
            long = wavelength > f32(context / low) if low else np.zeros(len(wavelength), bool)
        out: F32Array = np.where(short, f32(1), np.where(long, factor, between)).astype(f32)
        return out

    def recover(self, found: F32Array, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tries settings until some make the same bits again, or else the same numbers but for rounding.

        The tensor is the same for (C, low, high) and (kC, k low, k high), so low is first taken to be 1. Interpolated
        entries are linear in frequency: ``1 / v = (C / w - 1) D + 1 / factor``, ``D = (1 - 1 / factor) / (high - 1)``.
        """
        import numpy as np

        dim, theta = int(settings["head_dim"]), float(settings["rope.theta"])
        if len(found) != dim // 2:
            return {}
        if not np.all((found >= 1) & (found <= LARGEST)):  # NaN is neither
            return {}
        near: Mapping[str, Any] = {}
        for context, factor, low, high in _llama3_guesses(found, _wavelengths(dim, theta), settings):
            given = {
                "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                "original_max_position_embeddings": context,
            }  # fmt: skip
            tried = {"head_dim": dim, "rope.theta": theta, **{f"rope.{key}": value for key, value in given.items()}}
            again = self.values(tried)
            if np.array_equal(again, found):
                return {"rope_type": "llama3", **given}
            if not near and alike(again, found):
                near = {"rope_type": "llama3", **given}
        return near


def _wavelengths(dim: int, theta: float) -> F32Array:
    import numpy as np

    f32 = np.float32
    exponent = np.arange(0, dim, 2, dtype=f32) / f32(dim)
    # torch rounds a correctly computed power to f32; NumPy's own f32 power is an ulp off at times.
    power = np.power(theta, exponent.astype(np.float64)).astype(f32)
    out: F32Array = (f32(1) / (f32(1) / power)) * f32(2 * np.pi)
    return out


def _llama3_guesses(
    found: F32Array, wavelength: F32Array, settings: Mapping[str, Any]
) -> Iterator[tuple[int, float, float, float]]:
    """(context, factor, low, high) that may have made `found`, likely ones first."""
    import numpy as np

    factor = _short_decimal(float(found.max()))
    powers = [1 << n for n in range(4, 25)]
    most = int(settings["max_position_embeddings"])
    for context in [8192, max(1, most // round(factor)), *powers, most]:
        yield context, factor, 1.0, 4.0
    inside = (found > 1) & (found < found.max())
    if np.count_nonzero(inside) < 2 or factor <= 1:
        return
    x, y = 1 / wavelength[inside].astype(np.float64), 1 / found[inside].astype(np.float64)
    slope, start = np.polyfit(x, y, 1)
    step = 1 / factor - start  # D
    if step <= 0 or slope <= 0:
        return
    high = 1 + (1 - 1 / factor) / step
    # The settings in the field are round: low and high short decimals, the context a whole number.
    for digits in range(4):
        for low in _LOWS:
            rounded = round(high * low, digits)
            if rounded > low:
                ideal = slope * (rounded - low) / (1 - 1 / factor)
                for whole in sorted({max(1, math.floor(ideal)), max(1, math.ceil(ideal))}):
                    yield whole, factor, low, rounded


_LOWS = (1.0, 2.0, 4.0, 0.5, 1.5, 1.25, 0.25, 0.75, 1.75, 2.5, 3.0, 5.0, 6.0, 8.0, 10.0, 0.1, 0.2)
"""low_freq_factor that are tried, one after another."""


def _short_decimal(number: float) -> float:
    """The shortest decimal that is the same f32."""
    import numpy as np

    return float(str(np.float32(number)))


class LongropeFactors(Maker):
    """The divisors of rotary frequencies of Phi-3, as the settings list them, (rotated elements / 2,)."""

    member: ClassVar[str]

    def values(self, settings: Mapping[str, Any]) -> F32Array:
        import numpy as np

        given = settings.get(f"rope.{self.member}")
        if given is None:
            raise ConfigError(f"rope type longrope needs {self.member}")
        return np.array(given, np.float32)

    def recover(self, found: F32Array, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"rope_type": "longrope", self.member: [_short_decimal(float(x)) for x in found]}


class LongFactors(LongropeFactors):
    """Those for contexts beyond the original length."""

    name = "longrope_long_factors"
    member = "long_factor"


class ShortFactors(LongropeFactors):
    """Those for contexts up to the original length."""

    name = "longrope_short_factors"
    member = "short_factor"


MAKERS: Mapping[str, Maker] = {maker.name: maker for maker in (Llama3RopeFactors(), LongFactors(), ShortFactors())}
"""All makers by the name that architecture files use."""
