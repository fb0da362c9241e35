"""`quantization_config` of a new folder, in the words that compressed-tensors, transformers and vLLM parse.

Only weights are described: activations stay in the model's number type, so what runs is what the weights say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub_compressed_tensors.form import parse

_FORMATS: Final = {
    "ct.pack": "pack-quantized", "ct.int": "int-quantized", "ct.float": "float-quantized",
    "ct.nvfp4": "nvfp4-pack-quantized", "ct.mxfp4": "mxfp4-pack-quantized",
}  # fmt: skip


def new_settings(modules: Mapping[str, str], others: Sequence[str]) -> dict[str, Any]:
    """The settings.

    Args:
        modules: module -> layout of each quantized one.
        others: modules that a list of exceptions must name.
    """
    groups: dict[str, list[str]] = {}
    for module, layout in modules.items():
        groups.setdefault(_key(layout), []).append(module)
    most = max(groups, key=lambda key: len(groups[key]))
    listed = {}
    for i, (key, names) in enumerate(sorted(groups.items(), key=lambda item: item[0] == most)):
        # A name counts before a class, so that all others can be told by theirs.
        listed[f"group_{i}"] = {
            "targets": ["Linear"] if key == most else names,
            "weights": _weights(key),
            "input_activations": None,
            "output_activations": None,
            "format": _FORMATS[key.partition("/")[0]],
        }
    formats = {group["format"] for group in listed.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "ignore": list(others),
        "config_groups": listed,
    }


def _key(layout: str) -> str:
    """What of a layout the config tells; the type of scales it does not."""
    family, slash, words = layout.partition("/")
    return f"{family}{slash}{'-'.join(_without_scale(layout))}" if words else layout


def _without_scale(layout: str) -> list[str]:
    form = parse(layout)
    return [word for word in layout.partition("/")[2].split("-") if word != form.scale.name or word == "u8"]


def _weights(key: str) -> dict[str, Any]:
    family, _, words = key.partition("/")
    if family in ("ct.nvfp4", "ct.mxfp4"):
        nvfp4 = family == "ct.nvfp4"
        return _told(4, "float", "tensor_group" if nvfp4 else "group", 16 if nvfp4 else 32) | {
            "scale_dtype": "torch.float8_e4m3fn" if nvfp4 else "torch.uint8"
        }
    told = words.split("-")
    bytes_of_scale = "u8" in told
    form = parse(f"{family}/{'-'.join([*told[:2], *(() if bytes_of_scale else ('f16',)), *told[2:]])}")
    high, wide = form.blocks.shape
    kind = "float" if form.codes else "int"
    strategy = "tensor" if not high else "block" if high > 1 else "group" if wide else "channel"
    out = _told(form.bits, kind, strategy, wide if strategy == "group" else None, not form.asym)
    if strategy == "block":
        out["block_structure"] = [high, wide]
    if bytes_of_scale:
        out["scale_dtype"] = "torch.uint8"
    if form.indexed:
        out["actorder"] = "group"
    return out


def _told(bits: int, kind: str, strategy: str, group: int | None, symmetric: bool = True) -> dict[str, Any]:
    return {
        "num_bits": bits, "type": kind, "symmetric": symmetric, "strategy": strategy, "group_size": group,
        "dynamic": False, "actorder": None, "block_structure": None, "observer": "minmax", "observer_kwargs": {},
    }  # fmt: skip
