"""Is it a folder whose config says bitsandbytes?"""

from __future__ import annotations

from collections.abc import Sequence


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """90 for a folder whose config says so."""
    if "config.json" not in names:
        return 0
    from hub_safetensors.quantization import method_of

    return 90 if method_of(path) == "bitsandbytes" else 0
