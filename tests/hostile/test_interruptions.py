"""Sources that change under a conversion, signals, and kill -9: no output, or the old one, and never half of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_build import folder, llama_gguf, packed, sharded, tensors
from hostile_run import run, snapshot

import hub
from hub.errors import HubError

TO = "gguf:q8_0"


class At:
    """A Progress that does something when a stage starts, or after so many advances."""

    def __init__(self, stage: str, what: Callable[[], object], after: int = 0) -> None:
        self.stage, self.what, self.after = stage, what, after
        self.now = ""
        self.done = False

    def start(self, stage: str, total: int) -> None:
        self.now = stage
        if not self.after:
            self._try()

    def advance(self, amount: int) -> None:
        self.after -= 1
        if self.after <= 0:
            self._try()

    def _try(self) -> None:
        if self.now == self.stage and not self.done:
            self.done = True
            self.what()


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def rewrite(path: Path) -> None:
    """Other bytes of the same length at the same place, with a later time."""
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"\0\0\x80\x3f")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    """Another file at the same name; what is open stays as it was."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated to nothing": lambda path: truncate(path, 0),
    "truncated in the header": lambda path: truncate(path, 100),
    "truncated by a byte": lambda path: truncate(path, path.stat().st_size - 1),
    "grown": lambda path: truncate(path, path.stat().st_size + 1),
    "rewritten": rewrite,
}


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("stage", ["scan", "convert", "verify"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["safetensors", "shards", "gguf"])
def test_source_changes(tmp_path: Path, kind: str, change: str, stage: str, after: int) -> None:
    if kind == "gguf":
        source = victim = tmp_path / "in.gguf"
        source.write_bytes(llama_gguf())
    elif kind == "shards":
        source = sharded(tmp_path / "m")
        victim = source / "model-00002-of-00002.safetensors"
    else:
        source = folder(tmp_path / "m")
        victim = source / "model.safetensors"
    hook = At(stage, lambda: CHANGES[change](victim), after)
    with pytest.raises(HubError) as caught:
        hub.convert(source, tmp_path / "out.gguf", to=TO, progress=hook, threads=1 if after else 2)
    assert hook.done
    assert victim.name in str(caught.value)
    assert caught.value.exit_status == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name]


def test_source_replaced(tmp_path: Path) -> None:
    """The open file is what is converted, whatever the name leads to now."""
    source = folder(tmp_path / "m")
    hook = At("convert", lambda: replace(source / "model.safetensors"))
    report = hub.convert(source, tmp_path / "out.gguf", to=TO, progress=hook)
    assert report["verified"] == "full"


@pytest.mark.parametrize("stage", ["convert", "verify"])
def test_old_output_survives(tmp_path: Path, stage: str) -> None:
    source = folder(tmp_path / "m")
    out = tmp_path / "out.gguf"
    out.write_bytes(b"the old one")
    hook = At(stage, lambda: truncate(source / "model.safetensors", 100))
    with pytest.raises(HubError):
        hub.convert(source, out, to=TO, force=True, progress=hook)
    assert out.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


def test_output_damaged_before_it_is_verified(tmp_path: Path) -> None:
    """Exit status 3, and the name that everybody looks at stays free."""
    source = folder(tmp_path / "m")

    def damage() -> None:
        (partial,) = tmp_path.glob(".*.partial")
        with partial.open("r+b") as file:
            file.seek(-40, os.SEEK_END)
            file.write(b"\x55")

    with pytest.raises(HubError) as caught:
        hub.convert(source, tmp_path / "out.gguf", to="gguf:f32", progress=At("verify", damage))
    assert caught.value.exit_status == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf.rejected"]


def test_two_writers(tmp_path: Path) -> None:
    """Two conversions to one name: one wins whole, the other says so, neither leaves anything."""
    source = folder(tmp_path / "m")
    out = tmp_path / "out.gguf"
    command = [sys.executable, "-m", "hub", "convert", "--to", TO, os.fspath(source), os.fspath(out)]
    pair = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in pair]
    assert sorted(process.returncode for process in pair) == [0, 1], said
    assert run("inspect", out).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


# --- signals, in processes of their own -----------------------------------------------------------------------------

_SLOW = """
import os, sys, time
import hub.pipeline
import hub.scan
from hub.cli import main

module = hub.scan if "{function}" == "scan" else hub.pipeline
real = module.{function}

def slow(*arguments, **more):
    os.write(1, b"at work\\n")  # one write: two threads must not mix their lines
    time.sleep({seconds})
    return real(*arguments, **more)

module.{function} = slow
sys.exit(main(sys.argv[1:]))
"""
"""The real entry, with one function made slow, so that a signal finds the conversion at a known place."""


def start(source: Path, out: Path, function: str, seconds: float, *more: str) -> subprocess.Popen[str]:
    code = _SLOW.format(function=function, seconds=seconds)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "convert", "-q", "--to", TO, *more, os.fspath(source), os.fspath(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("function", ["scan", "fill", "_unit"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path: Path, number: int, status: int, function: str, threads: str) -> None:
    source = folder(tmp_path / "m")
    before = snapshot(tmp_path)
    process = start(source, tmp_path / "out.gguf", function, 0.5, "--threads", threads)
    process.send_signal(number)
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert time.monotonic() - began < 10
    assert snapshot(tmp_path) == before


def test_interrupted_twice(tmp_path: Path) -> None:
    """The second signal must not stop the cleaning up."""
    source = folder(tmp_path / "m")
    before = snapshot(tmp_path)
    process = start(source, tmp_path / "out.gguf", "_unit", 0.3, "--threads", "2")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (130, 143)
    assert err.count("\n") == 1, err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2, 0.4])
def test_killed(tmp_path: Path, delay: float, force: tuple[str, ...]) -> None:
    """Nothing can clean up after kill -9; what stays has a hidden name and no reader takes it."""
    source = folder(tmp_path / "m")
    out = tmp_path / "out.gguf"
    if force:
        out.write_bytes(b"the old one")
    process = start(source, out, "_unit", 0.05, "--threads", "1", *force)
    time.sleep(delay)
    process.kill()
    process.communicate(timeout=30)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name not in ("m", "out.gguf"))
    assert all(name.startswith(".out.gguf.") and name.endswith(".partial") for name in left)
    assert len(left) <= 1
    for name in left:
        assert run("inspect", "--from", "gguf", tmp_path / name).status == 1, "a reader would take the partial file"
    if force:
        assert out.read_bytes() == b"the old one"
    else:
        assert not out.exists()


def test_source_is_never_mapped(tmp_path: Path) -> None:
    """A mapped file that shrinks kills the process; hub reads."""
    source = folder(tmp_path / "m")
    seen: list[str] = []

    def look() -> None:
        seen.append(Path("/proc/self/maps").read_text())

    hub.convert(source, tmp_path / "out.gguf", to=TO, progress=At("convert", look))
    assert os.fspath(tmp_path) not in seen[0]
    assert packed(tensors()) == (source / "model.safetensors").read_bytes()
