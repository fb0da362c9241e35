"""Is it GGUF?"""

from __future__ import annotations

from collections.abc import Sequence


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """100 for a file that begins with the magic."""
    return 100 if head.startswith(b"GGUF") else 0
