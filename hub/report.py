"""Plans, reports and descriptions as plain data; `schemas/` says what they hold."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub._version import __version__
from hub.errors import printable
from hub.layout import FIDELITIES

if TYPE_CHECKING:
    from pathlib import Path

    from hub.io.source import FileSource
    from hub.ir.model import Model
    from hub.ir.tensor import Tensor
    from hub.planner import Entry, Plan
    from hub.plugins import Registry
    from hub.tiles import Budget
    from hub.verification.comparison import TensorResult

MAX_SHOWN = 200
"""Longest metadata value that a description repeats, in characters or items."""


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 4)


def plan_data(plan: Plan) -> dict[str, Any]:
    """A plan as plain data."""
    return {
        "source": {
            "path": plan.source.path,
            "format": plan.source.format,
            "architecture": plan.source.architecture,
            "files": [source.path for source in plan.source.sources],
        },
        "target": {"format": plan.target_format, "variant": plan.variant},
        "family": plan.configured.architecture.family if plan.configured else None,
        "size": plan.size,
        "weights": plan.weights,
        "bits_per_weight": round(plan.bits_per_weight, 4),
        "fidelity": fidelity_counts(plan),
        "files": [{"name": file.name, "size": file.size} for file in plan.files],
        "tensors": [_entry(entry) for entry in plan.entries],
        "metadata": {key: shown(value) for key, value in plan.metadata.items()},
        "dropped": [{"name": name, "why": why} for name, why in plan.dropped],
        "notes": list(plan.notes),
    }


def fidelity_counts(plan: Plan) -> dict[str, dict[str, int]]:
    """Tensors and bytes of each fidelity class, best first."""
    out: dict[str, dict[str, int]] = {}
    for name in FIDELITIES:
        members = [entry for entry in plan.entries if entry.fidelity == name]
        if members:
            out[name] = {"tensors": len(members), "bytes": sum(entry.nbytes for entry in members)}
    return out


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "shape": list(entry.tensor.shape),
        "from": entry.tensor.layout,
        "to": entry.layout,
        "route": entry.route,
        "fidelity": entry.fidelity,
        "quantizer": entry.quantizer,
        "bytes": entry.nbytes,
        "why": entry.why,
        "fallback": entry.fallback,
        "steps": list(entry.tensor.derived),
    }


def make(
    plan: Plan,
    path: Path,
    results: Sequence[TensorResult],
    budget: Budget,
    watch: Stopwatch,
    plugins: Registry,
    verify: str,
    *,
    hashes: bool,
    logits: Mapping[str, Any] | None = None,
    diagnoses: Sequence[Mapping[str, Any]] = (),
    consumers: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The report of a finished conversion.

    Args:
        hashes: whether to hash the input files, which reads them once more.
        logits: what running both sides found, as `schemas/report.schema.json` has it; None where nothing was run.
        diagnoses: known mistakes that would explain what is wrong.
        consumers: what other programs made of the output.
    """
    errors = {result.name: result for result in results}
    data = plan_data(plan)
    for tensor in data["tensors"]:
        result = errors.get(tensor["name"])
        tensor["error"] = error(result) if result else None
    return figures(
        os.fspath(path), results, budget, watch, plugins, verify, plan.source.sources, hashes=hashes, logits=logits,
        diagnoses=diagnoses, consumers=consumers,
    ) | {"plan": data}  # fmt: skip


