"""The commands. Nothing heavy is imported before a command runs, so that ``hub --help`` is instant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hub._version import __version__
from hub.errors import printable

if TYPE_CHECKING:
    from hub.cli.show import View
    from hub.recipe import Recipe, Rule

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Size(click.ParamType[int]):
    """Bytes, with K, M, G or T as powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d{1,15})\s*([kmgt]?)(i?b)?", str(value).strip().lower())
        if not match:
            self.fail(f"{value!r} is not a size such as 512M or 2G", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hub")
def cli() -> None:
    """Move language-model weights between formats: exactly where that is possible, measured where it is not,
    and checked after every conversion."""


def _json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def _from(command: F) -> F:
    option = click.option(
        "--from", "from_", metavar="FORMAT", help="Format of the model to read; detected when not given."
    )
    return option(command)


_WORK = (
    click.option("--max-memory", type=Size(), default="1G", show_default=True, help="Private memory to stay below."),
    click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads; one per core when not given."),
)
_REQUEST = (
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set metadata of the output (repeatable)."
    ),
    click.option(
        "--imatrix",
        "importance",
        type=click.Path(),
        metavar="FILE",
        help="Importance matrix by which quantizers weight errors, of hub imatrix or llama-imatrix.",
    ),
    click.option("--recipe", metavar="FILE", help="Rules from a TOML or JSON file, or the built-in 'pure'."),
    click.option(
        "--tensor",
        "rules",
        multiple=True,
        metavar="REGEX=LAYOUT",
        help="Layout for tensors whose name matches (repeatable).",
    ),
    click.option(
        "--require",
        type=click.Choice(["identical", "exact", "codes"]),
        help="Refuse, before anything is written, if a tensor would keep less.",
    ),
    click.option(
        "--to", "to", required=True, metavar="FORMAT[:VARIANT]", help="What to make, for instance gguf:q4_k_m."
    ),
)


CONSUMER = click.option(
    "--consumer", "consumers", multiple=True, metavar="NAME",
    help="Run the output in this program, too, and compare its logits (repeatable); see hub consumers.",
)  # fmt: skip

# What convert does with its output; plan takes it too, so that one command line serves both.
_OUTPUT = (
    CONSUMER,
    click.option("--report", "report_to", type=click.Path(), metavar="FILE", help="Write a report (.json or .html)."),
    click.option("--force", is_flag=True, help="Replace an existing DST."),
    click.option("--tokens", type=click.IntRange(2), metavar="N", help="Tokens that 'full' runs; 256 if not given."),
    click.option(
        "--text", type=click.Path(), metavar="FILE", help="Text that 'full' runs; a built-in sample if not given."
    ),
    click.option(
        "--verify",
        type=click.Choice(["none", "weights", "full"]),
        default="full",
        show_default=True,
        help="'weights' reopens the output and compares every tensor with the source; 'full' also compares settings "
        "and tokenizer, and runs both on the same tokens.",
    ),
)


def _output(command: F) -> F:
    for option in _OUTPUT:
        command = option(command)
    return _work(command)


def _work(command: F) -> F:
    for option in _WORK:
        command = option(command)
    return command


def _request(command: F) -> F:
    for option in _REQUEST:
        command = option(command)
    return _from(command)


