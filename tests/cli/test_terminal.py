"""What a terminal shows while it works, and what a pipe gets."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from made_models import TINY, llama_config, llama_shapes, sparse_safetensors


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Enough zeros that the work takes seconds."""
    import json

    path = tmp_path_factory.mktemp("big")
    config = llama_config(vocab_size=40_000, hidden_size=1024, num_attention_heads=8)
    (path / "config.json").write_text(json.dumps(config))
    sparse_safetensors(
        path / "model.safetensors", {name: ("f16", shape) for name, shape in llama_shapes(config).items()}
    )
    return path


def on_terminal(command, columns=100):
    """Run with stderr on a terminal of that width and stdout in a pipe; returns status, stdout, what the terminal
    got."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=follower, env=environment | {"TERM": "xterm-256color"}
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    out = process.stdout.read()
    process.stdout.close()
    return process.wait(), out.decode(), shown.decode()


def test_a_terminal_gets_a_bar_with_rate_and_time_left(big, tmp_path):
    status, out, shown = on_terminal(
        [sys.executable, "-m", "hub", "convert", "--to", "gguf:q4_k_m", str(big), str(tmp_path / "x.gguf")]
    )
    assert status == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for stage in ("scan", "convert", "verify"):
        assert stage in plain, stage
    assert re.search(r"\d+(\.\d+)?/\d+(\.\d+)? MB", plain)  # how much
    assert re.search(r"\d+(\.\d+)? [kMG]B/s", plain)  # rate
    assert re.search(r"\d+:\d\d:\d\d", plain)  # time left
    assert re.search(r"^wrote ", out, re.M)
    assert "\x1b" not in out
    assert "scan " not in out


def test_quiet_is_quiet_on_a_terminal_too(big, tmp_path):
    command = [
        sys.executable,
        "-m",
        "hub",
        "convert",
        "-q",
        "--verify",
        "none",
        "--to",
        "gguf:f16",
        str(TINY),
        str(tmp_path / "x.gguf"),
    ]
    status, out, shown = on_terminal(command)
    assert (status, out, shown) == (0, "", "")


def test_an_error_after_the_bar_is_still_one_line(tmp_path):
    import numpy as np
    from made_models import folder, weights

    arrays = weights(llama_shapes(llama_config()))
    arrays["lm_head.weight"][1, 2] = np.nan
    path = folder(tmp_path / "m", arrays=arrays)
    status, _, shown = on_terminal(
        [sys.executable, "-m", "hub", "convert", "--to", "gguf:q4_0", str(path), str(tmp_path / "x.gguf")]
    )
    assert status == 1
    last = [
        line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").split("\n") if line.strip()
    ][-1]
    assert last.startswith("hub: error: ")
    assert "\x1b[?25h" in shown or "\x1b[?25l" not in shown  # the cursor is back


def test_a_narrow_terminal(tmp_path):
    command = [sys.executable, "-m", "hub", "convert", "--to", "gguf:q4_0", str(TINY), str(tmp_path / "x.gguf")]
    status, _, shown = on_terminal(command, columns=20)
    assert status == 0
    assert "Traceback" not in shown


def test_a_pipe_gets_lines_and_nothing_else(program, tmp_path):
    for options in ([], ["--json"]):
        done = program("convert", "--to", "gguf:q4_0", *options, TINY, tmp_path / f"x{len(options)}.gguf")
        assert done.status == 0
        assert done.err == ""
        assert "\x1b" not in done.out
        assert "\r" not in done.out


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = f"{sys.executable} -m hub inspect --tensors {TINY} | head -n 2; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3
    command = f"{sys.executable} -m hub convert --to gguf:q4_0 {TINY} {tmp_path / 'x.gguf'} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_encoding_of_the_terminal(program, tmp_path, encoding):
    from made_models import folder

    path = folder(tmp_path / "modèle-模型")
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    for arguments in (
        ["inspect", path],
        ["plan", "--to", "gguf:q4_0", path, "-v"],
        ["convert", "--to", "gguf:q4_0", path],
    ):
        done = program(*arguments, env=environment)
        assert (done.status, done.err) == (0, ""), done.err
