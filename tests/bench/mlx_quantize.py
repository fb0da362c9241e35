"""Times hub's kernels that write MLX's codes against `mx.quantize`, which writes the same bytes, on the same threads.

    python tests/bench/mlx_quantize.py --rows 2048 --columns 4096 --repeat 9

Needs mlx. Both get weights that lie in memory, hub in f32 and MLX in the type named, and take turns; figures are medians. With two threads each has half of the rows: MLX on a stream of its own for each half, since a
stream of its CPU backend is one thread. Where others use the machine, too, look at the ratio of the time that processors spent
(user and system, of all threads), not at that of the clock. `HUB_ISA=avx2` measures another instruction set.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import mlx.core as mx
import numpy as np

import hub_native
from hub.api import DTYPES, Calibration
from hub.plugins import registry

TYPES = {"f32": (np.float32, mx.float32), "bf16": (ml_dtypes.bfloat16, mx.bfloat16), "f16": (np.float16, mx.float16)}
AFFINE = [(1, 64), (2, 64), (3, 64), (4, 32), (4, 64), (4, 128), (5, 64), (6, 64), (8, 64)]
FLOATS = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


def took(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of processors."""
    begun, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - spent


def as_bytes(array: mx.array) -> bytes:
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array).tobytes()


class Case:
    """One layout and input type, the rows cut for some threads."""

    def __init__(self, layout: str, kind: str, rows: np.ndarray, threads: int) -> None:
        made = registry().layout(layout)
        self.quantizer = registry().quantizer(layout)
        self.calibration = Calibration(stored=DTYPES[kind])
        self.parts = [np.ascontiguousarray(part) for part in np.array_split(rows, threads)]
        self.theirs = [mx.array(part).astype(TYPES[kind][1]) for part in self.parts]
        self.streams = [mx.new_stream(mx.cpu) for _ in self.parts]
        mx.eval(self.theirs)
        self.how = {"group_size": made.group, "bits": made.bits}
        if layout.startswith("mlx.affine"):
            self.how["mode"] = "affine"
        else:
            self.how["mode"] = layout.removeprefix("mlx.")
        self.pool = ThreadPoolExecutor(threads)

    def hub(self) -> list[dict[str, np.ndarray]]:
        if len(self.parts) == 1:
            return [self.quantizer.quantize(self.parts[0], self.calibration)]
        return list(self.pool.map(lambda part: self.quantizer.quantize(part, self.calibration), self.parts))

    def mlx(self) -> list[list[mx.array]]:
        made = [mx.quantize(part, **self.how, stream=s) for part, s in zip(self.theirs, self.streams, strict=True)]
        mx.eval(made)
        return made

    def same(self) -> bool:
        return all(
            all(ours[name].tobytes() == as_bytes(other) for name, other in zip(ours, theirs, strict=True))
            for ours, theirs in zip(self.hub(), self.mlx(), strict=True)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    mx.set_default_device(mx.cpu)
    weights = np.random.default_rng(0).normal(0, 0.02, (options.rows, options.columns)).astype(np.float32)
    millions = weights.size / 1e6
    print(f"instruction set {hub_native.isa()}, mlx {mx.__version__}; threads: millions of weights per second of")
    print(f"{'':34}hub and of mlx, ratio, ratio of processors' time")
    worst = float("inf")
    for kind, (narrow, _) in TYPES.items():
        rows = weights.astype(narrow).astype(np.float32)
        scale = "" if kind == "f16" else f"-{kind}"
        layouts = [f"mlx.affine/{bits}bit-g{group}{scale}" for bits, group in AFFINE]
        for layout in [*layouts, *(f"mlx.{mode}" for mode in FLOATS)]:
            cells = []
            for threads in options.threads:
                case = Case(layout, kind, rows, threads)
                assert case.same(), f"{layout} of {kind}: other bytes than MLX's"
                repeat = options.repeat if "affine" in layout else max(3, options.repeat // 3)
                runs = [(*took(case.hub), *took(case.mlx)) for _ in range(repeat)]
                ours, ours_spent, theirs, theirs_spent = (statistics.median(times) for times in zip(*runs, strict=True))
                worst = min(worst, theirs_spent / ours_spent)
                ratios = f"{theirs / ours:6.1f} {theirs_spent / ours_spent:6.1f}"
                cells.append(f"{threads}: {millions / ours:6.0f} {millions / theirs:5.0f} {ratios}")
            print(f"{kind:5} {layout:26} " + "   ".join(cells), flush=True)
    print(f"least ratio of processors' time {worst:.1f}")


if __name__ == "__main__":
    main()
