"""The last check of a conversion: both sides run on the same tokens, and the answers judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.architecture import Architecture, configure
from hub.errors import HubError, UsageError
from hub.ir.model import Model
from hub.ir.tokenizer import Tokenizer
from hub.tokens.encoder import Encoder
from hub.verification import divergence, limits, sample, sensitivity
from hub.verification.diagnosis.finding import Diagnosis

if TYPE_CHECKING:
    from hub.pipeline import Progress
    from hub.runner import Mode

_COMPARED = 1 << 16
"""Characters of a text that both tokenizers are tried on."""


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        tokens: how many.
        text: what to take them from; the built-in sample when None.
        name: where `text` is from.
        mode: arithmetic of the runner.
    """

    tokens: int = sample.TOKENS
    text: str | None = None
    name: str = sample.BUILT_IN
    mode: Mode = "exact"


@dataclass
class Run:
    """What running both found.

    Attributes:
        logits: the member of the report.
        fault: what is wrong with the answers, or None.
        diagnoses: mistakes that only text shows.
    """

    logits: Mapping[str, Any]
    fault: str | None = None
    diagnoses: Sequence[Diagnosis] = field(default=())


@dataclass(frozen=True)
class Prepared:
    """A run of a source that is ready to be compared with an output.

    Attributes:
        sample: what to run; None where it cannot be run, and `reason` says why.
        cost: what it will cost, as the report has it.
    """

    request: Request
    sample: sample.Sample | None
    cost: Mapping[str, Any] | None = None
    reason: str = ""
    tokenizer: Tokenizer | None = None


def prepare(source: Model, request: Request, threads: int) -> Prepared:
    """Choose the tokens and tell the cost, before there is anything to compare with.

    Raises:
        UsageError: the request does not fit the model: a text without a tokenizer, too few tokens.
        HubError: the model is at fault.
    """
    from hub.runner import why_not

    reason = why_not(source)
    if reason is not None:
        return Prepared(request, None, reason=f"the source cannot be run: {reason}")
    configured = configure(source)
    graph = configured.architecture.graph
    assert graph is not None  # else it could not be run
    sizes = int(configured.values["vocab_size"]), int(configured.evaluate(graph.context))
    if sizes[1] < 2:
        return Prepared(request, None, reason="the model sees no more than one token")
    try:
        tokenizer = source.load_tokenizer(configured.architecture)
        chosen = sample.make(tokenizer, *sizes, tokens=request.tokens, text=request.text, name=request.name)
    except UsageError:
        raise
    except HubError:
        if request.text is not None:
            raise
        # A tokenizer that hub cannot encode with is no reason not to run: ids will do.
        tokenizer, chosen = None, sample.make(None, *sizes, tokens=request.tokens)
    weights = sum(math.prod(tensor.shape) for tensor in source.tensors.values())
    told = divergence.cost(weights, chosen.tokens, len(chosen.sequences), threads)
    return Prepared(request, chosen, told, tokenizer=tokenizer)


def run(prepared: Prepared, a: Model, b: Model, *, equal: bool, bits: float, threads: int, progress: Progress) -> Run:
    """Run a source and an output on the same tokens.

    Args:
        equal: whether every weight of `b` is that of `a`, so that every logit must be.
        bits: `limits.effective_bits` of `b`, for the limit otherwise.
    """
    from hub.runner import Runner, why_not

    if prepared.sample is None:
        return Run(divergence.not_run(prepared.reason))
    try:
        reason = why_not(b)
    except HubError as error:
        return Run(divergence.not_run(f"the output cannot be run: {error.message}"))
    if reason is not None:
        return Run(divergence.not_run(f"the output cannot be run: {reason}"))
    mode = prepared.request.mode
    with Runner(a, mode=mode, threads=threads) as first:
        other = _ids(prepared, b, first.configured.architecture)
        try:
            with Runner(b, mode=mode, threads=threads) as second:
                if second.vocab_size != first.vocab_size:
                    said = f"the vocabularies have {first.vocab_size} and {second.vocab_size} ids"
                    return Run(divergence.not_run(said), said, other)
                found = divergence.measure(first, second, prepared.sample, progress)
        except HubError as error:
            if error.path == a.path:
                return Run(divergence.not_run(f"the source does not run: {error.message}"), None, other)
            said = f"the output does not run: {error.message}"
            return Run(divergence.not_run(said), said, other)
    chosen = prepared.sample
    limit, fault = _judged(found, equal, bits, lambda: sensitivity.sensitivity(a, chosen, threads, progress))
    assert prepared.cost is not None
    return Run(divergence.data(found, limit, fault, prepared.cost), fault, other)


def _judged(
    found: divergence.Divergence, equal: bool, bits: float, shown: Callable[[], float]
) -> tuple[Mapping[str, Any], str | None]:
    """The limit, and what is wrong; `shown` runs what `hub.verification.sensitivity` tells, where it matters."""
    if equal and found.mode == "exact":
        same = {"kl_mean": 0.0, "why": "every weight is equal, so every logit must be"}
        apart = found.first_apart()
        where = f", first in {apart.name}" if apart else ""
        return same, f"{found.unequal} logits differ though every weight is equal{where}" if found.unequal else None
    limit = limits.kl_limit(bits)
    if not found.finite:
        return limit, "logits are not finite"
    mean = float(found.kl.mean())
    if mean > limit["kl_mean"] and not math.isinf(bits):
        limit = limits.sensitive_limit(bits, shown(), sensitivity.BITS)
    if mean > limit["kl_mean"]:
        return limit, f"mean KL divergence {mean:.4g} nats, at most {limit['kl_mean']:.4g} is expected"
    return limit, None


def _ids(prepared: Prepared, b: Model, architecture: Architecture) -> list[Diagnosis]:
    """A diagnosis where the output's tokenizer makes other ids of the same text."""
    tokenizer, given = prepared.tokenizer, prepared.request.text
    if tokenizer is None or tokenizer.approximate:
        return []
    text = sample.built_in() if given is None else given[:_COMPARED]
    try:
        theirs = b.load_tokenizer(architecture)
        if theirs is None or theirs.approximate:
            return []
        mine, other = Encoder(tokenizer).encode(text), Encoder(theirs).encode(text)
    except HubError as error:
        return [Diagnosis("tokenizer cannot be used", None, error.message, "take the source's")]
    if mine == other:
        return []
    at = next((i for i, (x, y) in enumerate(zip(mine, other, strict=False)) if x != y), min(len(mine), len(other)))
    shown = f"{mine[at : at + 3]} and {other[at : at + 3]}"
    shift = {y - x for x, y in zip(mine, other, strict=False)} if len(mine) == len(other) else set()
    name = "tokenizer ids shifted" if len(shift) == 1 else "tokenizer gives other ids"
    return [Diagnosis(name, None, f"of {len(mine)} ids of the same text, from number {at} on: {shown}",
                      "take the source's tokenizer")]  # fmt: skip
