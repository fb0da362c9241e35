"""The Python API of what a model answers: logits, perplexity, importance. `hub.session` has the rest."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from hub import session
from hub.errors import UsageError
from hub.outputs import check_file
from hub.plugins import registry

if TYPE_CHECKING:
    from hub.pipeline import Progress
    from hub.runner import Mode


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
    with session.open(path, format=format) as model:
        check_file(output, force, (model,), (ids, text))
        with Runner(model, mode=mode, threads=session.threads_or_default(threads)) as runner:
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
    with session.open(path, format=format) as model:
        with Runner(model, mode=mode, threads=session.threads_or_default(threads)) as runner:
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
    with session.open(path, format=format) as model:
        check_file(output, force, (model,), (text,))
        configured = configure(model)
        told = importance.told(configured, writer, output=process_output)
        collector = importance.Collector(importance.sources(told), importance.stacks(configured))
        with Runner(model, mode=mode, threads=session.threads_or_default(threads), inputs=collector) as runner:
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
