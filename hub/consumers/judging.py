"""The logits of other programs beside those of hub's runner, of the same file: how far apart, and whether too far.

The runner computes in f32 (`exact`). A program that does so too has to agree to rounding. One that rounds activations
is held against what such rounding does to this very model in the runner: `Setting.limit`, or `ROUNDING` times that
error, whichever is more.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.consumer import Setting
from hub.consumers import process
from hub.consumers.choosing import Chosen
from hub.consumers.rounding import round_inputs
from hub.consumers.titles import title
from hub.errors import HubError, printable
from hub.io.npz import NpzRows
from hub.ir.model import Model
from hub.runner import Runner, why_not
from hub.runner.slices import head_slices
from hub.verification.divergence import Gap, number
from hub.verification.sample import Sample

if TYPE_CHECKING:
    from hub.pipeline import Progress

    F32Array = np.ndarray[Any, np.dtype[np.float32]]

ROUNDING = 4.0
"""How far a program that rounds activations may be from hub, in errors of `round_inputs`: blocks, their scales and the
width of codes differ between programs, 0.9 to 1.5 was measured; a broken tensor shows as a relative error near 1."""
MARGIN = 4.0
"""By how many of the largest differences of any logit a generated token may be less likely than the likeliest one: the
scores of both may be off, each by one such difference, and other positions may have larger ones than those seen."""


@dataclass
class Asked:
    """A consumer and what came of asking it.

    Attributes:
        refused: why it was not run; None where it was.
        runs: one for each of its settings.
    """

    chosen: Chosen
    refused: str | None = None
    runs: Sequence[Ran] = ()

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the program and what it stands on, as far as it came to tell them."""
        return next((ran.answer.versions for ran in self.runs if ran.answer.versions), {})

    @property
    def version(self) -> str | None:
        """Of the program."""
        return next(iter(self.versions.values()), None)

    def data(self) -> dict[str, Any]:
        """A member `consumers` of a report."""
        return {
            "name": self.chosen.entry.name,
            "version": self.version,
            "versions": dict(self.versions),
            "runs": [ran.data() for ran in self.runs],
            "fault": self.refused,
        }

    def wrong(self) -> list[str]:
        """A sentence for everything that is wrong."""
        name = printable(title(self.data()), 120)
        if self.refused:
            return [f"{name}: {self.refused}"]
        return [f"{name}, {ran.setting.name}: {ran.fault}" for ran in self.runs if ran.fault]


@dataclass
class Ran:
    """One setting of a consumer, and what came of it; `schemas/report.schema.json` has the members of `data`."""

    setting: Setting
    answer: process.Answer
    gap: Gap = field(default_factory=lambda: Gap("logits"))
    limit: float = 0.0
    why: str = ""
    same_top: int = 0
    tokens: int = 0
    greedy: bool | None = None
    fault: str | None = None

    @property
    def error(self) -> float:
        """Relative error of its logits."""
        return math.sqrt(self.gap.nmse) if self.gap.nmse >= 0 else math.nan

    def data(self) -> dict[str, Any]:
        """A member `runs` of a report."""
        compared = self.tokens > 0
        return {
            "setting": self.setting.name,
            "summary": self.setting.summary,
            "limit": number(self.limit),
            "why": self.why,
            "tokens": self.tokens,
            "relative_error": number(self.error) if compared else None,
            "max_abs": number(self.gap.max_abs) if compared else None,
            "top1_agreement": round(self.same_top / self.tokens, 6) if compared else None,
            "greedy": [int(token) for token in self.answer.greedy],
            "greedy_agrees": self.greedy,
            "seconds": self.answer.seconds,
            "fault": self.fault,
        }


def judge(
    consumers: Sequence[Chosen], model: Model, sample: Sample | None, threads: int, progress: Progress, *,
    reason: str = "",
) -> list[Asked]:  # fmt: skip
    """Run `model` in every consumer and compare.

    Args:
        sample: the tokens; None where there are none to run, and `reason` says why.
    """
    if not consumers:
        return []
    try:
        why = reason if sample is None else why_not(model)
        if sample is None or why:
            raise HubError(f"hub cannot run it itself: {why}")
        with process.folder() as place, Runner(model, threads=threads) as runner:
            asked = _ask(consumers, model, runner, sample, threads, progress, place)
            ran = [item for each in asked for item in each.runs]
            rounding = _compare(runner, model, ran, sample, threads)
            for item in ran:
                _judge(item, rounding, runner, sample)
            return asked
    except HubError as error:
        return [Asked(chosen, error.message) for chosen in consumers]


