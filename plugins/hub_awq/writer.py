"""Writes AWQ checkpoints in the `gemm` version, the one that every loader reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hub.api import Assignment, Configured, Laid, Model, PlannedFile, Request, Tensor, Tokenizer, Writer
from hub_awq.layouts import BITS, AwqLayout, make
from hub_safetensors.chosen import assignments, choose
from hub_safetensors.linear_layers import refuse_conv1d
from hub_safetensors.new_folder import lay_out_folder
from hub_safetensors.parameters import Parameters
from hub_safetensors.serialize import SPELLED, Weight, plain_weight


class AwqWriter(Writer):
    """Writes a folder whose linear layers are in AWQ's layout, quantized by rounding where the source has no codes."""

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        return f"{source_name}-AWQ{'-' * bool(request.variant)}{request.variant}"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        refuse_conv1d(configured, "awq")

        def spell(told: Parameters) -> str:
            return f"awq.gemm/{told}"

        def layout_of(told: Parameters) -> AwqLayout:
            return make(spell(told))

        def fits(tensor: Tensor, told: Parameters) -> str | None:
            return layout_of(told).fits(tensor.shape)

        usual = Parameters(BITS, 128)
        choice = choose(
            tensors, configured, request, (BITS,), usual=usual, order=False, layout_of=layout_of, format="awq"
        )
        return assignments(tensors, configured, request, choice, spell, fits, format="awq"), list(choice.notes)

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        weights = [weight for tensor in tensors for weight in _weights(tensor)]
        quantization = _quantization(tensors)
        settings = dict(request.recipe.settings)
        files, config, notes = lay_out_folder(
            weights, model, configured, tokenizer,
            # Scales are f16, and loaders cast them to what the model computes in.
            dtype="" if model.format == "awq" else "f16",
            config={"quantization_config": quantization, **settings},
        )  # fmt: skip
        return files, config, notes


def _weights(tensor: Laid) -> list[Weight]:
    if not tensor.layout.startswith("awq."):
        return [plain_weight(tensor)]
    prefix = tensor.name.removesuffix(".weight")
    return [
        Weight(f"{prefix}.{role}", SPELLED[spec.dtype.name], spec.shape, spec.nbytes, (tensor.name, role))
        for role, spec in make(tensor.layout).parts(tensor.shape).items()
    ]


def _quantization(tensors: Sequence[Laid]) -> dict[str, Any]:
    told = {tensor.name: make(tensor.layout).told for tensor in tensors if tensor.layout.startswith("awq.")}
    base = next(iter(told.values()), Parameters(BITS, 128))
    dense = [
        tensor.name
        for tensor in tensors
        if tensor.name not in told and len(tensor.shape) == 2 and re.search(r"\.\d+\.", tensor.name)
    ]
    return {
        "quant_method": "awq",
        "bits": BITS,
        "group_size": base.group,
        "zero_point": True,  # there are zero points to be read, even where they are all in the middle
        "sym": base.symmetric,
        "version": "gemm",
        "modules_to_not_convert": sorted({_suffix(name) for name in dense}) or None,
    }


def _suffix(name: str) -> str:
    """A module's name inside its layer, which all loaders find."""
    return re.sub(r"^.*?\.\d+\.", "", name.removesuffix(".weight"))
