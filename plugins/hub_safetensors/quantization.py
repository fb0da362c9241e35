"""What a folder says about how its weights are quantized, wherever it says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.api import Folder, FormatError, HubError
from hub_safetensors.hf_folder import CONFIG

MEMBERS: Final = ("quantization_config", "compression_config")
"""Members of config.json; the second one is compressed-tensors' of before 2025."""
FILES: Final = ("quantize_config.json", "quant_config.json", "quantization_config.json")
"""Files beside config.json; GPTQModel, AutoAWQ and auto-round write them. The first that is there counts."""


def quantization_of(folder: Folder, config: Mapping[str, Any] | None = None) -> tuple[Mapping[str, Any], str]:
    """The settings of the quantization, and the file that they stand in; nothing of a folder that is not quantized.

    config.json comes first: it is what transformers and vLLM obey.

    Args:
        config: config.json, where it has been read already.

    Raises:
        FormatError: a file that is not JSON, or a member that is no object.
    """
    if config is None:
        config = folder.json(CONFIG) if folder.exists(CONFIG) else {}
    for member in MEMBERS:
        found = config.get(member)
        if found is None:
            continue
        if not isinstance(found, dict):
            raise FormatError(f"{member} must be an object, found {type(found).__name__}", path=folder.root / CONFIG)
        if found:
            return found, str(folder.root / CONFIG)
    for name in FILES:
        if folder.exists(name):
            return folder.json(name), str(folder.root / name)
    return {}, ""


def told_by(path: str) -> tuple[Mapping[str, Any], str]:
    """As `quantization_of` of the folder at `path`, for `detect`: nothing of one whose files cannot be read."""
    try:
        return quantization_of(Folder(path))
    except HubError:
        return {}, ""


def claimed(path: str) -> tuple[Mapping[str, Any], str]:
    """As `quantization_of`, for `detect`: a folder whose settings cannot be read names none, and whoever opens it
    says why."""
    try:
        return quantization_of(Folder(path))
    except HubError:
        return {}, ""


def method_of(path: str) -> str:
    """The quantization's `quant_method` in lower case, for `detect`; empty where a folder names none."""
    method = claimed(path)[0].get("quant_method")
    return method.lower() if isinstance(method, str) else ""
