"""`hub logits`, `hub eval` and `hub imatrix`: what a model answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hub.cli.commands import _from, _json, cli
from hub.errors import printable

F = TypeVar("F", bound=Callable[..., Any])

_RUN = (
    click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads; one per core when not given."),
    click.option(
        "--mode", type=click.Choice(["exact", "fast"]), default="exact", show_default=True,
        help="'exact' computes in f32, the same bits on every machine; 'fast' rounds activations, for quantized "
        "weights to int8 blocks.",
    ),
)  # fmt: skip
_CHUNKS = (
    click.option("--chunks", type=click.IntRange(1), metavar="N", help="Chunks to run at most; all when not given."),
    click.option(
        "--ctx", "context", type=click.IntRange(4), metavar="N", help="Tokens of a chunk; 512 when not given."
    ),
    click.option("--text", required=True, type=click.Path(), metavar="FILE", help="The text."),
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in options:
            command = option(command)
        return command

    return add


_output = click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="The file to write.")
_force = click.option("--force", is_flag=True, help="Replace an existing FILE.")


@cli.command()
@click.argument("path", type=click.Path())
@_json
@_force
@_with(*_RUN)
@_output
@click.option("--text", type=click.Path(), metavar="FILE", help="Run a text.")
@click.option("--ids", type=click.Path(), metavar="FILE.npz", help="Run the ids in its array input_ids.")
@_from
def logits(
    path: str, from_: str | None, ids: str | None, text: str | None, output: str, mode: Any, threads: int | None,
    force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run a model on a sequence of tokens and write its logits.

    The output is an .npz file with the arrays input_ids [T] and logits [T, vocabulary] f32.
    """
    from hub import measuring
    from hub.cli import show

    if (ids is None) == (text is None):
        raise click.UsageError("give either --ids or --text")
    view = show.view(as_json=as_json, quiet=as_json, verbose=False)
    with view:
        done = measuring.logits(
            path, output, ids=ids, text=text, format=from_, mode=mode, threads=threads, force=force, progress=view
        )
    if as_json:
        show.json_line(done, pretty=True)
    else:
        click.echo(
            f"wrote {printable(output, 200)}: logits of {done['tokens']} tokens, {done['vocab_size']} each, "
            f"in {done['seconds']:.1f} s"
        )


@cli.command("eval")
@click.argument("path", type=click.Path())
@_json
@_with(*_RUN, *_CHUNKS)
@_from
def evaluate(
    path: str, from_: str | None, text: str, context: int | None, chunks: int | None, mode: Any, threads: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compute the perplexity of a text, as llama.cpp's llama-perplexity does.

    The text is cut into chunks of tokens; of each the second half is scored, given all that stands before in the chunk.
    """
    from hub import measuring
    from hub.cli import show

    view = show.view(as_json=as_json, quiet=as_json, verbose=False)
    with view:
        found = measuring.evaluate(
            path, text=text, context=context, chunks=chunks, format=from_, mode=mode, threads=threads, progress=view
        )
    if as_json:
        show.json_line(found, pretty=True)
        return
    error = "" if found["error"] is None else f" +/- {found['error']:.4f}"
    click.echo(
        f"perplexity {found['perplexity']:.4f}{error}: {found['chunks']} chunks of {found['context']} tokens, "
        f"{found['scored']} scored, {found['mode']}, {found['tokens_per_second']:.0f} tokens/s"
    )


@cli.command()
@click.argument("path", type=click.Path())
@_json
@_force
@click.option("--process-output", is_flag=True, help="Tell of the output matrix, too.")
@_with(*_RUN)
@click.option("--to", metavar="FORMAT", help="Format of FILE; the only one that has such files when not given.")
@_output
@_with(*_CHUNKS)
@_from
def imatrix(
    path: str, from_: str | None, text: str, context: int | None, chunks: int | None, output: str, to: str | None,
    mode: Any, threads: int | None, process_output: bool, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write an importance matrix: how much the inputs of every weight matrix weigh on a text.

    The figures and the file are those of llama.cpp's llama-imatrix; llama-quantize reads it.
    """
    from hub import measuring
    from hub.cli import show

    view = show.view(as_json=as_json, quiet=as_json, verbose=False)
    with view:
        done = measuring.imatrix(
            path, output, text=text, to=to, context=context, chunks=chunks, process_output=process_output,
            format=from_, mode=mode, threads=threads, force=force, progress=view,
        )  # fmt: skip
    if as_json:
        show.json_line(done, pretty=True)
    else:
        click.echo(
            f"wrote {printable(output, 200)}: importance of {done['tensors']} tensors, {show.size(done['bytes'])}, "
            f"from {done['chunks']} chunks of {done['context']} tokens, in {done['seconds']:.1f} s"
        )
