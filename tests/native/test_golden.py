"""The bytes that ggml wrote, and the numbers that it read back from them (tests/data/golden/ggml/PROVENANCE.md)."""

import numpy as np
import pytest
from native_cases import DECODED, GOLDEN, LEGACY, K, assert_same_blocks, dequantize, quantize

INPUTS = np.load(GOLDEN / "inputs.npz")


def test_the_corpus_is_there():
    assert {path.stem.lower() for path in GOLDEN.glob("*.npz")} == {*LEGACY, *K, *DECODED, "inputs"}
    assert INPUTS["x"].shape == (24, 768)
    assert len(set(INPUTS["names"])) == 24


@pytest.mark.parametrize("key", ["plain", "imatrix"])
@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_quantize(kind, key):
    want = np.load(GOLDEN / f"{kind.upper()}.npz")[key]
    importance = INPUTS["imatrix"] if key == "imatrix" else None
    assert_same_blocks(kind, quantize(kind, INPUTS["x"], importance), want, INPUTS["x"])


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        *((kind, key) for kind in (*LEGACY, *K) for key in ("plain", "imatrix")),
        *((kind, "imatrix") for kind in DECODED),
    ],
)
def test_dequantize(kind, key):
    golden = np.load(GOLDEN / f"{kind.upper()}.npz")
    ours = dequantize(kind, golden[key], 768)
    np.testing.assert_array_equal(ours.view(np.uint32), golden[f"{key}_f32"].view(np.uint32))


@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_importance_changes_the_bytes(kind):
    """Guards the tests above: were the argument dropped, `imatrix` could only pass where ggml ignores it."""
    golden = np.load(GOLDEN / f"{kind.upper()}.npz")
    assert np.array_equal(golden["plain"], golden["imatrix"]) == (kind == "q8_0")


@pytest.mark.parametrize("kind", [*LEGACY, *K])
def test_rows_are_independent(kind):
    x, importance = INPUTS["x"], INPUTS["imatrix"]
    whole = quantize(kind, x, importance)
    split = np.concatenate([quantize(kind, x[a:b], importance) for a, b in ((0, 1), (1, 8), (8, 24))])
    np.testing.assert_array_equal(whole, split)
