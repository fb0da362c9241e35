"""Writes folders that mlx-lm runs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from hub.api import (
    DTYPES,
    Assignment,
    ConfigError,
    Configured,
    Dense,
    DType,
    Laid,
    Model,
    Packed,
    PlannedFile,
    Recipe,
    Request,
    Rule,
    Scheme,
    Tensor,
    Tokenizer,
    UsageError,
    Writer,
    cast,
    plain_layout,
    printable,
    scheme_of,
)
from hub_mlx.card import card
from hub_mlx.collect import GLOBAL
from hub_mlx.layouts import make
from hub_mlx.mixtures import rules
from hub_mlx.new_config import members
from hub_mlx.reader import CONVENTION
from hub_mlx.settings import Told
from hub_mlx.variant import FLOATS, Variant, is_plain_float, kept
from hub_safetensors.new_config import DTYPES as SPELLED_IN_CONFIG
from hub_safetensors.new_folder import is_folder, lay_out_folder
from hub_safetensors.serialize import SPELLED, Habits, Weight, plain_weight
from hub_safetensors.writer import most_frequent

USUAL: Final = "4bit-g64"
"""What the format's name alone means for a model without codes that MLX holds."""
SPARE: Final = "8bit-g64"
"""What tensors become whose codes MLX does not hold, in a model of whose other codes it does."""
MAX_SHARD: Final = 5 << 30
METADATA: Final = {"format": "mlx"}


