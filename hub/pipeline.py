"""Carries out a plan: tiles in any order, by threads, into known places of preallocated files.

Each unit of work is a pure function of (source, plan entry, tile) that fills known byte ranges;
nothing depends on order, so the same units could run elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hub.errors import HubError, WeightError
from hub.io.atomic import AtomicOutput, OutputFile
from hub.ir.part import PartSpec, row_length
from hub.ir.tensor import Tensor
from hub.ir.values import Quantized
from hub.layout import DenseLayout, Layout, arrays_of
from hub.planner import Entry, Plan
from hub.plugins import Registry
from hub.quantizer import Calibration
from hub.tiles import Budget, multiple, tiles

if TYPE_CHECKING:
    import numpy as np

    from hub.layout import Arrays, F32Array

T = TypeVar("T")


class Progress(Protocol):
    """Told about work as it gets done."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins; `total` is its work in bytes."""

    def advance(self, amount: int) -> None:
        """That much of it is done."""


class Silent:
    """A Progress that tells nobody."""

    def start(self, stage: str, total: int) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass


def run_all(units: Iterable[Callable[[], T]], threads: int, done: Callable[[T], None]) -> None:
    """Run units on `threads` threads, a few ahead of the slowest; the first error stops the rest.

    With one thread they run right here, one after another, which is what a debugger wants.
    """
    if threads == 1:
        for unit in units:
            done(unit())
        return
    iterator = iter(units)
    pending: set[Future[T]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="hub") as pool:
        try:
            for unit in iterator:
                pending.add(pool.submit(unit))
                if len(pending) >= 2 * threads:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in finished:
                        done(future.result())
            for future in pending:
                done(future.result())
        except BaseException:
            for future in pending:
                future.cancel()
            raise


def weights(tensor: Tensor, layout: Layout, start: int, stop: int) -> F32Array:
    """Logical rows `start` to `stop` of a tensor in f32, shape (rows, in) or (rows,)."""
    shape = (stop - start, row_length(tensor.shape)) if len(tensor.shape) > 1 else (stop - start,)
    return layout.decode(arrays_of(tensor, start, stop), shape)


def scan(plan: Plan, registry: Registry, budget: Budget, progress: Progress) -> None:
    """Look at every weight of the source before anything is written.

    Raises:
        WeightError: some are not finite, or too large for the layout they get; names the tensors.
    """
    from hub.kernels import Scan
    from hub.kernels import scan as look
    from hub.overflow import refuse_overflow

    found: dict[str, list[Any]] = {}
    progress.start("scan", sum(entry.tensor.nbytes for entry in plan.entries))

    def unit(entry: Entry, start: int, stop: int) -> tuple[Entry, int, Scan, int]:
        layout = registry.layout(entry.tensor.layout)
        arrays = arrays_of(entry.tensor, start, stop)
        read = sum(array.nbytes for array in arrays.values())
        if isinstance(layout, DenseLayout):
            return entry, start, look(arrays["data"]), read
        return entry, start, look(weights(entry.tensor, layout, start, stop)), read

    def units() -> Iterable[Callable[[], tuple[Entry, int, Scan, int]]]:
        for entry in plan.entries:
            step = multiple({name: part.spec for name, part in entry.tensor.parts.items()})
            for start, stop in tiles(entry.tensor, step, budget):
                yield lambda e=entry, a=start, b=stop: unit(e, a, b)  # type: ignore[misc]

    def done(result: tuple[Entry, int, Scan, int]) -> None:
        entry, start, seen, read = result
        progress.advance(read)
        record = found.setdefault(entry.name, [entry, 0, None, 0.0])
        record[1] += seen.nonfinite
        if seen.nonfinite:
            at = start * row_length(entry.tensor.shape) + seen.first
            record[2] = at if record[2] is None else min(record[2], at)
        record[3] = max(record[3], seen.max_abs)

    run_all(units(), budget.threads, done)
    _refuse_nonfinite(plan, found)
    refuse_overflow(plan, {name: record[3] for name, record in found.items()}, registry, budget)


