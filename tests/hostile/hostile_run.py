"""Runs hub's real entry in this process and checks what a refusal must be."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.cli import main

LONGEST = 700
"""Characters that a refusal may have."""
SLOWEST = 10.0
"""Seconds that a refusal may take, on a machine that others use too; it takes a few milliseconds."""


@dataclass(frozen=True)
class Outcome:
    """What one run said."""

    status: int
    out: str
    err: str
    seconds: float


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """The entry sets handlers for the whole process; give pytest's back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(*arguments: object) -> Outcome:
    """Run `hub` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    started = time.monotonic()
    with _signals_kept(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])
    return Outcome(status, out.getvalue(), err.getvalue(), time.monotonic() - started)


def snapshot(root: Path) -> dict[str, object]:
    """Everything below `root`: names, kinds, link targets, bytes."""
    found: dict[str, object] = {}
    for path, folders, files in os.walk(root):
        for name in [*folders, *files]:
            full = os.path.join(path, name)
            st = os.lstat(full)
            if stat.S_ISLNK(st.st_mode):
                found[full] = "link", os.readlink(full)
            elif stat.S_ISREG(st.st_mode):
                found[full] = "file", st.st_size, _digest(full) if st.st_size < 1 << 26 else None
            else:
                found[full] = stat.S_IFMT(st.st_mode)
    return found


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def one_line(outcome: Outcome, status: int = 1) -> str:
    """The single line of a refusal, checked for form."""
    assert outcome.status == status, f"exit status {outcome.status}, expected {status}: {outcome.err or outcome.out}"
    assert outcome.err.endswith("\n") and outcome.err.count("\n") == 1, f"not one line: {outcome.err!r}"
    line = outcome.err[:-1]
    assert line.isascii() and line.isprintable(), f"not printable ASCII: {line!r}"
    assert len(line) <= LONGEST, f"{len(line)} characters: {line}"
    assert line.startswith("hub: error: "), line
    for word in ("Traceback", "internal error"):
        assert word not in line, line
    assert outcome.seconds < SLOWEST, f"{outcome.seconds:.1f} s for: {line}"
    return line


def refused(
    *arguments: object,
    names: Sequence[str] = (),
    tensor: str | None = None,
    offset: int | bool | None = None,
    status: int = 1,
    watch: Path | None = None,
) -> str:
    """Run and expect a refusal that leaves `watch` byte for byte as it was and no file open.

    Args:
        names: what the line must contain (the file, first of all).
        tensor: the tensor that it must name.
        offset: the byte offset that it must name; True for any.
    """
    before = snapshot(watch) if watch is not None else {}
    open_before = len(os.listdir("/proc/self/fd"))
    line = one_line(run(*arguments), status)
    assert len(os.listdir("/proc/self/fd")) == open_before, f"a file stays open after: {line}"
    for name in names:
        assert name in line, f"{name!r} is not in: {line}"
    if tensor is not None:
        assert f"tensor {tensor}" in line, f"tensor {tensor!r} is not in: {line}"
    if offset is True:
        assert ": at byte " in line, f"no offset in: {line}"
    elif offset is not None:
        assert f": at byte {offset}:" in line, f"offset {offset} is not in: {line}"
    if watch is not None:
        assert snapshot(watch) == before, f"files changed by: {line}"
    return line


def accepted(*arguments: object) -> str:
    """Run and expect success; gives what it printed."""
    outcome = run(*arguments)
    assert outcome.status == 0, outcome.err
    assert not outcome.err, outcome.err
    return outcome.out
