"""Random changes to headers, indices and configurations: hub reads them or says no, and nothing else.

``HUB_FUZZ_SECONDS`` lengthens it (seconds for all targets together, 12 by default), ``HUB_FUZZ_SEED`` changes the
mutants.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hostile_fuzz
import pytest
import safetensors
from hostile_ggml import library, takes

SECONDS = float(os.environ.get("HUB_FUZZ_SECONDS", "12"))
SEED = int(os.environ.get("HUB_FUZZ_SEED", "1"))
SHARE = SECONDS / 7


@pytest.mark.parametrize("target", ["config", "index"])
def test_json(target: str) -> None:
    count, opened = hostile_fuzz.run(target, SHARE, SEED)
    assert count > 20 * SHARE
    assert opened


def test_safetensors_never_looser_than_its_own_library() -> None:
    """What hub opens the Rust library opens too, and sees the same tensors."""

    def compare(data: bytes) -> None:
        safetensors.deserialize(data)

    count, opened = hostile_fuzz.run("safetensors", SHARE, SEED, compare)
    assert count > 20 * SHARE
    assert opened


@pytest.mark.peers
def test_gguf_never_looser_than_llama_cpp(tmp_path: Path) -> None:
    if library() is None:
        pytest.skip("llama_cpp (llama-cpp-python), which bundles ggml, is not installed")
    kept: list[bytes] = []
    hostile_fuzz.run("gguf", SHARE, SEED + 1, kept.append)
    paths = []
    for number, data in enumerate(dict.fromkeys(kept)):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(data)
        paths.append(path)
    looser = [path.name for path, taken in zip(paths, takes(paths), strict=True) if not taken]
    assert not looser, f"{len(looser)} of {len(paths)} files that hub takes and llama.cpp refuses: {looser[:5]}"


def test_onnx() -> None:
    hostile_fuzz.run("onnx", 0.1, SEED)  # everything that is loaded on first use is loaded
    count, opened = hostile_fuzz.run("onnx", SHARE, SEED)
    assert count > 10 * SHARE
    assert opened


def test_gguf() -> None:
    count, opened = hostile_fuzz.run("gguf", SHARE, SEED)
    assert count > 20 * SHARE
    assert opened


@pytest.mark.parametrize("target", sorted(hostile_fuzz.TARGETS))
def test_in_little_memory(target: str) -> None:
    """The same in a process that may not grow: an allocation sized by a number of the file would fail."""
    done = subprocess.run(
        [sys.executable, hostile_fuzz.__file__, target, str(SHARE / 4), str(SEED + 2)],
        capture_output=True, text=True, timeout=60 + SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
