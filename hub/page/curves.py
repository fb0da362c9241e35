"""What running both sides found, as curves: KL by position and divergence by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub.page.axis import linear, logarithmic
from hub.page.frame import Plot, area, box, curve, dot, letters, note, plain, rule, spread, x_labels, y_axis
from hub.page.markup import Child, Markup
from hub.page.names import shortened
from hub.page.words import count, figure, member, number

MAX_POINTS = 256
"""Positions drawn; beyond it, neighbours are averaged."""
MAX_LAYERS = 512
DOTS = 60
"""Points up to which each is marked."""


def kl_by_position(logits: Mapping[str, Any]) -> Markup | None:
    """The card; None where there are no figures."""
    slug, title = "kl", "KL divergence by position"
    values = [number(value) for value in logits.get("kl_by_position") or ()]
    known = [value for value in values if value is not None]
    if not known:
        return None
    if max(known) <= 0:
        return plain(slug, title, f"0 at all {count(len(values), 'position')}: both sides predict the same.")
    bins = _bins(values)
    axis, height = linear(min(0.0, *known), max(known)), 200
    reading = "How far the output's next-token distribution is from the source's, at each position of the sequence; "
    sequences = member(logits, "sequences")
    reading += (
        f"mean over {count(sequences, 'sequence')}. " if isinstance(sequences, int) else "mean over the sequences. "
    )
    reading += "0 is no difference."
    if len(bins) < len(values):
        reading += f" The line averages {-(-len(values) // len(bins))} neighbouring positions, the band is their range."
    mean = number(member(logits, "kl", "mean"))
    plot = Plot(
        slug, title, reading,
        f"{count(len(values), 'position')}; lowest {figure(min(known))}, highest {figure(max(known))} at position "
        f"{values.index(max(known)) + 1}, mean {figure(mean)} nats.",
        height=height, right=60, unit="KL, nats",
    )  # fmt: skip

    def y(value: float) -> float:
        return height * (1 - axis.at(value))

    def x(i: float) -> float:
        return i / max(1, len(values) - 1)

    plot.marks += y_axis(axis, height)
    if len(bins) < len(values):
        plot.marks.append(area([(x(b.middle), y(b.low), y(b.high)) for b in bins], height, "band"))
    if len(bins) > 1:
        plot.marks.append(curve([(x(b.middle), y(b.mean)) for b in bins], height, "curve"))
    if len(bins) <= DOTS:
        plot.marks += [dot(x(b.middle), y(b.mean), "dot", radius=3) for b in bins]
    limit = number(member(logits, "limits", "kl_mean"))
    shown = {"mean": mean, "limit": limit}
    references = {word: value for word, value in shown.items() if value is not None and value <= axis.hi}
    plot.marks += _references({word: (value, y(value)) for word, value in references.items()})
    plot.marks += [
        box(max(0.0, x(b.middle) - 0.5 / len(bins)), 0, 1 / len(bins) if 0 < i < len(bins) - 1 else 0.5 / len(bins),
            height, "hit", b.tip)
        for i, b in enumerate(bins)
    ]  # fmt: skip
    ticks = [round(t) for t in linear(0, len(values) - 1, 4).ticks if 0 <= t <= len(values) - 1]
    # Counted from 1, as the tip does: the first label is 1 and not 0.
    labels = {max(1, t): x(max(1, t) - 1) for t in ticks}
    plot.marks += x_labels([(at, f"{t:,}") for t, at in labels.items()], height, "position in the sequence")
    if limit is not None and "limit" in references:
        plot.extras.append(note(f"The limit, {figure(limit)} nats, is one for the mean."))
    elif limit is not None:
        plot.extras.append(note(f"The limit of the mean, {figure(limit)} nats, is above the plot."))
    if len(known) < len(values):
        plot.extras.append(note(f"{count(len(values) - len(known), 'position')} without a finite figure."))
    return plot.html()


def _references(values: Mapping[str, tuple[float, float]]) -> Iterator[Child]:
    """Lines across at (value, y) by word, each with its word and value in the right margin, where no curve is."""
    floor = -math.inf
    for word, (value, y) in sorted(values.items(), key=lambda item: item[1][1]):
        yield rule("0", y, "100%", y, f"reference {word}")
        floor = max(y, floor + 30)
        yield letters(word, "100%", floor - 2, dx=6, kind="label")
        yield letters(figure(value), "100%", floor + 12, dx=6, kind="label value")


class _Bin:
    """Neighbouring positions, from `start` on."""

    def __init__(self, start: int, values: Sequence[float | None]) -> None:
        known = [value for value in values if value is not None]
        self.start, self.stop = start, start + len(values)
        self.middle = start + (len(values) - 1) / 2
        self.mean = sum(known) / len(known)
        self.low, self.high = min(known), max(known)

    @property
    def tip(self) -> str:
        if self.stop - self.start == 1:
            return f"position {self.start + 1}: {figure(self.mean)} nats"
        where = f"positions {self.start + 1} to {self.stop}"
        return f"{where}: mean {figure(self.mean)}, {figure(self.low)} to {figure(self.high)} nats"


def _bins(values: Sequence[float | None]) -> list[_Bin]:
    each = max(1, -(-len(values) // MAX_POINTS))
    cuts = ((i, values[i : i + each]) for i in range(0, len(values), each))
    return [_Bin(i, cut) for i, cut in cuts if any(value is not None for value in cut)]


def divergence_by_layer(logits: Mapping[str, Any]) -> Markup | None:
    """The card; None where there are no figures."""
    slug, title = "divergence", "Divergence by layer"
    layers = [item for item in logits.get("layers") or () if isinstance(item, Mapping)]
    if not layers:
        return None
    if len(layers) > MAX_LAYERS:
        layers = [layers[i] for i in spread(len(layers), MAX_LAYERS)]
    values = [number(item.get("nmse")) for item in layers]
    positive = [value for value in values if value is not None and value > 0]
    names = [str(item.get("name", "")) for item in layers]
    if not positive:
        if any(value is None for value in values):
            return plain(slug, title, "No layer has a finite figure.")
        return plain(slug, title, f"The outputs of all {count(len(layers), 'layer')} are bit-equal.")
    axis, height = logarithmic(min(positive), max(positive)), 200
    zeros = any(value == 0 for value in values)
    foot = height + 18 if zeros else height
    plot = Plot(
        slug, title,
        "Normalised mean squared error of what each layer puts out, source against output on the same tokens. "
        "Logarithmic: a line up is a factor of ten.",
        f"From {figure(min(positive))} to {figure(max(positive))}, the last {figure(values[-1])} in {names[-1]}.",
        height=foot, unit="NMSE, log scale",
    )  # fmt: skip

    def x(i: int) -> float:
        return i / max(1, len(layers) - 1)

    def y(value: float) -> float:
        return foot if value == 0 else height * (1 - axis.at(value))

    plot.marks += y_axis(axis, height)
    if zeros:
        plot.marks += [
            rule("0", foot, "100%", foot, "base"), letters("equal", "0", foot + 4, dx=-8, anchor="end"),
        ]  # fmt: skip
    for run in _runs(values):
        if len(run) > 1:
            plot.marks.append(curve([(x(i), y(v)) for i, v in run], foot, "curve"))
    radius = 4 if len(layers) <= 24 else 3 if len(layers) <= DOTS else 2
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        if value is not None:
            tip = f"{shortened(name, 80)}: " + ("bit-equal" if value == 0 else f"NMSE {figure(value)}")
            largest = number(layers[i].get("max_abs"))
            plot.marks.append(
                dot(x(i), y(value), "dot", tip + (f", largest difference {figure(largest)}" if largest else ""), radius)
            )
    shown = spread(len(layers), 4)
    words = [shortened(names[i].removeprefix("layer "), 12 if i in (0, len(layers) - 1) else 4) for i in shown]
    labels = [(x(i), word) for i, word in zip(shown, words, strict=True)]
    plot.marks += x_labels(labels, foot, "layer")
    first = logits.get("first_divergent")
    if isinstance(first, Mapping):
        name = str(first.get("name", ""))
        plot.extras.append(note(f"First to diverge: {name}, NMSE {figure(first.get('nmse'))}."))
        if name in names and values[names.index(name)] is not None:
            i = names.index(name)
            plot.marks.append(dot(x(i), y(values[i] or 0.0), "ring", radius=8))
    if None in values:
        plot.extras.append(note(f"{count(values.count(None), 'layer')} without a finite figure."))
    return plot.html()


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Neighbours that have a figure."""
    out: list[list[tuple[int, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            out.append([])
        else:
            out[-1].append((i, value))
    return [run for run in out if run]
