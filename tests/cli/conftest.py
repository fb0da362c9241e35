"""Runs the command line, in this process where that shows enough and as a program where it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from hub.cli import main


@dataclass
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def hub(capsys):
    """`hub ARGUMENTS` in this process."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object, status: int | None = 0) -> Done:
        capsys.readouterr()
        code = main([os.fspath(a) if isinstance(a, os.PathLike) else str(a) for a in arguments])
        found = Done(code, *capsys.readouterr())
        if status is not None:
            assert code == status, f"hub {' '.join(map(str, arguments))}: exit {code}, {found.err}{found.out}"
        if code and not found.out:  # faults that `hub check` finds are a result
            assert len(found.err.splitlines()) == 1, found.err
            assert found.err.startswith("hub: error: ")
        return found

    yield run
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def program():
    """`hub ARGUMENTS` as a program of its own, without a terminal."""

    def run(*arguments: object, **options: Any) -> Done:
        command = [sys.executable, "-m", "hub", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
        return Done(done.returncode, done.stdout, done.stderr)

    return run
