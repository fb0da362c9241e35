"""Settings that differ, and what they are made into: rotary factors, a tied output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hub.architecture import Configured
from hub.errors import HubError
from hub.mapping import is_canonical
from hub.verification.alignment import Pair, Side
from hub.verification.diagnosis.finding import Diagnosis

_HEADS = ("num_attention_heads", "num_key_value_heads", "head_dim")
_NO_SCALING = ("none", b"none", 0, 1)
_TIED = "tie_word_embeddings"


@dataclass(frozen=True)
class Differing:
    """A canonical setting that is not the same; None where a side does not have it."""

    key: str
    a: Any
    b: Any


def differing(pair: Pair) -> list[Differing]:
    """Settings in which two models differ, of those that both formats tell.

    Numbers are equal when they are the same in f32, which is what some formats store.
    """
    first, second = pair.a.configured, pair.b.configured
    if first is None:
        return []
    if second is None:
        return list(_raw(first, pair.b))
    told_a, told_b = (_told(side, first, second) for side in (pair.a, pair.b))
    return [item for item in _all(first, second) if item.key in told_a and item.key in told_b]


def untold(a: Side, b: Side) -> list[Differing]:
    """Settings of `a` that differ because the format of `b` has no words for them."""
    first, second = a.configured, b.configured
    if first is None or second is None:
        return []
    told = _told(b, first, second)
    return [item for item in _all(first, second) if item.key not in told and item.a is not None]


def lost(pair: Pair) -> Iterator[Diagnosis]:
    """What is untold in the second model: no mistake of anybody's, but where answers differ, a cause."""
    for item in untold(pair.a, pair.b):
        read = f"the source has {_shown(item.a)}, it is read as {_shown(item.b)}"
        said = f"{pair.b.model.format} cannot tell {item.key}: {read}"
        yield Diagnosis("setting lost", None, said, "--verify weights, if that does not matter")


def _all(first: Configured, second: Configured) -> list[Differing]:
    """Every setting that is not the same."""
    values = ((key, first.values.get(key), second.values.get(key)) for key in sorted({*first.values, *second.values}))
    return [Differing(key, a, b) for key, a, b in values if not _same(a, b)]


def _raw(wanted: Configured, side: Side) -> Iterator[Differing]:
    """Settings of a model whose settings contradict each other, as they stand."""
    try:
        raw = side.model.hyperparameters(wanted.architecture)
    except HubError:
        return
    for key in sorted(raw.keys() & wanted.values.keys()):
        if isinstance(raw[key], int | float | str) and not _same(wanted.values[key], raw[key]):
            yield Differing(key, wanted.values[key], raw[key])


def _told(side: Side, *models: Configured) -> set[str]:
    """Canonical settings that a side's format has words for, for models with such settings."""
    assert side.configured is not None
    if is_canonical(side.model.convention, side.configured):
        return set(side.configured.values)
    rows = side.configured.architecture.formats[side.model.convention].metadata
    written = (row for row in rows if row.when is None or any(model.evaluate(row.when) for model in models))
    return {row.setting for row in written if row.setting} | {_TIED}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, int | float) or not isinstance(b, int | float):
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
        return bool(a == b)
    with np.errstate(over="ignore"):
        return bool(np.float32(a) == np.float32(b))


def name_settings(found: list[Differing]) -> Iterator[Diagnosis]:
    """A diagnosis for every setting that changes what the model computes."""
    for item in found:
        if item.key == _TIED:
            continue  # the tensors tell what became of the output
        yield Diagnosis(
            _mistake(item.key), None, f"{item.key} is {_shown(item.b)}, the source has {_shown(item.a)}",
            f"set it to {_shown(item.a)}",
        )  # fmt: skip


def _mistake(key: str) -> str:
    if key == "rope.theta" or key.endswith("rope_theta"):
        return "wrong rope base"
    if key.startswith("rope."):
        return "wrong rope scaling"
    if key in _HEADS:
        return "wrong head counts"
    return "wrong setting"


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)


def made_tensors(pair: Pair) -> Iterator[Diagnosis]:
    """Tensors that a format computes from settings (rotary factors): missing, not wanted, or of other values."""
    wanted = _wanted(pair)
    for maker, expected in wanted.items():
        tensor = pair.b.made.get(maker)
        if tensor is None:
            yield Diagnosis("wrong rope scaling", None, f"the factors ({maker}) that the settings ask for are missing",
                            "write them")  # fmt: skip
            continue
        values = _values(tensor)
        if values.shape != expected.shape or not np.allclose(values, expected, rtol=1e-5, atol=0):
            worst = f"factors go up to {values.max(initial=0):.6g}, by the settings to {expected.max(initial=0):.6g}"
            yield Diagnosis("wrong rope scaling", tensor.stored_name, worst, "compute them again")
    for maker, tensor in pair.b.made.items():
        if maker not in wanted and (values := _values(tensor)).size and not np.all(values == 1):
            worst = f"factors up to {values.max():.6g}, the settings ask for none"
            yield Diagnosis("wrong rope scaling", tensor.stored_name, worst, "leave them out")


def stray_scaling(pair: Pair) -> Iterator[Diagnosis]:
    """Rotary scaling that a format's metadata tell though the source has none: consumers obey it all the same."""
    configured, side = pair.a.configured, pair.b.model
    convention = configured.architecture.formats.get(side.convention) if configured else None
    if configured is None or convention is None or pair.a.model.convention:
        return
    written = {row.key for row in convention.metadata if row.when is None or configured.evaluate(row.when)}
    for key, value in side.config.items():
        about = key.startswith(f"{side.architecture}.") and "rope" in key and "scal" in key
        if about and key not in written and value not in _NO_SCALING:
            yield Diagnosis("wrong rope scaling", None, f"{key} is {_shown(value)}, the source has no such setting",
                            "leave it out")  # fmt: skip


def _wanted(pair: Pair) -> Mapping[str, Any]:
    """What the convention of `b` makes from the settings of `a`: maker -> values."""
    from hub.makers import MAKERS

    configured = pair.a.configured
    convention = pair.b.model.convention
    if configured is None or convention not in configured.architecture.formats:
        return {}
    if pair.a.model.convention:
        return {maker: _values(tensor) for maker, tensor in pair.a.made.items()}
    rules = configured.architecture.formats[convention].tensors.values()
    return {
        rule.make: MAKERS[rule.make].values(configured.values)
        for rule in rules
        if rule.make and (rule.when is None or configured.evaluate(rule.when))
    }


def _values(tensor: Any) -> Any:
    part = next(iter(tensor.parts.values()))
    return np.asarray(part.load(0, tensor.rows), np.float32).reshape(-1)
