"""A tensor and how it compares with its source, in one shape whatever report it is from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.page.names import Place, place
from hub.page.words import layout, number


@dataclass(frozen=True)
class Compared:
    """Attributes:
    equal: whether every weight has the same bits; None where nothing was compared.
    nbytes: in the output; None where that is not told.
    remark: what else there is to say about it.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    target: str
    equal: bool | None
    sqnr: float | None
    rmse: float | None
    max_abs: float | None
    fault: str | None = None
    limit: float | None = None
    nbytes: int | None = None
    route: str = ""
    fidelity: str = ""
    remark: str = ""

    @property
    def place(self) -> Place:
        return place(self.name)

    @property
    def badness(self) -> tuple[bool, float]:
        """Sorts the worst first: faults, then by SQNR; what has none is at the end."""
        return not self.fault, math.inf if self.sqnr is None else self.sqnr


def of_report(tensors: Any) -> list[Compared]:
    """Of a report's `plan.tensors`."""
    return [_of_entry(t) for t in _tables(tensors)]


def _of_entry(t: Mapping[str, Any]) -> Compared:
    error = t.get("error")
    error = error if isinstance(error, Mapping) else {}
    remarks = [
        str(t.get("why") or ""),
        "fallback" if t.get("fallback") else "",
        ", ".join(map(str, t.get("steps") or ())),
    ]
    nbytes = t.get("bytes")
    return Compared(
        _name(t), _shape(t), layout(t.get("from", "")), layout(t.get("to", "")),
        error.get("equal"), number(error.get("sqnr_db")), number(error.get("rmse")), number(error.get("max_abs")),
        error.get("fault"), number(error.get("limit_db")), nbytes if isinstance(nbytes, int) else None,
        str(t.get("route") or ""), str(t.get("fidelity") or ""), "; ".join(r for r in remarks if r),
    )  # fmt: skip


def of_difference(tensors: Any) -> list[Compared]:
    """Of a difference's `tensors`: A is the source, B the target."""
    return [
        Compared(
            _name(t), _shape(t), layout(t.get("a_layout", "")), layout(t.get("b_layout", "")),
            t.get("equal"), number(t.get("sqnr_db")), number(t.get("rmse")), number(t.get("max_abs")),
            remark=str(t.get("note") or ""),
        )
        for t in _tables(tensors)
    ]  # fmt: skip


def _tables(tensors: Any) -> Iterable[Mapping[str, Any]]:
    return (t for t in tensors or () if isinstance(t, Mapping))


def _name(t: Mapping[str, Any]) -> str:
    return str(t.get("name") or "") or "(no name)"


def _shape(t: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(t.get("shape") or ())


def worst(tensors: Sequence[Compared], most: int) -> list[Compared]:
    """The `most` with faults or the lowest SQNR, worst first."""
    return sorted((t for t in tensors if t.fault or t.sqnr is not None), key=lambda t: t.badness)[:most]


def median(values: Sequence[float]) -> float:
    """The lower of the middle two where their number is even, so that it is one of them."""
    return sorted(values)[(len(values) - 1) // 2]
