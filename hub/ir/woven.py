"""Parts whose rows or columns stand in turns: every second of one, or several woven into one.

Fused matrices hold them so (row 0 of the gate, row 0 of what is gated, row 1 ...), where other formats keep them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hub.errors import ConfigError
from hub.ir.part import Part, PartSpec, Place, Span

if TYPE_CHECKING:
    import numpy as np


def height(spec: PartSpec, rows: int) -> PartSpec:
    """`spec` with another number of rows."""
    assert spec.axis is not None
    if rows % spec.per:
        raise ConfigError(f"{rows} rows cannot stand alone, {spec.per} rows share a word")
    shape = list(spec.shape)
    shape[spec.axis] = rows // spec.per
    return replace(spec, shape=tuple(shape))


def every(part: Part, first: int, of: int) -> Part:
    """Rows `first`, `first + of`, `first + 2 * of` ... of a part with one row per index, as a part of their own."""
    assert part.spec.axis is not None and part.spec.per == 1
    if isinstance(part, WovenPart) and len(part.parts) == of:
        return part.parts[first]
    return EveryPart(part, height(part.spec, part.spec.shape[part.spec.axis] // of), first, of)


@dataclass(frozen=True)
class EveryPart(Part):
    """Every row of another part that stands `of` behind the one before, from row `first` on."""

    part: Part
    spec: PartSpec
    first: int
    of: int

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        axis = self.spec.axis
        assert axis is not None
        # Reading what lies between costs less than a read for each row.
        rows = self.part.load(start * self.of, stop * self.of)
        return np.ascontiguousarray(rows[(slice(None),) * axis + (slice(self.first, None, self.of),)])

    def stored_row(self, row: int) -> int:
        return self.part.stored_row(row * self.of + self.first)

    def row_span(self, row: int) -> Span | None:
        return self.part.row_span(row * self.of + self.first)

    def place(self, row: int, column: int, width: int) -> Place:
        return self.part.place(row * self.of + self.first, column, width)

    def reversible(self) -> bool:
        return self.part.reversible()


def woven(parts: Sequence[Part], names: Sequence[str]) -> Part:
    """Parts of equal type and shape as one, their rows in turns: row r is row r // n of part r % n.

    Args:
        names: the tensors they come from, for messages.

    Raises:
        ConfigError: they do not fit together.
    """
    specs = {part.spec for part in parts}
    spec = parts[0].spec
    if len(specs) != 1 or spec.axis is None or spec.per != 1:
        raise ConfigError("they are not of one type and shape, so their rows cannot become one tensor")
    return WovenPart(tuple(parts), height(spec, len(parts) * spec.shape[spec.axis]), tuple(names))


@dataclass(frozen=True)
class WovenPart(Part):
    """Several parts, their rows in turns; `names` as for `woven`."""

    parts: tuple[Part, ...]
    spec: PartSpec
    names: tuple[str, ...]

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        axis, of = self.spec.axis, len(self.parts)
        assert axis is not None
        out = np.empty(self.spec.tile_shape(start, stop), self.spec.dtype.numpy())
        for i, part in enumerate(self.parts):
            low, high = -(-(start - i) // of), -(-(stop - i) // of)
            if high > low:
                begin = low * of + i - start
                out[(slice(None),) * axis + (slice(begin, None, of),)] = part.load(low, high)
        return out

    def stored_row(self, row: int) -> int:
        return self.parts[row % len(self.parts)].stored_row(row // len(self.parts))

    def row_span(self, row: int) -> Span | None:
        return self.parts[row % len(self.parts)].row_span(row // len(self.parts))

    def place(self, row: int, column: int, width: int) -> Place:
        which = row % len(self.parts)
        found = self.parts[which].place(row // len(self.parts), column, width)
        return found if found.name else found._replace(name=self.names[which])

    def reversible(self) -> bool:
        return all(part.reversible() for part in self.parts)


@dataclass(frozen=True)
class ColumnsPart(Part):
    """A part of (rows, columns) with some of its columns, or all in another order.

    Attributes:
        order: (columns,), which column of `part` each one is.
    """

    part: Part
    spec: PartSpec
    order: np.ndarray[Any, Any]

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.take(self.part.load(start, stop), self.order, axis=1)

    def stored_row(self, row: int) -> int:
        return self.part.stored_row(row)

    def place(self, row: int, column: int, width: int) -> Place:
        return self.part.place(row, int(self.order[column]), self.part.spec.shape[1])

    def reversible(self) -> bool:
        return self.part.reversible()


@dataclass(frozen=True)
class WovenColumnsPart(Part):
    """Parts of (rows, columns) as one, their columns in turns; `names` as for `woven`."""

    parts: tuple[Part, ...]
    spec: PartSpec
    names: tuple[str, ...]

    def load(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        import numpy as np

        pieces = [part.load(start, stop) for part in self.parts]
        return np.stack(pieces, axis=-1).reshape(stop - start, -1)

    def stored_row(self, row: int) -> int:
        return self.parts[0].stored_row(row)

    def place(self, row: int, column: int, width: int) -> Place:
        which = column % len(self.parts)
        found = self.parts[which].place(row, column // len(self.parts), width // len(self.parts))
        return found if found.name else found._replace(name=self.names[which])

    def reversible(self) -> bool:
        return all(part.reversible() for part in self.parts)
