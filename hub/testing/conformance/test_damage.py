"""Damaged files: refused with a line that names the file; never a traceback, never wrong weights."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hub.checking import check
from hub.errors import HubError
from hub.pipeline import Silent, weights
from hub.plugins import registry
from hub.testing.workshop import ROOMY, Sample, files_of

POINTS = 96
"""Places that are tried in a model, beside the first of each file; the kit must stay quick."""
HUGE = (b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\0\0\0\0\1\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x40", b"99999999")
"""The largest numbers of eight and four bytes, signed and not, some round ones, and digits."""
MEMORY = 64 << 20
"""More than opening a small model may take, whatever numbers stand in it."""


@pytest.fixture
def copy(sample: Sample, tmp_path: Path) -> Sample:
    """A model that may be damaged."""
    return sample.copied(tmp_path)


def test_truncated(copy: Sample) -> None:
    whole = _decoded(copy)
    wrong: list[str] = []
    for path in files_of(copy.path):
        data = path.read_bytes()
        rng = random.Random(1)
        points = {*range(min(64, len(data))), len(data) - 1, *(rng.randrange(len(data)) for _ in range(POINTS))}
        for size in sorted(points, reverse=True):
            os.truncate(path, size)
            wrong += _fault(copy, f"{path.name} cut to {size} of {len(data)} bytes", whole)
        path.write_bytes(data)
    assert not wrong, _few(wrong)


def test_flipped_bits(copy: Sample) -> None:
    wrong: list[str] = []
    for path, data, place in _places(copy):
        rng = random.Random(place)
        for value in {data[place] ^ (1 << rng.randrange(8)), rng.choice(b'\x00\xff\x7f"9-{}')} - {data[place]}:
            _put(path, place, bytes([value]))
            wrong += _fault(copy, f"{path.name} with byte {place} made {value}")
        _put(path, place, data[place : place + 1])
    assert not wrong, _few(wrong)


def test_huge_numbers(copy: Sample) -> None:
    wrong: list[str] = []
    tracemalloc.start()
    try:
        for path, data, place in _places(copy):
            for number in random.Random(place).sample(HUGE, 2):
                number = number[: len(data) - place]
                _put(path, place, number)
                tracemalloc.reset_peak()
                what = f"{path.name} with {number!r} at byte {place}"
                wrong += _fault(copy, what)
                peak = tracemalloc.get_traced_memory()[1]
                if peak > MEMORY:
                    wrong.append(f"{what}: {peak} bytes of memory were taken")
                _put(path, place, data[place : place + 8])
    finally:
        tracemalloc.stop()
    assert not wrong, _few(wrong)


def test_huge_header(copy: Sample) -> None:
    """Numbers of any length, where the header is text."""
    wrong: list[str] = []
    for path in files_of(copy.path):
        data = path.read_bytes()
        for at in [i for i in range(min(len(data), 4096)) if data[i : i + 1].isdigit()][:POINTS]:
            path.write_bytes(data[:at] + b"9" * 5000 + data[at + 1 :])
            wrong += _fault(copy, f"{path.name} with a number of 5000 digits at byte {at}")
        path.write_bytes(b"[" * 100_000 + data)
        wrong += _fault(copy, f"{path.name} behind 100000 brackets")
        path.write_bytes(data)
    assert not wrong, _few(wrong)


def _places(copy: Sample) -> Iterator[tuple[Path, bytes, int]]:
    """Every place worth damaging: (file, its bytes, offset), outside tensor data, where damage cannot be seen."""
    taken: dict[str, list[tuple[int, int]]] = {}
    with copy.open() as model:
        for tensor in model.tensors.values():
            for span in (part.span for part in tensor.parts.values()):
                if span is not None:
                    taken.setdefault(os.path.realpath(span.source.path), []).append(
                        (span.offset, span.offset + span.nbytes)
                    )
    files = files_of(copy.path)
    for path in files:
        data = path.read_bytes()
        free, end = [], 0
        for start, stop in [*sorted(taken.get(os.path.realpath(path), ())), (len(data), len(data))]:
            free += list(range(end, start))
            end = max(end, stop)
        rng = random.Random(2)
        for place in sorted({*free[:24], *rng.sample(free, min(POINTS // len(files), len(free)))}):
            yield path, data, place


def _put(path: Path, place: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(data)


def _decoded(copy: Sample) -> dict[str, bytes]:
    with copy.open() as model:
        return {
            name: weights(tensor, registry().layout(tensor.layout), 0, tensor.rows).tobytes()
            for name, tensor in model.tensors.items()
            if registry().knows_layout(tensor.layout)
        }


def _fault(copy: Sample, what: str, whole: dict[str, bytes] | None = None) -> Sequence[str]:
    """What is wrong with how a damaged model is met: nothing when it is refused, or when all of it can be read."""

    def attempt(step: Callable[[], object]) -> str | None:
        try:
            step()
        except HubError as error:
            if str(copy.path) not in str(error):
                return f"{what}: the message does not name the file: {error}"
            return ""
        except Exception as error:
            return f"{what}: {type(error).__name__}: {error}"
        return None

    checked = attempt(lambda: _check(copy))
    if checked is not None:
        return [checked] if checked else []
    if whole is not None:
        try:
            now = _decoded(copy)
        except HubError:
            return []
        if now != whole:
            return [f"{what}: opens, and its weights are not those that were written"]
    return []


def _check(copy: Sample) -> None:
    with copy.open() as model:
        check(model, registry(), ROOMY, Silent())


def _few(wrong: Sequence[str]) -> str:
    return f"{len(wrong)} faults:\n" + "\n".join(wrong[:8])
