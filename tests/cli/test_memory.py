"""Private memory stays below --max-memory, however large a tensor is: measured from outside, on sparse checkpoints
of zeros."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest
from made_models import disk_used, llama_config, llama_shapes, sparse_safetensors

MB = 1 << 20


def sparse(path, dtype="f32", **changes):
    config = llama_config(tie_word_embeddings=True, num_hidden_layers=1) | {"intermediate_size": 32} | changes
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    weights = path / "model.safetensors"
    sparse_safetensors(weights, {name: (dtype, shape) for name, shape in llama_shapes(config).items()})
    assert disk_used(weights) < MB
    return path


def watched(*arguments):
    """Run hub and sample its RssAnon; returns status, output and the most bytes seen."""
    command = [sys.executable, "-m", "hub", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                found = re.search(r"^RssAnon:\s+(\d+) kB$", status.read(), re.M)
            peak = max(peak, int(found[1]) * 1024 if found else 0)
        except OSError:
            break
        time.sleep(0.004)
    out, err = process.communicate()
    return process.returncode, out + err, peak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon is Linux's")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_tensor_larger_than_the_memory_allowed(tmp_path, threads):
    """An embedding of 262 MB and reordered heads of 134 MB, with 168 MiB allowed."""
    model = sparse(
        tmp_path / "m", vocab_size=64_000, hidden_size=1024, num_attention_heads=8, num_key_value_heads=1, head_dim=4096
    )
    limit = 168 * MB
    status, said, peak = watched(
        "convert", "--to", "gguf:q4_0", "--max-memory", "168M", "--threads", threads, model, tmp_path / "x.gguf",
        "--report", tmp_path / "r.json",
    )  # fmt: skip
    assert status == 0, said
    report = json.loads((tmp_path / "r.json").read_text())
    assert (model / "model.safetensors").stat().st_size > 3 * limit
    assert max(tensor["bytes"] for tensor in report["plan"]["tensors"]) > 0.2 * limit
    assert 20 * MB < peak < limit
    # What hub says about itself is what was seen.
    assert abs(report["peak_private_memory"] - peak) < 24 * MB
    assert f"peak private memory {report['peak_private_memory'] / 1e6:.1f} MB" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon is Linux's")
def test_checking_a_model_larger_than_the_memory_allowed(tmp_path):
    model = sparse(tmp_path / "m", "f16", vocab_size=300_000, hidden_size=1024, num_attention_heads=8)
    status, said, peak = watched("check", "--max-memory", "192M", "--threads", "2", model)
    assert "data of every tensor" in said
    assert status in (0, 1)  # there is no tokenizer
    assert peak < 192 * MB


def test_too_little_memory_is_a_usage_error_that_names_the_least(hub, tmp_path):
    model = sparse(tmp_path / "m")
    done = hub(
        "convert", "--to", "gguf:q4_0", "--max-memory", "100M", "--threads", 2, model, tmp_path / "x.gguf", status=2
    )
    least = int(re.search(r"they need (\d+)", done.err)[1])
    assert not (tmp_path / "x.gguf").exists()
    hub("convert", "--to", "gguf:q4_0", "--max-memory", least - 1, "--threads", 2, model, tmp_path / "x.gguf", status=2)
    hub("convert", "--to", "gguf:q4_0", "--max-memory", least, "--threads", 2, model, tmp_path / "x.gguf")


def test_a_row_that_is_too_long_names_the_least_too(hub, tmp_path):
    model = sparse(
        tmp_path / "m",
        "f16",
        hidden_size=1 << 19,
        vocab_size=4,
        head_dim=2,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    options = ["--to", "gguf:q8_0", "--threads", 2, model, tmp_path / "x.gguf"]
    done = hub("convert", "--max-memory", "170M", *options, status=2)
    assert "tensor " in done.err
    least = int(re.search(r"--max-memory (\d+)", done.err)[1])
    assert not (tmp_path / "x.gguf").exists()
    hub("convert", "--max-memory", least, *options)
