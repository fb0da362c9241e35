"""`hub verify` and `hub diff`: two models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hub.cli.commands import CONSUMER, _json, _work, cli
from hub.errors import printable


def _checked(report_to: str | None) -> None:
    from hub import report

    if report_to and report.suffix(report_to) not in report.SUFFIXES:
        raise click.UsageError(f"--report {printable(report_to, 200)}: the name must end in .json or .html")


@cli.command()
@click.argument("src", type=click.Path())
@click.argument("dst", type=click.Path())
@click.option("--from", "from_", metavar="FORMAT", help="Format of SRC; detected when not given.")
@click.option("--to", "to", metavar="FORMAT", help="Format of DST; detected when not given.")
@click.option(
    "--verify", "level", type=click.Choice(["weights", "full"]), default="full", show_default=True,
    help="'weights' compares settings, tokenizers and tensors; 'full' also runs both on the same tokens.",
)  # fmt: skip
@click.option("--text", type=click.Path(), metavar="FILE", help="Text to run; a built-in sample if not given.")
@click.option("--tokens", type=click.IntRange(2), metavar="N", help="Tokens to run; 256 if not given.")
@CONSUMER
@click.option("--report", "report_to", type=click.Path(), metavar="FILE", help="Write a report (.json or .html).")
@_work
@_json
def verify(
    src: str, dst: str, from_: str | None, to: str | None, level: Any, text: str | None, tokens: int | None,
    consumers: tuple[str, ...], report_to: str | None, threads: int | None, max_memory: int, as_json: bool,
) -> None:  # fmt: skip
    """Check that DST is what a correct conversion of SRC could be, whoever made it.

    Compares settings, tokenizers and every tensor, names known mistakes, then runs both on the same tokens. Exit
    status 3 says that they do not agree.
    """
    from hub import session
    from hub.cli import show

    _checked(report_to)
    view = show.view(as_json=as_json, quiet=as_json, verbose=False)
    with view:
        session.verify(
            src, dst, source_format=from_, output_format=to, level=level, text=text, tokens=tokens,
            consumers=consumers, threads=threads, max_memory=max_memory, report_to=report_to, progress=view,
            on_cost=view.cost,
            on_report=(lambda data: show.json_line(data, pretty=True)) if as_json else _verified,
        )  # fmt: skip


def _verified(data: Mapping[str, Any]) -> None:
    from hub.cli import show

    plan = data["plan"]
    click.echo(
        f"{printable(plan['source']['path'], 200)} ({plan['source']['format']}) and "
        f"{printable(data['output'], 200)} ({plan['target']['format']}): {len(plan['tensors'])} tensors, "
        f"{plan['bits_per_weight']:.2f} bits per weight"
    )
    show.errors(data)
    if data["logits"] is not None:
        show.answers(data["logits"])
    show.consumed(data["consumers"])
    for note in plan["notes"]:
        click.echo(f"note: {printable(note, 400)}")
    for diagnosis in data["diagnoses"][:20]:
        where = f"{printable(diagnosis['tensor'])}: " if diagnosis["tensor"] else ""
        click.echo(f"mistake: {where}{diagnosis['mistake']}: {printable(diagnosis['evidence'], 300)}")
    if len(data["diagnoses"]) > 20:
        click.echo(f"mistake: {len(data['diagnoses']) - 20} more, --report has them all")
    if data["verified"] != "rejected":
        click.echo("no faults")


@cli.command()
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option("--from-a", "a_format", metavar="FORMAT", help="Format of A; detected when not given.")
@click.option("--from-b", "b_format", metavar="FORMAT", help="Format of B; detected when not given.")
@click.option("--all", "everything", is_flag=True, help="List equal tensors too.")
@click.option("--exit-code", is_flag=True, help="Exit with 3 if they differ, as for a verification that failed.")
@click.option("--report", "report_to", type=click.Path(), metavar="FILE", help="Write it (.json or .html).")
@_work
@_json
def diff(
    a: str, b: str, a_format: str | None, b_format: str | None, everything: bool, exit_code: bool,
    report_to: str | None, threads: int | None, max_memory: int, as_json: bool,
) -> int:  # fmt: skip
    """Tell how two models differ: settings, tensors, tokenizers, across formats.

    Names and transforms of either format are undone first, so that a model and its conversion differ in nothing but
    rounding. Exit status 0 says that both could be read; --exit-code makes a difference count.
    """
    from hub import session
    from hub.cli import show

    _checked(report_to)
    view = show.view(as_json=as_json, quiet=as_json, verbose=False)
    with view:
        data = session.diff(
            a, b, a_format=a_format, b_format=b_format, threads=threads, max_memory=max_memory, report_to=report_to,
            progress=view,
        )  # fmt: skip
    if as_json:
        show.json_line(data, pretty=True)
    else:
        _differences(data, everything=everything)
    return 3 if exit_code and _differ(data) else 0


def _differ(data: Mapping[str, Any]) -> bool:
    return any(data[key] for key in ("settings", "only_a", "only_b", "tokenizer")) or not all(
        tensor["equal"] for tensor in data["tensors"]
    )


def _differences(data: Mapping[str, Any], *, everything: bool) -> None:
    for side in ("a", "b"):
        about = data[side]
        click.echo(f"{side}: {printable(about['path'], 200)} ({about['format']}, {printable(about['architecture'])})")
    for item in data["settings"]:
        click.echo(f"setting {item['key']}: {printable(item['a'], 80)} and {printable(item['b'], 80)}")
    for item in data["untold"]:
        other = data["b" if item["side"] == "a" else "a"]["format"]
        click.echo(f"note: {item['side']} has {item['key']} {printable(item['value'], 80)}, which {other} cannot tell")
    for line in data["tokenizer"]:
        click.echo(f"tokenizer: {printable(line, 300)}")
    for side in ("a", "b"):
        for name in data[f"only_{side}"]:
            click.echo(f"only in {side}: {printable(name)}")
    equal = [tensor for tensor in data["tensors"] if tensor["equal"]]
    click.echo(f"{len(equal)} of {len(data['tensors'])} tensors bit-equal")
    shown = [tensor for tensor in data["tensors"] if everything or not tensor["equal"]]
    if not shown:
        return
    width = max(len(printable(tensor["name"])) for tensor in shown)
    click.echo(f"  {'tensor':{width}}  {'a':>6} {'b':>6} {'SQNR dB':>8} {'RMSE':>9} {'max abs':>9}")
    for tensor in shown:
        name = f"  {printable(tensor['name']):{width}}  {_word(tensor['a_layout'])} {_word(tensor['b_layout'])}"
        if tensor["equal"] is None:
            click.echo(f"{name} {printable(tensor['note'], 200)}")
            continue
        figures = "  equal" if tensor["equal"] else f"{_cell(tensor['sqnr_db'], 8, '.1f')} " + " ".join(
            _cell(tensor[key], 9, ".3g") for key in ("rmse", "max_abs")
        )  # fmt: skip
        click.echo(f"{name} {figures}" + (f"  {printable(tensor['note'], 200)}" if tensor["note"] else ""))


def _word(layout: str) -> str:
    return f"{layout.rpartition('.')[2]:>6}"


def _cell(value: float | None, width: int, form: str) -> str:
    return f"{'-' if value is None else format(value, form):>{width}}"