def _refuse_nonfinite(plan: Plan, found: Mapping[str, list[Any]]) -> None:
    bad = [record for record in found.values() if record[1]]
    if not bad:
        return
    bad.sort(key=lambda record: record[0].name)
    entry, count, first, _ = bad[0]
    span = next(iter(entry.tensor.parts.values())).span
    others = "".join(f", {record[0].name} ({record[1]})" for record in bad[1:8])
    others = f"; also {others[2:]}" if others else ""
    if len(bad) > 8:
        others += f" and {len(bad) - 8} more tensors"
    raise WeightError(
        f"{count} weights are not finite, the first is number {first}{others}",
        path=span.source.path if span else plan.source.path,
        tensor=entry.name,
        offset=span.offset + first * (span.nbytes // max(1, _weights(entry))) if span else None,
        remedy="the model is damaged; nothing was written",
    )


def _weights(entry: Entry) -> int:
    import math

    return math.prod(entry.tensor.shape)


def fill(
    plan: Plan, registry: Registry, output: AtomicOutput, budget: Budget, progress: Progress
) -> None:
    """Write everything that the plan says into `output`, headers last.

    Raises:
        HubError: reading or writing failed; `output` is then to be discarded.
    """
    files = {file.name: output.create(file.name, file.size) for file in plan.files}
    where = {
        key: (files[file.name], offset) for file in plan.files for key, offset in file.placed.items()
    }
    progress.start("convert", sum(entry.nbytes for entry in plan.entries))

    def units() -> Iterable[Callable[[], int]]:
        for entry in plan.entries:
            target = registry.layout(entry.layout)
            specs = target.parts(entry.tensor.shape)
            source = {name: part.spec for name, part in entry.tensor.parts.items()}
            step = max(multiple(specs, source), target.row_multiple)
            for start, stop in tiles(entry.tensor, step, budget):
                yield lambda e=entry, s=specs, a=start, b=stop: _unit(  # type: ignore[misc]
                    e, s, where, registry, a, b
                )

    run_all(units(), budget.threads, progress.advance)
    for file in plan.files:
        for offset, data in sorted(file.literals, key=lambda item: item[0], reverse=True):
            files[file.name].write(data, offset)
    plan.source.check_unchanged()


def _unit(
    entry: Entry,
    specs: Mapping[str, PartSpec],
    where: Mapping[tuple[str, str], tuple[OutputFile, int]],
    registry: Registry,
    start: int,
    stop: int,
) -> int:
    try:
        arrays = tile(entry, registry, start, stop)
        return sum(
            _store(arrays[name], spec, *where[entry.name, name], start, stop) for name, spec in specs.items()
        )
    except HubError as error:
        if error.tensor is None:
            raise type(error)(
                error.message, path=error.path, tensor=entry.name, offset=error.offset, remedy=error.remedy
            ) from None
        raise


def tile(entry: Entry, registry: Registry, start: int, stop: int) -> Arrays:
    """The target's parts for logical rows `start` to `stop`, by the entry's route."""
    source, target = registry.layout(entry.tensor.layout), registry.layout(entry.layout)
    if entry.route == "copy":
        return arrays_of(entry.tensor, start, stop)
    if entry.route == "repack":
        width = row_length(entry.tensor.shape)
        body = source.unpack(arrays_of(entry.tensor, start, stop), (stop - start, width))
        assert isinstance(body, Quantized)
        return target.pack(body)
    values = weights(entry.tensor, source, start, stop)
    if isinstance(target, DenseLayout):
        return {"data": cast(values, target.name)}
    quantizer = registry.quantizer(entry.layout)
    assert quantizer is not None
    return quantizer.quantize(values.reshape(stop - start, -1), Calibration())


def cast(values: F32Array, name: str) -> np.ndarray[Any, Any]:
    """f32 rounded to another float type, half to even."""
    from hub.kernels import from_f32

    return from_f32(values, name)


def _store(
    array: np.ndarray[Any, Any], spec: PartSpec, file: OutputFile, offset: int, start: int, stop: int
) -> int:
    """Write a tile's part where it belongs; a part shared by all rows is written with the first."""
    import numpy as np

    if spec.axis is None and start > 0:
        return 0
    first, length, count, stride = spec.runs(start, stop)
    raw = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    if len(raw) != length * count:
        raise HubError(f"a tile has {len(raw)} bytes, its layout says {length * count}")
    for i in range(count):
        file.write(raw[i * length : (i + 1) * length], offset + first + i * stride)
    return len(raw)
