"""ggml's quantizer of MXFP4, whose bytes are in tests/data/golden/ggml."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hub.quantizer import Calibration
from hub_gguf.quantizers import make

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "ggml"


def quantized(rows: np.ndarray) -> np.ndarray:
    return make("ggml.MXFP4").quantize(np.asarray(rows, np.float32), Calibration())["blocks"]


def test_bytes_are_ggmls() -> None:
    with np.load(GOLDEN / "inputs.npz") as inputs, np.load(GOLDEN / "MXFP4.npz") as golden:
        # The bytes with an importance matrix, which this type passes over.
        np.testing.assert_array_equal(quantized(inputs["x"]), golden["imatrix"])


def test_edges() -> None:
    """The largest just below a power of two, ties, signs of what rounds to zero, nothing at all."""
    rows = np.zeros((4, 32), np.float32)
    rows[0, 0] = np.nextafter(np.float32(8), np.float32(0))  # log2f says 3: ggml 0c1e570
    rows[1, :6] = [4, 0.25, -0.25, 0.75, -0.75, 2.5]
    rows[2, 0] = 1e-38
    blocks = quantized(rows)
    assert blocks[:, 0].tolist() == [128, 127, (-127 - 2 + 127) % 256, 0]
    low = blocks[1, 1:] & 15
    assert low[:6].tolist() == [6, 0, 0, 1, 9, 4]
    assert not blocks[2:, 1:].any()
