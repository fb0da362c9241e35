"""Carries out a plan: tiles in any order, by threads, into known places of preallocated files.

Each unit of work is a pure function of (source, plan entry, tile) that fills known byte ranges;
nothing depends on order, so the same units could run elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hub.calibration import of_rows
from hub.errors import HubError
from hub.io.atomic import AtomicOutput, OutputFile
from hub.ir.part import PartSpec, row_length
from hub.ir.scheme import Scheme
from hub.ir.tensor import Tensor
from hub.ir.values import Quantized
from hub.layout import DenseLayout, Layout, arrays_of, naming
from hub.planner import Entry, Plan
from hub.plugins import Registry
from hub.quantizer import Calibration
from hub.tiles import Budget, step, tiles
from hub.transcode import conform

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
    """Logical rows `start` to `stop` of a tensor in f32, shape (rows, in) or (rows,).

    Raises:
        HubError: numbers that the layout refuses, or that cannot be read; names file and tensor.
    """
    shape = (stop - start, row_length(tensor.shape)) if len(tensor.shape) > 1 else (stop - start,)
    with naming(tensor):
        return layout.decode(arrays_of(tensor, start, stop), shape)


def fill(plan: Plan, registry: Registry, output: AtomicOutput, budget: Budget, progress: Progress) -> None:
    """Write everything that the plan says into `output`, headers last.

    Raises:
        HubError: reading or writing failed; `output` is then to be discarded.
    """
    files = {file.name: output.create(file.name, file.size) for file in plan.files}
    where = {key: (files[file.name], offset) for file in plan.files for key, offset in file.placed.items()}
    progress.start("convert", sum(entry.nbytes for entry in plan.entries))

    def units() -> Iterable[Callable[[], int]]:
        for entry in plan.entries:
            target = registry.layout(entry.layout)
            specs = target.parts(entry.tensor.shape)
            for start, stop in tiles(entry.tensor, step_of(entry, registry), budget):
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
        return sum(_store(arrays[name], spec, *where[entry.name, name], start, stop) for name, spec in specs.items())
    except HubError as error:
        raise error.at(tensor=entry.name) from None


def step_of(entry: Entry, registry: Registry) -> int:
    """The number of rows that tiles of an entry must be a multiple of: all of them for a quantizer that wants so."""
    target = registry.layout(entry.layout)
    least = step(entry.tensor, registry.layout(entry.tensor.layout), target)
    quantizer = registry.quantizer(target.name) if entry.quantizer else None
    return max(least, entry.tensor.rows) if quantizer is not None and quantizer.whole_tensor else least


def tile(entry: Entry, registry: Registry, start: int, stop: int) -> Arrays:
    """The target's parts for logical rows `start` to `stop`, by the entry's route."""
    source, target = registry.layout(entry.tensor.layout), registry.layout(entry.layout)
    if entry.route == "copy":
        return arrays_of(entry.tensor, start, stop)
    if entry.route == "repack":
        width = row_length(entry.tensor.shape)
        body = source.unpack(arrays_of(entry.tensor, start, stop), (stop - start, width))
        assert isinstance(body, Quantized)
        mine, theirs = source.scheme(entry.tensor.shape), target.scheme(entry.tensor.shape)
        assert isinstance(mine, Scheme) and isinstance(theirs, Scheme)
        return target.pack(conform(body, mine, theirs))
    values = weights(entry.tensor, source, start, stop)
    if isinstance(target, DenseLayout):
        return target.arrange(cast(values, target.dtype.name))
    quantizer = registry.quantizer(entry.layout)
    assert quantizer is not None
    stored = source.dtype if isinstance(source, DenseLayout) and "stored" in quantizer.wants else None
    values = values.reshape(stop - start, -1)
    if entry.importance is None:
        return quantizer.quantize(values, Calibration(stored=stored))
    made = [
        quantizer.quantize(values[low - start : high - start], Calibration(stored=stored, importance=weight))
        for low, high, weight in of_rows(entry.importance, start, stop, entry.tensor.shape[-2])
    ]
    return made[0] if len(made) == 1 else _stacked(made, target.parts(entry.tensor.shape))


def _stacked(made: Sequence[Arrays], specs: Mapping[str, PartSpec]) -> Arrays:
    """Tiles that stand below each other as one."""
    import numpy as np

    return {name: np.concatenate([one[name] for one in made], axis=spec.axis or 0) for name, spec in specs.items()}


def cast(values: F32Array, name: str) -> np.ndarray[Any, Any]:
    """f32 rounded to another float type, half to even."""
    from hub.kernels import from_f32

    return from_f32(values, name)


def _store(array: np.ndarray[Any, Any], spec: PartSpec, file: OutputFile, offset: int, start: int, stop: int) -> int:
    """Write a tile's part where it belongs; a part shared by all rows is written with the first."""
    import numpy as np

    if spec.axis is None and start > 0:
        return 0
    first, length, count, stride = spec.runs(start, stop)
    raw = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    if len(raw) != length * count:
        raise HubError(f"a tile has {len(raw)} bytes, its layout says {length * count}")
    if count == 1:
        file.write(raw, offset + first)
    else:
        file.write_runs(raw, length, offset + first, stride)
    return len(raw)
