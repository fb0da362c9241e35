"""The Python API: open, plan, convert, verify, diff, inspect, check; `hub.measuring` has the rest of it. The command
line calls these and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hub.errors import UsageError, VerifyError, printable
from hub.ir.model import Model
from hub.outputs import beside, check_report, check_target
from hub.plugins import registry
from hub.recipe import Recipe, Rule

if TYPE_CHECKING:
    from hub.consumers.choosing import Chosen
    from hub.layout import Fidelity
    from hub.pipeline import Progress
    from hub.planner import Plan
    from hub.tiles import Budget
    from hub.verification.running import Prepared

Verify = Literal["none", "weights", "full"]
DEFAULT_MEMORY = 1 << 30
"""Private memory that a conversion stays below, in bytes."""


def open(path: str | os.PathLike[str], *, format: str | None = None) -> Model:
    """Open a model: headers are read and checked, tensors stay where they are.

    Args:
        path: a file or folder.
        format: its format; detected when not given.

    Returns:
        The model, which is a context manager: leaving it closes its files.

    Raises:
        HubError: not a model of that format, or damaged; names file, tensor and offset.
    """
    plugins = registry()
    name = format or plugins.detect(os.fspath(path)).name
    return plugins.reader(name).open(os.fspath(path))


def split_target(to: str) -> tuple[str, str]:
    """Format and variant of ``FORMAT[:VARIANT]``.

    Raises:
        UsageError: either is empty.
    """
    name, colon, variant = to.partition(":")
    if not name or (colon and not variant):
        raise UsageError(f"{printable(to)!r} is not FORMAT or FORMAT:VARIANT")
    return name, variant.lower()


def threads_or_default(threads: int | None) -> int:
    """The number of threads to use: as asked, or one per core that this process may use.

    Raises:
        UsageError: less than one.
    """
    if threads is None:
        return max(1, len(os.sched_getaffinity(0)))
    if threads < 1:
        raise UsageError(f"{threads} threads, at least 1 is needed")
    return threads


def _resources(threads: int | None, max_memory: int) -> Budget:
    """Threads, memory and kernels, with complaints about any of them before work starts."""
    from hub.kernels import isa
    from hub.tiles import Budget

    isa()
    budget = Budget(max_memory, threads_or_default(threads))
    budget.tile_bytes  # noqa: B018  a property that raises when the memory is too little
    return budget


def plan(
    source: Model,
    *,
    to: str,
    recipe: Recipe | None = None,
    rules: Sequence[Rule] = (),
    settings: Mapping[str, Any] | None = None,
    importance: str | os.PathLike[str] | None = None,
) -> Plan:
    """Plan a conversion of an opened model; nothing is written.

    Args:
        to: ``FORMAT[:VARIANT]``.
        recipe: rules and settings from a file.
        rules: layouts for single tensors, before those of the recipe.
        settings: metadata to set, before those of the recipe.
        importance: a file of figures that quantizers weight errors with, as `imatrix` and llama-imatrix write it.

    Raises:
        HubError: the model cannot be converted so; says why.
    """
    from hub import calibration, planner

    name, variant = split_target(to)
    full = (recipe or Recipe()).joined(rules, settings or {})
    given = None if importance is None else calibration.read(importance, name, registry())
    return planner.make(source, name, variant, full, registry(), given)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    to: str,
    from_: str | None = None,
    recipe: Recipe | None = None,
    rules: Sequence[Rule] = (),
    settings: Mapping[str, Any] | None = None,
    importance: str | os.PathLike[str] | None = None,
    verify: Verify = "full",
    text: str | os.PathLike[str] | None = None,
    tokens: int | None = None,
    consumers: Sequence[str] = (),
    require: Fidelity | None = None,
    threads: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
    force: bool = False,
    report_to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    on_plan: Any = None,
    on_cost: Any = None,
) -> dict[str, Any]:
    """Convert a model and check the result.

    Args:
        source: a file or folder.
        target: the output; a name in the ecosystem's habit beside `source` when not given.
        to: ``FORMAT[:VARIANT]``.
        from_: the source's format; detected when not given.
        recipe, rules, settings, importance: as in `plan`.
        verify: `weights` compares every tensor of the output with the source, `full` also settings, tokenizer and
            what both answer to the same tokens; `none` does nothing.
        text: a file to take those tokens from; the built-in sample when not given.
        tokens: how many.
        consumers: names of programs to run the output in, too; with `full` only.
        require: the least fidelity that every tensor must keep.
        threads: number of threads; one per core when not given.
        max_memory: private memory in bytes that the process stays below.
        force: whether an existing output may be replaced.
        report_to: where to write the report, as JSON.
        progress: told about the work.
        on_plan: called with the `Plan` before anything is written.
        on_cost: called with what running both sides will cost, before anything is written: `tokens`, `weight_passes`,
            `estimate_seconds`.

    Returns:
        The report; `schemas/report.schema.json` describes it.

    Raises:
        VerifyError: written, but it does not agree with its source; kept as ``TARGET.rejected``.
        HubError: anything else; nothing is left behind.
    """
    from hub import pipeline, planner, report
    from hub.io.atomic import AtomicOutput, check_room
    from hub.memory import Watch
    from hub.scan import scan
    from hub.verification import checks

    plugins, watch, progress = registry(), report.Stopwatch(), progress or pipeline.Silent()
    budget = _resources(threads, max_memory)
    asked = choose_consumers(consumers, split_target(to)[0], verify)
    with Watch(), open(source, format=from_) as model:
        with watch.stage("plan"):
            made = plan(model, to=to, recipe=recipe, rules=rules, settings=settings, importance=importance)
            final = Path(target) if target is not None else beside(source, made)
            check_target(made, final, force, report_to)
            if require:
                planner.require(made, require)
            prepared = prepare(model, text, tokens, budget.threads) if verify == "full" else None
            _check_runnable(asked, prepared)
        if on_plan:
            on_plan(made)
        if on_cost and prepared is not None and prepared.cost:
            on_cost(prepared.cost)
        with watch.stage("scan"):
            scan(made, plugins, budget, progress)
        check_room(final, made.size)
        checked = checks.Checked()
        with AtomicOutput(final, folder=made.writer.folder, force=force) as output:
            with watch.stage("convert"):
                pipeline.fill(made, plugins, output, budget, progress)
                output.seal()
            if verify != "none":
                with plugins.reader(made.target_format).open(os.fspath(output.path)) as written:
                    checked = checks.accept(made, written, prepared, plugins, budget, watch, progress, asked)
                model.check_unchanged()  # else a source that changed would look like a faulty output
            landed = output.reject() if checked.wrong else output.commit()
        # As the user spelled it, not as it resolves.
        path = final.with_name(landed.name)
        out = report.make(
            made, path, checked.results, budget, watch, plugins, checked.done, hashes=report_to is not None,
            logits=checked.ran.logits if checked.ran else None, diagnoses=[item.data() for item in checked.diagnoses],
            consumers=[item.data() for item in checked.asked],
        )  # fmt: skip
        if report_to is not None:
            report.write(report_to, out)
        if checked.wrong:
            raise VerifyError("; ".join(checked.wrong), path=path)
        return out


def prepare(model: Model, text: str | os.PathLike[str] | None, tokens: int | None, threads: int) -> Prepared:
    """Choose what `full` verification runs on; see `hub.verification.running.prepare`."""
    from hub.verification import running, sample

    given = None if text is None else sample.of_file(text)
    name = sample.BUILT_IN if text is None else os.fspath(text)
    request = running.Request(sample.TOKENS if tokens is None else tokens, given, name)
    return running.prepare(model, request, threads)


def choose_consumers(names: Sequence[str], format: str, level: Verify) -> Sequence[Chosen]:
    """The programs to ask, with complaints about any of them before work starts.

    Raises:
        UsageError: there is none of that name, it is not installed, does not open the format, or is not to be run.
    """
    from hub.consumers.choosing import choose

    if names and level != "full":
        raise UsageError(f"consumers run the model, which verification of {level} leaves out")
    return choose(names, format, registry()) if names else ()


def _check_runnable(consumers: Sequence[Chosen], prepared: Prepared | None) -> None:
    """Raises:
    UsageError: hub cannot run the model itself, so there is nothing to compare the answers of others with.
    """
    if consumers and prepared is not None and prepared.sample is None:
        raise UsageError(f"consumers cannot be compared with hub's own answers: {prepared.reason}")


def inspect(path: str | os.PathLike[str], *, format: str | None = None) -> dict[str, Any]:
    """What the headers of a model say, as plain data."""
    from hub import report

    with open(path, format=format) as model:
        return report.describe(model)


def check(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    threads: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check a model completely: structure, data, settings against tensors, tokenizer, companion files.

    Returns:
        ``{"path", "format", "faults": [...], "notes": [...], "checked": [...]}``.

    Raises:
        HubError: the structure itself is damaged.
    """
    from hub import checking
    from hub.pipeline import Silent

    started = time.monotonic()
    budget = _resources(threads, max_memory)
    with open(path, format=format) as model:
        out = checking.check(model, registry(), budget, progress or Silent())
    out["seconds"] = round(time.monotonic() - started, 3)
    return out


