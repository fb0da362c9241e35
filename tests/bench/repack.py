"""Times repacking of 4-bit weights on one core: `unpack`, `conform` and `pack` of a tile, against the loops with which
other tools pack, and against the NumPy with which the same bytes come about.

    python tests/bench/repack.py --rows 512 --columns 4096 --repeat 15

Figures are GB/s, weights counted as f16 (2 bytes each), medians. `HUB_ISA=avx2` measures another instruction set.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import hub_native
from hub.plugins import registry
from hub.transcode import conform

sys.path.append(str(Path(__file__).parent.parent / "native"))
import words_oracle as oracle

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
ROUTES = [
    ("gptq.v1/4bit-g128-sym", "ggml.Q4_0"),
    ("gptq.v2/4bit-g128", "ggml.Q4_1"),
    ("gptq.v2/4bit-g32-sym", "ggml.Q4_0"),
    ("awq.gemm/4bit-g128", "gptq.v2/4bit-g128"),
    ("gptq.v2/4bit-g128", "awq.gemm/4bit-g128"),
    ("gptq.v2/4bit-g128-sym", "ct.pack/4bit-g128-f16"),
    ("ct.pack/4bit-g128-f16", "gptq.v2/4bit-g128-sym"),
    ("gptq.v2/3bit-g128", "gptq.v1/3bit-g128"),
    ("gptq.v2/8bit-g128-sym", "ggml.Q8_0"),
    ("ggml.Q4_0", "mlx.affine/4bit-g32"),
    ("mlx.affine/4bit-g32", "ggml.Q4_0"),
    ("ggml.Q4_1", "mlx.affine/4bit-g32"),
    ("mlx.affine/4bit-g64-bf16", "ggml.Q4_1"),
    ("ggml.Q8_0", "mlx.affine/8bit-g32"),
    ("mlx.affine/8bit-g32", "ggml.Q8_0"),
    ("ggml.MXFP4", "mlx.mxfp4"),
    ("mlx.mxfp4", "ggml.MXFP4"),
]


def median(work: Callable[[], object], repeat: int) -> float:
    """Seconds."""
    work()
    took = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def tile(layout, shape, rng):
    """Arrays of a tile: random words, scales that are numbers, zero points and biases that the layout can tell."""
    arrays = {}
    for name, spec in layout.parts(shape).items():
        if spec.dtype.name in ("i32", "u32"):
            arrays[name] = rng.integers(-(1 << 31), 1 << 31, spec.shape, np.int32).view(spec.dtype.numpy())
        elif spec.dtype.name == "u8":
            arrays[name] = rng.integers(32, 40, spec.shape).astype(np.uint8)  # numbers, as f16 in blocks and as E8M0
        else:
            # Six digits: sums with offsets round as products with zero points do.
            arrays[name] = (rng.integers(32, 64, spec.shape) / 4096).astype(spec.dtype.numpy())
    if layout.name.startswith("gptq") and layout.name.endswith("-sym"):
        arrays["qzeros"] = symmetric_zeros(layout, arrays["qzeros"])
    if "biases" in arrays:
        arrays["biases"] = (arrays["scales"] * -(1 << (layout.bits - 1))).astype(arrays["scales"].dtype)
    return arrays


def symmetric_zeros(layout, like):
    """Words that say the middle for every zero point."""
    bits = layout.told.bits
    field = (1 << (bits - 1)) - (1 if layout.less_one else 0)
    word = sum(field << at for at in range(0, 32, bits))
    return np.full(like.shape, np.uint32(word)).view(np.int32)


def gptq_pack_loop(codes):
    """AutoGPTQ's `QuantLinear.pack`: a loop over rows of words, in each one over the eight codes of a word."""
    intweight = np.ascontiguousarray(codes.T).astype(np.uint32)
    qweight = np.zeros((intweight.shape[0] // 32 * 4, intweight.shape[1]), np.uint32)
    i = row = 0
    while row < qweight.shape[0]:
        for j in range(i, i + 8):
            qweight[row] |= intweight[j] << (4 * (j - i))
        i += 8
        row += 1
    return qweight


def awq_pack_loop(codes):
    """AutoAWQ's `WQLinear_GEMM.from_linear`: a loop over columns of words, in each one over the order of nibbles."""
    intweight = np.ascontiguousarray(codes.T).astype(np.int32)
    qweight = np.zeros((intweight.shape[0], intweight.shape[1] // 8), np.int32)
    for col in range(intweight.shape[1] // 8):
        for i in range(8):
            qweight[:, col] |= intweight[:, col * 8 + AWQ_ORDER[i]] << (i * 4)
    return qweight


def ct_pack_loop(codes):
    """compressed-tensors' `pack_to_int32`: eight strided shifts over the whole matrix."""
    unsigned = (codes.astype(np.int8) - 8 + 8).astype(np.uint8).astype(np.uint32)
    packed = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for i in range(8):
        packed |= unsigned[:, i::8] << np.uint32(4 * i)
    return packed.view(np.int32)


def q4_0_pack_loop(codes):
    """The `gguf` package's Q4_0, from codes on: halves of blocks joined by shapes."""
    qs = codes.reshape(-1, 2, 16) << np.array([0, 4], np.uint8).reshape(1, 2, 1)
    return qs[..., 0, :] | qs[..., 1, :]


def kernels(rows: int, columns: int, repeat: int, rng: np.random.Generator):
    """(name, hub's seconds, the other's seconds) of packing codes of 4 bits."""
    codes = rng.integers(0, 16, (rows, columns), np.uint8)
    down = np.empty((columns // 8, 4 * rows), np.uint8)
    across = np.empty((columns, rows // 2), np.uint8)
    along = np.empty((rows, columns // 2), np.uint8)
    blocks = np.empty((codes.size // 32, 16), np.uint8)
    order = np.array(AWQ_ORDER, np.uint8)
    cases = [
        ("GPTQ qweight", lambda: hub_native.pack_columns(codes, 4, down), down, lambda: gptq_pack_loop(codes)),
        ("AWQ qweight", lambda: hub_native.pack_nibbles(codes, order, across), across, lambda: awq_pack_loop(codes)),
        ("compressed-tensors", lambda: hub_native.pack_rows(codes, 4, along), along, lambda: ct_pack_loop(codes)),
        ("Q4_0", lambda: hub_native.pack_halves(codes.reshape(-1, 32), blocks), blocks, lambda: q4_0_pack_loop(codes)),
    ]
    for name, work, out, other in cases:
        work()
        if not np.array_equal(out, np.ascontiguousarray(other()).view(np.uint8).reshape(out.shape)):
            raise SystemExit(f"{name}: not the bytes of the loop")
        yield name, median(work, repeat), median(other, max(3, repeat // 3))
    work, other = lambda: hub_native.unpack_columns(down, 4, codes), lambda: oracle.unpack_columns(down, 4, columns)
    yield "GPTQ qweight, unpacked (NumPy)", median(work, repeat), median(other, max(3, repeat // 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=15)
    told = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = told.rows, told.columns
    size = 2 * told.rows * told.columns
    print(f"{told.rows} x {told.columns}, {hub_native.isa()}, median of {told.repeat}; GB/s of f16 weights")
    print(f"{'packing':34}{'hub':>8}{'other':>8}{'times':>8}")
    for name, mine, theirs in kernels(*shape, told.repeat, rng):
        print(f"{name:34}{size / mine / 1e9:8.1f}{size / theirs / 1e9:8.3f}{theirs / mine:8.0f}")
    print(f"{'tile':50}{'all':>8}{'unpack':>8}{'conform':>8}{'pack':>8}")
    known = registry()
    for source, target in ROUTES:
        a, b = known.layout(source), known.layout(target)
        arrays = tile(a, shape, rng)
        body = a.unpack(arrays, shape)
        from_, to = a.scheme(shape), b.scheme(shape)
        carried = conform(body, from_, to)
        steps = [
            lambda a=a, b=b, x=arrays, f=from_, t=to: b.pack(conform(a.unpack(x, shape), f, t)),
            lambda a=a, x=arrays: a.unpack(x, shape),
            lambda x=body, f=from_, t=to: conform(x, f, t),
            lambda b=b, x=carried: b.pack(x),
        ]
        rates = "".join(f"{size / median(step, told.repeat) / 1e9:8.1f}" for step in steps)
        print(f"{source + ' -> ' + target:50}{rates}")


if __name__ == "__main__":
    main()
