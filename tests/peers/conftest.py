"""Peer tests: hub's output against the same work done by llama.cpp. Skipped, with a reason, where the peer is absent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hub

sys.path.insert(0, str(Path(__file__).parent.parent))  # models made for all tests
sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside this file


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "peers: compares hub with a peer program, which has to be installed")


@pytest.fixture(scope="session")
def hub_convert() -> Callable[[Path, Path, str], Path]:
    """hub's conversion, in this process: a hundred starts of Python would be most of the time."""

    def convert(source: Path, target: Path, variant: str) -> Path:
        hub.convert(source, target, from_="safetensors", to=f"gguf:{variant}", verify="none")
        return target

    return convert
