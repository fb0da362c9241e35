"""What a user asks for after the colon: `4bit-g128`, `8bit`, `fp8`, and how a tensor is laid out for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from hub.api import (
    BF16,
    DTYPES,
    F16,
    F32,
    TWICE_E2M1,
    Affine,
    Blocks,
    Const,
    DType,
    Scheme,
    Stored,
    Tensor,
    UsageError,
    keeper,
    printable,
    scheme_of,
)
from hub_compressed_tensors.form import Form
from hub_compressed_tensors.layouts import make

KEEP: Final = "keep"
_INTS: Final = re.compile(r"([2-8])bit(?:-g(all|[1-9][0-9]{0,5})|-(channel))?(?:-(a?sym))?")
_FIXED: Final = {"nvfp4": "ct.nvfp4", "mxfp4": "ct.mxfp4"}
_FLOATS: Final = {
    "fp8": Blocks((1, 0)), "fp8-channel": Blocks((1, 0)), "fp8-tensor": Blocks((0, 0)), "fp8-block": Blocks((128, 128)),
}  # fmt: skip
_SMALLER: Final = (128, 64, 32)
"""Groups that runtimes have kernels for, where rows are no multiple of the one asked for."""


@dataclass(frozen=True)
class Variant:
    """A variant, understood.

    Attributes:
        word: as the user spelled it.
        bits: of integers; 0 for floats.
        blocks: which weights share a scale.
        asym: whether zero points are stored; None for what the source's codes have.
    """

    word: str
    bits: int = 0
    blocks: Blocks = Blocks((1, 0))
    asym: bool | None = None

    @classmethod
    def parse(cls, word: str) -> Variant:
        """Raises:
        UsageError: there is no such variant.
        """
        if word in (KEEP, *_FIXED):
            return cls(word)
        if word in _FLOATS:
            return cls(word, 0, _FLOATS[word])
        found = _INTS.fullmatch(word)
        if found is None:
            raise UsageError(
                f"compressed-tensors has no variant {printable(word)!r}; known: "
                f"{', '.join((KEEP, *_FLOATS, *_FIXED))}, "
                "4bit-g128, 8bit and the like, from 2 bits on, with -channel, -sym or -asym behind"
            )
        bits, group, _, kind = found.groups()
        across = 0 if group in (None, "all") else int(group)
        return cls(word, int(bits), Blocks((1, across)), None if kind is None else kind == "asym")

    def layout(self, tensor: Tensor) -> tuple[str, str]:
        """The layout for a matrix, and why it is not what the word says; "" for the first where there is none."""
        scheme = scheme_of(tensor)
        if self.word == KEEP:
            return kept(scheme, tensor), ""
        columns = tensor.shape[-1]
        if self.word in _FIXED:
            group = 16 if self.word == "nvfp4" else 32
            reason = f"rows of {columns} are not a multiple of {group}"
            return ("", reason) if columns % group else (_FIXED[self.word], "")
        blocks, reason = self.blocks, ""
        if blocks.shape[0] == 1 and columns % (blocks.shape[1] or columns):
            smaller = next((size for size in _SMALLER if size < blocks.shape[1] and columns % size == 0), 0)
            reason = f"rows of {columns} are not a multiple of {blocks.shape[1]}"
            blocks = Blocks((1, smaller))
        if not self.bits:
            return f"ct.float/{Form(8, blocks, _scale(scheme), codes='f8_e4m3').text()}", reason
        asym = self.asym if self.asym is not None else _is_asymmetric(scheme)
        return f"ct.pack/{Form(self.bits, blocks, _scale(scheme), asym).text()}", reason


def kept(scheme: Scheme | DType, tensor: Tensor) -> str:
    """The layout that may hold a tensor's codes as they are; "" where there is none."""
    if isinstance(scheme, DType) or len(tensor.shape) != 2 or scheme.signs:
        return ""
    if tensor.layout.startswith("ct."):
        return tensor.layout
    if not isinstance(scheme.groups, Blocks):
        return ""
    offset = scheme.offset != Const(0.0)
    if scheme.values == TWICE_E2M1 and isinstance(scheme.scale, Scheme):
        return {16: "ct.nvfp4", 32: "ct.mxfp4"}.get(scheme.groups.shape[1], "")
    if not isinstance(scheme.values, Affine):
        return ""
    form = Form(scheme.values.bits, scheme.groups, _scale(scheme), _is_asymmetric(scheme))
    if scheme.values.dtype is not None:
        return "" if offset else f"ct.float/{replace(form, codes=scheme.values.dtype.name).text()}"
    across = scheme.groups.shape[1]
    if scheme.groups.shape[0] != 1 or not 2 <= form.bits <= 8 or (across and tensor.shape[1] % across):
        return ""
    if offset:  # zero points, where they are whole numbers
        scales = (form.scale,) if form.scale != F32 else (BF16, F16, F32)
        forms = [replace(form, scale=scale, asym=asym) for scale in scales for asym in (False, True)]
        layout = keeper(tensor, [make(f"ct.pack/{one.text()}") for one in forms])
        return layout.name if layout else ""
    return f"ct.pack/{form.text()}"


def _scale(scheme: Scheme | DType) -> DType:
    """The type for scales: the source's own, or the model's."""
    own = scheme if isinstance(scheme, DType) else scheme.scale.dtype if isinstance(scheme.scale, Stored) else F32
    return own if own in (F16, BF16, DTYPES["f8_e8m0"]) else F32


def _is_asymmetric(scheme: Scheme | DType) -> bool:
    return isinstance(scheme, Scheme) and (isinstance(scheme.zero, Stored) or scheme.offset != Const(0.0))
