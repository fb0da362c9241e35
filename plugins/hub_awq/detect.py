"""Is it an AWQ checkpoint?"""

from __future__ import annotations

from collections.abc import Sequence

from hub_safetensors.quantization import told_by


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """90 for a folder whose settings name AWQ, or auto-round with AWQ's packing."""
    if not any(name.endswith(".safetensors") for name in names):
        return 0
    settings, where = told_by(path)
    method = str(settings.get("quant_method") or "").lower()
    if method == "awq":
        return 90
    if method.endswith("round"):
        return 90 if "awq" in str(settings.get("packing_format")) else 0
    # AutoAWQ's first files name no method.
    return 85 if not method and where.endswith("quant_config.json") and "q_group_size" in settings else 0