def figures(
    output: str,
    results: Sequence[TensorResult],
    budget: Budget,
    watch: Stopwatch,
    plugins: Registry,
    verify: str,
    sources: Sequence[FileSource],
    *,
    hashes: bool,
    logits: Mapping[str, Any] | None,
    diagnoses: Sequence[Mapping[str, Any]],
    consumers: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What the reports of a conversion and of a verification have in common; see `make`."""
    from hub.kernels import isa
    from hub.memory import peak_private

    faults = [{"name": result.name, "fault": result.fault} for result in results if result.fault]
    refused = any(item["fault"] or any(run["fault"] for run in item["runs"]) for item in consumers)
    rejected = bool(faults or diagnoses or refused or (logits is not None and logits["fault"]))
    return {
        "hub": __version__,
        "output": output,
        "verified": "rejected" if rejected else verify if results else "none",
        "faults": faults,
        "versions": {
            "python": platform.python_version(),
            **{plugin.distribution: plugin.version for plugin in plugins.plugins if not plugin.error},
        },
        "isa": isa(),
        "threads": budget.threads,
        "max_memory": budget.max_memory,
        "peak_private_memory": peak_private(),
        "seconds": watch.seconds,
        "logits": None if logits is None else dict(logits),
        "diagnoses": [dict(diagnosis) for diagnosis in diagnoses],
        "consumers": [dict(consumer) for consumer in consumers],
        "input": [_identity(source, hashes) for source in sources],
    }


def error(result: TensorResult) -> dict[str, Any]:
    """How a tensor compares with its source."""
    sqnr = result.sqnr_db
    return {
        "max_abs": result.max_abs if math.isfinite(result.max_abs) else None,
        "rmse": result.rmse if math.isfinite(result.rmse) else None,
        "sqnr_db": round(sqnr, 3) if math.isfinite(sqnr) else None,
        "equal": result.unequal == 0 and result.fault is None,
        "limit_db": None if result.limit_db is None else round(result.limit_db, 3),
        "fault": result.fault,
    }


def _identity(source: FileSource, hashes: bool) -> dict[str, Any]:
    return {"path": source.path, "size": source.size, "sha256": source.sha256() if hashes else None}


def write(path: str | os.PathLike[str], data: Mapping[str, Any]) -> None:
    """Write a report: as a page where the name ends in .html, else as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    from hub.io.atomic import write_text

    if suffix(path) == ".html":
        from hub.page import page

        write_text(path, page(data))
    else:
        write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def suffix(path: str | os.PathLike[str]) -> str:
    """How the name of a report ends, which says what it is; small letters."""
    return os.path.splitext(os.fspath(path))[1].lower()


SUFFIXES = (".json", ".html")
"""What a report's name may end in."""


def describe(model: Model) -> dict[str, Any]:
    """What the headers of a model say."""
    layouts = Counter(tensor.layout for tensor in model.tensors.values())
    return {
        "path": model.path,
        "format": model.format,
        "architecture": model.architecture,
        "tensors": len(model.tensors),
        "weights": sum(math.prod(tensor.shape) for tensor in model.tensors.values()),
        "bytes": sum(tensor.nbytes for tensor in model.tensors.values()),
        "layouts": dict(layouts.most_common()),
        "files": [{"path": source.path, "size": source.size} for source in model.sources],
        "header": {key: shown(value) for key, value in model.metadata.items() if key != "types"},
        "config": {key: shown(value) for key, value in model.config.items()},
        "companions": list(model.companions),
        "notes": list(model.notes),
        "list": [_described(tensor) for tensor in model.tensors.values()],
    }


def _described(tensor: Tensor) -> dict[str, Any]:
    span = next(iter(tensor.parts.values())).span
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "layout": tensor.layout,
        "bytes": tensor.nbytes,
        "file": span.source.path if span else None,
        "offset": span.offset if span else None,
    }


def shown(value: Any) -> Any:
    """A metadata value short enough to print: long strings cut, long arrays told by length and first items."""
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "replace"), MAX_SHOWN)
    if isinstance(value, str):
        clean = value.encode("utf-8", "replace").decode("utf-8")
        return clean if len(clean) <= MAX_SHOWN else clean[: MAX_SHOWN - 3] + "..."
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in list(value.items())[:MAX_SHOWN]}
    if hasattr(value, "__len__"):
        items = value.first(3) if hasattr(value, "first") else list(value[:3])
        if len(value) <= 3:
            return [shown(item) for item in items]
        return {"items": len(value), "first": [shown(item) for item in items]}
    return value if isinstance(value, int | float | bool) or value is None else str(value)
