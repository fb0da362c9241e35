"""How long short commands take: medians of wall and CPU seconds of whole processes, on heads of giants.

    python tests/bench/startup.py [--repeat 15] [--json FILE]

The files are made in a temporary folder and take little room: their data is a hole.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from made_models import TINY, llama_config, llama_shapes, sparse_safetensors, write_gguf


def once(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


def giants(base: Path) -> dict[str, Path]:
    """Files by what they are."""
    kvs = [("general.architecture", "str", "llama")]
    tensors = {f"blk.{i}.ffn_up.weight": ("f16", (8192, 4096), None) for i in range(1500)}
    out = {"GGUF, 100 GB, 1500 tensors": write_gguf(base / "giant.gguf", kvs, tensors)}
    names = list(tensors)
    for i in range(20):
        split = [("split.no", "u16", i), ("split.count", "u16", 20), ("split.tensors.count", "i32", len(names))]
        mine = {name: tensors[name] for name in names[i * 75 : (i + 1) * 75]}
        write_gguf(base / f"split-{i + 1:05}-of-00020.gguf", [*kvs, *split] if i == 0 else split, mine)
    out["GGUF, 100 GB in 20 files"] = base / "split-00001-of-00020.gguf"
    config = llama_config(hidden_size=8192, intermediate_size=28672, num_hidden_layers=60, vocab_size=128_000)
    for shards in (1, 20):
        folder = base / f"folder-{shards}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        shapes = {name: ("f16", shape) for name, shape in llama_shapes(config).items()}
        if shards == 1:
            sparse_safetensors(folder / "model.safetensors", shapes)
        else:
            placed = {}
            for i in range(shards):
                file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
                mine = {name: shapes[name] for name in list(shapes)[i::shards]}
                sparse_safetensors(folder / file, mine)
                placed |= dict.fromkeys(mine, file)
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
        out[f"safetensors, 100 GB, {shards} file{'s' if shards > 1 else ''}"] = folder
    tokens, merges = 260_000, 500_000
    vocabulary = [
        *kvs,
        ("tokenizer.ggml.tokens", "arr[str]", [f"token{i}" for i in range(tokens)]),
        ("tokenizer.ggml.scores", "arr[f32]", [0.0] * tokens),
        ("tokenizer.ggml.token_type", "arr[i32]", [1] * tokens),
        ("tokenizer.ggml.merges", "arr[str]", [f"left{i} right{i}" for i in range(merges)]),
    ]
    path = write_gguf(base / "vocabulary.gguf", vocabulary, {"output_norm.weight": ("f32", (32,), bytes(128))})
    out["GGUF, 260 k tokens, 500 k merges"] = path
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    hub = [sys.executable, "-m", "hub"]
    with tempfile.TemporaryDirectory() as base:
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "python -c 'import click'": [sys.executable, "-c", "import click"],
            "hub --help": [*hub, "--help"],
            "hub formats": [*hub, "formats"],
            "hub inspect: tiny-llama": [*hub, "inspect", str(TINY)],
        }
        for what, path in giants(Path(base)).items():
            commands[f"hub inspect: {what}"] = [*hub, "inspect", str(path)]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.repeat):  # one after the other, so that a busy minute hits all
            for name, command in commands.items():
                found[name].append(once(command))
    rows = {
        name: {
            "wall_median": statistics.median(wall for wall, _ in times),
            "wall_min": min(wall for wall, _ in times),
            "cpu_median": statistics.median(cpu for _, cpu in times),
        }
        for name, times in found.items()
    }
    print(f"{'':48} wall median    min   CPU median   (seconds, {options.repeat} runs)")
    for name, row in rows.items():
        print(f"{name:48} {row['wall_median']:11.3f} {row['wall_min']:6.3f} {row['cpu_median']:12.3f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
