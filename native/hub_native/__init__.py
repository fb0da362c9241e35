"""hub's kernels: quantizing, dequantizing and measuring weights.

Arguments are buffers (NumPy arrays, memoryviews, bytes, mmaps); outputs are allocated by the caller and filled. All
functions release the interpreter lock while they work, so threads scale; none of them keeps state. Wrong item types,
layouts, lengths or alignments raise ValueError with the numbers, before anything is written.

Results are the same bytes on every CPU and instruction set, and those of ggml's reference code built without FMA. The
instruction set is chosen on first use; the environment variable HUB_ISA forces one.
"""

from ._kernels import (
    IsaError,
    available,
    block,
    compare,
    dequantize,
    isa,
    quantize,
    scan,
    scan_strings,
    to_f32,
    types,
)

__all__ = [
    "IsaError",
    "available",
    "block",
    "compare",
    "dequantize",
    "isa",
    "quantize",
    "scan",
    "scan_strings",
    "to_f32",
    "types",
]
