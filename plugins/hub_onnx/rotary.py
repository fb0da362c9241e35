"""Cosine and sine of the angles that heads turn by, computed from positions: no table ends with the context."""

from __future__ import annotations

import numpy as np

from hub.api import Configured, rotary_frequencies
from hub_onnx.build import Build
from hub_onnx.proto import DataType


def cosine_and_sine(build: Build, configured: Configured, kind: str, dim: int, theta: float) -> tuple[str, str]:
    """Both as f32 (batch, tokens, dim / 2), the same for all layers that turn alike.

    Types whose frequencies depend on how long a sequence is (longrope, dynamic) look at the last position of the call,
    as transformers does.

    Raises:
        ConfigError: settings that give no frequencies.
    """
    key = kind, dim, theta

    def angles() -> str:
        positions = build.once(("positions",), lambda: _positions(build))
        return build.emit("Mul", positions, _frequencies(build, configured, kind, dim, theta))

    turned = build.once(("angles", *key), angles)
    _, scale = rotary_frequencies(configured, kind, dim, theta)

    def scaled(op: str) -> str:
        made = build.emit(op, turned)
        return made if scale == 1 else build.emit("Mul", made, build.scalar(scale))

    return build.once(("cosine", *key), lambda: scaled("Cos")), build.once(("sine", *key), lambda: scaled("Sin"))


def _positions(build: Build) -> str:
    wide = build.emit("Cast", "position_ids", to=int(DataType.FLOAT))
    return build.emit("Unsqueeze", wide, build.ints(-1))


def _frequencies(build: Build, configured: Configured, kind: str, dim: int, theta: float) -> str:
    """Radians per position, f32 (dim / 2,)."""
    values = configured.values
    plain, _ = rotary_frequencies(configured, kind, dim, theta)
    short = build.constant(plain, np.float32)
    if kind == "longrope":
        original = int(values["rope.original_max_position_embeddings"])
        long, _ = rotary_frequencies(configured, kind, dim, theta, length=original + 1)
        return build.emit("Where", _longer(build, original), build.constant(long, np.float32), short)
    if kind == "dynamic" and dim > 2:
        return _stretched(build, configured, dim, theta, short)
    return short


def _stretched(build: Build, configured: Configured, dim: int, theta: float, plain: str) -> str:
    """Frequencies of a base that grows with what is beyond the model's context (transformers, modeling_rope_utils,
    `_compute_dynamic_ntk_parameters`): theta * (factor * length / context - (factor - 1)) ** (dim / (dim - 2))."""
    context = int(configured.values["max_position_embeddings"])
    factor = float(configured.values.get("rope.factor", 1.0))
    length = build.emit("Cast", _length(build), to=int(DataType.FLOAT))
    length = build.emit("Max", length, build.scalar(context))
    stretch = build.emit("Sub", build.emit("Mul", length, build.scalar(factor / context)), build.scalar(factor - 1))
    base = build.emit("Mul", build.emit("Pow", stretch, build.scalar(dim / (dim - 2))), build.scalar(theta))
    powers = build.constant(-np.arange(0, dim, 2) / dim, np.float32)
    return build.emit("Where", _longer(build, context), build.emit("Pow", base, powers), plain)


def _length(build: Build) -> str:
    """Tokens of the longest sequence, int64."""

    def make() -> str:
        last = build.emit("ReduceMax", "position_ids", keepdims=0)
        return build.emit("Add", last, build.number(1))

    return build.once(("length",), make)


def _longer(build: Build, than: int) -> str:
    return build.once(("longer", than), lambda: build.emit("Greater", _length(build), build.number(than)))
