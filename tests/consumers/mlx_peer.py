"""Asks mlx-lm, in a process of its own: importing it changes limits of the process, and its kernels are compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHILD = Path(__file__).with_name("mlx_child.py")
ENVIRONMENT = {"MLX_DISABLE_COMPILE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


def needs_mlx_lm() -> pytest.MarkDecorator:
    """A mark that skips where mlx-lm is not installed."""
    missing = [name for name in ("mlx", "mlx_lm") if util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed (extra 'mlx')")


def ask(jobs: Sequence[dict[str, Any]]) -> list[Any]:
    """What mlx-lm answers to each job; see mlx_child.py."""
    done = subprocess.run(
        [sys.executable, str(CHILD)],
        input=json.dumps(list(jobs)), capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def logits(folders: Sequence[Path], ids: Sequence[Sequence[int]], work: Path) -> list[np.ndarray | str]:
    """For each folder the logits (tokens, vocabulary) of its ids, or the error, run in f32."""
    outs = [work / f"logits-{i}.npy" for i in range(len(folders))]
    jobs = [{"logits": str(f), "ids": list(map(int, own)), "out": str(o)} for f, own, o in zip(folders, ids, outs, strict=True)]  # fmt: skip
    answers = ask(jobs)
    return [a["error"] if a else np.load(out) for a, out in zip(answers, outs, strict=True)]


def error(theirs: np.ndarray, ours: np.ndarray) -> float:
    """The relative error of logits, in Euclidean norms."""
    return float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))