def verify(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    source_format: str | None = None,
    output_format: str | None = None,
    level: Literal["weights", "full"] = "full",
    text: str | os.PathLike[str] | None = None,
    tokens: int | None = None,
    consumers: Sequence[str] = (),
    threads: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
    report_to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    on_cost: Any = None,
    on_report: Any = None,
) -> dict[str, Any]:
    """Check that `output` is what a correct conversion of `source` could be, whoever made it.

    Args:
        source, output: files or folders, of any formats.
        source_format, output_format: their formats; detected when not given.
        level: `weights` compares settings, tokenizers and tensors, `full` also runs both on the same tokens.
        text: a file to take those tokens from; the built-in sample when not given.
        tokens: how many.
        consumers: names of programs to run `output` in, too; with `full` only.
        threads, max_memory, report_to, progress, on_cost: as in `convert`.
        on_report: called with the report, also when something is wrong.

    Returns:
        The report; `schemas/verify.schema.json` describes it.

    Raises:
        VerifyError: they do not agree; names the mistakes and the worst tensors.
        HubError: one of them cannot be read, or the source is damaged.
    """
    from hub import pipeline, report
    from hub.memory import Watch
    from hub.verification import checks

    watch, budget = report.Stopwatch(), _resources(threads, max_memory)
    if consumers:
        output_format = output_format or registry().detect(os.fspath(output)).name
    asked = choose_consumers(consumers, output_format or "", level)
    with Watch(), open(source, format=source_format) as a, open(output, format=output_format) as b:
        check_report(report_to, (a, b))
        prepared = prepare(a, text, tokens, budget.threads) if level == "full" else None
        _check_runnable(asked, prepared)
        if on_cost and prepared is not None and prepared.cost:
            on_cost(prepared.cost)
        out, wrong = checks.verify(
            a, b, registry(), budget, watch, progress or pipeline.Silent(), prepared=prepared,
            consumers=asked, hashes=report_to is not None,
        )  # fmt: skip
    if report_to is not None:
        report.write(report_to, out)
    if on_report:
        on_report(out)
    if wrong:
        raise VerifyError("; ".join(wrong), path=output)
    return out


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    a_format: str | None = None,
    b_format: str | None = None,
    threads: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
    report_to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tell how two models differ: settings, tensors, tokenizers; names and transforms undone.

    Returns:
        `schemas/diff.schema.json` describes it.

    Raises:
        HubError: one of them cannot be read, or their names cannot be brought together.
    """
    from hub import pipeline, report
    from hub.verification import difference
    from hub.verification.alignment import align

    budget = _resources(threads, max_memory)
    with open(a, format=a_format) as first, open(b, format=b_format) as second:
        check_report(report_to, (first, second))
        found = difference.compare(align(first, second), registry(), budget, progress or pipeline.Silent())
        first.check_unchanged()
        second.check_unchanged()
        out = difference.data(found)
    if report_to is not None:
        report.write(report_to, out)
    return out