class MlxWriter(Writer):
    """Writes a folder with every matrix quantized as mlx-lm does: embedding, output and routers, too."""

    convention = CONVENTION
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", source_name)
        return f"{stem}-mlx{'-' * bool(request.variant)}{request.variant}"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        made, notes = self._assigned(sorted(tensors, key=lambda tensor: tensor.name), configured, request)
        return made, [*notes, *_warnings(made)]

    def _assigned(
        self, ordered: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[list[Assignment], list[str]]:
        if not request.variant:
            found = [_kept(tensor, request) for tensor in ordered]
            if any(one.layout.startswith("mlx.") and not one.fallback for one in found):
                return found, []
            variant, notes = Variant.parse(USUAL), [f"no codes to keep: {USUAL}, the usual variant"]
        else:
            variant, notes = Variant.parse(request.variant), []
        said = _said(configured) if variant.bits and not variant.scale else None
        if said is not None:
            notes += [f"numbers are cast to {said} first, as config.json and mlx-lm have it"] * _differ(ordered, said)
            ordered = [cast(tensor, said) if _is_float(tensor) else tensor for tensor in ordered]
        return _as_asked(ordered, variant, configured, request), notes

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        if configured is None:
            raise ConfigError("the architecture is not known, and mlx-lm reads no model without")
        weights = [weight for tensor in tensors for weight in _weights(tensor)]
        quantized = {_module(t.name): _told(t.layout) for t in tensors if t.layout.startswith("mlx.")}
        dtype = request.variant if request.variant in FLOATS else "" if is_folder(model) else _computed_in(tensors)
        settings = dict(request.recipe.settings)
        readme, notes = card(model, request)
        files, config, more = lay_out_folder(
            weights, model, configured, tokenizer,
            dtype=dtype,
            config={**members(model, configured, tokenizer, dtype, quantized), **settings},
            more=readme,
            habits=Habits(
                MAX_SHARD,
                METADATA,
                always_indexed=True,
                totals={"total_parameters": _parameters(tensors)},
            ),
        )  # fmt: skip
        return files, config, [*notes, *more, *(f"{printable(key)} set in config.json" for key in settings)]


def _warnings(made: Sequence[Assignment]) -> list[str]:
    """What runtimes make of some layouts."""
    notes = []
    wide = [one for one in made if one.layout != one.tensor.layout and one.layout.endswith("-f32")]
    wide = [one for one in wide if isinstance(one.tensor.body, Packed)]
    if wide:
        first = printable(wide[0].tensor.name, 80)
        told = f"{len(wide)} tensors have scales in f32, so that nothing is rounded (first {first})"
        notes.append(f"{told}: MLX then computes in f32; -f16 or -bf16 behind a variant rounds scales and biases")
    if any(one.layout.startswith("mlx.affine/1bit") for one in made):
        notes.append("codes of 1 bit need mlx 0.32.4 or newer")
    return notes


def _said(configured: Configured | None) -> DType | None:
    """The number type that config.json says models compute in, by the word that mlx-lm looks for."""
    word = configured.said.get("torch_dtype") if configured else None
    return next((DTYPES[name] for name, told in SPELLED_IN_CONFIG.items() if name in FLOATS and told == word), None)


def _differ(tensors: Iterable[Tensor], dtype: DType) -> bool:
    return any(
        isinstance(tensor.body, Dense) and _is_float(tensor) and tensor.layout != dtype.name for tensor in tensors
    )


def _as_asked(
    tensors: Sequence[Tensor], variant: Variant, configured: Configured | None, request: Request
) -> list[Assignment]:
    """A layout for every tensor, by the variant; single tensors by the user's rules, the mixture's or the family's."""
    special, why = _special(tensors, variant, configured, request)
    usual = _float_type(tensors)
    made = []
    for tensor in tensors:
        word = request.recipe.layout_for(tensor.name, tensor.stored_name)
        if word is not None:
            made.append(_ruled(tensor, word, usual))
        elif not variant.bits:
            made.append(Assignment(tensor, variant.word if _is_float(tensor) else _plain(tensor)))
        elif not _is_matrix(tensor):
            made.append(Assignment(tensor, _plain(tensor)))
        else:
            other = special.layout_for(tensor.name)
            chosen = Variant.parse(other) if other else variant
            made.append(_quantized(tensor, variant, chosen, usual, why if other else ""))
    return made


def _quantized(tensor: Tensor, variant: Variant, chosen: Variant, usual: str, why: str) -> Assignment:
    """A matrix as `chosen` says, where its rows are whole groups of that and of the variant, as mlx-lm demands."""
    for group in (variant.group, chosen.group):
        if tensor.shape[-1] % group:
            reason = f"rows of {tensor.shape[-1]} are not a multiple of {group}"
            return Assignment(tensor, _plain(tensor), reason, fallback=True)
    return Assignment(tensor, chosen.layout_of(tensor, usual), why)


def _special(
    tensors: Sequence[Tensor], variant: Variant, configured: Configured | None, request: Request
) -> tuple[Recipe, str]:
    """Rules for tensors that get something else than the variant says, and why. A mixture takes the place of what
    mlx-lm has for the family."""
    if request.recipe.pure or configured is None:
        return Recipe(), ""
    if not variant.mixture:
        return Recipe(rules=configured.architecture.formats[CONVENTION].layouts), "as mlx-lm has it in this family"
    found = rules(variant.mixture, variant.group, [tensor.name for tensor in tensors], configured.layers)
    if not found:
        raise UsageError(f"{variant.mixture} is about matrices called down_proj, which this family does not have")
    scale = f"-{variant.scale}" if variant.scale else ""
    found = [Rule(rule.match, f"{rule.layout}{scale}") for rule in found]
    return Recipe(rules=found), f"{variant.mixture} mixture"


def _kept(tensor: Tensor, request: Request) -> Assignment:
    """A tensor as the source has it, where MLX holds that."""
    word = request.recipe.layout_for(tensor.name, tensor.stored_name)
    if word is not None:
        return _ruled(tensor, word, "f16")
    if not _is_matrix(tensor) or not isinstance(scheme_of(tensor), Scheme):
        return Assignment(tensor, _plain(tensor))
    layout = kept(tensor)
    if layout:
        return Assignment(tensor, layout)
    spare = Variant.parse(SPARE).layout_of(tensor, "f16")
    if make(spare).fits(tensor.shape) is None:
        return Assignment(tensor, spare, "MLX does not hold its codes", fallback=True)
    return Assignment(tensor, _plain(tensor), "MLX does not hold its codes", fallback=True)


def _ruled(tensor: Tensor, word: str, usual: str) -> Assignment:
    variant = Variant.parse(word.lower())
    if not variant.bits:
        return Assignment(tensor, variant.word, "as the user asked")
    if variant.mixture:
        raise UsageError(f"{printable(word)} is about all tensors, not about {printable(tensor.name)}")
    layout = variant.layout_of(tensor, usual)
    reason = make(layout).fits(tensor.shape) if _is_matrix(tensor) else "it is no matrix"
    if reason:
        raise UsageError(f"{printable(tensor.name)} as {printable(word)}: {reason}")
    return Assignment(tensor, layout, "as the user asked")


def _is_matrix(tensor: Tensor) -> bool:
    """Whether mlx-lm quantizes it: layers' matrices, embeddings and stacks of experts all are `weight`."""
    return len(tensor.shape) > 1 and tensor.name.endswith(".weight")


def _is_float(tensor: Tensor) -> bool:
    scheme = scheme_of(tensor)
    return isinstance(scheme, Scheme) or is_plain_float(scheme)


def _plain(tensor: Tensor) -> str:
    """The layout of a tensor that is not quantized: f32 also of what MLX does not compute with."""
    plain = plain_layout(tensor)
    return "f32" if plain == "f64" else plain


def _float_type(tensors: Iterable[Tensor]) -> str:
    """The type of most matrices that are floats of 16 bits; f16 where there are none."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.layout in ("f16", "bf16") and len(tensor.shape) > 1:
            counts[tensor.layout] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else "f16"


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _told(layout: str) -> Told:
    made = make(layout)
    family, _, parameters = layout.partition("/")
    return Told(made.bits, made.group, family.removeprefix("mlx."), parameters == "scaled")


def _weights(tensor: Laid) -> list[Weight]:
    """The tensors of a file that a tensor of the model is."""
    if not tensor.layout.startswith("mlx."):
        return [plain_weight(tensor)]
    out = []
    for role, spec in make(tensor.layout).parts(tensor.shape).items():
        shape = spec.shape if role == GLOBAL else (*tensor.shape[:-1], spec.shape[-1])
        name = f"{_module(tensor.name)}.{role}"
        out.append(Weight(name, SPELLED[spec.dtype.name], shape, spec.nbytes, (tensor.name, role)))
    return out


def _parameters(tensors: Iterable[Laid]) -> int:
    """Numbers of the model, as mlx-lm counts them: weights and biases of layers, and nothing else that there may be."""
    return sum(math.prod(tensor.shape) for tensor in tensors if tensor.name.endswith((".weight", ".bias")))


def _computed_in(tensors: Sequence[Laid]) -> str:
    """The number type of most scales and floats, but f32, which scales have to be exact."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        layout = tensor.layout
        for name in ("f16", "bf16"):
            if layout == name or (layout.startswith("mlx.affine") and _scale(layout) == name):
                counts[name] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else most_frequent(tensors) or "f32"


def _scale(layout: str) -> str:
    return make(layout).per_group()["scales"].name
