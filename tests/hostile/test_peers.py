"""hub is never looser than the format's own library: what that refuses of the corpus, hub refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import test_gguf_files
import test_safetensors_files
from hostile_ggml import library, takes

STRICTER = {
    # What llama.cpp takes and hub refuses, each with the reason.
    "kv: key not UTF-8": "keys are text; nobody else could read them again",
    "kv: key with NUL": "C cuts it, so two keys become one",
    "kv: key of 70000 bytes": "longer than any key; 65,535 is also the most that hub writes",
    "tensor: elements overflow, a zero first": "other readers multiply in another order",
    "tensor: name not UTF-8": "as keys",
    "tensor: name with NUL": "as keys",
    "data: one byte short": "llama.cpp finds out when it loads the data",
    "data: no data": "as above",
    "data: second tensor cut": "as above",
    "data: last padding and a byte cut": "as above",
    "tensor: a petabyte": "as above",
    "tensor: 1 dimension of blocks": "no converter writes such; rows are what hub tells blocks by",
}
"""Documented in docs/security.md."""


def _taken_by_the_library(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)
    except safetensors.SafetensorError:
        return False
    return True


@pytest.mark.parametrize("name", test_safetensors_files.ODD)
def test_safetensors_odd(name: str) -> None:
    assert _taken_by_the_library(test_safetensors_files.ODD[name][0])


def test_safetensors_stricter() -> None:
    """The list of what hub refuses beyond the library stays known."""
    stricter = {name for name, case in test_safetensors_files.ALL.items() if _taken_by_the_library(case[0])}
    assert stricter == {
        "json: leading space", "json: tensor twice", "json: tensor twice, escaped", "json: metadata member twice",
        "entry: an unknown member", "entry: empty name", "entry: name with NUL", "entry: name of 70000 characters",
        "entry: rank 65", "entry: rank 100000",
    }  # fmt: skip


@pytest.mark.peers
def test_gguf(tmp_path: Path) -> None:
    if library() is None:
        pytest.skip("llama_cpp (llama-cpp-python), which bundles ggml, is not installed")
    bad, odd = test_gguf_files.ALL, test_gguf_files.ODD
    paths = []
    for number, data in enumerate([*(case[0] for case in bad.values()), *(case[0] for case in odd.values())]):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(data)
        paths.append(path)
    taken = takes(paths)
    looser = [name for name, yes in zip(odd, taken[len(bad) :], strict=True) if not yes]
    assert not looser, f"hub takes what llama.cpp refuses: {looser}"
    stricter = {name for name, yes in zip(bad, taken, strict=False) if yes}
    assert stricter == set(STRICTER), (sorted(stricter - set(STRICTER)), sorted(set(STRICTER) - stricter))
