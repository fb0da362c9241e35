"""Peer tests: hub's output against the same work done by llama.cpp. Skipped, with a reason, where the peer is absent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peers: compares hub with a peer program, which has to be installed")


@pytest.fixture(scope="session")
def hub_convert() -> Callable[[Path, Path, str], Path]:
    """Runs `hub convert` as a user does, and fails with its own words when it fails."""

    def convert(source: Path, target: Path, variant: str) -> Path:
        command = [sys.executable, "-m", "hub", "convert", "--from", "safetensors", "--to", f"gguf:{variant}", str(source), str(target)]
        done = subprocess.run([*command, "--verify", "none"], capture_output=True, text=True)
        assert done.returncode == 0, f"hub convert --to gguf:{variant} {source.name}: exit {done.returncode}\n{done.stderr}"
        return target

    return convert
