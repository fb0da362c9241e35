"""llama.cpp's own GGUF reader, asked about files: ``hostile_ggml.py LIBRARY`` reads paths, answers ``yes`` or ``no``.

A process of its own, because the reader may abort.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class Parameters(ctypes.Structure):
    """struct gguf_init_params"""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


def library() -> Path | None:
    """libggml-base inside the llama_cpp package, if that is installed."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "lib").glob("libggml-base.*"))), None)


def takes(paths: Sequence[Path]) -> list[bool]:
    """Whether llama.cpp takes each of `paths`; a crash counts as no."""
    out: list[bool] = []
    while len(out) < len(paths):
        rest = "".join(f"{path}\n" for path in paths[len(out) :])
        done = subprocess.run(
            [sys.executable, __file__, str(library())],
            input=rest,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        answers = done.stdout.split()
        out += [answer == "yes" for answer in answers]
        if done.returncode:
            out.append(False)
    return out[: len(paths)]


def _main() -> None:
    ggml = ctypes.CDLL(sys.argv[1])
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, Parameters]
    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_free.argtypes = [ctypes.c_void_p]
    for line in sys.stdin:
        found = ggml.gguf_init_from_file(line.rstrip("\n").encode(), Parameters(True, None))
        print("yes" if found else "no", flush=True)
        if found:
            ggml.gguf_free(found)


if __name__ == "__main__":
    _main()
