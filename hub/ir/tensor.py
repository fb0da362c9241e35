"""Tensor: a name, a logical shape, and a body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hub.ir.part import Part, Shape, row_count
from hub.ir.values import Dense, Quantized


@dataclass(frozen=True)
class Packed:
    """Bytes as they lie in a file, with the layout named that explains them.

    Attributes:
        layout: the name of a registered `hub.layout.Layout`.
        shape: the logical shape, (out, in).
        parts: the layout's parts by name.
    """

    layout: str
    shape: Shape
    parts: Mapping[str, Part]


Body = Dense | Packed | Quantized


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model.

    Attributes:
        name: as the file, or after mapping the architecture, spells it.
        shape: the logical shape, (out, in), whatever a format's own order of axes.
        body: the numbers.
        stored: the name in the file that the weights come from; empty when it is `name`.
        derived: names of the steps between file and this tensor, for the report; empty when the
            bytes are those of the file.
    """

    name: str
    shape: Shape
    body: Body
    derived: tuple[str, ...] = ()
    stored: str = ""

    @property
    def layout(self) -> str:
        """The layout's name; for dense tensors the name of the number type."""
        if isinstance(self.body, Packed):
            return self.body.layout
        if isinstance(self.body, Dense):
            return self.body.part.spec.dtype.name
        return "quantized"

    @property
    def parts(self) -> Mapping[str, Part]:
        """The stored parts by name; `data` for dense tensors."""
        if isinstance(self.body, Packed):
            return self.body.parts
        if isinstance(self.body, Dense):
            return {"data": self.body.part}
        return {"codes": self.body.codes}

    @property
    def nbytes(self) -> int:
        """Bytes stored."""
        return sum(part.spec.nbytes for part in self.parts.values())

    @property
    def rows(self) -> int:
        """Logical rows."""
        return row_count(self.shape)

    def renamed(self, name: str) -> Tensor:
        """The same tensor under another name."""
        return replace(self, name=name, stored=self.stored_name)

    @property
    def stored_name(self) -> str:
        """The name to use when the fault is the file's."""
        return self.stored or self.name
