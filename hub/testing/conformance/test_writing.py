"""Writing: what was planned is what is there, and it is what the source was."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub import planner
from hub.errors import HubError
from hub.format import Reader
from hub.plugins import registry
from hub.recipe import Recipe
from hub.testing import models
from hub.testing.workshop import Workshop, contents, faults, tight, write

Variant = tuple[str, str]


def test_variant_can_be_written(variant: Variant, workshop: Workshop) -> None:
    written = workshop.written(*variant)
    assert written.plan.entries
    sizes = {path.name if written.path.is_dir() else "": path.stat().st_size for path in written.files}
    planned = {Path(file.name).name if written.path.is_dir() else "": file.size for file in written.plan.files}
    assert sizes == planned


def test_written_equals_source(variant: Variant, workshop: Workshop) -> None:
    written = workshop.written(*variant)
    with _reader(variant).open(str(written.path)) as model:
        assert list(model.tensors) == [entry.name for entry in written.plan.entries], "another order than planned"
        assert not faults(written, model)


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_written_equals_source_of_type(writable: str, dtype: str, workshop: Workshop) -> None:
    written = workshop.written(writable, "", dtype)
    with _reader((writable, "")).open(str(written.path)) as model:
        assert not faults(written, model)


def test_second_generation_is_identical(variant: Variant, workshop: Workshop) -> None:
    first = workshop.written(*variant)
    with _reader(variant).open(str(first.path)) as model:
        second = write(model, *variant, workshop.folder())
        changed = [f"{e.name}: {e.route}" for e in second.plan.entries if e.fidelity != "identical"]
        assert not changed, "tensors were made anew that could have been copied"
        assert not faults(second, model)
    a, b = contents(first.path), contents(second.path)
    assert set(a) == set(b)
    for name in a:
        at = _first_difference(a[name], b[name])
        assert at is None, f"{name or second.path.name} differs at byte {at}"


def test_tiles_and_threads_change_nothing(variant: Variant, workshop: Workshop) -> None:
    first = workshop.written(*variant)
    second = write(first.plan.source, *variant, workshop.folder(), tight(first.plan))
    assert contents(first.path) == contents(second.path)


def test_unknown_variant_is_refused(writable: str) -> None:
    with pytest.raises(HubError) as raised:
        planner.make(models.llama(), writable, "no-such-variant", Recipe(), registry())
    message = str(raised.value)
    assert "no-such-variant" in message, "the message does not name what was asked for"
    for known in registry().format(writable).variants:
        assert known in message, f"the message does not say that there is {known}"


def _reader(variant: Variant) -> Reader:
    if registry().format(variant[0]).reader is None:
        pytest.skip("the format cannot be read")
    return registry().reader(variant[0])


def _first_difference(a: bytes, b: bytes) -> int | None:
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
