"""Decides everything about a GGUF file before its first byte: types, order, metadata, offsets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hub.api import (
    Assignment,
    ConfigError,
    Configured,
    FormatError,
    Laid,
    Model,
    Packed,
    PlannedFile,
    Request,
    Shape,
    Tensor,
    Tokenizer,
    UsageError,
    Writer,
    padded,
    plain_layout,
    printable,
)
from hub_gguf.factors import name_of, orphans, scale_spec
from hub_gguf.filetypes import FILE_TYPES, Choice, Facts, choose, fallback, order, quantizable, quantizes
from hub_gguf.held import held
from hub_gguf.kv import Kv, encode, parse_override
from hub_gguf.metadata import file_metadata
from hub_gguf.reader import MAX_NAME
from hub_gguf.types import BY_LAYOUT, BY_NAME, WRITABLE, GgmlType, type_of

ALIGNMENT = 32
"""Always the default: llama.cpp's own tools lay data out with it whatever `general.alignment` says."""

_FLOATS = ("f64", "f32", "f16", "bf16")
_MXFP4 = BY_NAME["MXFP4"].layout


class GgufWriter(Writer):
    """Writes `.gguf` files."""

    convention = "gguf"

    def default_name(self, source_name: str, request: Request) -> str:
        stem = re.sub(r"-\d{5}-of-\d{5}$", "", source_name)  # of a split model, whose files become one
        variant = f"-{request.variant.upper()}" if request.variant else ""
        return f"{stem}{variant}.gguf"

    def assign(
        self, tensors: Sequence[Tensor], configured: Configured | None, request: Request
    ) -> tuple[Sequence[Assignment], Sequence[str]]:
        if request.variant and request.variant not in FILE_TYPES:
            raise UsageError(f"gguf has no variant {printable(request.variant)!r}; known: {', '.join(FILE_TYPES)}")
        # Float types are what llama.cpp's converter writes, in the source's order; the others are what its
        # quantizer makes of such a file, by layer and name.
        ordered = list(tensors) if not quantizes(request.variant) else sorted(tensors, key=lambda t: order(t.name))
        for tensor in ordered:
            _check_tensor(tensor)
        if not request.variant:
            return _without_orphans(_as_converted([self._kept(tensor, request) for tensor in ordered]))
        choices = choose(
            [(tensor.name, tensor.shape) for tensor in ordered],
            request.variant,
            _facts(configured, request),
            pure=request.recipe.pure,
            manual={tensor.name: _manual(tensor, request) for tensor in ordered}.get,
        )
        return _without_orphans([_assignment(tensor, choice) for tensor, choice in zip(ordered, choices, strict=True)])

    def _kept(self, tensor: Tensor, request: Request) -> Assignment:
        """Without a variant every tensor keeps its layout where GGUF has it; vectors become f32."""
        given = _manual(tensor, request)
        if given is not None:
            final = fallback(given, tensor.shape[-1])
            return Assignment(tensor, final.layout, "as the user asked", final != given)
        # Those of all experts are vectors, too, and ggml adds no others.
        vector = len(tensor.shape) < 2 or tensor.name.endswith(".bias")
        if type_of(tensor.layout) and (tensor.layout not in _FLOATS or not vector):
            return Assignment(tensor, tensor.layout)
        if isinstance(tensor.body, Packed) and (layout := held(tensor)):
            return Assignment(tensor, layout)
        plain = plain_layout(tensor)
        return Assignment(tensor, "f32" if vector or not type_of(plain) else plain, "vectors are f32" if vector else "")

    def lay_out(
        self,
        tensors: Sequence[Laid],
        model: Model,
        configured: Configured | None,
        tokenizer: Tokenizer | None,
        request: Request,
    ) -> tuple[Sequence[PlannedFile], Mapping[str, Any], Sequence[str]]:
        kvs, notes = file_metadata(tensors, model, configured, tokenizer, request)
        kvs, more = _with_settings(kvs, request)
        infos = bytearray()
        placed: dict[tuple[str, str], int] = {}
        position = count = 0
        for tensor in tensors:
            for part, nbytes in tensor.parts.items():
                name, kind, dims = _stored_as(tensor, part, quantizes(request.variant))
                infos += len(name).to_bytes(8, "little") + name
                infos += len(dims).to_bytes(4, "little")
                for dim in dims:
                    infos += dim.to_bytes(8, "little")
                infos += kind.id.to_bytes(4, "little") + position.to_bytes(8, "little")
                placed[tensor.name, part] = position
                position = padded(position + nbytes, ALIGNMENT)
                count += 1
        head = b"GGUF" + (3).to_bytes(4, "little") + count.to_bytes(8, "little")
        head += len(kvs).to_bytes(8, "little") + encode(kvs) + infos
        start = padded(len(head), ALIGNMENT)
        head += bytes(start - len(head))
        file = PlannedFile(
            name="",
            size=start + position,
            literals=[(0, head)],
            placed={key: start + offset for key, offset in placed.items()},
        )
        return [file], {kv.key: kv.value for kv in kvs}, [*notes, *more]


