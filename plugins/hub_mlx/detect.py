"""Is it a folder of mlx-lm's?"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any, Final

from hub.api import FileSource, Folder, HubError
from hub_mlx.settings import COPY, QUANTIZATION
from hub_safetensors.hf_folder import CONFIG

_LOOKED_AT: Final = 4096
"""Bytes of a header in which metadata are looked for; every writer of the format puts them first."""
_METADATA: Final = re.compile(rb'"__metadata__"\s*:\s*(\{[^{}]*\})')


def detect(path: str, head: bytes, names: Sequence[str]) -> int:
    """95 for a folder whose config.json has MLX's own settings of quantization, 80 for one whose weights say that they
    are MLX's and whose config.json names no quantization."""
    weights = [name for name in names if name.startswith("model") and name.endswith(".safetensors")]
    if CONFIG not in names or not weights:
        return 0
    try:
        config = Folder(path).json(CONFIG)
    except HubError:
        return 0
    own, other = config.get(QUANTIZATION), config.get(COPY)
    if _is_mlx(own):
        return 95
    # The copy alone is MLX's only where the weights are: others have had settings without a method, too.
    told = not other or (own is None and _is_mlx(other))
    return (95 if other else 80) if told and _says_mlx(os.path.join(path, min(weights))) else 0


def _is_mlx(values: Any) -> bool:
    return isinstance(values, dict) and "quant_method" not in values and {"bits", "group_size"} <= values.keys()


def _says_mlx(path: str) -> bool:
    try:
        with FileSource(path) as source:
            start = source.read(0, min(source.size, _LOOKED_AT))
        found = _METADATA.search(start)
        return found is not None and json.loads(found[1]).get("format") == "mlx"
    except (HubError, ValueError):
        return False
