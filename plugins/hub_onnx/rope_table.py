"""The settings of rotary positions that a table of sines follows from.

A graph has the table and not the settings. Its second row holds the sine of each frequency, and frequencies are
``theta ** (-i / half)``, perhaps divided by one factor (linear scaling), or by a factor that grows with the wavelength
(Llama 3's). Settings are tried until some give all frequencies again; then they compute the same, whatever the model's
own were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from hub.api import ConfigError
from hub_onnx.files import Files
from hub_onnx.model import Initializer, Node
from hub_onnx.proto import DataType
from hub_onnx.trace import Scope

REMEDY: Final = "put the original model's config.json beside it"
_SINES: Final = {"GroupQueryAttention": 8, "RotaryEmbedding": 3}
_STANDARD: Final = 2
"""Which input is the table of sines; of ONNX's own RotaryEmbedding another one."""
_LOW, _HIGH = 1.0, 4.0
"""Factors of Llama 3's scaling; a context for these gives any table that others give."""

Array = np.ndarray[Any, np.dtype[np.float64]]


def rope_settings(scope: Scope, nodes: Sequence[Node], files: Files) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, and in `rotary_dim` how many numbers of a head are turned.

    Raises:
        ConfigError: there is no table, or several, or settings that give it are not known.
    """
    path = files.source.path
    names = dict.fromkeys(name for node in nodes if (name := _sines(node)))
    tables = [table for name in names if (table := scope.constant(name)) is not None and len(table.dims) == 2]
    if len(names) != 1 or len(tables) != 1:
        raise ConfigError(
            f"it has {len(names)} tables of rotary positions, not one constant one", path=path, remedy=REMEDY
        )
    found = _frequencies(tables[0], files)
    tolerance = 5e-7 if tables[0].data_type == DataType.FLOAT else 3e-3
    least = 1e-30 if tolerance < 1e-3 else 2e-3
    clear, told = np.flatnonzero(found > least), np.maximum(found, least)
    if len(found) > 1 and len(clear) > 1:
        for theta, scaling in _guesses(found, clear, tolerance):
            made = np.maximum(_made(theta, scaling, len(found)), least)
            if np.all(np.abs(made - told) <= tolerance * told):
                return {"rope_theta": theta, "rope_scaling": scaling, "rotary_dim": 2 * len(found)}
    raise ConfigError("its rotary positions follow from no settings that hub knows", path=path, remedy=REMEDY)


def _sines(node: Node) -> str:
    which = _SINES.get(node.op)
    if which is None:
        return ""
    if node.op == "RotaryEmbedding" and not node.domain:
        which = _STANDARD
    return node.inputs[which] if len(node.inputs) > which else ""


def _frequencies(table: Initializer, files: Files) -> Array:
    if table.dims[0] < 2 or not table.dims[1]:
        raise ConfigError("its table of rotary positions is too short", path=files.source.path, remedy=REMEDY)
    row = np.asarray(files.numbers(table, 1 << 30)[1], np.float64)
    with np.errstate(all="ignore"):
        return np.asarray(np.arcsin(np.clip(row, -1, 1)))


def _guesses(found: Array, clear: Any, tolerance: float) -> Iterator[tuple[float, dict[str, Any] | None]]:
    half, last, first = len(found), int(clear[-1]), found[0]
    if clear[0] != 0:
        return  # rotary positions begin with the largest frequency
    digits = range(1, 10 if tolerance < 1e-3 else 3)
    for theta in _thetas(found[last] / first, last, half, digits):
        yield theta, None if abs(first - 1) <= tolerance else {"rope_type": "linear", "factor": _short(1 / first)}
    if tolerance > 1e-3:
        return  # too coarse to tell three settings apart
    # Frequencies at the end are all divided by the same, those at the beginning by nothing.
    neighbour = found[last] / found[last - 1] if clear[-2] == last - 1 else 0.0
    for ratio, i in ((neighbour, 1), *((found[i], i) for i in map(int, clear[1:8]))):
        for theta in _thetas(ratio, i, half, digits):
            factor = _short(theta ** (-last / half) / found[last])
            if 1 < factor < 1e4:
                for power in range(4, 24):
                    yield theta, {
                        "rope_type": "llama3", "factor": factor, "low_freq_factor": _LOW, "high_freq_factor": _HIGH,
                        "original_max_position_embeddings": 1 << power,
                    }  # fmt: skip


def _thetas(frequency: float, i: int, half: int, digits: range) -> Iterator[float]:
    """Round numbers near the base whose frequency `i` this is."""
    if i and 0 < frequency < 1:
        exact = math.exp(min(-math.log(frequency) * half / i, 600.0))
        yield from dict.fromkeys(float(f"{exact:.{count - 1}e}") for count in digits)


def _short(factor: float) -> float:
    return float(f"{factor:.3g}") if math.isfinite(factor) else 0.0


def _made(theta: float, scaling: dict[str, Any] | None, half: int) -> Array:
    base = theta ** (-np.arange(half) / half)
    if scaling is None:
        return np.asarray(base)
    factor = scaling["factor"] or 1.0
    if scaling["rope_type"] == "linear":
        return np.asarray(base / factor)
    share = scaling["original_max_position_embeddings"] * base / (2 * math.pi)
    smooth = np.clip((share - _LOW) / (_HIGH - _LOW), 0, 1)
    return np.asarray((1 - smooth) * base / factor + smooth * base)
