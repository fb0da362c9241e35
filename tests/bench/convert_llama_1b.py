"""Times hub against llama.cpp's converter and quantizer on a 1.1B-parameter Llama made on the spot. See README.md.

python tests/bench/convert_llama_1b.py WORK --llama-cpp DIR --llama-python PYTHON [--repeat 3] [--type q4_k_m ...]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "peers"))
import gguf_compare  # noqa: E402
import llama_peer  # noqa: E402

SEED = 20240501
SHAPES = {
    "llama-1.1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
                   "num_key_value_heads": 4, "vocab_size": 32000},
    "llama-tiny": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8,
                   "num_key_value_heads": 4, "vocab_size": 2048},
}  # fmt: skip
TOKENIZER = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SAMPLE_SECONDS = 0.02
ROWS = 1024  # of a tensor held at once while generating


# ---- the model ----


def generate(folder: Path, name: str, shards: int) -> Path:
    """The checkpoint `name` in bf16, written tensor by tensor; an existing one is used again."""
    out = folder / f"{name}-{shards}"
    if out.is_dir():
        return out
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu", **SHAPES[name],
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "attention_bias": False,
        "mlp_bias": False, "bos_token_id": 1, "eos_token_id": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }  # fmt: skip
    part = folder / f"{out.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    _write_weights(part, SHAPES[name], shards)
    part.rename(out)
    return out


def _tensors(shape: dict[str, int]) -> dict[str, tuple[int, ...]]:
    wide, ffn, vocab = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    kv = wide // shape["num_attention_heads"] * shape["num_key_value_heads"]
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, wide)}
    for i in range(shape["num_hidden_layers"]):
        linear = {"self_attn.q_proj": (wide, wide), "self_attn.k_proj": (kv, wide), "self_attn.v_proj": (kv, wide),
                  "self_attn.o_proj": (wide, wide), "mlp.gate_proj": (ffn, wide), "mlp.up_proj": (ffn, wide),
                  "mlp.down_proj": (wide, ffn), "input_layernorm": (wide,), "post_attention_layernorm": (wide,)}  # fmt: skip
        out |= {f"model.layers.{i}.{k}.weight": v for k, v in linear.items()}
    return out | {"model.norm.weight": (wide,), "lm_head.weight": (vocab, wide)}


def _rows(shape: tuple[int, ...], random: np.random.Generator) -> Iterator[bytes]:
    if len(shape) == 1:
        yield (1 + 0.1 * random.standard_normal(shape, np.float32)).astype(ml_dtypes.bfloat16).tobytes()
        return
    for start in range(0, shape[0], ROWS):
        count = min(ROWS, shape[0] - start)
        # Rows of unlike size, as trained weights have.
        scale = np.exp(0.5 * random.standard_normal((count, 1), np.float32)) / np.float32(shape[1] ** 0.5)
        yield (random.standard_normal((count, shape[1]), np.float32) * scale).astype(ml_dtypes.bfloat16).tobytes()


def _write_weights(folder: Path, shape: dict[str, int], shards: int) -> None:
    tensors = _tensors(shape)
    sizes = {name: 2 * int(np.prod(s)) for name, s in tensors.items()}
    total = sum(sizes.values())
    groups: list[list[str]] = [[] for _ in range(shards)]
    done = 0
    for name, size in sizes.items():
        groups[min(done * shards // total, shards - 1)].append(name)
        done += size
    names = (
        ["model.safetensors"]
        if shards == 1
        else [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    )
    seeds = dict(zip(tensors, np.random.SeedSequence(SEED).spawn(len(tensors)), strict=True))
    for file, group in zip(names, groups, strict=True):
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name in group:
            header[name] = {"dtype": "BF16", "shape": tensors[name], "data_offsets": [at, at := at + sizes[name]]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for name in group:
                stream.writelines(_rows(tensors[name], np.random.default_rng(seeds[name])))
    if shards > 1:
        where = {name: file for file, group in zip(names, groups, strict=True) for name in group}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def add_tokenizer(model: Path, tokenizer: Path) -> None:
    """llama.cpp's converter refuses a checkpoint without a tokenizer; it fills a smaller vocabulary up with [PAD] tokens."""
    for file in TOKENIZER:
        if (tokenizer / file).is_file():
            shutil.copyfile(tokenizer / file, model / file)


# ---- the measurement ----


