"""Is it an ONNX model?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from hub.api import Folder

MODEL: Final = "model.onnx"
"""The file of the graph in what hub writes, and in most folders."""


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """80 for a folder of onnxruntime-genai, 45 for one with a model in it (weights in safetensors come first), 30 for
    one with a folder `onnx` that has one; 90 for a file that is called so and begins like one."""
    if head:
        return 90 if path.endswith(".onnx") and head[:1] == b"\x08" else 0
    if any(name.endswith(".onnx") for name in names):
        return 80 if "genai_config.json" in names else 45
    if "onnx" in names and os.path.isdir(os.path.join(path, "onnx")):
        return 30 if any(name.endswith(".onnx") for name in Folder(os.path.join(path, "onnx")).names()) else 0
    return 0
