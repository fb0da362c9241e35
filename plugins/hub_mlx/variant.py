"""What a user asks for after the colon: `4bit-g64`, `mxfp4`, `bf16`, `mixed_3_6`; and which layout that is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from hub.api import DTYPES, Affine, Const, DType, Scheme, Stored, Tensor, UsageError, printable, scheme_of
from hub_mlx.layouts import AFFINE, GROUPS, WIDTHS, Form, make
from hub_mlx.mixtures import MIXTURES
from hub_mlx.settings import USUAL

FLOATS: Final = ("f16", "bf16", "f32")
_GROUP: Final = 64
_WORD: Final = re.compile(r"(?:(\d)bit|(mixed_\d_\d))(?:-g(\d{1,3}))?(?:-(f16|bf16|f32))?")


@dataclass(frozen=True)
class Variant:
    """A variant, understood.

    Attributes:
        word: as the user spelled it.
        bits: of a code; 0 for numbers that stay floats.
        group: neighbours that share a scale.
        layout: of a mode of small floats, `mlx.mxfp4`; empty for the others.
        scale: the type that scales and biases shall have; empty for the model's own.
        mixture: the name of a mixture; empty for none.
    """

    word: str
    bits: int = 0
    group: int = _GROUP
    layout: str = ""
    scale: str = ""
    mixture: str = ""

    @classmethod
    def parse(cls, word: str) -> Variant:
        """Raises:
        UsageError: there is no such variant.
        """
        if word in FLOATS:
            return cls(word)
        if word in USUAL:
            return cls(word, *USUAL[word], layout=f"mlx.{word}")
        if word.startswith(f"{AFFINE}/"):
            form = Form.parse(word.partition("/")[2])
            return cls(word, form.bits, form.group, scale=form.scale)
        found = _WORD.fullmatch(word)
        bits, mixture, group, scale = found.groups() if found else ("", "", "", "")
        width = MIXTURES.get(mixture, (0, 0))[0] if mixture else int(bits or 0)
        made = cls(word, width, int(group or _GROUP), scale=scale or "", mixture=mixture or "")
        if made.bits not in WIDTHS or made.group not in GROUPS:
            raise UsageError(
                f"mlx has no variant {printable(word)!r}; known: {', '.join((*FLOATS, *list(USUAL)[1:], *MIXTURES))}, "
                f"4bit-g64, 8bit-g64 and the like, of {', '.join(map(str, WIDTHS))} bits and groups of "
                f"{', '.join(map(str, GROUPS))}"
            )
        return made

    def layout_of(self, tensor: Tensor, usual: str) -> str:
        """The layout of a tensor that is quantized so.

        Codes that the source has and that are held are told with scales in which nothing is rounded.

        Args:
            usual: the number type of scales where the tensor itself says none.
        """
        if self.layout:
            return self.layout
        scheme = scheme_of(tensor)
        form = Form(self.bits, self.group, self.scale or "f32")
        if not self.scale and isinstance(scheme, Scheme):
            exact = replace(form, scale=exact_type(scheme))
            form = exact if holds(exact.layout, scheme, tensor) else replace(form, scale=usual)
        elif not self.scale and isinstance(scheme, DType):
            form = replace(form, scale=scheme.name if scheme.name in FLOATS else "f32")
        return form.layout


def kept(tensor: Tensor) -> str:
    """The layout that holds a tensor's codes as they are; empty where there is none."""
    scheme = scheme_of(tensor)
    if not isinstance(scheme, Scheme) or len(tensor.shape) < 2:
        return ""
    if tensor.layout.startswith("mlx."):
        return tensor.layout
    if isinstance(scheme.values, Affine) and scheme.values.dtype is None:
        bits = min((width for width in WIDTHS if width >= scheme.values.bits), default=0)
        scale = exact_type(scheme)
        tried = [Form(bits, group, scale).layout for group in reversed(GROUPS) if bits]
    else:
        tried = [f"mlx.{mode}" for mode in USUAL if mode != "affine"]
        if len(tensor.shape) == 3:  # mlx-lm has a scale of all weights for experts, and for nothing else
            tried.append("mlx.nvfp4/scaled")
    return next((layout for layout in tried if holds(layout, scheme, tensor)), "")


def holds(layout: str, scheme: Scheme, tensor: Tensor) -> bool:
    """Whether codes can be moved into a layout, as far as their scheme tells."""
    target = make(layout)
    return target.fits(tensor.shape) is None and target.can_hold(scheme, tensor.shape).fidelity != "lossy"


def exact_type(scheme: Scheme) -> str:
    """The narrowest number type of scales and biases in which codes stay what they are.

    A zero point becomes the bias ``-zero * scale``, which has the digits of both: the scale's own type does where the
    zero point of unsigned codes is a power of two, or there is none.
    """
    if not isinstance(scheme.scale, Stored) or scheme.scale.dtype.name not in FLOATS or scheme.signs:
        return "f32"
    own = scheme.scale.dtype.name
    if isinstance(scheme.offset, Stored):
        return own if scheme.offset.dtype == scheme.scale.dtype and scheme.zero == Const(0.0) else "f32"
    if not isinstance(scheme.offset, Const) or not isinstance(scheme.zero, Const) or scheme.offset.value:
        return "f32"
    values = scheme.values
    moved = 1 << (values.bits - 1) if isinstance(values, Affine) and values.signed else 0
    zero = scheme.zero.value + moved
    return own if zero == int(zero) and int(zero).bit_count() <= 1 else "f32"


def is_plain_float(scheme: Scheme | DType) -> bool:
    """Whether numbers are floats that MLX computes with."""
    return isinstance(scheme, DType) and scheme in (*(DTYPES[name] for name in FLOATS), DTYPES["f64"])
