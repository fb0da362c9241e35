"""Which layout each tensor gets in an ONNX file.

The matrices that the graph multiplies with lie by columns (`onnx.dq`, `onnx.columns`) or, in the genai flavour, as
MatMulNBits wants them; tables that are looked up lie by rows. All else stays in floats. Codes that the source has are
kept wherever the variant leaves it open: its widths, its groups, whether there are zero points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hub.api import (
    Assignment,
    Configured,
    DType,
    Request,
    Scheme,
    Tensor,
    UsageError,
    printable,
    scheme_of,
    transposed,
)
from hub_onnx.carrying import KINDS, carrying
from hub_onnx.layouts import NBITS, make
from hub_onnx.uses import Uses, uses
from hub_onnx.variant import FLOATS, Integers, Variant

DQ: Final = "onnx.dq"
ROWS: Final = "onnx.rows"
COLUMNS: Final = "onnx.columns"
_LEAST: Final = 16
"""The smallest group that is tried where rows are too short for the one asked for: what onnxruntime has kernels for."""


def assign(
    tensors: Sequence[Tensor], configured: Configured | None, request: Request
) -> tuple[Sequence[Assignment], Sequence[str]]:
    """A layout for every tensor, and notes for the plan.

    A table that is the output matrix besides is one tensor as long as it stays in floats, or in the genai flavour;
    else the output matrix becomes a tensor of its own, since ONNX has no operator that does both with codes.
    Matrices that are (in, out) become (out, in) in codes, whose groups run along the inputs.

    Raises:
        UsageError: an unknown variant, or a rule of the user's that cannot be followed.
    """
    chooser = _Chooser(Variant.parse(request.variant), uses(configured, {tensor.name for tensor in tensors}), request)
    made = []
    for tensor in tensors:
        one = chooser.choose(transposed(tensor) if tensor.name in chooser.uses.turned else tensor)
        if one.layout in FLOATS:
            one = replace(one, tensor=tensor)
        made.append(one)
        if chooser.parts(one):
            head, _ = chooser.uses.tied  # type: ignore[misc]
            made.append(chooser.choose(tensor.renamed(head)))
    return made, chooser.notes(made)


@dataclass
class _Chooser:
    variant: Variant
    uses: Uses
    request: Request

    def choose(self, tensor: Tensor) -> Assignment:
        """The layout of one tensor."""
        word = self.request.recipe.layout_for(tensor.name, tensor.stored_name)
        if word is not None:
            return self._ruled(tensor, word)
        scheme, asked = scheme_of(tensor), self.variant.matrices
        if not self._family(tensor):
            return Assignment(tensor, _plain(tensor, asked))
        if isinstance(asked, str):
            return Assignment(tensor, self._floats(tensor, asked))
        if asked is None:
            kept = None if isinstance(scheme, DType) else self._kept(tensor, scheme)
            reason = "" if kept or isinstance(scheme, DType) else "its codes cannot be told in ONNX"
            return Assignment(tensor, kept or self._floats(tensor, _own(scheme)), reason, fallback=bool(reason))
        return self._asked(tensor, asked, scheme)

    def parts(self, table: Assignment) -> bool:
        """Whether the output matrix that this table stands for has to become a tensor of its own."""
        tied = self.uses.tied
        return tied is not None and table.tensor.name == tied[1] and table.layout.startswith(f"{ROWS}/")

    def notes(self, made: Sequence[Assignment]) -> list[str]:
        """What the user should know."""
        if any(self.parts(one) for one in made):
            return ["the output matrix, in the source one with the embedding, is a tensor of its own"]
        return []

    def _both(self, table: Tensor) -> bool:
        """Whether a table stays the output matrix, too."""
        tied = self.uses.tied
        return tied is not None and table.name == tied[1] and self.variant.flavour == "genai"

    def _family(self, tensor: Tensor) -> str | None:
        """The layouts of codes that a tensor can have; None for one that stays in floats."""
        if tensor.name in self.uses.stacks:
            return ROWS
        if len(tensor.shape) != 2:
            return None
        name, genai = tensor.name, self.variant.flavour == "genai"
        head = self.uses.tied[0] if self.uses.tied else None
        if name in self.uses.matrices or name == head:
            return NBITS if genai else DQ
        if name in self.uses.tables:
            return NBITS if genai else ROWS
        # Without a graph every matrix may be one; what is in codes already stays so.
        bare = self.variant.flavour == "weights" and not self.uses.matrices
        return DQ if bare and isinstance(scheme_of(tensor), Scheme) else None

    def _kept(
        self,
        tensor: Tensor,
        scheme: Scheme,
        widths: tuple[int, ...] | None = None,
        kinds: tuple[str, ...] | None = None,
    ) -> str | None:
        """The layout that keeps the codes, of the operator wanted or else of a plain one."""
        family = self._family(tensor)
        assert family is not None
        found = carrying(scheme, tensor.shape, family, widths=widths, kinds=kinds)
        if found is None and family == NBITS and kinds is None:
            found = carrying(scheme, tensor.shape, ROWS if tensor.name in self.uses.tables else DQ, widths=widths)
        return found

    def _asked(self, tensor: Tensor, asked: Integers, scheme: Scheme | DType) -> Assignment:
        """Codes of the variant: those that are there, if they are such; else new ones."""
        family = self._family(tensor)
        assert family is not None
        # A table that is looked up costs nothing to keep finer; one that is multiplied with does.
        looked_up = tensor.name in self.uses.tables and not self._both(tensor)
        finer = asked.bits < 8 and (looked_up or family == ROWS)
        bits = 8 if finer else asked.bits
        kinds = {None: None, False: KINDS[family][:1], True: KINDS[family][1:]}[asked.zeros]
        if isinstance(scheme, Scheme):
            kept = self._kept(tensor, scheme, tuple(dict.fromkeys((asked.bits, bits))), kinds)
            if kept is not None and make(kept).told.blocks.shape == (1, asked.group):
                return Assignment(tensor, kept)
        group = asked.group
        while group > tensor.shape[-1] and group > _LEAST:
            group //= 2
        for width in dict.fromkeys((bits, 8)):  # rows that do not fill bytes of narrower codes
            name = f"{family}/{width}bit-g{group}{KINDS[family][1 if asked.zeros else 0]}"
            reason = make(name).fits(tensor.shape)
            if reason is None:
                why = "rows that are looked up keep 8 bits" if finer else ""
                why = f"groups of {group}, its rows are no longer" if group != asked.group else why
                return Assignment(tensor, name, why, fallback=group != asked.group or width != bits)
        return Assignment(tensor, self._floats(tensor, _own(scheme)), reason or "", fallback=True)

    def _ruled(self, tensor: Tensor, word: str) -> Assignment:
        """What a rule of the user's says: a number type, or codes as the variants spell them."""
        reason = "as the user asked"
        spelled = word.lower()
        if spelled in FLOATS:
            return Assignment(tensor, self._floats(tensor, spelled), reason)
        asked, family = Integers.parse(spelled), self._family(tensor)
        if asked is None:
            raise UsageError(
                f"onnx has no layout {printable(word)!r} for {printable(tensor.name)}; "
                f"there are {', '.join(FLOATS)}, and codes as 4bit-g32, 8bit-g64-sym or 4bit-g128-asym"
            )
        if family is None:
            raise UsageError(
                f"{printable(tensor.name)} as {printable(word)}: only matrices and the embedding have codes"
            )
        bits = 8 if family == ROWS else asked.bits
        name = f"{family}/{bits}bit-g{asked.group}{KINDS[family][1 if asked.zeros else 0]}"
        why = make(name).fits(tensor.shape)
        if why:
            raise UsageError(f"{printable(tensor.name)} as {printable(word)}: {why}")
        return Assignment(tensor, name, reason)

    def _floats(self, tensor: Tensor, dtype: str) -> str:
        """Floats of a matrix by columns, of a table by rows."""
        tied = self.uses.tied
        columns = tensor.name in self.uses.columns or (tied is not None and tensor.name == tied[0])
        return f"{COLUMNS}/{dtype}" if columns else dtype


def _own(scheme: Scheme | DType) -> str:
    """The type that floats have, of codes f32."""
    return scheme.name if isinstance(scheme, DType) and scheme.name in FLOATS else "f32"


def _plain(tensor: Tensor, asked: str | Integers | None) -> str:
    """The type of a tensor that is no matrix: its own, but f32 where all is asked to be, and for those of more than one
    axis what is asked."""
    if asked == "f32" or (isinstance(asked, str) and len(tensor.shape) > 1):
        return asked
    return _own(scheme_of(tensor))