def _asked(
    recipe: str | None, rules: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[Recipe | None, list[Rule], dict[str, str]]:
    from hub import recipe as recipes

    return (
        recipes.load(recipe) if recipe else None,
        [recipes.rule(text) for text in rules],
        dict(recipes.setting(text) for text in settings),
    )


@contextmanager
def _listing(view: View) -> Iterator[None]:
    """Tensors that cannot keep what `--require` asks for are listed before the error says so in its one line."""
    from hub.errors import ExactnessError

    try:
        yield
    except ExactnessError as error:
        view.refused(error.failing)
        raise


@cli.command()
@click.argument("src", type=click.Path())
@click.argument("dst", type=click.Path(), required=False)
@_request
@_output
@_json
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for every tensor.")
def convert(
    src: str, dst: str | None, from_: str | None, to: str, importance: str | None, require: Any,
    rules: tuple[str, ...], recipe: str | None,
    settings: tuple[str, ...], verify: Any, text: str | None, tokens: int | None, consumers: tuple[str, ...],
    threads: int | None, max_memory: int, force: bool, report_to: str | None, as_json: bool, quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Convert SRC to another format and check the result.

    The main job: hub convert --from safetensors --to gguf:q4_k_m SRC DST. Without DST a name in the habit of the
    format is chosen beside SRC.
    """
    from hub import report as reports
    from hub import session
    from hub.cli import show

    if report_to and reports.suffix(report_to) not in reports.SUFFIXES:
        raise click.UsageError(f"--report {printable(report_to, 200)}: the name must end in .json or .html")
    asked, tensor_rules, values = _asked(recipe, rules, settings)
    view = show.view(as_json=as_json, quiet=quiet, verbose=verbose)
    with view, _listing(view):
        report = session.convert(
            src, dst, to=to, from_=from_, recipe=asked, rules=tensor_rules, settings=values, importance=importance,
            verify=verify, text=text,
            tokens=tokens, consumers=consumers, require=require, threads=threads, max_memory=max_memory, force=force,
            report_to=report_to, progress=view, on_plan=view.plan, on_cost=view.cost,
        )  # fmt: skip
    view.done(report)


@cli.command()
@click.argument("src", type=click.Path())
@click.argument("dst", type=click.Path(), required=False)
@_request
@_output
@_json
@click.option("-v", "--verbose", is_flag=True, help="Print a line for every tensor.")
def plan(
    src: str, dst: str | None, from_: str | None, to: str, importance: str | None, require: Any,
    rules: tuple[str, ...], recipe: str | None,
    settings: tuple[str, ...], verify: Any, text: str | None, tokens: int | None, consumers: tuple[str, ...],
    threads: int | None, max_memory: int, force: bool, report_to: str | None, as_json: bool, verbose: bool,
) -> None:  # fmt: skip
    """Tell what convert would do: routes, sizes, fidelity, fallbacks. Writes nothing.

    Takes the options of convert; those that are about the work itself have no effect here.
    """
    from hub import planner, report, session
    from hub.cli import show
    from hub.outputs import check_target

    asked, tensor_rules, values = _asked(recipe, rules, settings)
    session.choose_consumers(consumers, session.split_target(to)[0], verify)
    with session.open(src, format=from_) as model:
        made = session.plan(model, to=to, recipe=asked, rules=tensor_rules, settings=values, importance=importance)
        if dst is not None:
            check_target(made, Path(dst), force, report_to)
        if require:
            with _listing(show.view(as_json=as_json, quiet=False, verbose=verbose)):
                planner.require(made, require)
        prepared = (
            session.prepare(model, text, tokens, session.threads_or_default(threads)) if verify == "full" else None
        )
        if as_json:
            show.json_line(report.plan_data(made), pretty=True)
        else:
            show.plan(made, verbose=verbose)
            if prepared is not None:
                show.cost(prepared.cost, prepared.reason)


@cli.command()
@click.argument("path", type=click.Path())
@_from
@click.option("--tensors", is_flag=True, help="List every tensor.")
@_json
def inspect(path: str, from_: str | None, tensors: bool, as_json: bool) -> None:
    """Tell what the headers of a model say; instant on any size."""
    from hub import session
    from hub.cli import show

    data = session.inspect(path, format=from_)
    if as_json:
        if not tensors:
            del data["list"]
        show.json_line(data, pretty=True)
    else:
        show.description(data, tensors=tensors)


@cli.command()
@click.argument("path", type=click.Path())
@_from
@_work
@_json
def check(path: str, from_: str | None, threads: int | None, max_memory: int, as_json: bool) -> int:
    """Check a model completely: structure, data, settings against tensors, tokenizer, companion files."""
    from hub import session
    from hub.cli import show

    view = show.view(as_json=as_json, quiet=as_json, verbose=False)
    with view:
        found = session.check(path, format=from_, threads=threads, max_memory=max_memory, progress=view)
    if as_json:
        show.json_line(found, pretty=True)
    else:
        show.checked(found)
    return 1 if found["faults"] else 0


@cli.command()
@_json
def formats(as_json: bool) -> None:
    """List the formats, with their variants."""
    from hub.cli import show
    from hub.plugins import registry

    found = registry().formats
    if as_json:
        show.json_line(
            [
                {
                    "name": f.name,
                    "summary": f.summary,
                    "reads": bool(f.reader),
                    "writes": bool(f.writer),
                    "variants": dict(f.variants),
                }
                for f in found.values()
            ],
            pretty=True,
        )
    else:
        show.formats(found.values())


@cli.command()
@_json
def consumers(as_json: bool) -> None:
    """List the programs that --consumer can run an output in, and what to install where one is missing."""
    from hub.cli import show
    from hub.consumers.choosing import missing
    from hub.plugins import registry

    found = [(entry, missing(entry)) for entry in registry().checks.values()]
    if as_json:
        show.json_line(
            [
                {
                    "name": entry.name,
                    "summary": entry.summary,
                    "formats": list(entry.formats),
                    "missing": absent and absent[0],
                    "remedy": absent and absent[1],
                }
                for entry, absent in found
            ],
            pretty=True,
        )
    else:
        show.consumers(found)


@cli.command()
@_json
def plugins(as_json: bool) -> None:
    """List the plugins, with what they bring or why they could not be loaded."""
    from dataclasses import asdict

    from hub.cli import show
    from hub.plugins import registry

    found = registry().plugins
    if as_json:
        show.json_line([asdict(plugin) for plugin in found], pretty=True)
    else:
        show.plugins(found)


@cli.group()
def plugin() -> None:
    """For authors of plugins."""


@plugin.command("test")
@click.argument("name")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def plugin_test(name: str, pytest_arguments: tuple[str, ...]) -> int:
    """Run the conformance kit on plugin NAME (the name of its entry point)."""
    from hub.testing import run

    return run(name, list(pytest_arguments))
