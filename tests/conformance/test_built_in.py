"""The built-in plugins pass the kit that everybody else's pass."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())
BUILT_IN = sorted(PROJECT["project"]["entry-points"]["hub"])


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_plugin_conforms(name: str, samples) -> None:
    options = [f"--hub-sample={format}={path}" for format, paths in samples.items() for path in paths]
    known = HERE / f"{name}.xfails"
    options += [f"--hub-xfails={known}"] if known.exists() else []
    done = subprocess.run(
        [sys.executable, "-m", "hub", "plugin", "test", name, "--", "-q", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_they_are_looked_for() -> None:
    assert len(BUILT_IN) >= 2
