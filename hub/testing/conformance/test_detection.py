"""Detection finds what is the format's own, leaves everything else alone, and never falls over."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.io.source import read_head
from hub.plugins import registry, resolve
from hub.testing.workshop import Sample, Workshop, files_of

_RANDOM = random.Random(5)

STRANGERS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\0",
    "zeros": bytes(600),
    "ones": b"\xff" * 600,
    "text": b"# A model\n\nIt does not live here.\n" * 20,
    "JSON": b'{"architectures": ["LlamaForCausalLM"], "hidden_size": 64}',
    "half of JSON": b'{"architectures": ["Llama',
    "zip": b"PK\x03\x04" + bytes(300),
    "pickle": b"\x80\x02}q\x00.",
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(300),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(300),
    **{f"random {seed}": _RANDOM.randbytes(512) for seed in range(30)},
}
"""Heads of files that are no model."""


def _score(format: str, path: Path) -> int:
    function: Callable[..., int] = resolve(registry().format(format).detect)
    if path.is_dir():
        score = function(str(path), b"", sorted(p.name for p in path.iterdir()))
    else:
        score = function(str(path), read_head(path), [])
    assert isinstance(score, int), f"a score is a whole number, this is {score!r}"
    assert 0 <= score <= 100
    return score


def test_there_is_a_model_to_test_with(readable: str, workshop: Workshop) -> None:
    assert workshop.samples.get(readable), (
        f"format {readable} cannot be tested: nothing writes it; give a model with --hub-sample {readable}=PATH"
    )


def test_finds_its_own(readable: str, workshop: Workshop) -> None:
    for path in workshop.samples.get(readable, ()):
        assert _score(readable, path) > 0
        assert registry().detect(str(path)).name == readable


def test_claims_no_other(readable: str, workshop: Workshop) -> None:
    others = [(name, path) for name, paths in workshop.samples.items() for path in paths if name != readable]
    for name, path in others:
        mine, theirs = _score(readable, path), _score(name, path)
        assert mine < theirs, f"{path.name} is of format {name}, which scores {theirs}; {readable} scores {mine}"


@pytest.mark.parametrize("what", STRANGERS)
def test_claims_no_stranger(readable: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "unknown"
    path.write_bytes(STRANGERS[what])
    assert _score(readable, path) == 0


def test_claims_no_strange_folder(readable: str, tmp_path: Path) -> None:
    assert _score(readable, tmp_path) == 0
    for name, head in STRANGERS.items():
        (tmp_path / name).write_bytes(head)
    assert _score(readable, tmp_path) == 0
    # A file that formats look into, of the wrong kind inside.
    for data in (b"", b"[]", b"{}", b"null", b'{"architectures": 1}', b'{"quantization_config": []}', b"\xff\xfe"):
        (tmp_path / "config.json").write_bytes(data)
        assert _score(readable, tmp_path) == 0, data


def test_damaged_heads_do_not_fell_it(sample: Sample, tmp_path: Path) -> None:
    rng = random.Random(6)
    for path in files_of(sample.path):
        head = read_head(path)
        for _ in range(100):
            damaged = bytearray(head[: rng.randrange(len(head) + 1)])
            for _ in range(rng.randrange(8) if damaged else 0):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            target = tmp_path / path.name
            target.write_bytes(damaged)
            _score(sample.format, target)
            _score(sample.format, tmp_path)
