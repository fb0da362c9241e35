"""The Python API: open, plan, convert, verify, diff, inspect, check. The command line calls these and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hub.errors import HubError, OutputError, UsageError, VerifyError, printable
from hub.ir.model import Model
from hub.plugins import registry
from hub.recipe import Recipe, Rule

if TYPE_CHECKING:
    from hub.consumers.choosing import Chosen
    from hub.layout import Fidelity
    from hub.pipeline import Progress
    from hub.planner import Plan
    from hub.runner import Mode
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
) -> Plan:
    """Plan a conversion of an opened model; nothing is written.

    Args:
        to: ``FORMAT[:VARIANT]``.
        recipe: rules and settings from a file.
        rules: layouts for single tensors, before those of the recipe.
        settings: metadata to set, before those of the recipe.

    Raises:
        HubError: the model cannot be converted so; says why.
    """
    from hub import planner

    name, variant = split_target(to)
    full = (recipe or Recipe()).joined(rules, settings or {})
    return planner.make(source, name, variant, full, registry())


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    to: str,
    from_: str | None = None,
    recipe: Recipe | None = None,
    rules: Sequence[Rule] = (),
    settings: Mapping[str, Any] | None = None,
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
        recipe, rules, settings: as in `plan`.
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
    asked = _consumers(consumers, split_target(to)[0], verify)
    with Watch(), open(source, format=from_) as model:
        with watch.stage("plan"):
            made = plan(model, to=to, recipe=recipe, rules=rules, settings=settings)
            final = Path(target) if target is not None else _beside(source, made)
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


def _consumers(names: Sequence[str], format: str, level: Verify) -> Sequence[Chosen]:
    """The programs to ask, with complaints about any of them before work starts."""
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


def _beside(source: str | os.PathLike[str], made: Plan) -> Path:
    from hub import planner
    from hub.format import Request

    full = Path(os.path.abspath(source))
    request = Request(made.variant, Recipe(), planner.source_stem(os.fspath(source)))
    return full.parent / made.writer.default_name(request.source_name, request)


def check_target(made: Plan, final: Path, force: bool, report_to: str | os.PathLike[str] | None) -> None:
    """Raises:
    OutputError: the output or the report may not be written there.
    """
    from hub.io.atomic import check_free

    check_free(final, folder=made.writer.folder, force=force)
    kept = _files(made.source)
    if any(_same_file(final, path) for path in kept):
        raise OutputError("it is the source itself, or a file of it", path=final, remedy="give another name")
    if made.writer.folder and final.is_dir():
        _check_replaced(final, kept, made.target_format)
    if report_to is None:
        return
    check_free(report_to, folder=False, force=True)
    if any(_same_file(report_to, path) for path in (*kept, os.fspath(final))):
        raise OutputError(
            "the report would replace the output or a file of the source", path=report_to, remedy="give another name"
        )


def _check_replaced(folder: Path, kept: Sequence[str], format: str) -> None:
    """A folder is replaced with all that is in it, so it must be an earlier output and nothing more.

    Raises:
        OutputError: it has the source in it, or something that is no model of that format.
    """
    inside = os.path.realpath(folder)
    if any(os.path.commonpath([inside, os.path.realpath(path)]) == inside for path in kept):
        raise OutputError("the source lies in it, and would go with it", path=folder, remedy="give another name")
    try:
        known = not any(folder.iterdir()) or registry().detect(os.fspath(folder)).name == format
    except HubError:
        known = False
    if not known:
        raise OutputError(
            f"--force replaces models, and this folder holds none of format {format}",
            path=folder, remedy="give another name, or remove it first",
        )  # fmt: skip


def _files(model: Model) -> list[str]:
    """What a conversion must not replace: the model, and every file beside its weights."""
    beside = [os.path.join(model.path, name) for name in model.companions]
    return [model.path, *(source.path for source in model.sources), model.config_path or model.path, *beside]


def _same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether two names lead to one file, by a link of either kind or by being the same name of nothing yet."""
    if os.path.realpath(a) == os.path.realpath(b):
        return True
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


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
    asked = _consumers(consumers, output_format or "", level)
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


def check_report(report_to: str | os.PathLike[str] | None, models: Sequence[Model]) -> None:
    """Raises:
    OutputError: a report may not be written there.
    """
    from hub.io.atomic import check_free

    if report_to is None:
        return
    check_free(report_to, folder=False, force=True)
    if any(_same_file(report_to, path) for model in models for path in _files(model)):
        raise OutputError("the report would replace a file of a model", path=report_to, remedy="give another name")


