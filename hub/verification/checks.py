"""The checks after a conversion, and `hub verify`, which makes them of a file that anybody converted."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub import folding, report
from hub.ir.model import Model
from hub.ir.part import Shape
from hub.pipeline import Silent
from hub.verification import difference, divergence, judgement, limits, running, verifier
from hub.verification.alignment import Pair, align
from hub.verification.comparison import TensorResult
from hub.verification.diagnosis import Diagnosis
from hub.verification.diagnosis.settings import differing, lost

if TYPE_CHECKING:
    from hub.consumers.choosing import Chosen
    from hub.consumers.judging import Asked
    from hub.pipeline import Progress
    from hub.planner import Plan
    from hub.plugins import Registry
    from hub.report import Stopwatch
    from hub.tiles import Budget


def verify(
    source: Model,
    output: Model,
    registry: Registry,
    budget: Budget,
    watch: Stopwatch,
    progress: Progress,
    *,
    prepared: running.Prepared | None,
    consumers: Sequence[Chosen] = (),
    hashes: bool = False,
) -> tuple[dict[str, Any], Sequence[str]]:
    """Compare `output` with `source` in everything: settings, tokenizer, weights, and answers.

    Args:
        prepared: what to run; None to run nothing.
        consumers: programs to run `output` in, too.
        hashes: whether the report has the hashes of the input files.

    Returns:
        The report (`schemas/verify.schema.json`), and a sentence for everything that is wrong.

    Raises:
        HubError: `source` is at fault, or `output` cannot be read.
    """
    with watch.stage("verify"):
        found = difference.compare(align(source, output), registry, budget, progress)
        judged = judgement.judge(found, registry, budget)
    ran = None
    if prepared is not None:
        for model in (source, output):
            model.check_unchanged()  # before they are mapped
        with watch.stage("run"):
            equal, bits = exactness(judged, registry)
            ran = running.run(
                prepared, source, output, equal=equal, bits=bits, threads=budget.threads, progress=progress
            )
    asked = _consumers(consumers, output, prepared, budget, watch, progress)
    for model in (source, output):
        model.check_unchanged()
    named = {diagnosis.mistake for diagnosis in judged.diagnoses}
    more = [item for item in ran.diagnoses if item.mistake not in named] if ran else []
    if ran is not None and ran.fault and judged.sound:
        more += lost(judged.difference.pair)
    diagnoses = [*judged.diagnoses, *more]
    data = _report(judged, diagnoses, output.path, budget, watch, registry, ran, asked, hashes=hashes)
    more_wrong = [*([ran.fault] if ran and ran.fault else []), *(line for item in asked for line in item.wrong())]
    return data, judgement.sentences(judged.results, diagnoses, more_wrong)


def _consumers(
    consumers: Sequence[Chosen],
    output: Model,
    prepared: running.Prepared | None,
    budget: Budget,
    watch: Stopwatch,
    progress: Progress,
) -> Sequence[Asked]:
    if not consumers or prepared is None:
        return ()
    from hub.consumers.judging import judge

    output.check_unchanged()  # before it is mapped
    with watch.stage("consumers"):
        return judge(consumers, output, prepared.sample, budget.threads, progress, reason=prepared.reason)


def exactness(judged: judgement.Judgement, registry: Registry) -> tuple[bool, float]:
    """Whether every weight is bit-equal in its place, and the effective bits per weight of what is not."""
    items = [(item.b, item.result) for item in judged.difference.tensors if item.result is not None]
    equal = judged.sound and not judged.difference.pair.folded and all(result.unequal == 0 for _, result in items)
    return equal, limits.effective_bits(
        (tensor.shape, _bits(tensor.shape, tensor.nbytes, tensor.layout, result, registry)) for tensor, result in items
    )


def _bits(shape: Shape, nbytes: int, layout: str, result: TensorResult, registry: Registry) -> float:
    if result.limit_db is None:
        return math.inf
    scheme = registry.layout(layout).scheme(shape)
    return verifier.precision(scheme, 8 * nbytes / max(1, result.weights))


def _report(
    judged: judgement.Judgement,
    diagnoses: Sequence[Diagnosis],
    path: str,
    budget: Budget,
    watch: Stopwatch,
    registry: Registry,
    ran: running.Run | None,
    asked: Sequence[Asked],
    *,
    hashes: bool,
) -> dict[str, Any]:
    pair = judged.difference.pair
    a, b = pair.a.model, pair.b.model
    results: dict[str, TensorResult] = {result.name: result for result in judged.results}
    weights = sum(result.weights for result in judged.results)
    tensors = [
        {
            "name": item.name,
            "shape": list(item.b.shape),
            "from": item.a.layout,
            "to": item.b.layout,
            "bytes": item.b.nbytes,
            "steps": list(item.b.derived),
            "error": report.error(results[item.name]),
        }
        for item in judged.difference.tensors
    ]
    nbytes = sum(tensor.nbytes for tensor in b.tensors.values())
    plan = {
        "source": {
            "path": a.path, "format": a.format, "architecture": a.architecture,
            "files": [source.path for source in a.sources],
        },
        "target": {"format": b.format, "variant": ""},
        "family": pair.configured.architecture.family if pair.configured else None,
        "size": sum(source.size for source in b.sources),
        "weights": weights,
        "bits_per_weight": round(8 * nbytes / max(1, weights), 4),
        "tensors": tensors,
        "notes": [*(f"setting {s.key}: {s.a} and {s.b}" for s in judged.difference.settings),
                  *(f"tokenizer: {line}" for line in judged.difference.tokenizer),
                  *folding.notes(tensor for side in (pair.a, pair.b) for tensor in side.tensors.values())],
    }  # fmt: skip
    done = "full" if ran is not None and ran.logits["not_run"] is None else "weights"
    return report.figures(
        os.fspath(path), judged.results, budget, watch, registry, done, a.sources, hashes=hashes,
        logits=ran.logits if ran else None, diagnoses=[diagnosis.data() for diagnosis in diagnoses],
        consumers=[item.data() for item in asked],
    ) | {"plan": plan}  # fmt: skip


@dataclass
class Checked:
    """What the checks of an output found; `wrong` has a sentence for everything that is."""

    results: Sequence[TensorResult] = ()
    diagnoses: Sequence[Diagnosis] = ()
    ran: running.Run | None = None
    asked: Sequence[Asked] = ()
    wrong: Sequence[str] = ()
    done: str = "none"


def accept(
    made: Plan,
    written: Model,
    prepared: running.Prepared | None,
    plugins: Registry,
    budget: Budget,
    watch: Stopwatch,
    progress: Progress,
    consumers: Sequence[Chosen] = (),
) -> Checked:
    """The weights, then, where they are right, settings, tokenizer and answers; where they are not, the causes."""
    with watch.stage("verify"):
        results = verifier.verify(made, written, plugins, budget, progress)
        faulty = any(result.fault for result in results)
        diagnoses: list[Diagnosis] = []
        pair = align(made.source, written) if faulty or prepared is not None else None
        # A setting that the user changed is no mistake, but then the answers differ as well.
        changed = bool(made.settings and pair and differing(pair))
        if pair and faulty:
            diagnoses += _causes(pair, plugins, budget, settings=not changed)
        elif pair:
            diagnoses += judgement.claims(pair, settings=not changed)
    ran: running.Run | None = None
    made.source.check_unchanged()  # before it is mapped: what has shrunk by then would kill the process
    if prepared is not None and not faulty and not changed:
        with watch.stage("run"):
            equal = all(result.limit_db is None and not result.unequal for result in results)
            equal = equal and not any(folding.told(entry.tensor) for entry in made.entries)
            bits = limits.effective_bits(
                (entry.tensor.shape, _bits(entry.tensor.shape, entry.nbytes, entry.layout, result, plugins))
                for result, entry in zip(results, made.entries, strict=False)
            )
            ran = running.run(prepared, made.source, written, equal=equal, bits=bits, threads=budget.threads,
                              progress=progress)  # fmt: skip
    elif prepared is not None:
        why = "the weights do not agree" if faulty else "settings were changed on request"
        ran = running.Run(divergence.not_run(why))
    if ran is not None and ran.fault and pair:
        # The weights are what was planned, so the plan may be wrong: look at what they mean.
        diagnoses += [*_causes(pair, plugins, budget, settings=False), *lost(pair)]
    if ran is not None:
        diagnoses += [item for item in ran.diagnoses if item.mistake not in {each.mistake for each in diagnoses}]
    asked = _consumers(consumers, written, prepared, budget, watch, progress)
    more_wrong = [*([ran.fault] if ran and ran.fault else []), *(line for item in asked for line in item.wrong())]
    wrong = judgement.sentences(results, diagnoses, more_wrong)
    done = "full" if ran is not None and ran.logits["not_run"] is None else "weights"
    return Checked(results, diagnoses, ran, asked, wrong, done)


def _causes(pair: Pair, plugins: Registry, budget: Budget, *, settings: bool) -> Sequence[Diagnosis]:
    """The mistakes behind faults, from the canonical tensors of both sides."""
    found = difference.compare(pair, plugins, budget, Silent())
    return judgement.judge(found, plugins, budget, settings=settings).diagnoses
