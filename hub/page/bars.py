"""Amounts as bars: bytes by type, tensors by SQNR."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from hub.page.axis import linear
from hub.page.compared import Compared, median
from hub.page.frame import Plot, box, letters, note, tick_label, x_labels, y_axis
from hub.page.markup import Child, Markup
from hub.page.names import shortened
from hub.page.words import count, decibel, percent, size

MAX_BARS = 12
"""Types with a bar of their own; the others share the last."""


def size_by_type(tensors: Sequence[Compared]) -> Markup | None:
    """The card; None where no sizes are told."""
    totals: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for tensor in tensors:
        if tensor.nbytes is not None:
            nbytes, members = totals[tensor.target]
            totals[tensor.target] = nbytes + tensor.nbytes, members + 1
    if not totals:
        return None
    bars = sorted(totals.items(), key=lambda item: -item[1][0])
    whole = sum(nbytes for _, (nbytes, _) in bars) or 1
    if len(bars) > MAX_BARS:
        rest = [amounts for _, amounts in bars[MAX_BARS - 1 :]]
        merged = (sum(nbytes for nbytes, _ in rest), sum(members for _, members in rest))
        bars = [*bars[: MAX_BARS - 1], (count(len(rest), "other type"), merged)]
    top = max(nbytes for _, (nbytes, _) in bars) or 1
    step, head = 44, 16
    marks: list[Child] = []
    for i, (layout, (nbytes, members)) in enumerate(bars):
        y = i * step
        amount = f"{size(nbytes)} · {percent(nbytes / whole)} · {count(members, 'tensor')}"
        marks += [
            letters(shortened(layout, 24), "0", y + 11, kind="label strong"),
            letters(amount, "100%", y + 11, anchor="end"),
            box(0, y + head + 2, 1, 14, "track"),
            box(0, y + head + 2, nbytes / top, 14, "bar", f"{layout}: {amount}"),
        ]
    return Plot(
        "size", "Size by type", f"Bytes of the output's tensors by layout, {size(whole)} in all.",
        "; ".join(f"{layout} {size(nbytes)}" for layout, (nbytes, _) in bars),
        height=step * len(bars) - 8, margin=0, right=0, below=8, readout=False, marks=marks,
    ).html()  # fmt: skip


def histogram(tensors: Sequence[Compared]) -> Markup | None:
    """The card of how many tensors have which SQNR; None where none has one."""
    values = [t.sqnr for t in tensors if t.sqnr is not None]
    if not values:
        return None
    x = linear(min(values), max(values))
    # A tick's step is 1, 2 or 5 times a power of ten; so are the bars' then, and bars end at ticks.
    parts = 4 if f"{x.step:e}".startswith("2") else 5
    step, bins = x.step / parts, parts * (len(x.ticks) - 1)
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int((value - x.lo) / step)))] += 1
    axis, height = linear(0, max(counts), 4), 200
    if axis.step < 1:
        axis = linear(0, max(counts), max(counts))
    middle = median(values)
    plot = Plot(
        "histogram", "Tensors by SQNR",
        f"How many tensors keep which SQNR; bars are {step:g} dB wide. Further right lost less.",
        f"{count(len(values), 'tensor')}; lowest {decibel(min(values))}, median {decibel(middle)}, highest "
        f"{decibel(max(values))}.",
        height=height, unit="tensors",
    )  # fmt: skip
    plot.marks += y_axis(axis, height)
    gap = 0.06 / bins
    for i, amount in enumerate(counts):
        if amount:
            low = x.lo + i * step
            tall = height * axis.at(amount)
            tip = f"{low:g} to {low + step:g} dB: {count(amount, 'tensor')}"
            plot.marks.append(box(i / bins + gap / 2, height - tall, 1 / bins - gap, tall, "bar", tip))
    plot.marks += x_labels([(x.at(t), tick_label(t, x)) for t in x.ticks], height, "SQNR, dB")
    sentences = [f"Median {decibel(middle)}."]
    equal = sum(1 for t in tensors if t.equal)
    if equal:
        sentences.append(f"{count(equal, 'bit-equal tensor')} without an SQNR not counted.")
    plot.extras.append(note(" ".join(sentences)))
    return plot.html()