@dataclass(frozen=True)
class Cost:
    wall: float  # seconds
    cpu: float  # seconds, user and system, of the process and the children it waited for
    peak: int  # bytes of private memory (RssAnon), summed over the process tree

    def then(self, other: Cost) -> Cost:
        """One after the other: times add up, peaks do not."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


def measure(command: list[str], threads: int, stdin: str = "") -> Cost:
    """Runs a command to its end. A failure ends the benchmark, with what the command said."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
    with ExitStack() as stack:
        log, feed = (stack.enter_context(open(os.memfd_create(n), "w+b")) for n in ("log", "feed"))
        feed.write(stdin.encode())
        feed.seek(0)
        stop, peaks = threading.Event(), [0]
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=feed, stdout=log, stderr=log, env=environment)
        sampler = threading.Thread(target=_sample, args=(child.pid, stop, peaks))
        sampler.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait again
        stop.set()
        sampler.join()
        if child.returncode:
            log.seek(0)
            raise SystemExit(
                f"exit {child.returncode}: {' '.join(command)}\n{log.read().decode(errors='replace')[-2000:]}"
            )
    return Cost(wall, usage.ru_utime + usage.ru_stime, peaks[0])


def _sample(root: int, stop: threading.Event, peaks: list[int]) -> None:
    while not stop.wait(SAMPLE_SECONDS):
        peaks[0] = max(peaks[0], sum(_private(pid) for pid in _tree(root)))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it ended meanwhile
            continue
        for child in children:
            yield from _tree(int(child))


