"""Is it ONNX?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MODEL: Final = "model.onnx"
"""The graph of a folder."""


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """90 for a folder with such files, more than its config.json means alone; 60 for a file called so. There is no magic
    number, but a model begins with its version, field 1 of its message."""
    if any(name.endswith(".onnx") for name in names):
        return 90
    return 60 if path.endswith(".onnx") and head.startswith(b"\x08") else 0
