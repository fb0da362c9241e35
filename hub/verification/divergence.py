"""Runs two models on the same tokens and tells how far their answers are apart.

For each sequence both models compute their hidden states, then the output matrix some rows at a time, so that a
vocabulary of 150 000 ids needs no more memory than a few of its rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import hub_native
from hub.runner.slices import head_slices
from hub.verification.sample import Sample

if TYPE_CHECKING:
    from hub.pipeline import Progress
    from hub.runner import Mode, Runner

    F32Array = np.ndarray[Any, np.dtype[np.float32]]
    F64Array = np.ndarray[Any, np.dtype[np.float64]]

KEPT_BYTES = 64 << 20
"""Bytes of layer outputs that are kept of the first model; where they are more, of fewer tokens."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
WEIGHTS_PER_SECOND = 1.0e10
"""Weights times tokens that one thread gets through in a second in `exact` mode, roughly, at 2.5 GHz with AVX-512; the
estimate that is told beforehand comes from it."""


@dataclass
class Gap:
    """How far two values at the same place of two models are apart."""

    name: str
    noise: float = 0.0
    signal: float = 0.0
    max_abs: float = 0.0

    def add(self, a: F32Array, b: F32Array) -> None:
        """Count in two arrays of one shape."""
        found = hub_native.compare(np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1))
        if math.isnan(found[0]) or found[0] > self.max_abs:  # nothing is larger than NaN, so it stays
            self.max_abs = found[0]
        self.noise += found[1]
        self.signal += found[2]

    @property
    def nmse(self) -> float:
        """Mean squared difference over the mean square of the first."""
        if not self.noise:
            return 0.0
        return self.noise / self.signal if self.signal else math.inf


