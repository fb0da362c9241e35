"""How results look on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from hub.consumers.titles import title
from hub.errors import printable

if TYPE_CHECKING:
    from hub.consumer import CheckEntry
    from hub.format import Format
    from hub.planner import Plan
    from hub.plugins import Loaded


def json_line(data: Any, *, pretty: bool = False) -> None:
    """Print a value as JSON, on one line unless `pretty`."""
    click.echo(json.dumps(data, indent=1 if pretty else None, allow_nan=False, default=str))


def size(count: float) -> str:
    """Bytes for people: 3.6 MB; powers of 1000, as disks and hubs count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


class View:
    """Told about a conversion; says nothing."""

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def plan(self, made: Plan) -> None:
        """The plan is made."""

    def cost(self, told: Mapping[str, Any]) -> None:
        """What running both sides will cost."""

    def refused(self, failing: Sequence[Mapping[str, str]]) -> None:
        """Some tensors cannot keep what was required."""

    def start(self, stage: str, total: int) -> None:
        """A stage of `total` bytes begins."""

    def advance(self, amount: int) -> None:
        """Some bytes are done."""

    def done(self, report: Mapping[str, Any]) -> None:
        """The conversion is finished."""


class Events(View):
    """One JSON object per line and event."""

    def plan(self, made: Plan) -> None:
        from hub.report import plan_data

        json_line({"event": "plan", "plan": plan_data(made)})

    def cost(self, told: Mapping[str, Any]) -> None:
        json_line({"event": "cost", **told})

    def refused(self, failing: Sequence[Mapping[str, str]]) -> None:
        json_line({"event": "refused", "tensors": failing})

    def start(self, stage: str, total: int) -> None:
        json_line({"event": "stage", "stage": stage, "bytes": total})

    def done(self, report: Mapping[str, Any]) -> None:
        json_line({"event": "done", "report": {key: value for key, value in report.items() if key != "plan"}})


