"""How a consumer and its version are called, in messages and reports alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def title(item: Mapping[str, Any]) -> str:
    """`onnxruntime 1.31.1`; `mlx (mlx-lm 0.32.2)` where the distribution whose version it is has another name.

    Args:
        item: a member `consumers` of a report; members may be missing.
    """
    name, version, versions = item.get("name") or "", item.get("version") or "", item.get("versions")
    program = next(iter(versions), name) if isinstance(versions, Mapping) else name
    if not version or program == name:
        return f"{name} {version}".strip()
    return f"{name} ({program} {version})"
