"""Reads folders with gpt-oss' MXFP4 tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hub.api import ConfigError, Folder, FormatError, Model, Packed, Reader, Tensor
from hub_mxfp4.layouts import Blocks32
from hub_safetensors.hf_folder import open_folder
from hub_safetensors.members import Members
from hub_safetensors.partners import fault, told
from hub_safetensors.patterns import Pattern
from hub_safetensors.quantization import quantization_of

BLOCKS, SCALES = "_blocks", "_scales"
BYTES: Final = 16
"""Of a block of 32 weights."""
_MAX_NAMES: Final = 10_000


class Mxfp4Reader(Reader):
    """Opens a folder; nothing but headers is read.

    `X_blocks` (experts, out, in/32, 16) and `X_scales` (experts, out, in/32) become `X`, (experts, out, in): rows are
    outputs. transformers' own parameter X is the transpose of each expert.
    """

    def open(self, path: str) -> Model:
        folder = Folder(path)

        def rule(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Mapping[str, Tensor]:
            return _collect(tensors, _left_alone(*quantization_of(folder, config)))

        return open_folder(path, format="mxfp4", collect=rule)


def _left_alone(settings: Mapping[str, Any], path: str) -> Sequence[Pattern]:
    """`modules_to_not_convert`, which transformers takes for regular expressions of names' beginnings."""
    names = Members(settings, path, "quantization_config").items("modules_to_not_convert")
    if len(names) > _MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"modules_to_not_convert must be a list of at most {_MAX_NAMES} names", path=path)
    return [Pattern(name, path) for name in names]


def _collect(tensors: Mapping[str, Tensor], left_alone: Sequence[Pattern]) -> Mapping[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem = name[: -len(BLOCKS)]
        if name.endswith(BLOCKS):
            if stem in tensors:
                raise fault(tensors[stem], "it is there in MXFP4, too; which of the two is meant cannot be known")
            if any(pattern.match(stem.rpartition(".")[0]) for pattern in left_alone):
                raise fault(tensor, "it is in MXFP4, and modules_to_not_convert says that its module is not")
            out[stem] = _joined(tensors, stem, tensor)
        elif name.endswith(SCALES) and tensor.layout == "u8":
            if stem + BLOCKS not in tensors:
                raise fault(tensor, f"{stem}{BLOCKS}, which belongs to it, is missing")
        else:
            out[name] = tensor
    if not any(isinstance(tensor.body, Packed) for tensor in out.values()):
        raise FormatError(f"the config says mxfp4, and no tensor ends in {BLOCKS}")
    return out


def _joined(tensors: Mapping[str, Tensor], stem: str, blocks: Tensor) -> Tensor:
    scales = tensors.get(stem + SCALES)
    if scales is None:
        raise fault(blocks, f"{stem}{SCALES}, which belongs to it, is missing")
    *outer, count, nbytes = blocks.shape if len(blocks.shape) >= 3 else (0, 0, 0)
    if nbytes != BYTES or 0 in blocks.shape or len(blocks.shape) > 4:
        raise fault(blocks, f"shape {list(blocks.shape)}, it must be experts, rows, blocks and {BYTES} bytes")
    if scales.shape != (*outer, count):
        raise fault(scales, f"shape {list(scales.shape)}, its blocks make it {[*outer, count]}")
    shape = (*outer, 32 * count)
    specs = Blocks32().parts(shape)
    parts = {"packed": told(blocks, specs["packed"]), "scale": told(scales, specs["scale"])}
    return Tensor(stem, shape, Packed(Blocks32.name, shape, parts), stored=blocks.name)