def _ask(
    consumers: Sequence[Chosen], model: Model, runner: Runner, sample: Sample, threads: int, progress: Progress,
    place: str,
) -> list[Asked]:  # fmt: skip
    weights = sum(math.prod(tensor.shape) for tensor in model.tensors.values())
    nbytes = sum(source.size for source in model.sources)
    task = process.Task(model.path, nbytes, weights, sample, runner.vocab_size, runner.context, threads)
    asked = [Asked(chosen, chosen.check.refuses(model)) for chosen in consumers]
    planned = [[] if each.refused else list(each.chosen.check.settings(model)) for each in asked]
    progress.start("consumers", nbytes * sum(map(len, planned)))
    for index, (each, settings) in enumerate(zip(asked, planned, strict=True)):
        runs: list[Ran] = []
        each.runs = runs
        for setting in settings:
            mine = os.path.join(place, f"{index}-{len(runs)}")
            os.mkdir(mine)
            answer = process.ask(each.chosen, setting, _shortened(task, setting), mine)
            runs.append(Ran(setting, answer, limit=setting.limit, why=setting.why, fault=answer.fault))
            progress.advance(nbytes)
    return asked


def _shortened(task: process.Task, setting: Setting) -> process.Task:
    """The task with no more of each sequence than can be compared."""
    if setting.positions is None:
        return task
    sequences = tuple(ids[: setting.positions] for ids in task.sample.sequences)
    context = min(task.context, setting.positions)
    return replace(task, context=context, sample=replace(task.sample, sequences=sequences))


def _compare(runner: Runner, model: Model, ran: Sequence[Ran], sample: Sample, threads: int) -> float:
    """Add up the differences; the relative error of the runner's own rounding, where any setting rounds."""
    own = Gap("rounded")
    length = sample.context
    with contextlib.ExitStack() as stack:
        archives = []
        for item in ran:
            if item.fault is not None:
                continue
            try:
                archive = stack.enter_context(NpzRows(item.answer.logits))
                most = min(length, item.setting.positions or length)
                archive.select("logits", (len(sample.sequences) * most, runner.vocab_size))
                archives.append((item, archive, most))
            except HubError as error:
                item.fault = f"its answer cannot be read: {error.message}"
        rounds = any(item.setting.rounds for item, *_ in archives)
        other = stack.enter_context(Runner(model, threads=threads, inputs=round_inputs)) if rounds else None
        for ids in sample.sequences if archives else ():
            hidden = runner.hidden(ids)
            rounded = other.hidden(ids) if other else hidden
            for part in head_slices(0, len(ids), runner.vocab_size):
                ours = runner.head(hidden[part])
                if other:
                    own.add(ours, other.head(rounded[part].copy()))
                for item, archive, most in archives:
                    mine = ours[: max(0, most - part.start)]
                    if not len(mine):
                        continue
                    theirs = archive.rows(len(mine))
                    item.gap.add(mine, theirs)
                    item.same_top += int((mine.argmax(axis=1) == theirs.argmax(axis=1)).sum())
                    item.tokens += len(mine)
    return math.sqrt(own.nmse)


def _judge(item: Ran, rounding: float, runner: Runner, sample: Sample) -> None:
    if item.fault is not None:
        return
    if item.setting.rounds and ROUNDING * rounding > item.limit:
        item.limit = ROUNDING * rounding
        item.why = f"{ROUNDING:g} times what rounding activations changes in hub's own runner, {rounding:.3g}"
    if not math.isfinite(item.error):
        item.fault = "its logits are not finite"
    elif item.error > item.limit:
        item.fault = f"its logits differ from hub's by {item.error:.3g} of their size, {item.limit:.3g} is allowed"
    taken = [int(token) for token in item.answer.greedy]
    if not taken:
        return
    wrong = _unlikely(taken, runner, sample, MARGIN * item.gap.max_abs)
    item.greedy = wrong is None
    if wrong is not None and item.fault is None:
        at, likeliest = wrong
        item.fault = f"it generates {taken}, and number {at + 1} is {likeliest} by hub's logits"


def _unlikely(taken: list[int], runner: Runner, sample: Sample, margin: float) -> tuple[int, int] | None:
    """The first of the generated tokens that is not the likeliest, or as likely, and which one is."""
    if min(taken) < 0 or max(taken) >= runner.vocab_size:
        return next(i for i, token in enumerate(taken) if not 0 <= token < runner.vocab_size), -1
    ids = np.concatenate([sample.sequences[0], np.array(taken[:-1], np.int32)])
    rows = runner.head(runner.hidden(ids)[-len(taken) :])
    for at, (row, token) in enumerate(zip(rows, taken, strict=True)):
        if float(row.max() - row[token]) > margin:
            return at, int(row.argmax())
    return None