def logits(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    ids: str | os.PathLike[str] | None = None,
    text: str | os.PathLike[str] | None = None,
    format: str | None = None,
    mode: Mode = "exact",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a model on a sequence of tokens and write its logits.

    Args:
        path: the model, a file or folder.
        output: an .npz file, with `input_ids` (tokens,) int64 and `logits` (tokens, vocabulary) f32.
        ids: an .npz file with `input_ids`, (tokens,) or (1, tokens); or
        text: a text file, which the model's tokenizer makes ids of.
        format: the model's format; detected when not given.
        mode: `exact` computes in f32, `fast` with activations in int8 blocks.
        threads: number of threads; one per core when not given.
        force: whether an existing output may be replaced.
        progress: told about the work.

    Returns:
        ``{"path", "output", "tokens", "vocab_size", "mode", "seconds"}``.

    Raises:
        UsageError: ids outside the vocabulary, or more than the model can see; a text without a tokenizer.
        HubError: the model cannot be run, or gives numbers that are not finite; nothing is written then.
    """
    from hub import pipeline
    from hub.measures import answers
    from hub.runner import Runner

    if (ids is None) == (text is None):
        raise UsageError("either ids or a text must be given, and not both")
    started = time.monotonic()
    with open(path, format=format) as model:
        check_file(output, force, (model,), (ids, text))
        with Runner(model, mode=mode, threads=threads_or_default(threads)) as runner:
            row = answers.ids_of(model, runner, ids=ids, text=text)
            answers.write(runner, row, output, force=force, progress=progress or pipeline.Silent(), model=model)
            vocab_size = runner.vocab_size
    return {
        "path": os.fspath(path),
        "output": os.fspath(output),
        "tokens": len(row),
        "vocab_size": vocab_size,
        "mode": mode,
        "seconds": round(time.monotonic() - started, 3),
    }


def evaluate(
    path: str | os.PathLike[str],
    *,
    text: str | os.PathLike[str],
    context: int | None = None,
    chunks: int | None = None,
    format: str | None = None,
    mode: Mode = "exact",
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The perplexity of a text, computed as llama.cpp's tool does; see `hub.measures.perplexity`.

    Args:
        text: a text file.
        context: tokens of a chunk; 512 when not given.
        chunks: how many chunks to run at most; all when not given.
        path, format, mode, threads, progress: as in `logits`.

    Returns:
        ``{"path", "text", "mode", "perplexity", "error", "chunks", "context", "scored", "tokens_per_second",
        "seconds"}``; `error` is None where one token was scored.

    Raises:
        UsageError: the text is too short, or the model has no tokenizer or cannot see that many tokens.
        HubError: the model cannot be run, or gives numbers that are not finite.
    """
    from hub import pipeline
    from hub.measures import chunks as cut
    from hub.measures import perplexity
    from hub.runner import Runner

    length = cut.CONTEXT if context is None else context
    with open(path, format=format) as model:
        with Runner(model, mode=mode, threads=threads_or_default(threads)) as runner:
            parts = cut.of(model, runner, text, length, chunks)
            found = perplexity.measure(runner, parts, progress or pipeline.Silent())
        model.check_unchanged()
    return {
        "path": os.fspath(path),
        "text": os.fspath(text),
        "mode": mode,
        "perplexity": found.value,
        "error": found.error,
        "chunks": found.chunks,
        "context": found.context,
        "scored": found.scored,
        "tokens_per_second": round(found.rate, 1),
        "seconds": round(found.seconds, 3),
    }


def imatrix(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    text: str | os.PathLike[str],
    to: str | None = None,
    context: int | None = None,
    chunks: int | None = None,
    process_output: bool = False,
    format: str | None = None,
    mode: Mode = "exact",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write how much the inputs of every matrix weigh on a text; see `hub.measures.importance`.

    Args:
        output: the file to write.
        text, context, chunks: as in `evaluate`.
        to: the format of the output; the only one that has such files when not given.
        process_output: whether the output matrix is told of, too.
        path, format, mode, threads, force, progress: as in `logits`.

    Returns:
        ``{"path", "text", "output", "format", "mode", "tensors", "chunks", "context", "bytes", "seconds"}``.

    Raises:
        UsageError: as `evaluate`, or the format has no such files.
        HubError: the model cannot be run, or gives numbers that are not finite; nothing is written then.
    """
    from hub import pipeline
    from hub.architecture import configure
    from hub.format import CalibrationText
    from hub.io.atomic import write_pieces
    from hub.measures import chunks as cut
    from hub.measures import importance
    from hub.runner import Runner

    started = time.monotonic()
    writer, length = registry().importance(to), cut.CONTEXT if context is None else context
    with open(path, format=format) as model:
        check_file(output, force, (model,), (text,))
        told = importance.told(configure(model), writer, output=process_output)
        collector = importance.Collector(importance.sources(told))
        with Runner(model, mode=mode, threads=threads_or_default(threads), inputs=collector) as runner:
            parts = cut.of(model, runner, text, length, chunks)
            importance.run(runner, parts, output=process_output, progress=progress or pipeline.Silent())
        found = importance.localised(told, collector.moments, model.path)
        model.check_unchanged()
    pieces = writer.encode(found, CalibrationText(os.fspath(text), len(parts), length))
    size = write_pieces(output, pieces, force=force)
    return {
        "path": os.fspath(path),
        "text": os.fspath(text),
        "output": os.fspath(output),
        "format": writer.convention,
        "mode": mode,
        "tensors": len(found),
        "chunks": len(parts),
        "context": length,
        "bytes": size,
        "seconds": round(time.monotonic() - started, 3),
    }


def check_file(
    output: str | os.PathLike[str],
    force: bool,
    models: Sequence[Model],
    others: Sequence[str | os.PathLike[str] | None] = (),
) -> None:
    """Raises:
    OutputError: a file may not be written there: it exists, or it is one that is read.
    """
    from hub.io.atomic import check_free

    check_free(output, folder=False, force=force)
    read = [path for model in models for path in _files(model)] + [os.fspath(path) for path in others if path]
    if any(_same_file(output, path) for path in read):
        raise OutputError("the output would replace a file that is read", path=output, remedy="give another name")
