"""What a command imports and reads before it answers. Times are measured by tests/bench/startup.py; here are their
causes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from made_models import TINY, disk_used, llama_config, llama_shapes, sparse_safetensors, write_gguf

GB = 10**9
_PROBE = """
import sys
from hub.cli import main
try:
    status = main(sys.argv[1:])
finally:
    names = {name.partition(".")[0] for name in sys.modules} | set(sys.modules)
    print(" ".join(sorted(names)), file=sys.stderr)
raise SystemExit(status)
"""


def imported(*arguments):
    """The modules that a command has imported when it ends."""
    command = [sys.executable, "-c", _PROBE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


HEAVY = {
    "numpy",
    "ml_dtypes",
    "gguf",
    "tokenizers",
    "yaml",
    "rich",
    "safetensors",
    "sentencepiece",
    "torch",
    "transformers",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A 100 GB GGUF, the same in 20 files, a 100 GB safetensors folder: holes, but for their heads."""
    base = tmp_path_factory.mktemp("giants")
    kvs = [("general.architecture", "str", "llama"), ("general.name", "str", "giant")]
    tensors = {f"blk.{i}.ffn_up.weight": ("f16", (8192, 4096), None) for i in range(1500)}
    write_gguf(base / "whole.gguf", kvs, tensors)
    names = list(tensors)
    for i in range(20):
        split = [("split.no", "u16", i), ("split.count", "u16", 20), ("split.tensors.count", "i32", len(names))]
        mine = {name: tensors[name] for name in names[i * 75 : (i + 1) * 75]}
        write_gguf(base / f"part-{i + 1:05}-of-00020.gguf", [*kvs, *split] if i == 0 else split, mine)
    folder = base / "folder"
    folder.mkdir()
    config = llama_config(hidden_size=16384, intermediate_size=65536, num_hidden_layers=11, vocab_size=128_000)
    import json

    (folder / "config.json").write_text(json.dumps(config))
    sparse_safetensors(
        folder / "model.safetensors", {name: ("f16", shape) for name, shape in llama_shapes(config).items()}
    )
    return {"gguf": base / "whole.gguf", "split": base / "part-00001-of-00020.gguf", "folder": folder}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A head with 260,000 tokens and 500,000 merges."""
    path = tmp_path_factory.mktemp("vocabulary") / "v.gguf"
    kvs = [
        ("general.architecture", "str", "llama"),
        ("tokenizer.ggml.tokens", "arr[str]", [f"token{i}" for i in range(260_000)]),
        ("tokenizer.ggml.scores", "arr[f32]", [0.0] * 260_000),
        ("tokenizer.ggml.token_type", "arr[i32]", [1] * 260_000),
        ("tokenizer.ggml.merges", "arr[str]", [f"left{i} right{i}" for i in range(500_000)]),
    ]
    return write_gguf(path, kvs, {"output_norm.weight": ("f32", (32,), bytes(128))})


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["convert", "--help"], ["inspect", "--help"]], ids=" ".join
)
def test_help_imports_neither_numpy_nor_plugins(arguments):
    found = imported(*arguments)
    assert not found & (HEAVY | {"pluggy", "hub_native", "hub_gguf", "hub_safetensors", "hub.session", "hub.plugins"})


def test_the_package_itself_imports_nothing():
    code = "import sys, hub; print(' '.join(sorted(m for m in sys.modules if m.startswith('hub.'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["hub._version"]


@pytest.mark.parametrize("command", ["formats", "plugins"])
def test_lists_import_no_numpy(command):
    assert not imported(command) & HEAVY


@pytest.mark.parametrize("options", [[], ["--json"], ["--tensors"], ["--tensors", "--json"]], ids=" ".join)
def test_inspect_imports_no_numpy(files, vocabulary, options):
    for path in (TINY, TINY / "model.safetensors", files["gguf"], files["split"], vocabulary):
        found = imported("inspect", path, *options)
        assert not found & (HEAVY | {"hub.pipeline", "hub.planner", "hub.verification.verifier", "hub.kernels"}), path


@pytest.fixture
def reads(monkeypatch):
    """Every (path, offset, size) that is read."""
    from hub.io.source import FileSource

    seen = []
    right = FileSource.read_into

    def counting(self, buffer, offset):
        seen.append((self.path, offset, len(buffer.cast("B"))))
        right(self, buffer, offset)

    monkeypatch.setattr(FileSource, "read_into", counting)
    return seen


@pytest.mark.parametrize("kind", ["gguf", "split", "folder"])
def test_inspect_reads_heads_only(hub, files, reads, kind):
    data = hub("inspect", "--json", files[kind]).json
    assert data["bytes"] > 70 * GB
    assert sum(item["size"] for item in data["files"]) > 70 * GB
    assert sum(disk_used(item["path"]) for item in map(_path, data["files"])) < 1 << 20  # holes
    # A window of 1 MiB per file that is parsed with a cursor; the header and no more of safetensors.
    assert sum(size for _, _, size in reads) <= len(data["files"]) * ((1 << 20) + 4096)


def _path(item):
    from pathlib import Path

    return {"path": Path(item["path"])}


def test_inspect_walks_over_a_vocabulary_once(hub, vocabulary, reads):
    data = hub("inspect", "--json", vocabulary).json
    assert data["config"]["tokenizer.ggml.merges"]["items"] == 500_000
    assert data["config"]["tokenizer.ggml.tokens"]["first"] == ["token0", "token1", "token2"]
    # Once over the file; windows overlap by the string that was cut, and the first items are looked up again.
    assert sum(size for _, _, size in reads) < os.path.getsize(vocabulary) + (10 << 20)


def test_inspect_makes_no_object_per_token(hub, vocabulary, monkeypatch):
    from hub_gguf.reader import GgufArray

    asked = []
    right = GgufArray.first
    monkeypatch.setattr(GgufArray, "first", lambda self, count: asked.append(count) or right(self, count))
    hub("inspect", vocabulary)
    assert max(asked) <= 64
