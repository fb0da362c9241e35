"""Asks one consumer in a process of its own, with limits: a program may crash on a file, change limits, or never end.

The process gets a folder with the task (JSON) and the ids (.npz), and leaves there what it found out (JSON), logits and
generated ids (.npz); nothing of that is unpickled. What it prints is kept for messages only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hub import report
from hub.consumer import Room, Setting
from hub.consumers import child
from hub.consumers.choosing import Chosen
from hub.errors import HubError, printable
from hub.io.npz import NpzOutput, read_integers
from hub.io.source import FileSource
from hub.verification.sample import Sample

if TYPE_CHECKING:
    Ids = np.ndarray[Any, np.dtype[np.int64]]

GREEDY = 4
"""Tokens that a program is asked to generate."""
MEMORY = 16 << 30
"""Address space that a program gets beside `MEMORY_BY_BYTE`: runtimes reserve much that they do not touch."""
MEMORY_BY_BYTE = 24
"""Address space for every byte of the model: codes of 4 bits as f32, some of them twice."""
SECONDS = 300.0
"""Time that a program gets beside `WEIGHTS_PER_SECOND`: to start, to load, to compile."""
WEIGHTS_PER_SECOND = 2.0e7
"""Weights times tokens that the slowest kernels of any program get through in a second."""
_SAID = "said.txt"
_PRINTED = 1 << 16
"""Bytes at the end of what a program printed that are looked at."""


@dataclass(frozen=True)
class Task:
    """What is to be run.

    Attributes:
        path: the model.
        nbytes, weights: its size.
        sample: the tokens.
        vocab_size: scores of each.
        context: tokens that the model can see.
        threads: for the program.
    """

    path: str
    nbytes: int
    weights: int
    sample: Sample
    vocab_size: int
    context: int
    threads: int

    @property
    def greedy(self) -> int:
        """Tokens to generate behind the first sequence."""
        return max(0, min(GREEDY, self.context - self.sample.context))


@dataclass
class Answer:
    """What a program said.

    Attributes:
        versions: by distribution, the program first; empty where it did not come that far.
        logits: the archive with its logits, `logits` (tokens of all sequences, vocabulary) f32.
        greedy: the ids that it generated.
        seconds: that it ran, without loading.
        fault: why there are no logits, or None.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    logits: str = ""
    greedy: Any = ()
    seconds: float = 0.0
    fault: str | None = None


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """A folder for what consumers read and write, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hub-") as path:
        yield path


def ask(chosen: Chosen, setting: Setting, task: Task, place: str) -> Answer:
    """Run a model in a program.

    Args:
        place: an existing folder for the files of this answer.
    """
    scratch = os.path.join(place, "scratch")
    os.mkdir(scratch)
    room = Room(task.threads, task.sample.context + task.greedy, scratch)
    seconds = SECONDS + task.weights * (task.sample.tokens + task.greedy) / WEIGHTS_PER_SECOND
    told = {
        "factory": chosen.entry.factory, "needs": dict(chosen.entry.needs), "path": os.path.abspath(task.path),
        "setting": asdict(setting), "room": asdict(room), "vocab_size": task.vocab_size, "greedy": task.greedy,
        "memory": MEMORY + MEMORY_BY_BYTE * task.nbytes,
    }  # fmt: skip
    report.write(os.path.join(place, child.TASK), told)
    ids = np.stack(task.sample.sequences)
    with NpzOutput(os.path.join(place, child.IDS), {"ids": (ids.shape, "i4")}, force=False) as output:
        output.append("ids", ids)
        output.commit()
    status = _run(place, chosen.entry.environment, task.threads, seconds)
    shutil.rmtree(scratch, ignore_errors=True)
    return _answer(place, status, seconds)


def _run(place: str, environment: Mapping[str, str], threads: int, seconds: float) -> int | None:
    """The exit status of the process; None where it took too long and was ended."""
    environ = {
        **os.environ,
        # The child finds the same packages, but nothing that lies in the current folder.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        **environment,
    }
    command = [sys.executable, "-m", "hub.consumers.child", place]
    said = os.open(os.path.join(place, _SAID), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ, cwd=place, start_new_session=True
        )
    finally:
        os.close(said)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:  # too slow, or hub is interrupted: end it, and what it started itself
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answer(place: str, status: int | None, seconds: float) -> Answer:
    try:
        found = child.object_in(os.path.join(place, child.ANSWER))
    except HubError:
        found = {}
    versions = {str(name): str(version) for name, version in dict(found.get("versions") or {}).items()}
    answer = Answer(versions, os.path.join(place, child.LOGITS), (), float(found.get("seconds") or 0.0))
    if status is None:
        answer.fault = f"it took more than {seconds:.0f} s and was ended"
    elif status < 0:
        answer.fault = f"it was ended by {_signal(-status)}{_last_words(place)}"
    elif found.get("error"):
        verb = "does not open it" if found.get("stage") == "open" else "fails on it"
        answer.fault = f"it {verb}: {printable(found['error'], 300)}"
    elif status or not found:
        answer.fault = f"it ended with status {status}{_last_words(place)}"
    else:
        try:
            answer.greedy = read_integers(os.path.join(place, child.GREEDY), "ids").reshape(-1)
        except HubError as error:
            answer.fault = f"its answer cannot be read: {error.message}"
    return answer


def _signal(number: int) -> str:
    """The name of a signal; most real-time ones have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(place: str) -> str:
    """The last line that the program printed, for a message."""
    try:
        source = FileSource(os.path.join(place, _SAID))
        try:
            tail = source.read(max(0, source.size - _PRINTED), min(source.size, _PRINTED))
        finally:
            source.close()
    except HubError:
        return ""
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    return f", having said: {printable(lines[-1], 200)}" if lines else ""
