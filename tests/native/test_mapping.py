"""Mapped files: read as they are, and outlive their being cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import hub_native

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def file(tmp_path):
    data = np.arange(16 * PAGE, dtype=np.uint32).astype(np.uint8)
    path = tmp_path / "file"
    path.write_bytes(data[:-7].tobytes())
    return path, data[:-7]


def mapped(path):
    with path.open("rb") as opened:
        return hub_native.MappedFile(opened.fileno(), path.stat().st_size)


def test_the_bytes_of_the_file(file):
    path, data = file
    made = mapped(path)
    view = memoryview(made)
    assert view.readonly
    assert np.array_equal(np.frombuffer(view, np.uint8), data)
    assert not made.lost


def test_views_keep_it(file):
    path, data = file
    view = memoryview(mapped(path))[PAGE:]
    assert np.array_equal(np.frombuffer(view, np.uint8), data[PAGE:])


@pytest.mark.parametrize("left", [0, 1, PAGE, 5 * PAGE + 3])
def test_a_file_that_is_cut_short_reads_as_zeros(file, left):
    path, data = file
    made, other = mapped(path), mapped(path)
    whole = np.frombuffer(made, np.uint8)
    os.truncate(path, left)
    found = []
    threads = [threading.Thread(target=lambda: found.append(whole.copy())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for each in found:
        assert np.array_equal(each[:left], data[:left])
        assert not each[left:].any()
    assert (made.lost, other.lost) == (True, False)  # it looked at nothing yet


def test_more_files_than_are_guarded(file):
    made = [mapped(file[0]) for _ in range(1100)]
    assert not any(each.lost for each in made)
    del made
    again = mapped(file[0])
    os.truncate(file[0], 0)
    assert not np.frombuffer(again, np.uint8).any()
    assert again.lost


def test_what_cannot_be_mapped(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(OSError, match="Invalid argument"):
        mapped(tmp_path / "empty")
    with pytest.raises(OSError, match="Bad file"):
        hub_native.MappedFile(-1, 8)
    with pytest.raises(OverflowError):
        hub_native.MappedFile(0, -1)


@pytest.mark.parametrize(
    "die",
    ["os.kill(os.getpid(), 7)", "m = mmap.mmap(f.fileno(), 4096); os.truncate(sys.argv[1], 0); m[9]"],
    ids=["sent", "of another mapping"],
)
def test_signals_that_are_not_ours_do_what_they_did(file, die):
    code = f"import mmap, os, sys, hub_native; f = open(sys.argv[1], 'r+b'); g = hub_native.MappedFile(f.fileno(), 9); {die}"
    done = subprocess.run([sys.executable, "-c", code, str(file[0])], timeout=60)
    assert done.returncode == -signal.SIGBUS
