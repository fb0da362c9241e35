"""The rule by which `P.weight`, `P.scales` and `P.biases` are one weight.

A module is quantized where it has scales. What config.json says of a single module must agree with its tensors; of
all others the tensors count, as mlx-lm reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from hub.api import ConfigError, FormatError, Tensor, printable
from hub_mlx.layouts import GROUPS, WIDTHS, Form, make
from hub_mlx.settings import AFFINE, USUAL, Settings, Told
from hub_safetensors.partners import fault, modules, packed, partner

CODES, SCALES, BIASES, GLOBAL = "weight", "scales", "biases", "global_scale"
_BESIDE: Final = (SCALES, BIASES, GLOBAL)
_FLOATS: Final = ("f16", "bf16", "f32")


def collect(
    tensors: Mapping[str, Tensor], settings: Settings | None, config: Mapping[str, Any], notes: list[str]
) -> dict[str, Tensor]:
    """All tensors of a folder, those of quantized modules as one weight each.

    Args:
        config: config.json, whose sizes tell widths and groups apart that have the same shapes.
        notes: gets what the user should know.

    Raises:
        HubError: tensors that contradict each other or the settings.
    """
    found = dict(modules(tensors, SCALES))
    if found and settings is None:
        raise fault(
            next(iter(found.values())),
            "scales of a quantized weight, and config.json has no quantization",
            remedy="put the config.json of the same model beside it",
        )
    sizes = _sizes(config)
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        prefix, _, role = name.rpartition(".")
        if prefix in found and role == CODES and settings is not None:
            out[name] = _joined(tensors, prefix, settings, sizes)
        elif prefix in found and role in _BESIDE:
            partner(tensors, prefix, CODES, beside=SCALES)
        elif tensor.layout == "u32" and role == CODES:
            raise fault(tensor, f"codes of a quantized weight, and {prefix}.{SCALES}, which belongs to it, is missing")
        elif role in (BIASES, GLOBAL) and prefix:
            raise fault(tensor, f"{prefix}.{SCALES}, which belongs to it, is missing")
        else:
            out[name] = tensor
    if settings is not None:
        _look_at_list(settings, found.keys(), tensors, notes)
    return out


def _look_at_list(settings: Settings, found: Collection[str], tensors: Mapping[str, Tensor], notes: list[str]) -> None:
    """What the list of modules says of others than those that are quantized."""
    for module, value in settings.unread.items():
        if f"{module}.{CODES}" in tensors:
            raise ConfigError(
                f"how {printable(module, 120)} is quantized must be an object, true or false, "
                f"found {type(value).__name__}",
                path=settings.path,
            )
    strangers = []
    for module, told in settings.modules.items():
        if told is None or module in found:
            continue
        if f"{module}.{CODES}" in tensors:
            raise ConfigError(
                f"{printable(module, 120)} is said to be quantized ({told}), and {SCALES} of it are missing",
                path=settings.path,
            )
        strangers.append(module)
    if strangers:
        notes.append(
            f"config.json tells how {len(strangers)} modules are quantized that are not there "
            f"(first {printable(strangers[0], 80)})"
        )


def _joined(tensors: Mapping[str, Tensor], prefix: str, settings: Settings, sizes: Collection[int]) -> Tensor:
    codes, scales = tensors[f"{prefix}.{CODES}"], tensors[f"{prefix}.{SCALES}"]
    stored = {CODES: codes, SCALES: scales}
    if codes.layout != "u32":
        raise fault(codes, f"its numbers are {codes.layout}, allowed is u32 for the codes of a quantized weight")
    for tensor in (codes, scales):
        if len(tensor.shape) not in (2, 3) or 0 in tensor.shape:
            raise fault(tensor, f"shape {list(tensor.shape)}, it must have 2 or 3 axes and none of them 0")
    if codes.shape[:-1] != scales.shape[:-1]:
        raise fault(scales, f"shape {list(scales.shape)}, the codes have {list(codes.shape)}")
    told = _told(prefix, codes, scales, settings, sizes)
    shape = (*codes.shape[:-1], codes.shape[-1] * 32 // told.bits)
    if told.mode == AFFINE:
        layout = Form(told.bits, told.group, scales.layout).layout
        stored[BIASES] = partner(tensors, prefix, BIASES, beside=SCALES)
    else:
        layout = f"mlx.{told.mode}"
        if told.mode == "nvfp4" and f"{prefix}.{GLOBAL}" in tensors:
            layout, stored[GLOBAL] = f"{layout}/scaled", tensors[f"{prefix}.{GLOBAL}"]
    for role in (BIASES, GLOBAL):
        if f"{prefix}.{role}" in tensors and role not in stored:
            raise fault(tensors[f"{prefix}.{role}"], f"mode {told.mode} has no {role}")
    return packed(f"{prefix}.{CODES}", shape, layout, make(layout).parts(shape), stored)


def _told(prefix: str, codes: Tensor, scales: Tensor, settings: Settings, sizes: Collection[int]) -> Told:
    """How the module is quantized, by its tensors and what is said of it."""
    able = list(_able(codes, scales))
    listed = settings.modules.get(prefix, settings.usual)
    if listed is None:
        raise fault(scales, f"scales, and {settings.path} says that {printable(prefix, 120)} is not quantized")
    if prefix not in settings.modules:
        usual = settings.usual

        def rank(told: Told) -> tuple[bool, ...]:
            length = codes.shape[-1] * 32 // told.bits
            return length not in sizes, told != usual, told.group != usual.group, told.bits != usual.bits

        return min(able, key=rank)
    if listed not in able:
        raise fault(
            codes,
            f"shapes {list(codes.shape)} of codes and {list(scales.shape)} of {scales.layout} scales are not those of "
            f"{listed}, which {settings.path} says of {printable(prefix, 120)}",
        )
    return listed


def _able(codes: Tensor, scales: Tensor) -> Iterator[Told]:
    """The ways that give such shapes; at least one.

    Raises:
        FormatError: there is none.
    """
    words, groups = codes.shape[-1], scales.shape[-1]
    kinds = [Told(bits, group, mode) for mode, (bits, group) in USUAL.items() if mode != AFFINE]
    if scales.layout in _FLOATS:
        kinds = [Told(bits, group) for bits in WIDTHS for group in GROUPS]
    elif scales.layout != "u8":
        raise fault(scales, f"its numbers are {scales.layout}, allowed are {', '.join(_FLOATS)} and u8")
    found = [told for told in kinds if words * 32 == groups * told.group * told.bits]
    if not found:
        raise _misshapen(codes, scales)
    yield from found


def _misshapen(codes: Tensor, scales: Tensor) -> FormatError:
    bits, group = codes.shape[-1] * 32, scales.shape[-1]
    ways = "modes of small floats" if scales.layout == "u8" else f"groups of {', '.join(map(str, GROUPS))}"
    return fault(
        scales,
        f"shape {list(scales.shape)} beside codes of {list(codes.shape)}: {bits} bits to {group} scales, which no "
        f"width of MLX's gives in its {ways}",
    )


def _sizes(config: Mapping[str, Any]) -> set[int]:
    """Lengths that rows of a model's matrices may have: whole numbers of config.json, and heads times their size."""
    found = {value for value in config.values() if type(value) is int}
    heads, size = config.get("num_attention_heads"), config.get("head_dim")
    if type(heads) is int and type(size) is int:
        found.add(heads * size)
    hidden = config.get("n_embd")
    return found | ({4 * hidden} if type(hidden) is int else set())
