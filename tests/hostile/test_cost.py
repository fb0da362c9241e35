"""What a refusal costs, as whole processes: a second or so, and little memory, however large the file claims to be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_build import ARR, STR, U8, U32, Info, array, folder, gguf, kv, llama_gguf, llama_kvs, string

MEMORY = 200 << 20
"""Bytes resident at most."""
SECONDS = 15.0
"""On a machine that others use too; usual is half a second."""


def sparse(path: Path, head: bytes, size: int, tail: bytes = b"") -> Path:
    """A file of any size that takes no room."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
        if tail:
            file.seek(0, os.SEEK_END)
            file.write(tail)
    return path


def _folder(root: Path, head: bytes, size: int) -> Path:
    model = folder(root / "m")
    sparse(model / "model.safetensors", head, size)
    return model


CASES: dict[str, Callable[[Path], Path]] = {
    "a sparse terabyte": lambda root: sparse(root / "a.gguf", b"GGUF", 1 << 40),
    "a string of half a terabyte": lambda root: sparse(
        root / "a.gguf", gguf([kv("a", ARR, string("", 1 << 39), type_id=STR)]), 1 << 40
    ),
    "a million key-values of zeros": lambda root: sparse(root / "a.gguf", gguf(n_kv=10**6), 1 << 30),
    "a million tensors of zeros": lambda root: sparse(root / "a.gguf", gguf(n_tensors=10**6), 1 << 30),
    "an array of 2^28 items": lambda root: sparse(
        root / "a.gguf", gguf([kv("a", ARR, array(U8, [], count=1 << 28))]), 1 << 30
    ),
    "a name of a gigabyte": lambda root: sparse(root / "a.gguf", gguf([], [Info("", name_length=1 << 30)]), 1 << 31),
    "a tensor of a petabyte": lambda root: sparse(root / "a.gguf", gguf([], [Info("a", (1 << 48,))]), 1 << 40),
    "a billion layers": lambda root: _written(
        root / "a.gguf", llama_gguf(block_count=kv("llama.block_count", U32, 10**9))
    ),
    "an alignment of 2^31": lambda root: _written(
        root / "a.gguf", gguf([*llama_kvs(), kv("general.alignment", U32, 1 << 31)], [Info("a")])
    ),
    "a header of 100 MB of zeros": lambda root: _folder(root, (100_000_000).to_bytes(8, "little"), 1 << 30),
    "a sparse config.json": lambda root: _config(root),
    "a header nested without end": lambda root: _folder(
        root, (10_000_000).to_bytes(8, "little") + b'{"a":' + b"[" * 9_999_995, 1 << 30
    ),
}


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _config(root: Path) -> Path:
    model = folder(root / "m")
    sparse(model / "config.json", b"{", 1 << 40)
    return model


LAUNCH = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a command and prints its largest size; from a small process, since a child inherits the size that its parent had."""


@pytest.mark.parametrize("name", CASES)
def test_cost(tmp_path: Path, name: str) -> None:
    path = CASES[name](tmp_path)
    started = time.monotonic()
    command = [sys.executable, "-m", "hub", "convert", "--to", "gguf:q8_0", str(path), str(tmp_path / "out.gguf")]
    process = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCH, *command], capture_output=True, text=True, check=False
    )
    err, largest = process.stderr, int(process.stdout.split()[-1])
    assert process.returncode == 1, err
    assert err.count("\n") == 1, err
    assert path.name in err
    assert largest * 1024 < MEMORY, f"{largest >> 10} MiB for: {err}"
    assert time.monotonic() - started < SECONDS, err
    assert not (tmp_path / "out.gguf").exists()
