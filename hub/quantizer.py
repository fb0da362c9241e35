"""Quantizer: makes codes of floats. A layout may have several; the plan names the one that ran."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.dtypes import DType

if TYPE_CHECKING:
    import numpy as np

    from hub.layout import Arrays, F32Array


@dataclass(frozen=True)
class Calibration:
    """What a quantizer may know beside the weights: about the activations that meet them, and where they come from.

    Attributes:
        stored: the number type that the weights were stored in; None where they are decoded codes, or nobody says.
        importance: (in,) f32, mean squared activation per input column (an imatrix row).
        hessian: (in, in) f32, ``2/n * sum(x x^T)`` of the inputs.
        extra: further inputs by name, for quantizers that third parties bring.
    """

    stored: DType | None = None
    importance: np.ndarray[Any, Any] | None = None
    hessian: np.ndarray[Any, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Quantizer(ABC):
    """Fills one layout from f32 rows.

    Attributes:
        name: as plan and report name it, for instance `ggml.Q4_K/reference`.
        layout: the name of the layout that it fills.
        wants: the fields of `Calibration` that it uses when they are there.
        needs: those without which it refuses.
        whole_tensor: whether it must see all rows at once (a Hessian-based one does not, a
            per-tensor scale does). Its tile is the tensor, which has to fit `--max-memory`.
    """

    name: str
    layout: str
    wants: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    whole_tensor: bool = False

    @abstractmethod
    def quantize(self, rows: F32Array, calibration: Calibration) -> Arrays:
        """The layout's parts for a tile of rows.

        Args:
            rows: (rows, in) f32, C-contiguous, finite.
            calibration: what is known; fields not in `wants` are None.

        Returns:
            The arrays of `Layout.parts`, as much of them as the rows occupy.
        """
