"""What every plot stands in: a card with a title, a sentence on how to read it, and an SVG that is as wide as the card.

Along x everything is placed in per cent and along y in pixels, so that a plot fits a phone and a desk without its
letters changing size. Curves, which cannot be told in per cent, lie in a nested SVG that is stretched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hub.page.axis import Axis
from hub.page.markup import Child, Markup, tag, text
from hub.page.words import figure as shown

STRETCH = 1000
"""Width of the coordinate system in which curves are drawn."""
X_LABELS = 5
"""About this many numbers under an axis: what fits a phone."""


@dataclass
class Plot:
    """One figure.

    Attributes:
        slug: unique on the page.
        reading: what is shown and how to read it; a sentence or two.
        summary: what it shows in this case, for those who cannot see it.
        height: of the plotting area, in pixels.
        margin: left of it for labels, in pixels, of `MARGINS`.
        right: the same to the right.
        below: the same below.
        unit: of the numbers at the left.
        readout: whether there is a line that tells the mark under the finger.
        marks: elements of the SVG.
        extras: elements under it: legend, notes.
    """

    slug: str
    title: str
    reading: str
    summary: str
    height: int = 200
    margin: int = 60
    right: int = 10
    below: int = 44
    wide: bool = False
    unit: str = ""
    readout: bool = True
    marks: list[Child] = field(default_factory=list)
    extras: list[Child] = field(default_factory=list)

    def html(self) -> Markup:
        """The card."""
        ids = f"{self.slug}-title", f"{self.slug}-desc"
        drawing = tag(
            "svg",
            tag("title", self.title, id=ids[0]),
            tag("desc", self.summary, id=ids[1]),
            self.marks,
            role="img",
            aria_labelledby=" ".join(ids),
            width="100%",
            height=self.height,
        )
        pad = f"plot l{_margin(self.margin)} r{_margin(self.right)} b{self.below}"
        return tag(
            "figure",
            tag("figcaption", tag("h3", self.title), tag("p", self.reading)),
            tag("p", self.unit, class_="unit") if self.unit else None,
            tag("div", drawing, class_=pad),
            tag("p", class_="readout", aria_live="polite") if self.readout else None,
            self.extras,
            class_="card wide" if self.wide else "card",
            id=self.slug,
        )


MARGINS = (0, 10, 50, 60, 90, 120, 150)
BELOW = (8, 44)


def _margin(pixels: int) -> int:
    return next((m for m in MARGINS if m >= pixels), MARGINS[-1])


def plain(slug: str, title: str, sentence: str, *, wide: bool = False) -> Markup:
    """A card that says in a sentence why there is nothing to plot."""
    return tag(
        "section",
        tag("h3", title),
        tag("p", sentence),
        class_="card plain wide" if wide else "card plain",
        id=slug,
    )


def pc(fraction: float) -> str:
    """A fraction of the width."""
    return f"{100 * fraction:.3f}".rstrip("0").rstrip(".") + "%"


def letters(what: object, x: str, y: float, *, dx: float = 0, anchor: str = "start", kind: str = "label") -> Markup:
    """A text mark."""
    return tag("text", what, x=x, y=f"{y:g}", dx=f"{dx:g}" if dx else None, text_anchor=anchor, class_=kind)


def box(x: float, y: float, width: float, height: float, kind: str, tip: str | None = None) -> Markup:
    """A rectangle: `x` and `width` in fractions of the width, `y` and `height` in pixels."""
    return tag(
        "rect",
        tag("title", tip) if tip else None,
        x=pc(x), y=f"{y:g}", width=pc(width), height=f"{max(0.0, height):g}", class_=kind,
    )  # fmt: skip


def rule(x1: str, y1: float, x2: str, y2: float, kind: str = "grid") -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", class_=kind)


def dot(x: float, y: float, kind: str, tip: str | None = None, radius: float = 4) -> Markup:
    """A point."""
    return tag(
        "circle", tag("title", tip) if tip else None, cx=pc(x), cy=f"{y:g}", r=f"{radius:g}", class_=kind
    )  # fmt: skip


def curve(points: Sequence[tuple[float, float]], height: int, kind: str) -> Markup:
    """A line through points: x in fractions of the width, y in pixels."""
    way = " ".join(f"{'ML'[i > 0]}{STRETCH * x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    return tag(
        "svg",
        tag("path", d=way, class_=kind, vector_effect="non-scaling-stroke"),
        viewBox=f"0 0 {STRETCH} {height}", width="100%", height=height, preserveAspectRatio="none", class_="stretched",
    )  # fmt: skip


def area(points: Sequence[tuple[float, float, float]], height: int, kind: str) -> Markup:
    """A band: x in fractions of the width, its lower and upper edge in pixels."""
    there = [f"{STRETCH * x:.1f} {low:.1f}" for x, low, _ in points]
    back = [f"{STRETCH * x:.1f} {high:.1f}" for x, _, high in reversed(points)]
    return tag(
        "svg",
        tag("path", d="M" + " L".join(there + back) + "Z", class_=kind),
        viewBox=f"0 0 {STRETCH} {height}", width="100%", height=height, preserveAspectRatio="none", class_="stretched",
    )  # fmt: skip


def y_axis(axis: Axis, height: int) -> list[Markup]:
    """Its numbers, and a line across the plot at each."""
    out = []
    for tick in axis.ticks:
        y = height * (1 - axis.at(tick))
        out += [
            rule("0", y, "100%", y, "base" if tick == axis.lo else "grid"),
            letters(tick_label(tick, axis), "0", y + 4, dx=-8, anchor="end"),
        ]
    return out


def x_labels(labels: Sequence[tuple[float, str]], height: int, title: str = "") -> list[Markup]:
    """Words under the plot at fractions of the width, and what they are."""
    out = [
        letters(word, pc(at), height + 16, anchor="start" if at < 0.04 else "end" if at > 0.96 else "middle")
        for at, word in labels
    ]
    return [*out, letters(title, "50%", height + 34, anchor="middle", kind="label axis")] if title else out


def tick_label(value: float, axis: Axis) -> str:
    """A tick's number with as many digits as tell it from its neighbours."""
    if axis.log:
        return shown(value, 1)
    if value == 0:
        return "0"
    top = max(abs(axis.lo), abs(axis.hi))
    if top >= 1e6 or top < 1e-3:
        return shown(value, 2)
    step = axis.step
    places = 0
    while places < 8 and abs(round(step, places) - step) > step * 1e-6:
        places += 1
    return f"{value:,.{places}f}"


def spread(count: int, labels: int = X_LABELS) -> list[int]:
    """Up to `labels` indices among `count`, both ends included, evenly apart."""
    if count <= labels:
        return list(range(count))
    return sorted({round(i * (count - 1) / (labels - 1)) for i in range(labels)})


def note(sentence: str) -> Markup:
    """A remark under a plot."""
    return tag("p", text(sentence, 2000), class_="note")
