"""Error by layer and tensor kind: a row per kind, a column per layer, in a colour the stronger the more was lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hub.page.axis import Axis, linear, step_of
from hub.page.compared import Compared
from hub.page.frame import X_LABELS, Plot, box, letters, note, plain, rule, x_labels
from hub.page.markup import Child, Markup, tag
from hub.page.names import shortened
from hub.page.words import count, decibel, figure

SLUG, TITLE = "by-layer", "Error by layer and tensor kind"
ROW, CELL = 20, 18
SHADES = 10
MAX_COLUMNS = 256
"""Beyond it, neighbouring layers share a column."""
MAX_ROWS = 32
"""Beyond it, the kinds that lost least are left out."""
NAME, NAME_ON_PHONE = 20, 14
"""Characters of a kind's name, whose letters are all 6.6 pixels wide."""
GAPS = 48
"""Columns up to which there is a gap between cells."""


@dataclass(frozen=True)
class Cell:
    """Tensors of one kind in one column; what the worst of them says."""

    tensors: tuple[Compared, ...]

    @property
    def sqnr(self) -> float | None:
        return min((t.sqnr for t in self.tensors if t.sqnr is not None), default=None)

    @property
    def faulty(self) -> bool:
        return any(t.fault for t in self.tensors)

    @property
    def equal(self) -> bool:
        return all(t.equal for t in self.tensors)

    def tip(self, where: str) -> str:
        first = min(self.tensors, key=lambda t: t.badness)
        many = f" (lowest of {len(self.tensors)})" if len(self.tensors) > 1 else ""
        if self.faulty:
            fault = next(t.fault for t in self.tensors if t.fault)
            return f"{where}: fault, {decibel(self.sqnr)}{many}: {shortened(str(fault), 160)}"
        if self.equal:
            return f"{where}: bit-equal{f', {len(self.tensors)} tensors' if many else ''}"
        return f"{where}: {decibel(self.sqnr)}{many}, {first.target}, RMSE {figure(first.rmse)}"


Grid = dict[str, dict[int | None, Cell]]


def heatmap(tensors: Sequence[Compared]) -> Markup | None:
    """The card; None where nothing was compared."""
    measured = [t for t in tensors if t.equal is not None or t.fault]
    if not measured:
        return None
    grid = _grid(measured)
    if all(t.equal and not t.fault for t in measured):
        return plain(SLUG, TITLE, "Every tensor has the same bits on both sides: there is no error to plot.", wide=True)
    rows = {kind: cells for kind, cells in grid.items() if not all(c.equal and not c.faulty for c in cells.values())}
    shown = dict(sorted(rows.items(), key=lambda row: _lowest(row[1]))[:MAX_ROWS])
    shown = {kind: rows[kind] for kind in rows if kind in shown}  # in the order of the model
    layered = {kind: cells for kind, cells in shown.items() if set(cells) != {None}}
    single = {kind: cells for kind, cells in shown.items() if None in cells}
    columns = sorted({layer for cells in layered.values() for layer in cells if layer is not None})
    groups = _columns(columns)
    values = [c.sqnr for cells in shown.values() for c in cells.values() if c.sqnr is not None]
    axis = _scale(values)

    below_layers = len(layered) * ROW
    head = 22 if layered and single else 0
    singles_at = below_layers + (30 if layered else 0) + head
    height = singles_at + len(single) * ROW if single else below_layers
    plot = Plot(
        SLUG, TITLE,
        "SQNR, the power of the weights over that of the error. 6 dB are about one bit; the lower, the more was "
        "lost. Where a cell stands for several tensors, the lowest of them.",
        _summary(measured), height=height, margin=_margin(shown), right=60, below=8 if single else 44, wide=True,
    )  # fmt: skip
    plot.marks.append(letters("lowest", "100%", -6, dx=8))
    for i, (kind, cells) in enumerate(layered.items()):
        plot.marks += _row(kind, {k: c for k, c in cells.items() if k is not None}, groups, i * ROW, axis)
    if layered:
        plot.marks += x_labels(_ticks(groups), below_layers, "" if single else "layer")
        if single:
            plot.marks.append(letters("layer", "0", below_layers + 16, dx=-8, anchor="end"))
    if single and layered:
        plot.marks += [rule("0", singles_at - head - 4, "100%", singles_at - head - 4)]
        plot.marks.append(letters("outside the layers", "0", singles_at - 8))
    for i, (kind, cells) in enumerate(single.items()):
        plot.marks += _single(kind, cells[None], singles_at + i * ROW, axis)
    plot.extras += [_legend(axis, shown), *_notes(grid, rows, shown, columns, groups)]
    return plot.html()


def _scale(values: Sequence[float]) -> Axis:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return linear(low, high, SHADES) if high > low else linear(low - 1, low + 1)


def _grid(tensors: Sequence[Compared]) -> Grid:
    found: dict[str, dict[int | None, list[Compared]]] = {}
    for tensor in tensors:
        where = tensor.place
        found.setdefault(where.kind, {}).setdefault(where.layer, []).append(tensor)
    return {kind: {layer: Cell(tuple(ts)) for layer, ts in cells.items()} for kind, cells in found.items()}


def _lowest(cells: dict[int | None, Cell]) -> tuple[bool, float]:
    return min(t.badness for cell in cells.values() for t in cell.tensors)


