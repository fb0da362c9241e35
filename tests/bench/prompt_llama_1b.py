"""Times a prompt through hub's runner, `exact` and `fast`, against llama.cpp, on the model of convert_llama_1b.py.

python tests/bench/prompt_llama_1b.py WORK [--type q4_k_m ...] [--tokens 256] [--threads 2] [--repeat 5]

Each program works in a child of its own that has the model open and has run the prompt once. The children then take turns,
one run each, so that a busy machine is busy for all of them. A run is the whole prompt and the logits of its last token.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import convert_llama_1b as model_1b

SEED = 7
SAMPLE_SECONDS = 0.01
PROGRAMS = ("hub fast", "hub exact", "llama.cpp")


# ---- the children: read a line, run the prompt, answer with a line ----


def serve(run: Any, out: str) -> None:
    """Answers every line of input with the cost of one run; the first run is for warmth, and its logits are kept."""
    np.save(out, run())
    print("{}", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        cost = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(cost), flush=True)


def serve_hub(path: str, mode: Any, ids: np.ndarray, threads: int, out: str) -> None:
    import hub
    from hub.runner.executor import Runner

    with hub.open(path) as model, Runner(model, mode=mode, threads=threads) as runner:
        serve(lambda: runner.head(runner.hidden(ids)[-1:])[0], out)


def serve_llama(path: str, ids: np.ndarray, threads: int, out: str) -> None:
    import ctypes

    import llama_cpp as llama

    silent = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(256, len(ids))
    settings.n_threads = settings.n_threads_batch = threads
    context = llama.llama_init_from_model(model, settings)
    tokens = (llama.llama_token * len(ids))(*ids.tolist())

    def run() -> np.ndarray:
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        if llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(ids))):
            raise SystemExit("llama_decode failed")
        llama.llama_synchronize(context)
        count = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (count,)).copy()

    serve(run, out)


def child(program: str, path: str, tokens: int, threads: int, out: str) -> None:
    ids = prompt(tokens)
    if program == "llama.cpp":
        serve_llama(path, ids, threads, out)
    else:
        serve_hub(path, program.split()[1], ids, threads, out)


def prompt(tokens: int) -> np.ndarray:
    vocab = model_1b.SHAPES["llama-1.1b"]["vocab_size"]
    return np.random.default_rng(SEED).integers(3, vocab, tokens).astype(np.int32)


# ---- the parent ----


class Contestant:
    """A child process, its costs, and the most private memory that it was seen to have."""

    def __init__(self, program: str, path: Path, args: argparse.Namespace, folder: Path) -> None:
        self.program, self.costs, self.peak = program, [], 0
        self.logits = folder / f"{program.replace(' ', '-')}.npy"
        numbers = [str(args.tokens), str(args.threads)]
        command = [sys.executable, __file__, "--child", program, str(path), *numbers, str(self.logits)]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()
        self._answer()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, model_1b._private(self._process.pid))

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise SystemExit(f"{self.program} ended with status {self._process.wait()}")
        found: dict[str, float] = json.loads(line)
        return found

    def run(self) -> None:
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        self.costs.append(self._answer())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._stop.set()
        self._sampler.join()

    def median(self, name: str) -> float:
        return statistics.median(cost[name] for cost in self.costs)


def quantized(work: Path, variant: str) -> Path:
    """The model in GGUF, converted by hub once and kept."""
    target = work / f"llama-{variant}.gguf"
    if not target.exists():
        source = model_1b.generate(work, "llama-1.1b", 1)
        command = [sys.executable, "-m", "hub", "convert", "--to", f"gguf:{variant}", "--verify", "none", "-q"]
        subprocess.run([*command, str(source), str(target)], check=True)
    return target


def measure(variant: str, args: argparse.Namespace) -> list[str]:
    path = quantized(args.work, variant)
    with tempfile.TemporaryDirectory() as folder:
        contestants = [Contestant(program, path, args, Path(folder)) for program in args.program]
        try:
            for turn in range(args.repeat):
                first = turn % len(contestants)
                for contestant in contestants[first:] + contestants[:first]:
                    contestant.run()
                    print(
                        f"{variant} {turn + 1}/{args.repeat} {contestant.program}: {contestant.costs[-1]}",
                        file=sys.stderr,
                    )
        finally:
            for contestant in contestants:
                contestant.close()
        logits = {c.program: np.load(c.logits).astype(np.float64) for c in contestants}
    return [row(variant, c, {other.program: other for other in contestants}, logits, args.tokens) for c in contestants]


def row(variant: str, c: Contestant, all: dict[str, Contestant], logits: dict[str, np.ndarray], tokens: int) -> str:
    wall, cpu = c.median("wall"), c.median("cpu")
    against = all.get("llama.cpp")
    speed = f"{against.median('wall') / wall:.2f}" if against else ""
    work = f"{against.median('cpu') / cpu:.2f}" if against else ""
    exact = logits.get("hub exact")
    noise = "" if exact is None else f"{((logits[c.program] - exact) ** 2).mean() / (exact**2).mean():.1e}"
    cells = [variant, c.program, f"{wall:.3f}", f"{tokens / wall:.0f}", speed, f"{cpu:.3f}", work]
    return "| " + " | ".join([*cells, f"{c.peak / 2**20:.0f}", noise]) + " |"


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        _, _, program, path, tokens, threads, out = sys.argv
        child(program, path, int(tokens), int(threads), out)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the model (2.2 GB) and its GGUF files, which are kept")
    parser.add_argument("--type", action="append", help="default q4_k_m, q8_0 and bf16")
    parser.add_argument("--program", action="append", choices=PROGRAMS, help="default all")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    args.program = args.program or list(PROGRAMS)
    rows = [line for variant in args.type or ["q4_k_m", "q8_0", "bf16"] for line in measure(variant, args)]

    import hub_native

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    print(
        f"\nA prompt of {args.tokens} tokens through a Llama of 1.1 billion parameters, {args.threads} threads, medians of "
        f"{args.repeat} interleaved runs.\nCPU: {cpu}, {len(os.sched_getaffinity(0))} visible; instruction set of hub: "
        f"{hub_native.isa()}. Versions: weighthub {model_1b._version('weighthub')}, llama-cpp-python "
        f"{model_1b._version('llama-cpp-python')}, numpy {np.__version__}\n"
    )
    print(
        "| type | program | wall, s | tokens/s | speed / llama.cpp's | CPU, s | llama.cpp's CPU / it | private, MiB | NMSE / exact |"
    )
    print("|---|---|---|---|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
