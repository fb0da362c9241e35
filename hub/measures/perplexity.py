"""Perplexity as llama.cpp's tool computes it: of the second half of every chunk, given what stands before in it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import hub_native
from hub.errors import UsageError, WeightError
from hub.runner.slices import head_slices

if TYPE_CHECKING:
    from hub.pipeline import Progress
    from hub.runner import Mode, Runner

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]
    F64Array = np.ndarray[Any, np.dtype[np.float64]]

SHORTEST = 4
"""Tokens of the shortest chunk whose second half has a token to score."""


@dataclass(frozen=True)
class Perplexity:
    """What a text is to a model.

    Attributes:
        value: exp of the mean negative log-likelihood.
        error: its standard error; None where there is one score only.
        chunks, context: how many chunks of how many tokens were run.
        scored: tokens that the mean is over.
        seconds: spent running.
    """

    value: float
    error: float | None
    chunks: int
    context: int
    scored: int
    mode: Mode
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens run per second."""
        return self.chunks * self.context / max(self.seconds, 1e-9)


def measure(runner: Runner, chunks: Sequence[Ids], progress: Progress) -> Perplexity:
    """The perplexity of chunks of one length.

    The mean and its error are those of llama-perplexity (perplexity.cpp of llama.cpp 0c1e570): of chunks of n tokens
    it scores tokens n // 2 + 1 to n - 1; the error is ppl * sqrt((mean(nll**2) - mean(nll)**2) / (scored - 1)).

    Raises:
        UsageError: the chunks are too short, or longer than the model can see.
        WeightError: the model gives numbers that are not finite.
    """
    context = len(chunks[0])
    if context < SHORTEST:
        raise UsageError(f"a context of {context} tokens, at least {SHORTEST} are needed")
    started = time.monotonic()
    progress.start("run", len(chunks) * context * runner.weight_bytes)
    losses: list[F64Array] = []
    for ids in chunks:
        losses.append(_losses(runner, runner.hidden(ids), ids))
        progress.advance(context * runner.weight_bytes)
    nll = np.concatenate(losses)
    mean = math.fsum(nll) / len(nll)
    variance = math.fsum(nll * nll) / len(nll) - mean * mean
    try:
        value = math.exp(mean)
    except OverflowError:
        value = math.nan
    if not math.isfinite(value):
        raise WeightError("running it gives numbers that are not finite", path=runner.path)
    error = value * math.sqrt(variance / (len(nll) - 1)) if variance > 0 and len(nll) > 1 else None
    return Perplexity(value, error, len(chunks), context, len(nll), runner.mode, time.monotonic() - started)


def _losses(runner: Runner, hidden: F32Array, ids: Ids) -> F64Array:
    """Negative log-likelihoods of the tokens of the second half but its first, in nats."""
    start, stop = len(ids) // 2, len(ids) - 1
    parts = head_slices(start, stop, runner.vocab_size)
    return np.concatenate([loss(runner.head(hidden[p]), ids[p.start + 1 : p.stop + 1]) for p in parts])


def loss(logits: F32Array, following: Ids) -> F64Array:
    """-log softmax(logits)[following] of every row, (rows,) f64, in nats."""
    count = len(logits)
    out, unused, again = (np.empty(count) for _ in range(3))
    same = np.empty(count, np.uint8)
    hub_native.log_softmax_stats(logits, logits, np.ascontiguousarray(following), unused, out, again, same)
    return out
