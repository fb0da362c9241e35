"""mlx-lm's mixed recipes: few bits for most matrices, more for those that matter most, as rules of a recipe.

Source: mlx_lm 0.32.2, convert.py (mixed_quant_predicate_builder), which follows llama.cpp's Q4_K_M.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from hub.api import Rule

MIXTURES: Final[Mapping[str, tuple[int, int]]] = {
    "mixed_2_6": (2, 6), "mixed_3_4": (3, 4), "mixed_3_6": (3, 6), "mixed_4_6": (4, 6),
}  # fmt: skip
"""Bits of most matrices, and of the others."""
_DOWN: Final = "down_proj"
_FAVOURED: Final = "v_proj|v_a_proj|v_b_proj|down_proj"
"""Parts of names, as mlx-lm looks for them: `qkv_proj` has one of them in it, too."""


def rules(mixture: str, group: int, names: Sequence[str], layers: int) -> list[Rule]:
    """What a mixture gives other bits than most.

    Args:
        group: neighbours that share a scale.
        names: of all tensors; the first `down_proj` tells where in a name the layer's number stands.
        layers: of the model.

    Returns:
        Rules; none where no name has a `down_proj`, which mlx-lm refuses.
    """
    first = next((name for name in names if _DOWN in name), None)
    if first is None:
        return []
    layout = f"{MIXTURES[mixture][1]}bit-g{group}"
    words = first.split(".")
    place = next((i for i, word in enumerate(words) if word.isdigit()), len(words) - 1)
    favoured = [str(layer) for layer in range(layers) if _matters(layer, layers)]
    inside = rf"^(?:[^.]+\.){{{place}}}(?:{'|'.join(favoured)})\.(?:.*)(?:{_FAVOURED})"
    return [Rule(inside, layout), Rule(re.escape("lm_head"), layout)]


def _matters(layer: int, layers: int) -> bool:
    """The first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
