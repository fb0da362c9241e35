"""Writes ONNX folders: `model.onnx` with the graph, `model.onnx.data` with all weights, and the model's small files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from hub.api import (
    HUB_VERSION,
    Assignment,
    ConfigError,
    Configured,
    Laid,
    Model,
    PlannedFile,
    Request,
    Tensor,
    Tokenizer,
    UsageError,
    Writer,
    padded,
    printable,
)
from hub_onnx.assign import DQ, assign
from hub_onnx.build import IR_VERSIONS, OPSET
from hub_onnx.decoder import Decoder
from hub_onnx.detect import MODEL
from hub_onnx.encode import encode
from hub_onnx.flavours import decoder_of
from hub_onnx.genai_config import NAME as GENAI
from hub_onnx.genai_config import genai_config
from hub_onnx.layouts import NBITS, make
from hub_onnx.model import External, Graph, Initializer, ModelProto
from hub_onnx.uses import Uses, uses
from hub_onnx.variant import Variant
from hub_onnx.ways import weight_of
from hub_onnx.weights import Weight
from hub_safetensors.new_folder import lay_out_folder
from hub_safetensors.serialize import json_bytes, literal

DATA: Final = "model.onnx.data"
_SMALL, _LARGE = 64, 4096
"""What tensors are aligned to: a line of the cache, and from `_PAGED` bytes on a page, so that they can be mapped."""
_PAGED: Final = 1 << 16
_LEVEL: Final = "accuracy_level"
"""The setting for how onnxruntime computes with codes; it is no member of config.json."""


class OnnxWriter(Writer):
    """Writes a folder that onnxruntime runs."""

    convention = ""
    folder = True

    def default_name(self, source_name: str, request: Request) -> str:
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", source_name)
        return f"{stem}-onnx{'-' * bool(request.variant)}{request.variant}"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        return assign(tensors, configured, request)

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        flavour = Variant.parse(request.variant).flavour
        settings = dict(request.recipe.settings)
        level = _accuracy_level(settings.pop(_LEVEL, 0))
        weights = {tensor.name: weight_of(tensor.name, tensor.shape, tensor.layout) for tensor in tensors}
        initializers, data = _placed(tensors, weights)
        decoder = None if flavour == "weights" else _decoder(flavour, configured, weights, level)
        metadata = {
            "hub.version": HUB_VERSION,
            "hub.source_format": str(model.metadata.get("hub.source_format", model.format)),
            "hub.flavour": flavour,
            "hub.tensors": json_bytes({tensor.name: tensor.layout for tensor in tensors}, compact=True)
            .decode()
            .strip(),
        }
        try:
            graph = encode(_model(decoder, initializers, metadata, weights.values()))
        except UsageError as error:
            raise error.at(path=MODEL) from None
        files, config, notes = lay_out_folder(
            [], model, configured, tokenizer,
            dtype="",
            config={**_untied(configured, weights), **settings},
            but=[MODEL, DATA, GENAI],
        )  # fmt: skip
        notes = [*notes, *(f"{printable(key)} set in config.json" for key in settings)]
        if decoder is not None:
            assert configured is not None
            generation = model.load_about().generation
            genai = genai_config(decoder, configured, config, generation, shared=flavour == "genai")
            files.append(literal(GENAI, json_bytes(genai)))
            notes += _speed(level, tensors, uses(configured, weights))
        return [data, literal(MODEL, graph), *files], {**metadata, **config}, notes


def _accuracy_level(given: Any) -> int:
    """The number that --set gives as text."""
    if str(given) not in ("0", "1", "4"):
        raise UsageError(
            f"{_LEVEL} is {printable(str(given))!r}; onnxruntime has 0 and 1 (f32), and 4 (8-bit activations)"
        )
    return int(given)


def _untied(configured: Configured | None, weights: Collection[str]) -> dict[str, Any]:
    """What config.json says of an output matrix that has become a tensor of its own."""
    if configured is None or not configured.values.get("tie_word_embeddings"):
        return {}
    tied = uses(configured, ()).tied
    return {"tie_word_embeddings": False} if tied is not None and tied[0] in weights else {}


def _speed(level: int, tensors: Sequence[Laid], used: Uses) -> list[str]:
    """A warning of what onnxruntime has no fast exact kernels for."""
    multiplied = used.matrices | {used.tied[1] if used.tied else ""}
    codes = {t.name: make(t.layout).told for t in tensors if t.name in multiplied and t.layout.startswith((DQ, NBITS))}
    slow = [name for name, told in codes.items() if told.bits != 4]
    if level == 4 or not slow:
        return []
    return [
        f"{len(slow)} matrices have codes of 8 or 2 bits, with which onnxruntime is slow in f32; "
        f"--set {_LEVEL}=4 makes it fast, with logits that are off by some 1e-2"
    ]


def _decoder(flavour: str, configured: Configured | None, weights: Mapping[str, Weight], level: int) -> Decoder:
    if configured is None or configured.architecture.graph is None:
        family = "unknown" if configured is None else configured.architecture.family
        raise ConfigError(
            f"architecture {family} has no compute graph that could be written",
            remedy="onnx:weights stores the tensors without one",
        )
    made = decoder_of(flavour)(configured, weights)
    made.build.accuracy_level = level
    made.run()
    return made


def _placed(tensors: Sequence[Laid], weights: Mapping[str, Weight]) -> tuple[list[Initializer], PlannedFile]:
    """Every part of every tensor as an initializer in the file of data, and that file."""
    initializers, placed, position = [], {}, 0
    for tensor in tensors:
        for part, held in weights[tensor.name].held().items():
            nbytes = tensor.parts[part]
            position = padded(position, _LARGE if nbytes >= _PAGED else _SMALL)
            initializers.append(
                Initializer(held.name, held.data_type, held.dims, external=External(DATA, position, nbytes))
            )
            placed[tensor.name, part] = position
            position += nbytes
    return initializers, PlannedFile(DATA, position, placed=placed)


def _model(
    decoder: Decoder | None, initializers: Sequence[Initializer], metadata: Mapping[str, str], weights: Iterable[Weight]
) -> ModelProto:
    opset = max([OPSET, *(weight.opset for weight in weights)])
    if decoder is None:
        graph, opsets = Graph("weights", [], [], [], initializers), {"": opset}
    else:
        build = decoder.build
        build.need(opset)
        graph = Graph(
            "decoder", build.nodes, decoder.inputs, decoder.outputs, [*build.constants, *build.house(initializers)]
        )
        opsets = build.opsets
    return ModelProto(IR_VERSIONS[opsets[""]], opsets, graph, metadata, "hub", metadata["hub.version"])