def _columns(layers: Sequence[int]) -> list[list[int]]:
    """Layers by column, as many neighbours in each as it takes."""
    each = max(1, -(-len(layers) // MAX_COLUMNS))
    return [list(layers[i : i + each]) for i in range(0, len(layers), each)]


def _ticks(groups: list[list[int]]) -> list[tuple[float, str]]:
    n = len(groups)
    every = max(1, round(step_of(n - 1, X_LABELS)))
    # Under the middle of its column, even of an outer one.
    return [(min(max((i + 0.5) / n, 0.041), 0.959), str(groups[i][0])) for i in range(0, n, every)]


def _row(kind: str, cells: dict[int, Cell], groups: list[list[int]], y: int, axis: Axis) -> Iterator[Child]:
    yield _name(kind, y)
    width = 1 / len(groups)
    gap = min(0.12 * width, 0.004) if len(groups) <= GAPS else 0.0
    for i, group in enumerate(groups):
        members = [t for layer in group if layer in cells for t in cells[layer].tensors]
        if members:
            layers = str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}"
            cell = Cell(tuple(members))
            tip = cell.tip(f"layer {layers}, {shortened(kind, 60)}")
            yield box(i * width + gap / 2, y + 1, width - gap, CELL, _kind(cell, axis), tip)
    yield _value(Cell(tuple(t for cell in cells.values() for t in cell.tensors)), y)


def _single(kind: str, cell: Cell, y: int, axis: Axis) -> Iterator[Child]:
    yield _name(kind, y)
    tip = tag("title", cell.tip(shortened(kind, 60)))
    yield tag("rect", tip, x=0, y=y + 1, width=40, height=CELL, class_=_kind(cell, axis))
    yield letters(shortened(cell.tensors[0].target, 14), "0", y + 14, dx=50)
    yield _value(cell, y)


def _name(kind: str, y: int) -> list[Markup]:
    """The kind beside its row, shorter on a phone. Letters of other scripts may be twice as wide."""
    limits = (NAME, NAME_ON_PHONE) if kind.isascii() else (NAME // 2, NAME_ON_PHONE // 2)
    words = dict.fromkeys(shortened(kind, limit) for limit in limits)
    forms = ["name"] if len(words) == 1 else ["name on-desk", "name on-phone"]
    return [
        tag("text", tag("title", kind), word, x=0, dx=-8, y=y + 14, text_anchor="end", class_=form)
        for word, form in zip(words, forms, strict=True)
    ]


def _value(cell: Cell, y: int) -> Markup:
    return letters(decibel(cell.sqnr), "100%", y + 14, dx=8, kind="label value")


def _kind(cell: Cell, axis: Axis) -> str:
    marks = " faulty" if cell.faulty else ""
    if cell.equal or cell.sqnr is None:
        return ("cell equal" if cell.equal else "cell none") + marks
    shade = min(SHADES - 1, int(SHADES * (1 - axis.at(cell.sqnr))))
    return f"cell s{shade}{marks}"


def _legend(axis: Axis, shown: Grid) -> Markup:
    ramp = [tag("rect", x=i * 16, y=0, width=16, height=12, class_=f"s{i}") for i in range(SHADES)]
    cells = [cell for cells in shown.values() for cell in cells.values()]
    keys: list[Child] = [
        f"{axis.hi:g} dB",
        tag("svg", tag("title", "Colour scale"), ramp, width=16 * SHADES, height=12, role="img"),
        f"{axis.lo:g} dB",
    ]
    if any(cell.equal and not cell.faulty for cell in cells):
        keys.append(_key("cell equal", "bit-equal"))
    if any(cell.sqnr is None and not cell.equal and not cell.faulty for cell in cells):
        keys.append(_key("cell none", "no SQNR"))
    if any(cell.faulty for cell in cells):
        keys.append(_key("cell none faulty", "fault"))
    return tag("p", keys, class_="legend")


def _key(kind: str, word: str) -> Markup:
    return tag(
        "span",
        tag("svg", tag("rect", x=1, y=1, width=16, height=10, class_=kind), width=18, height=12, aria_hidden="true"),
        word,
    )


def _notes(
    grid: Grid, rows: Grid, shown: Grid, columns: Sequence[int], groups: Sequence[Sequence[int]]
) -> Iterator[Markup]:
    equal = [kind for kind in grid if kind not in rows]
    if equal:
        listed = ", ".join(shortened(kind, 40) for kind in equal[:12])
        more = f" and {count(len(equal) - 12, 'more kind')}" if len(equal) > 12 else ""
        yield note(f"Bit-equal everywhere and not drawn: {listed}{more}.")
    if len(shown) < len(rows):
        yield note(f"{count(len(rows) - len(shown), 'kind')} with a higher SQNR not drawn.")
    if len(groups) < len(columns):
        yield note(f"{len(columns):,} layers in {len(groups)} columns: up to {len(groups[0])} share one.")


def _margin(shown: Grid) -> int:
    longest = max((min(NAME, len(kind)) for kind in shown), default=0)
    return int(12 + 6.7 * longest)


def _summary(tensors: Sequence[Compared]) -> str:
    lossy = [t for t in tensors if t.sqnr is not None]
    equal = sum(1 for t in tensors if t.equal)
    out = f"{count(len(tensors), 'tensor')} compared, {equal:,} bit-equal."
    if lossy:
        low, high = min(lossy, key=lambda t: t.badness[1]), max(lossy, key=lambda t: t.badness[1])
        out += (
            f" The lowest SQNR is {decibel(low.sqnr)} in {shortened(low.name, 80)}, the highest {decibel(high.sqnr)} "
            f"in {shortened(high.name, 80)}."
        )
    return out