class Text(View):
    """Lines for people; with a progress bar on a terminal."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Text:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description:8}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                TimeRemainingColumn(), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def plan(self, made: Plan) -> None:
        plan(made, verbose=self.verbose)

    def cost(self, told: Mapping[str, Any]) -> None:
        cost(told)

    def refused(self, failing: Sequence[Mapping[str, str]]) -> None:
        refused(failing)

    def start(self, stage: str, total: int) -> None:
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(stage, total=total)

    def advance(self, amount: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, amount)

    def done(self, report: Mapping[str, Any]) -> None:
        seconds = sum(report["seconds"].values())
        memory = report["peak_private_memory"]
        click.echo(
            f"wrote {printable(report['output'], 200)}: {size(report['plan']['size'])} in {seconds:.1f} s, "
            f"peak private memory {size(memory)}"
        )
        errors(report)
        if report["logits"] is not None:
            answers(report["logits"])
        consumed(report["consumers"])


def view(*, as_json: bool, quiet: bool, verbose: bool) -> View:
    """The view that the options ask for."""
    if quiet:
        return View()
    return Events() if as_json else Text(verbose)


def errors(report: Mapping[str, Any]) -> None:
    """Print how the tensors of an output agree with their source."""
    measured = [t for t in report["plan"]["tensors"] if t["error"]]
    if not measured:
        click.echo("not verified")
        return
    equal = [t for t in measured if t["error"]["equal"]]
    lossy = [t for t in measured if not t["error"]["equal"]]
    line = f"verified: {len(equal)} of {len(measured)} tensors bit-equal to the source"
    if lossy:
        line += f", {len(lossy)} quantized or rounded"
        # Without a ratio: only zeros changed, and only their sign.
        noisy = [t for t in lossy if t["error"]["sqnr_db"] is not None]
        if noisy:
            worst = min(noisy, key=lambda t: t["error"]["sqnr_db"])
            line += f"; lowest SQNR {worst['error']['sqnr_db']:.1f} dB ({worst['name']}, {_word(worst['to'])})"
    click.echo(line)


def cost(told: Mapping[str, Any] | None, reason: str = "") -> None:
    """Print what running both sides will cost, or why that cannot be."""
    if told is None:
        click.echo(f"not to be run: {printable(reason, 400)}")
        return
    click.echo(
        f"to be run: {told['tokens']} tokens on both sides, {told['weight_passes']} passes over the weights, "
        f"about {_seconds(told['estimate_seconds'])}"
    )


def _seconds(value: float) -> str:
    return "a second" if value < 1.5 else f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def answers(logits: Mapping[str, Any]) -> None:
    """Print how far the answers of both sides are apart."""
    if logits["not_run"] is not None:
        click.echo(f"not run: {printable(logits['not_run'], 400)}")
        return
    lead = f"run: {logits['tokens']} tokens ({printable(logits['sample'], 80)}), "
    if logits["identical"]:
        click.echo(lead + "every logit bit-equal")
        return
    kl, ppl = logits["kl"], logits["perplexity"]
    click.echo(
        f"{lead}mean KL divergence {_figure(kl['mean'])} nats (limit {_figure(logits['limits']['kl_mean'])}), "
        f"highest {_figure(kl['max'])}, same top token {100 * logits['top1_agreement']:.1f} %, "
        f"perplexity {_figure(ppl['source'])} and {_figure(ppl['output'])}"
    )


def consumed(found: Sequence[Mapping[str, Any]]) -> None:
    """Print what other programs made of an output."""
    for item in found:
        name = printable(title(item), 120)
        if item["fault"]:
            click.echo(f"{name}: {printable(item['fault'], 400)}")
        for run in item["runs"]:
            lead = f"{name}, {run['setting']}: "
            if run["relative_error"] is None:
                click.echo(f"{lead}{printable(run['fault'] or 'not compared', 400)}")
                continue
            generated = {True: ", the same generated tokens", False: ", OTHER GENERATED TOKENS", None: ""}
            click.echo(
                f"{lead}logits of {run['tokens']} tokens within {_figure(run['relative_error'])} of hub's (limit "
                f"{_figure(run['limit'])}), same top token {100 * run['top1_agreement']:.1f} %"
                f"{generated[run['greedy_agrees']]}"
            )


def _figure(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _word(layout: str) -> str:
    return layout if "/" in layout else layout.rpartition(".")[2]


def refused(failing: Sequence[Mapping[str, str]]) -> None:
    """Print the tensors that cannot keep what was required, and why."""
    for one in failing:
        click.echo(
            f"  {printable(one['name'])} {_word(one['from'])} -> {_word(one['to'])} {one['fidelity']}: "
            f"{printable(one['why'], 400)}"
        )


def plan(made: Plan, *, verbose: bool) -> None:
    """Print a plan: what becomes of what, one line per fidelity class, notes."""
    from hub.report import fidelity_counts

    variant = f":{made.variant}" if made.variant else ""
    click.echo(
        f"{printable(made.source.path, 200)}: {made.source.format}, {printable(made.source.architecture)}, "
        f"{made.weights / 1e6:,.1f} M weights in {len(made.entries)} tensors"
    )
    click.echo(f"to {made.target_format}{variant}: {size(made.size)}, {made.bits_per_weight:.2f} bits per weight")
    routes = Counter((e.tensor.layout, e.layout, e.route, e.fidelity) for e in made.entries)
    for (source, target, route, fidelity), count in sorted(routes.items()):
        click.echo(f"  {_word(source):>6} -> {_word(target):6} {route:10} {fidelity:9} {count:5} tensors")
    for name, counts in fidelity_counts(made).items():
        click.echo(f"{name}: {counts['tensors']} tensors, {size(counts['bytes'])}")
    fallbacks = [entry for entry in made.entries if entry.fallback]
    if fallbacks:
        click.echo(f"fallback: {len(fallbacks)} tensors, first {fallbacks[0].name}: {fallbacks[0].why}")
    quantizers = sorted({entry.quantizer for entry in made.entries if entry.quantizer})
    if quantizers:
        click.echo(f"quantizers: {', '.join(quantizers)}")
    if verbose:
        for entry in made.entries:
            click.echo(
                f"  {printable(entry.name)} {list(entry.tensor.shape)} {_word(entry.tensor.layout)} -> "
                f"{_word(entry.layout)} {entry.route} {entry.fidelity}" + (f"  ({entry.why})" if entry.why else "")
            )
    for name, why in made.dropped:
        click.echo(f"left out: {printable(name)}: {why}")
    for note in made.notes:
        click.echo(f"note: {printable(note, 400)}")


def description(data: Mapping[str, Any], *, tensors: bool) -> None:
    """Print what `hub inspect` found."""
    click.echo(
        f"{printable(data['path'], 200)}: {data['format']}, architecture {printable(data['architecture'])}, "
        f"{data['tensors']} tensors, {data['weights'] / 1e6:,.1f} M weights, {size(data['bytes'])} in "
        f"{len(data['files'])} file{'s' if len(data['files']) > 1 else ''}"
    )
    for layout, count in data["layouts"].items():
        click.echo(f"  {_word(layout):8} {count:6} tensors")
    for key, value in data["header"].items():
        click.echo(f"{printable(key)}: {_value(value)}")
    for key, value in data["config"].items():
        click.echo(f"  {printable(key)} = {_value(value)}")
    if data["companions"]:
        click.echo(f"companions: {', '.join(printable(name, 60) for name in data['companions'])}")
    for note in data["notes"]:
        click.echo(f"note: {printable(note, 400)}")
    if tensors:
        for tensor in data["list"]:
            click.echo(
                f"  {printable(tensor['name'])} {tensor['shape']} {_word(tensor['layout'])} "
                f"{tensor['bytes']} bytes at {tensor['offset']}"
            )


def _value(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"items", "first"}:
        return f"{value['items']} items, first {', '.join(_value(item) for item in value['first'])}"
    return printable(value if isinstance(value, str) else json.dumps(value, default=str), 120)


def checked(found: Mapping[str, Any]) -> None:
    """Print what `hub check` found."""
    click.echo(f"{printable(found['path'], 200)}: {found['format']}")
    for item in found["checked"]:
        click.echo(f"  checked {item}")
    for note in found["notes"]:
        click.echo(f"note: {printable(note, 400)}")
    for fault in found["faults"]:
        click.echo(f"fault: {printable(fault, 600)}")
    count = len(found["faults"])
    click.echo(f"{count} fault{'s' if count > 1 else ''}" if count else "no faults")


def formats(found: Iterable[Format]) -> None:
    """Print the formats."""
    for item in sorted(found, key=lambda f: f.name):
        can = " and ".join(word for word, able in (("reads", item.reader), ("writes", item.writer)) if able)
        click.echo(f"{item.name}: {item.summary} ({can})")
        for name, summary in item.variants.items():
            click.echo(f"  {item.name}:{name:8} {summary}")


def consumers(found: Iterable[tuple[CheckEntry, tuple[str, str] | None]]) -> None:
    """Print the consumers."""
    for entry, absent in sorted(found, key=lambda item: item[0].name):
        state = f"not installed, {absent[1]}" if absent else "installed"
        click.echo(f"{entry.name}: {entry.summary} (opens {', '.join(entry.formats)}; {state})")


def plugins(found: Sequence[Loaded]) -> None:
    """Print the plugins."""
    for item in found:
        click.echo(f"{item.name} ({item.distribution} {item.version}): {item.error or 'loaded'}")
        for kind in ("formats", "layouts", "quantizers", "architectures", "checks"):
            names = getattr(item, kind)
            if names:
                click.echo(f"  {kind}: {', '.join(names)}")
