"""Is it a GPTQ checkpoint?"""

from __future__ import annotations

from collections.abc import Sequence

from hub_safetensors.quantization import told_by


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """90 for a folder whose settings name GPTQ, or auto-round with GPTQ's packing."""
    if not any(name.endswith(".safetensors") for name in names):
        return 0
    settings, where = told_by(path)
    method = str(settings.get("quant_method") or settings.get("method") or "").lower()
    if method == "gptq":
        return 90
    if method in ("auto-round", "auto_round", "intel/auto-round"):
        packing = settings.get("packing_format", "auto_round:auto_gptq")
        other = any(word in str(packing) for word in ("awq", "llm_compressor", "fp8", "nvfp4", "mxfp"))
        return 0 if other else 90
    # AutoGPTQ's own file names no method.
    return 85 if not method and where.endswith("quantize_config.json") and {"bits", "wbits"} & set(settings) else 0
