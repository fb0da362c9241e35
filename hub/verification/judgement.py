"""Is the second model what a correct conversion of the first could be? Limits, faults, and the mistakes behind them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from hub.architecture import Configured
from hub.errors import HubError, WeightError, printable
from hub.layout import DenseLayout
from hub.plugins import Registry
from hub.tiles import Budget
from hub.verification.alignment import Pair
from hub.verification.comparison import WORST, TensorResult
from hub.verification.diagnosis import Case, Diagnosis, diagnose
from hub.verification.diagnosis.settings import Differing, differing, made_tensors, name_settings, stray_scaling
from hub.verification.difference import Compared, Difference, vocabularies
from hub.verification.verifier import least_sqnr

SUSPECT_DB = 6.0
"""How far a tensor may fall below the median of those in the same layout before known mistakes are looked for."""
POOR_DB = 3.0
"""Below this they are looked for in any case: layouts of one or two bits may lawfully be worse, and mistakes are."""
ROUNDED = 2.0**-20
"""Largest difference of weights that a constant was added to and taken from in f32; such constants are near 1."""
MOST_DIAGNOSED = 400
"""Tensors for which mistakes are looked for; a model in which more are wrong has the same few many times."""


@dataclass
class Judgement:
    """What is wrong with the second of two models.

    Attributes:
        results: of every tensor, with its fault; missing and unexpected ones included.
        diagnoses: the mistakes that explain faults, and those that are faults themselves: settings, vocabulary.
    """

    difference: Difference
    results: Sequence[TensorResult]
    diagnoses: Sequence[Diagnosis]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.diagnoses and not any(result.fault for result in self.results)


def judge(found: Difference, registry: Registry, budget: Budget, *, settings: bool = True) -> Judgement:
    """Judge what was compared.

    Args:
        settings: whether settings must agree.

    Raises:
        WeightError: the first model has weights that are not finite, so nothing can be said.
    """
    results = [_judged(item, found, registry) for item in found.tensors]
    for name in found.only_a:
        results.append(TensorResult(name, 0, fault="the output lacks it"))
    for name in found.only_b:
        results.append(TensorResult(name, 0, fault="the output has it, the source does not"))
    diagnoses = list(found.token_mistakes)
    if settings:
        diagnoses += _settings(found.pair, found.settings)
    diagnoses += _tensor_mistakes(found, results, registry, budget)
    diagnoses += _output(found, results, {diagnosis.tensor for diagnosis in diagnoses})
    return Judgement(found, results, diagnoses)


def claims(pair: Pair, *, settings: bool = True) -> list[Diagnosis]:
    """What is wrong with settings and vocabulary, without a look at weights."""
    _, mistakes = vocabularies(pair)
    return [*mistakes, *(_settings(pair, differing(pair)) if settings else ())]


def _settings(pair: Pair, found: Sequence[Differing]) -> list[Diagnosis]:
    """Mistakes in settings; what makes a rotary base wrong makes the factors computed from it wrong too."""
    out = [*name_settings(list(found)), *made_tensors(pair), *stray_scaling(pair)]
    out += [Diagnosis("wrong settings", None, fault) for fault in pair.b.faults]
    return sorted(out, key=lambda diagnosis: diagnosis.mistake != "wrong rope base")


def _judged(item: Compared, found: Difference, registry: Registry) -> TensorResult:
    result = item.result
    if result is None:
        return TensorResult(item.name, math.prod(item.b.shape), fault=item.note)
    if not math.isfinite(result.sum_sq_source):
        raise WeightError("weights are not finite, nothing can be compared with them",
                          path=found.pair.a.model.path, tensor=item.a.stored_name)  # fmt: skip
    result.limit_db = _limit(item, registry)
    result.judge()
    if result.fault and result.limit_db is None and _added(item) and result.max_abs <= ROUNDED:
        result.fault = None
    return result


def _limit(item: Compared, registry: Registry) -> float | None:
    """The least SQNR in dB, or None where every bit must agree."""
    source, target = registry.layout(item.a.layout), registry.layout(item.b.layout)
    if source.name == target.name:
        return None
    scheme = source.scheme(item.a.shape)
    if isinstance(target, DenseLayout) and target.can_hold(scheme, item.a.shape).fidelity == "exact":
        return None
    return least_sqnr(target.scheme(item.b.shape), item.b.shape)


def _added(item: Compared) -> bool:
    """Whether a constant was added or taken away on either side."""
    return any("add" in step for step in (*item.a.derived, *item.b.derived))


def _tensor_mistakes(
    found: Difference, results: Sequence[TensorResult], registry: Registry, budget: Budget
) -> Iterator[Diagnosis]:
    for item, result, only in _suspects(found, results)[:MOST_DIAGNOSED]:
        exact = result.limit_db is None
        case = Case(found.pair, found.roles, registry, budget, item.name, item.a, item.b, exact, only)
        try:
            named = diagnose(case)
        except HubError:
            continue  # the fault stands, only its cause is not known
        if named is not None:
            where = f" in {len(only)} rows, first {min(only)}" if only else ""
            result.fault = result.fault or f"{named.mistake}{where}, SQNR {result.sqnr_db:.1f} dB in all"
            yield named


def _suspects(
    found: Difference, results: Sequence[TensorResult]
) -> list[tuple[Compared, TensorResult, list[int] | None]]:
    """Faulty tensors, those far worse than others of their layout, and those with rows below the limit (which are
    then the ones to look at); worst first."""
    by_layout: dict[tuple[str, str], list[float]] = defaultdict(list)
    for item in found.tensors:
        if item.result is not None and math.isfinite(item.result.sqnr_db):
            by_layout[item.a.layout, item.b.layout].append(item.result.sqnr_db)
    usual = {key: median(values) for key, values in by_layout.items()}
    out: list[tuple[Compared, TensorResult, list[int] | None]] = []
    for item, result in zip(found.tensors, results, strict=False):
        low = max(POOR_DB, usual.get((item.a.layout, item.b.layout), -math.inf) - SUSPECT_DB)
        if not item.instead and (result.fault or result.sqnr_db < low):
            rows = _bad_rows(item, result)
            out.append((item, result, rows if 0 < len(rows) < WORST else None))
        elif result.limit_db is not None and not item.instead and (rows := _bad_rows(item, result)):
            out.append((item, result, rows))
    return sorted(out, key=lambda suspect: suspect[1].sqnr_db)


def _bad_rows(item: Compared, result: TensorResult) -> list[int]:
    """Those of the worst rows that are not as good as the whole tensor must be."""
    least = math.inf if result.limit_db is None else 10 ** (max(POOR_DB, result.limit_db) / 10)
    return [row for ratio, row in item.worst if ratio < least]


def _output(found: Difference, results: Sequence[TensorResult], named: set[str | None]) -> Iterator[Diagnosis]:
    """What became of an output matrix that is the embedding, or is not any more."""
    if found.roles.head is None:
        return
    head, table = (f"{name}.weight" if name else None for name in found.roles.head)
    here, there = found.pair.a.tensors, found.pair.b.tensors
    result = next((result for result in results if result.name == head), None)
    own = found.pair.a.configured
    tied = own is not None and bool(own.values.get("tie_word_embeddings", head not in here))
    if head in here and head not in there and result is not None and result.fault:
        yield Diagnosis("output weights lost", head, f"they are missing, and the source's are not {table}",
                        "write them")  # fmt: skip
    elif head not in here and head in there and result is not None and result.fault:
        yield Diagnosis("tied output lost", head, f"the source uses {table}, these weights are others: {result.fault}",
                        f"leave them out, or write {table}")  # fmt: skip
    elif head in here and head in there and result is not None and result.fault and head not in named:
        yield Diagnosis(
            "output weights replaced", head, f"not those of the source: {result.fault}", "take them from it"
        )
    elif head not in here and head not in there and tied and _untied(found.pair.b.configured):
        said = f"the source uses {table}; this model says that its output is not tied, and has none"
        yield Diagnosis("tied output lost", head, said, "set tie_word_embeddings to true")


def _untied(configured: Configured | None) -> bool:
    return configured is not None and configured.values.get("tie_word_embeddings") is False


def sentences(results: Sequence[TensorResult], diagnoses: Sequence[Diagnosis], more: Sequence[str] = ()) -> list[str]:
    """What is wrong, the causes first; empty where nothing is."""
    faulty = sorted((result for result in results if result.fault), key=lambda result: result.sqnr_db)
    said = [*summary(diagnoses), *more]
    if faulty:
        worst = "; ".join(f"{printable(result.name)}: {result.fault}" for result in faulty[:3])
        said.append(f"{len(faulty)} of {len(results)} tensors do not agree with the source: {worst}")
    return said


def summary(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """One line for each mistake, however many tensors have it."""
    grouped: dict[str, list[Diagnosis]] = defaultdict(list)
    for diagnosis in diagnoses:
        grouped[diagnosis.mistake].append(diagnosis)
    out = []
    for mistake, members in grouped.items():
        first = members[0]
        where = f" in {printable(first.tensor)}" if first.tensor else ""
        others = f" and {len(members) - 1} more" if len(members) > 1 else ""
        out.append(f"{mistake}{where}{others} ({first.evidence})")
    return out
