"""Running models and ids that make no sense: settings, archives, files that are no files, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_build import CONFIG, folder, packed, tensors
from hostile_run import one_line, refused, run

from hub.runner import Runner

TINY = Path(__file__).parents[1] / "data" / "tiny-llama"


def ids(path: Path, count: int = 8) -> Path:
    np.savez(path / "ids.npz", input_ids=np.arange(1, 1 + count))
    return path / "ids.npz"


def logits(model: Path, given: Path, *options: str) -> tuple[object, ...]:
    return ("logits", model, "--ids", given, "-o", given.parent / "out.npz", *options)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"rope_theta": 1e4, "rope_type": "linear", "factor": 1e-300}},
        {"rope_theta": 1e-300, "head_dim": 16},
        {"rope_theta": 1e-12},
    ],
    ids=["factor", "base", "angle"],
)
def test_rope_settings_that_give_no_numbers(tmp_path: Path, changes: Mapping[str, Any]) -> None:
    config = {key: value for key, value in CONFIG.items() if key not in changes or key == "head_dim"}
    model = folder(tmp_path / "m", config=config | changes)
    line = one_line(run(*logits(model, ids(tmp_path))))
    assert str(model) in line
    assert "frequencies that are not finite" in line or "the limit is 2^28" in line


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_weights_that_overflow(tmp_path: Path, threads: str) -> None:
    made = {
        name: (dtype, shape, (np.frombuffer(raw, "<f4") * scale).astype("<f4").tobytes())
        for name, (dtype, shape, raw) in tensors().items()
        for scale in [np.float32(1e30 if "gate" in name or "up" in name else 1)]
    }
    model = folder(tmp_path / "m", model=packed(made))
    given = ids(tmp_path, 60)
    refused(*logits(model, given, "--threads", threads), names=[str(model), "not finite"], watch=tmp_path)


def test_ids_of_an_impossible_shape(tmp_path: Path) -> None:
    model = folder(tmp_path / "m")
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (0, 99999999999999999999), }\n"
    with zipfile.ZipFile(tmp_path / "ids.npz", "w") as archive:
        archive.writestr("input_ids.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    refused(*logits(model, tmp_path / "ids.npz"), names=["ids.npz", "another size"], watch=tmp_path)


@pytest.mark.parametrize("command", ["convert", "verify"])
def test_texts_that_are_no_files(tmp_path: Path, command: str) -> None:
    model = folder(tmp_path / "m")
    os.mkfifo(tmp_path / "fifo")
    for text in ("fifo", "m"):
        target = (tmp_path / "out.gguf", "--to", "gguf:f32") if command == "convert" else (model,)
        refused(command, model, *target, "--text", tmp_path / text, names=[text, "expected a file"])


def test_a_full_disk_leaves_no_logits(tmp_path: Path) -> None:
    """A limit for the size of files stands in for the disk."""
    model = folder(tmp_path / "m")
    given = ids(tmp_path)
    before = sorted(os.listdir(tmp_path))
    code = (
        "import resource, signal, sys; from hub.cli import main; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); sys.exit(main())"
    )
    arguments = [str(argument) for argument in logits(model, given)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the file would exceed the allowed size" in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("left", [0, 1, 20_000])
@pytest.mark.parametrize("command", ["logits", "eval", "imatrix", "convert", "verify"])
def test_a_model_that_is_cut_short_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, left: int
) -> None:
    """Weights are mapped to run them: zeros are read then, no signal ends the process, and nothing is made of them."""
    model = tmp_path / "m"
    if command in ("eval", "imatrix"):
        shutil.copytree(TINY, model)
    else:
        folder(model)
    weights, text = model / "model.safetensors", tmp_path / "text"
    text.write_text("a few words and some more of them " * 20)
    given, out, honest = ids(tmp_path), tmp_path / "out.npz", Runner.hidden
    before = sorted(os.listdir(tmp_path))

    def hidden(self: Runner, *arguments: Any, **more: Any) -> Any:
        out = honest(self, *arguments, **more)  # has read what is not mapped, and keeps it
        os.truncate(weights, left)
        return out

    monkeypatch.setattr(Runner, "hidden", hidden)
    arguments: dict[str, tuple[object, ...]] = {
        "logits": ("--ids", given, "-o", out),
        "eval": ("--text", text, "--ctx", 16),
        "imatrix": ("--text", text, "--ctx", 16, "-o", out),
        "convert": (out, "--to", "gguf:f32"),
        "verify": (model,),
    }
    line = one_line(run(command, model, *arguments[command]))
    assert str(weights) in line
    assert "the file changed while it was read" in line
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("count", [0, 1, 10**8, 10**12, 10**23])
def test_numbers_of_tokens_that_nobody_runs(tmp_path: Path, count: int) -> None:
    model = folder(tmp_path / "m")
    refused("convert", model, tmp_path / "out.gguf", "--to", "gguf:f32", "--tokens", count, status=2, watch=tmp_path)


@pytest.mark.filterwarnings("error")
def test_an_output_of_any_numbers_is_diagnosed_in_one_line(tmp_path: Path) -> None:
    """NaN, infinite and huge weights: the figures of the diagnosis are no numbers then, and no warnings either."""
    random = np.random.default_rng(1)
    made = {}
    for name, (dtype, shape, raw) in tensors().items():
        values = np.frombuffer(raw, "<f4").copy()
        at = random.integers(0, values.size, max(1, values.size // 8))
        values[at] = random.choice(np.array([np.nan, np.inf, -np.inf, 3e38], "<f4"), at.size)
        made[name] = dtype, shape, values.tobytes()
    good, bad = folder(tmp_path / "good"), folder(tmp_path / "bad", model=packed(made))
    refused("verify", good, bad, names=[str(bad), "do not agree with the source"], status=3, watch=tmp_path)
