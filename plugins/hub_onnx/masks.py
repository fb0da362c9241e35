"""Which keys a token sees, as the mask of an attention."""

from __future__ import annotations

from hub_onnx.build import Build
from hub_onnx.proto import DataType

FIRST_CACHE = "past_key_values.0.key"


def mask(build: Build, window: int) -> str:
    """Bool (batch, 1, tokens, tokens so far): keys that are no later than the token, not padded, and within `window` if
    that is not 0, the token itself included. A padded token sees itself, so that it is a number, and nobody sees it."""
    return build.once(("mask", window), lambda: _mask(build, window))


def _mask(build: Build, window: int) -> str:
    rows, columns = _indices(build)
    seen = build.once(("causal",), lambda: build.emit("LessOrEqual", columns, rows))
    if window:
        near = build.emit("Greater", columns, build.emit("Sub", rows, build.number(window)))
        seen = build.emit("And", seen, near)

    def present() -> str:
        told = build.emit("Cast", "attention_mask", to=int(DataType.BOOL))
        return build.emit("Or", build.emit("Unsqueeze", told, build.ints(1, 2)), build.emit("Equal", columns, rows))

    return build.emit("And", seen, build.once(("present",), present))


def _indices(build: Build) -> tuple[str, str]:
    """Numbers of this call's tokens, (tokens, 1), and of all so far, (tokens so far,), padding counted."""

    def length(value: str, axis: int) -> str:
        return build.emit("Squeeze", build.emit("Shape", value, start=axis, end=axis + 1), build.ints(0))

    past = build.once(("past",), lambda: length(FIRST_CACHE, 2))
    total = build.once(("total",), lambda: build.emit("Add", past, length("input_ids", 1)))

    def rows() -> str:
        return build.emit("Unsqueeze", build.emit("Range", past, total, build.number(1)), build.ints(1))

    return build.once(("rows",), rows), build.once(
        ("columns",), lambda: build.emit("Range", build.number(0), total, build.number(1))
    )
