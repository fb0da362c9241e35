"""Fixtures of the kernel tests; their helpers are in native_cases.py, importable in every import mode."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import hub_native

sys.path.insert(0, str(Path(__file__).parent))

from native_cases import Ggml

# The machine may be slow and shared: a deadline would test that and not the kernels.
settings.register_profile("native", deadline=None)
settings.load_profile("native")


def pytest_report_header(config):
    return f"hub_native: isa {hub_native.isa()}, available {' '.join(hub_native.available())}"


@pytest.fixture(scope="session")
def ggml():
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        pytest.skip("llama_cpp (llama-cpp-python), which bundles ggml, is not installed")
    found = sorted((Path(spec.origin).parent / "lib").glob("libggml-base.*"))
    if not found:
        pytest.skip(f"no libggml-base beside {spec.origin}")
    return Ggml(found[0])