def _private(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:")), 0)


# ---- the contestants ----


@dataclass(frozen=True)
class Hub:
    verify: str | None
    threads: int

    @property
    def label(self) -> str:
        return f"hub --verify {self.verify}" if self.verify else "hub (default verify)"

    def run(self, source: Path, target: Path, variant: str) -> Cost:
        command = [sys.executable, "-m", "hub", "convert", "--from", "safetensors", "--to", f"gguf:{variant}", "-q"]
        command += ["--threads", str(self.threads), "--force", *(["--verify", self.verify] if self.verify else [])]
        return measure([*command, str(source), str(target)], self.threads)


@dataclass(frozen=True)
class LlamaCpp:
    converter: Path
    python: str
    quantizer: Path | None
    between: str
    threads: int
    label: str = "llama.cpp"

    def run(self, source: Path, target: Path, variant: str) -> Cost:
        floats = target.with_suffix(".between.gguf")
        command = [self.python, str(self.converter), str(source), "--outtype", self.between, "--outfile", str(floats)]
        converted = measure(command, self.threads)
        if self.quantizer:
            quantized = measure(
                [str(self.quantizer), str(floats), str(target), variant, str(self.threads)], self.threads
            )
        else:
            command, stdin = llama_peer.quantize_command(floats, {variant: target}, self.threads)
            quantized = measure(command, self.threads, stdin)
        floats.unlink()
        return converted.then(quantized)


def contestants(args: argparse.Namespace, source: Path) -> list[Hub | LlamaCpp]:
    """Who takes part; a missing one is named with the reason."""
    out: list[Hub | LlamaCpp] = []
    if subprocess.run([sys.executable, "-m", "hub", "--help"], capture_output=True).returncode:
        print("skipped: hub (python -m hub --help fails: install this repository)")
    else:
        out += [Hub("none", args.threads), Hub("weights", args.threads), Hub(None, args.threads)]
    reason = None
    converter = (args.llama_cpp or Path()) / "convert_hf_to_gguf.py"
    if not args.llama_cpp:
        reason = "--llama-cpp not given"
    elif not converter.is_file():
        reason = f"no convert_hf_to_gguf.py in {args.llama_cpp}"
    elif subprocess.run([args.llama_python, "-c", "import torch, transformers"], capture_output=True).returncode:
        reason = f"{args.llama_python} has no torch and transformers, which the converter needs; give --llama-python"
    elif not args.llama_quantize and llama_peer.WHY_ABSENT:
        reason = f"{llama_peer.WHY_ABSENT}, or give --llama-quantize"
    elif not (source / TOKENIZER[0]).is_file():
        reason = f"it needs a tokenizer, and {args.tokenizer} has no {TOKENIZER[0]}"
    if reason:
        print(f"skipped: llama.cpp ({reason})")
    else:
        out.append(LlamaCpp(converter, args.llama_python, args.llama_quantize, args.between, args.threads))
    return out


# ---- the table ----


def facts(args: argparse.Namespace) -> list[str]:
    def ask(python: str, code: str) -> str:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    peer = "import torch, transformers; print('torch', torch.__version__ + ', transformers', transformers.__version__)"
    isa = ask(sys.executable, "import hub_native; print(hub_native.isa())")
    return [
        f"CPU: {cpu}, {len(os.sched_getaffinity(0))} visible; {args.threads} threads for each program; instruction set of hub: {isa}",
        f"Versions: weighthub {_version('weighthub')}, llama-cpp-python {_version('llama-cpp-python')}, "
        f"Python {platform.python_version()}, numpy {np.__version__}; the converter's {ask(args.llama_python, peer)}; "
        f"Linux {platform.release()}",
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def row(variant: str, label: str, costs: list[Cost], against: list[Cost] | None, size: int, verdict: str) -> str:
    cells = [variant, label]
    for name, unit, digits in (("wall", 1.0, 2), ("cpu", 1.0, 2), ("peak", 2.0**20, 0)):
        mine = statistics.median(getattr(c, name) for c in costs)
        ratio = ""
        if against:
            ratio = f" ({statistics.median(getattr(c, name) for c in against) / mine:.2f}x less)"
        cells.append(f"{mine / unit:.{digits}f}{ratio}")
    return "| " + " | ".join([*cells, str(size), verdict]) + " |"


def verdict(ours: Path, theirs: Path) -> str:
    """Whether the tensors are the same, and how many keys are not."""
    found = gguf_compare.compare(ours, theirs, order=False)
    tensors = [f for f in found if f.startswith("tensor")]
    if tensors:
        return f"{len(tensors)} tensors differ: {tensors[0][:80]}"
    return "identical tensors" + (f", {len(found)} differences in keys" if found else " and keys")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the model (2.2 GB, kept) and the outputs (removed)")
    parser.add_argument(
        "--type",
        action="append",
        choices=[t for t in llama_peer.FTYPES if t not in llama_peer.FLOATS],
        help="default q4_k_m",
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument(
        "--tokenizer", type=Path, default=TESTS / "data/tiny-llama", help="folder of the tokenizer for the model"
    )
    parser.add_argument("--tiny", action="store_true", help="a 5M-parameter model, to try the benchmark itself")
    parser.add_argument("--generate-only", action="store_true")
    parser.add_argument("--only", choices=["hub", "llama.cpp"], help="leave the other out")
    parser.add_argument(
        "--between", choices=["bf16", "f32", "f16"], default="bf16", help="what llama.cpp's converter writes first"
    )
    parser.add_argument("--llama-cpp", type=Path, help="llama.cpp source folder, with convert_hf_to_gguf.py")
    parser.add_argument("--llama-python", default=sys.executable, help="the Python for it, with torch and transformers")
    parser.add_argument(
        "--llama-quantize", type=Path, help="a llama-quantize program, instead of the library in llama-cpp-python"
    )
    parser.add_argument("--json", type=Path, help="every single measurement")
    args = parser.parse_args()

    source = generate(args.work, "llama-tiny" if args.tiny else "llama-1.1b", args.shards)
    add_tokenizer(source, args.tokenizer)
    weights = sum(p.stat().st_size for p in source.glob("*.safetensors"))
    if args.generate_only:
        print(f"{source}: {weights} bytes of weights")
        return
    runners = [r for r in contestants(args, source) if not args.only or r.label.startswith(args.only)]
    if not runners:
        raise SystemExit("nobody to run")
    for file in source.glob("*.safetensors"):  # into the page cache, the same for all
        with file.open("rb") as stream:
            while stream.read(1 << 24):
                pass

    raw: dict[str, dict[str, list[Cost]]] = {}
    lines = []
    for variant in args.type or ["q4_k_m"]:
        costs = raw[variant] = {r.label: [] for r in runners}
        targets = {r.label: args.work / f"out-{i}-{variant}.gguf" for i, r in enumerate(runners)}
        for turn in range(args.repeat):
            for runner in (
                runners[turn % len(runners) :] + runners[: turn % len(runners)]
            ):  # alternate, and take turns at going first
                targets[runner.label].unlink(missing_ok=True)
                costs[runner.label].append(runner.run(source, targets[runner.label], variant))
                print(
                    f"{variant} {turn + 1}/{args.repeat} {runner.label}: {costs[runner.label][-1].wall:.2f} s",
                    file=sys.stderr,
                )
        peer = targets.get("llama.cpp")
        for label, target in targets.items():
            said = "the peer" if target == peer else verdict(target, peer) if peer else "no peer"
            against = costs["llama.cpp"] if peer and target != peer else None
            lines.append(row(variant, label, costs[label], against, target.stat().st_size, said))
        for target in targets.values():
            target.unlink()

    print(
        f"\n{source.name}, {weights} bytes of bf16 weights, medians of {args.repeat}, llama.cpp by way of {args.between}.\n"
    )
    print("\n".join(facts(args)), end="\n\n")
    print(
        "| type | program | wall, s | CPU, s | peak private memory, MiB | output, bytes | output against llama.cpp's |"
    )
    print("|---|---|---|---|---|---|---|", *lines, sep="\n")
    if args.json:
        args.json.write_text(
            json.dumps({v: {k: [asdict(c) for c in cs] for k, cs in d.items()} for v, d in raw.items()}, indent=2)
            + "\n"
        )


if __name__ == "__main__":
    main()
