"""Is it a Hugging Face folder, or a safetensors file?"""

from __future__ import annotations

from collections.abc import Sequence


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """50 for a folder with safetensors files or an index, 60 for a file that begins like one.

    Deliberately unsure: formats that live in such folders look at config.json too, and are surer.
    """
    if names:
        return 50 if any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names) else 0
    size = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= size <= 100_000_000:
        return 60
    return 20 if path.endswith(".safetensors") else 0