@dataclass
class Divergence:
    """What running two models on one sample found; arrays have an item for each token.

    Attributes:
        unequal: logits that are not the same bits.
        kl: Kullback-Leibler divergence of the second distribution from the first, in nats.
        nll_a, nll_b: minus the logarithm of what either gave to the token that came next; of all tokens but the
            last of each sequence.
        same_top: share of tokens after which both find the same token most likely.
        layers: outputs inside the model in the order of computation, the logits last.
        seconds: spent in the first and the second model.
    """

    sample: Sample
    mode: Mode
    unequal: int = 0
    kl: F64Array = field(default_factory=lambda: np.empty(0))
    nll_a: F64Array = field(default_factory=lambda: np.empty(0))
    nll_b: F64Array = field(default_factory=lambda: np.empty(0))
    same_top: float = 0.0
    layers: Sequence[Gap] = ()
    seconds: tuple[float, float] = (0.0, 0.0)

    @property
    def finite(self) -> bool:
        """Whether every figure is a number."""
        return bool(np.isfinite(self.kl).all() and np.isfinite(self.nll_b).all())

    def by_position(self) -> F64Array:
        """Mean of `kl` over sequences at each position."""
        return np.asarray(self.kl.reshape(len(self.sample.sequences), -1).mean(axis=0))

    def perplexities(self) -> tuple[float, float]:
        """exp of the mean of `nll_a` and `nll_b`."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.nll_a.mean())), float(np.exp(self.nll_b.mean()))

    def first_apart(self) -> Gap | None:
        """The first output that is not equal in both."""
        return next((gap for gap in self.layers if gap.noise), None)


def cost(weights: int, sample_tokens: int, sequences: int, threads: int) -> dict[str, Any]:
    """What `measure` costs: tokens, times that all weights are read (of both models), seconds by rule of thumb.

    Args:
        weights: number of weights of the model.
    """
    seconds = 2 * weights * sample_tokens / (WEIGHTS_PER_SECOND * threads)
    return {"tokens": sample_tokens, "weight_passes": 2 * sequences, "estimate_seconds": round(seconds, 2)}


def measure(a: Runner, b: Runner, sample: Sample, progress: Progress) -> Divergence:
    """Run both.

    Raises:
        HubError: a model cannot be run on that sample, or gives numbers that are not finite.
    """
    out = Divergence(sample, a.mode)
    gaps: dict[str, Gap] = {}
    logits = Gap("logits")
    kl: list[F64Array] = []
    nll: list[tuple[F64Array, F64Array]] = []
    same = 0
    spent = [0.0, 0.0]
    progress.start("run", sample.tokens * (a.weight_bytes + b.weight_bytes))
    for ids in sample.sequences:
        outputs = _Outputs(gaps, a.layers)
        first = _timed(spent, 0, partial(a.hidden, ids, observe=outputs.keep))
        progress.advance(len(ids) * a.weight_bytes)
        second = _timed(spent, 1, partial(b.hidden, ids, observe=outputs.compare))
        progress.advance(len(ids) * b.weight_bytes)
        following = np.append(ids[1:], np.int32(-1)).astype(np.int32)
        for part in head_slices(0, len(ids), a.vocab_size):
            x = _timed(spent, 0, partial(a.head, first[part]))
            y = _timed(spent, 1, partial(b.head, second[part]))
            out.unequal += int(np.count_nonzero(x.view(np.uint32) != y.view(np.uint32)))
            logits.add(x, y)
            figures = _figures(x, y, following[part])
            kl.append(figures[0])
            nll.append(figures[1:3])
            same += figures[3]
    out.kl = np.maximum(np.concatenate(kl), 0.0)  # rounding can leave it a hair below
    out.nll_a, out.nll_b = (np.concatenate([pair[i] for pair in nll]) for i in range(2))
    out.same_top = same / sample.tokens
    out.layers = [*gaps.values(), logits]
    out.seconds = spent[0], spent[1]
    return out


class _Outputs:
    """Layer outputs of the first model, until the second has its own."""

    def __init__(self, gaps: dict[str, Gap], layers: int) -> None:
        self.gaps, self.layers = gaps, layers
        self.kept: dict[str, F32Array] = {}
        self.every = 1

    def keep(self, name: str, x: F32Array) -> None:
        """Keep an output of the first model, of all tokens or of every so many."""
        self.every = max(1, -(-x.nbytes * (self.layers + 1) // KEPT_BYTES))
        self.kept[name] = x[:: self.every].copy()

    def compare(self, name: str, x: F32Array) -> None:
        """Compare it with that of the second."""
        mine = self.kept.pop(name, None)
        if mine is not None and mine.shape == x[:: self.every].shape:
            self.gaps.setdefault(name, Gap(name)).add(mine, x[:: self.every])


def _timed(spent: list[float], which: int, work: Callable[[], F32Array]) -> F32Array:
    started = time.monotonic()
    out = work()
    spent[which] += time.monotonic() - started
    return out


def _figures(x: F32Array, y: F32Array, following: Any) -> tuple[F64Array, F64Array, F64Array, int]:
    """KL of every row, minus log of the next token in both where there is one, rows with the same first choice."""
    count = len(x)
    kl, nll_a, nll_b = (np.empty(count) for _ in range(3))
    top = np.empty(count, np.uint8)
    hub_native.log_softmax_stats(x, y, np.ascontiguousarray(following), kl, nll_a, nll_b, top)
    told = following >= 0
    return kl, nll_a[told], nll_b[told], int(top.sum())


def data(found: Divergence, limits: Mapping[str, Any], fault: str | None, told: Mapping[str, Any]) -> dict[str, Any]:
    """The member `logits` of a report; `schemas/report.schema.json` describes it."""
    source, output = found.perplexities()
    apart = found.first_apart()
    quantiles = np.quantile(found.kl, list(QUANTILES.values())) if found.finite else [math.nan] * len(QUANTILES)
    return {
        "mode": found.mode,
        "sample": found.sample.name,
        "tokens": found.sample.tokens,
        "sequences": len(found.sample.sequences),
        "context": found.sample.context,
        "not_run": None,
        "identical": found.unequal == 0,
        "kl": {
            "mean": number(found.kl.mean()),
            "max": number(found.kl.max()),
            **{name: number(value) for name, value in zip(QUANTILES, quantiles, strict=True)},
        },
        "kl_by_position": [number(value) for value in found.by_position()],
        "top1_agreement": round(found.same_top, 6),
        "perplexity": {
            "source": number(source),
            "output": number(output),
            "ratio": number(output / source) if source and math.isfinite(source) else None,
        },
        "nmse": number(found.layers[-1].nmse),
        "max_abs": number(found.layers[-1].max_abs),
        "layers": [
            {"name": gap.name, "nmse": number(gap.nmse), "max_abs": number(gap.max_abs)} for gap in found.layers
        ],
        "first_divergent": None if apart is None else {"name": apart.name, "nmse": number(apart.nmse)},
        "limits": dict(limits),
        "fault": fault,
        "cost": dict(told),
        "seconds": {"source": round(found.seconds[0], 3), "output": round(found.seconds[1], 3)},
    }


def number(value: Any) -> float | None:
    """A number for a report, with seven digits; None where it is not finite."""
    value = float(value)
    return float(f"{value:.7g}") if math.isfinite(value) else None


def not_run(reason: str) -> dict[str, Any]:
    """The member `logits` of a report of a model that was not run."""
    members = (
        "mode", "sample", "tokens", "sequences", "context", "identical", "kl", "kl_by_position", "top1_agreement",
        "perplexity", "nmse", "max_abs", "layers", "first_divergent", "limits", "fault", "cost", "seconds",
    )  # fmt: skip
    return {**dict.fromkeys(members), "not_run": reason}