def _stored_as(tensor: Laid, part: str, counted: bool) -> tuple[bytes, GgmlType, list[int]]:
    """Name, type and dimensions of the tensor that holds a part; `counted` as for `_dimensions`."""
    name = name_of(tensor.name, part)
    if name != tensor.name:
        return name.encode(), BY_LAYOUT["f32"], _dimensions(scale_spec(tensor.shape).shape, counted)
    kind = type_of(tensor.layout)
    assert kind is not None
    return name.encode(), kind, _dimensions(tensor.shape, counted)


def _as_converted(made: list[Assignment]) -> list[Assignment]:
    """As llama.cpp's converter has it where it moves codes of MXFP4: these in front, what is never quantized in f32."""
    moved = [one for one in made if one.layout == _MXFP4 and type_of(one.tensor.layout) is None]
    if not moved:
        return made
    first = {one.tensor.name for one in moved}
    rest = [one for one in made if one.tensor.name not in first]
    return [*moved, *(_never(one) if one.layout in ("f16", "bf16") else one for one in rest)]


def _never(one: Assignment) -> Assignment:
    keeps = one.reason or quantizable(one.tensor.name, one.tensor.shape)
    return one if keeps else Assignment(one.tensor, "f32", "never quantized")


def _without_orphans(made: list[Assignment]) -> tuple[list[Assignment], list[str]]:
    left = orphans({one.tensor.name: one.layout for one in made})
    if not left:
        return made, []
    note = f"{len(left)} scales of 4-bit activations left out, their weights are no 4-bit floats any more"
    return [one for one in made if one.tensor.name not in left], [note]


def _dimensions(shape: Shape, counted: bool) -> list[int]:
    """ggml's order of axes, contiguous one first; `counted`: without the 1s that ggml does not count, as llama.cpp's
    quantizer writes them and its converter does not."""
    dims = list(reversed(shape)) or [1]
    while counted and len(dims) > 1 and dims[-1] == 1:
        dims.pop()
    return dims


def _check_tensor(tensor: Tensor) -> None:
    if len(tensor.name.encode()) > MAX_NAME:
        raise FormatError(f"a name of more than {MAX_NAME} bytes, which GGUF does not allow", tensor=tensor.name)
    if len(tensor.shape) > 4:
        raise FormatError(f"{len(tensor.shape)} dimensions, GGUF allows 4", tensor=tensor.name)


def _facts(configured: Configured | None, request: Request) -> Facts:
    if configured is None:
        raise ConfigError("the architecture is not known, and the file type's mixture depends on it")
    values = configured.values
    return Facts(
        architecture=configured.architecture.formats["gguf"].architecture,
        layers=configured.layers,
        heads=values.get("num_attention_heads", 0),
        kv_heads=values.get("num_key_value_heads", 0),
        experts=values.get("num_experts", 0),
        importance=request.importance is not None,
    )


def _manual(tensor: Tensor, request: Request) -> GgmlType | None:
    """The type that the user gave a tensor, by its name in either file."""
    word = request.recipe.layout_for(tensor.name, tensor.stored_name)
    if word is None:
        return None
    kind = WRITABLE.get(word.lower()) or WRITABLE.get(word.removeprefix("ggml.").lower())
    if kind is None:
        raise UsageError(
            f"gguf has no layout {printable(word)!r} for {printable(tensor.name)}; known: {', '.join(WRITABLE)}"
        )
    return kind


def _assignment(tensor: Tensor, choice: Choice | None) -> Assignment:
    if choice is None:
        keeps = type_of(tensor.layout) is not None and tensor.layout not in _FLOATS
        return Assignment(tensor, tensor.layout if keeps else "f32", "never quantized")
    return Assignment(tensor, choice.type.layout, choice.why, choice.type != choice.wanted)


def _with_settings(kvs: list[Kv], request: Request) -> tuple[list[Kv], list[str]]:
    """`--set`: an existing key keeps its place and, unless told otherwise, its type; a new one comes last."""
    made = {kv.key: kv for kv in kvs}
    notes = []
    for key, value in request.recipe.settings.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        made[key] = parse_override(f"{key}={text}", made)
        notes.append(f"{key} set to {printable(made[key].value, 60)}")
    alignment = made.get("general.alignment")
    if alignment is not None and alignment.value != ALIGNMENT:
        raise UsageError(f"general.alignment can only be {ALIGNMENT}")
    return list(made.values()), notes
