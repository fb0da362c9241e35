"""Writes GPTQ checkpoints, with settings as transformers, GPTQModel and vLLM expect them, in both of their places."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hub.api import (
    Assignment,
    Configured,
    Laid,
    Model,
    PlannedFile,
    Request,
    Tensor,
    Tokenizer,
    Writer,
    printable,
    row_count,
    transposed,
)
from hub_gptq.layouts import WIDTHS, GptqLayout, make
from hub_safetensors.chosen import assignments, choose
from hub_safetensors.linear_layers import is_linear, linear_layers
from hub_safetensors.new_folder import lay_out_folder
from hub_safetensors.parameters import Parameters
from hub_safetensors.serialize import SPELLED, Weight, json_bytes, plain_weight

_BESIDE: Final = "quantize_config.json"
_HEAD: Final = "lm_head.weight"
_GROUPS: Final = (-1, 16, 32, 64, 128, 256, 512, 1024)
"""What GPTQModel's kernels take; vLLM's take whole rows, 32, 64 and 128 of these."""


class GptqWriter(Writer):
    """Writes a folder whose linear layers are in GPTQ's layouts.

    Symmetric codes are written as version 1, which every loader reads; those with zero points as version 2, because
    version 1 has no spelling of 0 that all tools read alike.
    """

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        return f"{source_name}-GPTQ{'-' * bool(request.variant)}{request.variant}"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        turned = linear_layers(configured, turned=True)
        stored = {t.name: t for t in tensors}
        tensors = [transposed(t) if is_linear(t.name, turned, configured) else t for t in tensors]

        def spell(told: Parameters) -> str:
            return f"gptq.{'v1' if told.symmetric else 'v2'}/{told}"

        def layout_of(told: Parameters) -> GptqLayout:
            return make(spell(told))

        def fits(tensor: Tensor, told: Parameters) -> str | None:
            return layout_of(told).fits(tensor.shape)

        choice = choose(
            tensors, configured, request, WIDTHS, usual=Parameters(4, 128, symmetric=True), order=True,
            layers=linear_layers(configured) | turned, layout_of=layout_of, format="gptq",
        )  # fmt: skip
        made = assignments(tensors, configured, request, choice, spell, fits, format="gptq")
        made = [
            _head(one if one.layout.startswith("gptq.") else replace(one, tensor=stored[one.tensor.name]))
            for one in made
        ]
        versions = {one.layout.partition("/")[0] for one in made if one.layout.startswith("gptq.")}
        if len(versions) > 1:  # a folder has one version
            made = [_as_second(one) for one in made]
        return made, list(choice.notes)

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        weights = [weight for tensor in tensors for weight in _weights(tensor)]
        quantization, notes = _quantization(tensors, configured)
        settings = dict(request.recipe.settings)
        files, config, more = lay_out_folder(
            weights, model, configured, tokenizer,
            # Scales are f16, and loaders cast them to what the model computes in.
            dtype="" if model.format == "gptq" else "f16",
            config={"quantization_config": quantization, **settings},
            more={_BESIDE: json_bytes(quantization)},
        )  # fmt: skip
        return files, config, [*more, *notes]


def _head(one: Assignment) -> Assignment:
    """A quantized output matrix, where the source has one, stays what it is."""
    tensor = one.tensor
    if tensor.name != _HEAD or not tensor.layout.startswith("gptq.") or one.layout.startswith("gptq.") or one.reason:
        return one
    told = make(tensor.layout).told
    return Assignment(tensor, f"gptq.{'v1' if told.symmetric else 'v2'}/{told}", "as the source has it")


def _as_second(one: Assignment) -> Assignment:
    layout = one.layout.replace("gptq.v1/", "gptq.v2/")
    return Assignment(one.tensor, layout, one.reason, one.fallback)


def _weights(tensor: Laid) -> list[Weight]:
    if not tensor.layout.startswith("gptq."):
        return [plain_weight(tensor)]
    layout = make(tensor.layout)
    prefix = tensor.name.removesuffix(".weight")
    out = []
    for role, spec in layout.parts(tensor.shape).items():
        shape = spec.shape if len(spec.shape) < 3 else (spec.shape[0], spec.shape[1] * spec.shape[2])
        out.append(Weight(f"{prefix}.{role}", SPELLED[spec.dtype.name], shape, spec.nbytes, (tensor.name, role)))
    if not layout.told.ordered:
        out.append(_index(prefix, layout, tensor.shape[-1]))
    return out


def _index(prefix: str, layout: GptqLayout, columns: int) -> Weight:
    """`g_idx` of groups in the order of columns: transformers cannot do without."""
    group = layout.told.group if layout.told.group > 0 else columns
    data = (np.arange(columns, dtype="<i4") // group).astype("<i4").tobytes()
    return Weight(f"{prefix}.g_idx", "I32", (columns,), len(data), None, data)


def _quantization(tensors: Sequence[Laid], configured: Configured | None) -> tuple[dict[str, Any], list[str]]:
    """The settings, and what the user should know of who reads them."""
    told = {t.name: make(t.layout) for t in tensors if t.layout.startswith("gptq.")}
    inner = {name: layout for name, layout in told.items() if name != _HEAD}
    base = _most(tensors, inner or told)
    version = "gptq_v2" if any(layout.family == "gptq.v2" for layout in told.values()) else "gptq"
    quantization: dict[str, Any] = {
        "quant_method": "gptq",
        "bits": base.bits,
        "group_size": base.group,
        "sym": base.symmetric,
        "desc_act": any(layout.told.ordered for layout in told.values()),
        "lm_head": _HEAD in told,
        "checkpoint_format": version,
        "format": version,
        "pack_dtype": "int32",
        "true_sequential": True,
        "static_groups": False,
        "damp_percent": 0.01,
        "meta": {"quantizer": ["hub"]},
    }
    notes: list[str] = []
    dense = [t.name for t in tensors if t.name not in told and _in_layer(t, configured)]
    rules: dict[str, dict[str, int]] = {f"-:^{re.escape(_module(name))}$": {} for name in dense}
    for name, layout in told.items():
        own = layout.told
        if (own.bits, own.group) != (base.bits, base.group):
            rules[f"+:^{re.escape(_module(name))}$"] = {"bits": own.bits, "group_size": own.group}
            if "transformers" not in " ".join(notes):
                notes.append("matrices with widths or groups of their own: GPTQModel reads that, transformers does not")
    notes += _unusual(tensors, told)
    if rules:
        quantization["dynamic"] = rules
    if dense:
        quantization["modules_in_block_to_quantize"] = [sorted({_suffix(name) for name in inner})]
        if {_suffix(name) for name in inner} & {_suffix(name) for name in dense}:
            notes.append("some layers are quantized otherwise than others: GPTQModel reads that, transformers does not")
    return quantization, notes


def _unusual(tensors: Sequence[Laid], told: Mapping[str, GptqLayout]) -> list[str]:
    """A note on groups that loaders do not take."""
    own = {t.name: (told[t.name].told.group, t.shape[-1]) for t in tensors if t.name in told}
    odd = {name: group for name, (group, _) in own.items() if group not in _GROUPS}
    short = {name: group for name, (group, columns) in own.items() if columns % group}
    notes = []
    for name, group in list(odd.items())[:1]:
        notes.append(f"groups of {group} (first {printable(name, 80)}): GPTQModel has no kernel for them")
    for name, group in list(short.items())[:1]:
        notes.append(
            f"{len(short)} matrices end in groups of less than {group} (first {printable(name, 80)}): vLLM reads whole "
            "groups only"
        )
    return notes


def _most(tensors: Sequence[Laid], told: Mapping[str, GptqLayout]) -> Parameters:
    """The parameters of most weights."""
    counts: dict[Parameters, int] = {}
    for tensor in tensors:
        if tensor.name in told:
            own = told[tensor.name].told
            counts[own] = counts.get(own, 0) + row_count(tensor.shape) * tensor.shape[-1]
    return max(counts, key=lambda own: counts[own]) if counts else Parameters(4, 128, symmetric=True)


def _in_layer(tensor: Laid, configured: Configured | None) -> bool:
    """Whether a matrix stands in a layer, where loaders look for linear modules."""
    return len(tensor.shape) == 2 and tensor.name.endswith(".weight") and bool(re.search(r"\.\d+\.", tensor.name))


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _suffix(name: str) -> str:
    """A module's name inside its layer."""
    return re.sub(r"^.*?\.\d+\.", "", _module(name))
