"""Which tensors a checkpoint of integers in groups keeps as such, and with which parameters.

The matrices that a model's layers multiply with are; all else stays in floats. Codes that the source has already are
kept wherever the variant leaves it open: its widths, its groups, whether there are zero points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from hub.api import (
    Affine,
    Assignment,
    Blocks,
    Configured,
    Const,
    DType,
    Layout,
    Request,
    Scheme,
    Stored,
    Tensor,
    UsageError,
    keeper,
    printable,
    scheme_of,
)
from hub_safetensors.linear_layers import is_linear, linear_layers
from hub_safetensors.parameters import Parameters

FLOATS: Final = ("f16", "bf16", "f32")


@dataclass(frozen=True)
class Choice:
    """The variant of a request, resolved for one model.

    Attributes:
        base: what most matrices get.
        kept: matrices that have other parameters, since the source's codes have: by name.
        layers: canonical names of the matrices of layers.
        notes: for the plan.
    """

    base: Parameters
    kept: Mapping[str, Parameters]
    layers: frozenset[str]
    notes: tuple[str, ...] = ()

    def of(self, tensor: Tensor) -> Parameters:
        """The parameters of one of the matrices."""
        return self.kept.get(tensor.name, self.base)


def choose(
    tensors: Sequence[Tensor],
    configured: Configured | None,
    request: Request,
    widths: Collection[int],
    *,
    usual: Parameters,
    order: bool,
    layers: frozenset[str] | None = None,
    layout_of: Callable[[Parameters], Layout],
    format: str,
) -> Choice:
    """Resolve a variant such as `4bit-g128-sym`, `4bit-g128` or none at all.

    Args:
        widths: bits that the format has.
        usual: what floats become where nobody says otherwise.
        order: whether the format can tell groups by an index.
        layers: the matrices that may be quantized, where these are not those of class Linear.
        layout_of: the layout for parameters; it tells whether offsets can be zero points.
        format: its name, for messages.

    Raises:
        UsageError: a variant that the format does not have, or a model whose layers are not known.
    """
    layers = linear_layers(configured) if layers is None else layers
    if not layers:
        raise UsageError("which of its tensors are layers' matrices is not known of this architecture")
    asked = _asked(request.variant, widths, format)
    schemes = {t.name: scheme_of(t) for t in tensors if is_linear(t.name, layers, configured)}
    found = {
        t.name: (t, told) for t in tensors if (told := _told(schemes.get(t.name), t, widths, layout_of)) is not None
    }
    if asked is not None:
        base = asked
        own = {name: told for name, (_, told) in found.items() if (told.bits, told.group) == (base.bits, base.group)}
    else:
        counts: Counter[tuple[int, int]] = Counter()
        for tensor, told in found.values():
            counts[told.bits, told.group] += prod(tensor.shape)
        base = Parameters(*counts.most_common(1)[0][0]) if counts else usual
        own = {name: told for name, (_, told) in found.items()}
    symmetric = all(told.symmetric for told in own.values()) if own else usual.symmetric
    if asked is not None and request.variant.endswith(("-sym", "-asym")):
        symmetric = asked.symmetric
    base = replace(base, symmetric=symmetric)
    kept = {}
    for name, told in own.items():
        mine = replace(told, symmetric=symmetric, ordered=told.ordered and order)
        if mine != base:
            kept[name] = mine
    usually = asked is None and not found
    return Choice(base, kept, layers, (f"no codes to keep: {base}, the usual variant",) * usually)


def assignments(
    tensors: Sequence[Tensor],
    configured: Configured | None,
    request: Request,
    choice: Choice,
    spell: Callable[[Parameters], str],
    fits: Callable[[Tensor, Parameters], str | None],
    *,
    format: str,
) -> list[Assignment]:
    """A layout for every tensor.

    Args:
        spell: the layout's name for parameters.
        fits: why a tensor cannot have them, or None.
        format: its name, for messages.

    Raises:
        UsageError: a rule of the user's that cannot be followed.
    """
    made = []
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        word = request.recipe.layout_for(tensor.name, tensor.stored_name)
        if word is not None and word.lower() in FLOATS:
            made.append(Assignment(tensor, word.lower(), "as the user asked"))
            continue
        if word is not None:
            told = _ruled(word, choice.base, tensor, format)
            reason = fits(tensor, told)
            if reason:
                raise UsageError(f"{printable(tensor.name)} as {printable(word)}: {reason}")
            made.append(Assignment(tensor, spell(told), "as the user asked"))
        elif is_linear(tensor.name, choice.layers, configured):
            told = choice.of(tensor)
            reason = fits(tensor, told)
            made.append(
                Assignment(tensor, floats(tensor), reason, fallback=True) if reason else Assignment(tensor, spell(told))
            )
        else:
            made.append(Assignment(tensor, floats(tensor)))
    left = next((one for one in made if one.fallback), None)
    if left is not None and not any(one.layout.startswith(f"{format}.") for one in made):
        raise UsageError(f"no tensor would be {format}'s: {printable(left.tensor.name)}: {left.reason}")
    return made


def floats(tensor: Tensor) -> str:
    """The float type of a tensor that is not quantized: its own, but for matrices of 32 bits or of codes f16, which is
    what such models compute in."""
    scheme = scheme_of(tensor)
    if isinstance(scheme, DType) and not (scheme.name in ("f32", "f64") and len(tensor.shape) > 1):
        return scheme.name
    return "f16" if len(tensor.shape) > 1 else "f32"


def _asked(variant: str, widths: Collection[int], format: str) -> Parameters | None:
    if not variant:
        return None
    try:
        asked = Parameters.parse(variant)
    except UsageError:
        asked = None
    if variant.endswith("order"):
        raise UsageError(
            f"{format} has no variant {printable(variant)!r}: an order of columns comes from calibrated codes of the "
            "source, which keep theirs where the format tells it; floats are rounded without"
        )
    if asked is None or asked.bits not in widths or asked.scale != "f16":
        raise UsageError(
            f"{format} has no variant {printable(variant)!r}; variants are spelled as 4bit-g128, 4bit-g128-sym, "
            f"4bit-g128-asym or 4bit-channel, with {', '.join(map(str, widths))} bits and any group"
        )
    return asked


def _ruled(word: str, base: Parameters, tensor: Tensor, format: str) -> Parameters:
    try:
        told = Parameters.parse(word)
    except UsageError as error:
        raise UsageError(
            f"{format} has no layout {printable(word)!r} for {printable(tensor.name)}: {error.message}; "
            f"or {', '.join(FLOATS)}"
        ) from None
    return replace(told, symmetric=base.symmetric) if not word.endswith("sym") else told


def _told(
    scheme: Scheme | DType | None, tensor: Tensor, widths: Collection[int], layout_of: Callable[[Parameters], Layout]
) -> Parameters | None:
    """The parameters that keep the codes of a scheme, if it is one of integers with a stored scale for each group."""
    if not isinstance(scheme, Scheme) or not isinstance(scheme.values, Affine) or scheme.values.dtype is not None:
        return None
    if not isinstance(scheme.scale, Stored) or scheme.signs:
        return None
    bits = min((width for width in widths if width >= scheme.values.bits), default=None)
    if bits is None:
        return None
    if isinstance(scheme.groups, Blocks):
        high, group = scheme.groups.shape
        if high != 1:
            return None
        if scheme.offset != Const(0.0):
            return _of_offsets(tensor, Parameters(bits, group or -1), layout_of)
        return Parameters(bits, group or -1, symmetric=isinstance(scheme.zero, Const))
    if scheme.offset != Const(0.0) or scheme.groups.groups < 2 or tensor.shape[-1] % scheme.groups.groups:
        return None
    group = tensor.shape[-1] // scheme.groups.groups
    return Parameters(bits, group, symmetric=isinstance(scheme.zero, Const), ordered=True)


def _of_offsets(tensor: Tensor, told: Parameters, layout_of: Callable[[Parameters], Layout]) -> Parameters | None:
    """The parameters in which offsets are zero points, if these are whole numbers: the middle for all, or any."""
    tried = {layout_of(one): one for one in (replace(told, symmetric=True), told)}
    layout = keeper(tensor, tried)
    return tried[layout] if layout else None
