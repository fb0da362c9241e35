"""docs/exactness.md: which layout holds which, found by running every pair on random and on edge values.

``HUB_WRITE_DOCS=1 pytest tests/golden/test_exactness.py`` writes the page anew.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hub.api import I8, U8, Affine, ArrayPart, Codebook, Const, Dense, PartSpec, Quantized, Scheme
from hub.errors import HubError
from hub.layout import FIDELITIES, DenseLayout
from hub.plugins import registry
from hub.transcode import conform

PAGE = Path(__file__).parents[2] / "docs" / "exactness.md"
SHAPE = (64, 512)
FAMILIES = {
    "gptq.v1": ("2bit-g64-sym", "3bit-g64-sym", "4bit-g128-sym", "4bit-g32-sym", "4bit-g32", "8bit-g32-sym"),
    "gptq.v2": ("4bit-g32", "8bit-g32"),
    "awq.gemm": ("4bit-g128-sym", "4bit-g32"),
    "ct.pack": ("4bit-g128-f16", "4bit-g32-f16", "4bit-g32-f16-asym", "8bit-g32-f16"),
    "mlx.affine": (
        "3bit-g64",
        "4bit-g32",
        "4bit-g32-f32",
        "4bit-g64-bf16",
        "5bit-g32",
        "5bit-g32-f32",
        "8bit-g32",
        "8bit-g32-f32",
    ),
    "onnx.dq": (
        "4bit-g32-signed",
        "4bit-g32-zero",
        "4bit-g32-offset",
        "8bit-g16-signed",
        "8bit-g16-offset",
        "f8_e4m3-g32",
    ),
    "onnx.rows": ("8bit-g16-signed", "8bit-g16-offset"),
    "ort.MatMulNBits": ("4bit-g32", "4bit-g32-zero", "4bit-g32-offset", "8bit-g16", "8bit-g16-offset"),
}
"""Layouts with parameters: these members stand for all."""


@cache
def names() -> tuple[str, ...]:
    """Every layout of one name, and the chosen members of families."""
    known = registry()
    members = [f"{family}/{rest}" for family, rests in FAMILIES.items() for rest in rests]
    single = [name for name in known.layout_names if name not in FAMILIES and _made(name)]
    return tuple(sorted([*single, *members], key=lambda name: (isinstance(known.layout(name), DenseLayout), name)))


def _made(name: str) -> bool:
    try:
        return registry().layout(name).fits(SHAPE) is None and name != "f64"
    except Exception:  # a family, which wants parameters
        return False


@cache
def samples(name: str):
    """Random parts with ordinary scales, and the same with negative and zero scales and the ends of every code."""
    layout, random = registry().layout(name), np.random.default_rng(5)
    out = []
    for edge in (False, True):
        parts = {}
        for part, spec in layout.parts(SHAPE).items():
            dtype = spec.dtype.numpy()
            if np.dtype(dtype).kind in "iu":
                limits = np.iinfo(dtype)
                array = random.integers(limits.min, limits.max, spec.shape, dtype, endpoint=True)
                if edge:
                    ends = np.array([limits.min, limits.max, 0, -1 & limits.max], dtype)
                    array = np.where(random.random(spec.shape) < 0.3, random.choice(ends, spec.shape), array)
            else:
                array = (0.01 * (1 + random.random(spec.shape))).astype(dtype)
                if edge:
                    array = (array.astype(np.float32) * random.choice([-1, 0, 1, 8], spec.shape)).astype(dtype)
            parts[part] = array
        out.append(_allowed(layout, _tamed(layout, parts, random), random, edge))
    if small := _small(layout, out[0], random):
        out.append(small)
    return [*out, _positive(out[0])] if _has_bytes_of_scale(layout) else out


def _small(layout, parts, random):
    """With codes that are few, close to the middle, where there are many: layouts of fewer bits may hold them."""
    scheme = layout.scheme(SHAPE)
    if not isinstance(scheme, Scheme) or not isinstance(scheme.values, Affine) or isinstance(scheme.scale, Scheme):
        return None
    bits, signed = scheme.values.bits, scheme.values.signed
    if scheme.values.dtype is not None or bits < 5 or isinstance(layout, DenseLayout):
        return None
    body = layout.unpack(parts, SHAPE)
    dtype = I8 if signed else U8
    codes = random.integers(-8, 8, SHAPE) + (0 if signed else 1 << (bits - 1))
    zero = body.zero
    if isinstance(zero, Dense):
        zeros = random.integers(-7, 8, zero.part.spec.shape) + (0 if signed else 1 << (bits - 1))
        zero = Dense(ArrayPart(zeros.astype(zero.part.spec.dtype.numpy()), zero.part.spec))
    part = ArrayPart(codes.astype(dtype.numpy()), PartSpec(dtype, SHAPE))
    try:
        return layout.pack(replace(body, codes=part, zero=zero))
    except NotImplementedError:
        return None


def _has_bytes_of_scale(layout):
    """Whether scales are looked up; not every format takes every byte for a number."""
    scheme = layout.scheme(SHAPE)
    return isinstance(scheme, Scheme) and isinstance(scheme.scale, Scheme) and isinstance(scheme.scale.values, Codebook)


def _positive(parts):
    """With bytes of scale that are positive numbers for all formats."""
    return {name: array % 127 if array.dtype == np.uint8 else array for name, array in parts.items()}


def _allowed(layout, parts, random, edge):
    """With positive scales where the layout has no others, and packed from codes where bytes have rules of their own."""
    if isinstance(layout, DenseLayout):
        return parts
    positive = {name: array if array.dtype.kind in "iu" else np.abs(array) for name, array in parts.items()}
    for one in (parts, positive, _positive(positive)):
        try:
            layout.unpack(one, SHAPE)
        except HubError:
            continue
        return one
    scheme = layout.scheme(SHAPE)
    low = -(1 << (scheme.values.bits - 1)) if scheme.values.signed else 0
    codes = random.integers(low, low + (1 << scheme.values.bits), SHAPE).astype(np.int8 if low else np.uint8)
    groups = SHAPE[0], SHAPE[1] // (scheme.groups.shape[1] or SHAPE[1])
    scale = 0.01 * (1 + random.random(groups)) * (random.choice([-1, 1, 8], groups) if edge else 1)
    dtype = scheme.scale.dtype
    stored = ArrayPart(scale.astype(dtype.numpy()), PartSpec(dtype, groups))
    assert isinstance(scheme.zero, Const)
    part = ArrayPart(codes, PartSpec(I8 if low else U8, SHAPE))
    return layout.pack(Quantized(SHAPE, part, scheme.values, Dense(stored), scheme.groups, scheme.zero))


def _tamed(layout, parts, random):
    """Blocks with weights that are not finite, or huge, drawn again; for layouts whose scales lie among their codes."""
    if set(parts) != {"blocks"}:
        return parts
    blocks = parts["blocks"]
    for _ in range(400):
        weights = layout.decode(parts, SHAPE).reshape(-1, layout.kind.block)
        wrong = ~np.isfinite(weights).all(1) | (np.abs(weights).max(1) > 1e3)
        if not wrong.any():
            break
        blocks.reshape(-1, layout.kind.bytes)[wrong] = random.integers(
            0, 256, (wrong.sum(), layout.kind.bytes), np.uint8
        )
    return parts


def judged(source: str, target: str) -> tuple[str, str]:
    """What a cell says, and why; whatever is promised is tried."""
    old, new = registry().layout(source), registry().layout(target)
    scheme, theirs = old.scheme(SHAPE), new.scheme(SHAPE)
    first = new.can_hold(scheme, SHAPE)
    found = []
    for parts in samples(source):
        before = old.decode(parts, SHAPE)
        if isinstance(new, DenseLayout):
            return first.fidelity, first.reason
        if isinstance(old, DenseLayout):
            return "lossy", first.reason
        body = old.unpack(parts, SHAPE)
        holding = new.can_hold(scheme, SHAPE, body) if first.by_value else first
        found.append(holding)
        if holding.fidelity == "lossy":
            continue
        try:
            packed = new.pack(conform(body, scheme, theirs))
        except NotImplementedError:
            return "lossy", "only a quantizer makes it"
        after = new.decode(packed, SHAPE)
        if holding.fidelity in ("exact", "identical"):
            np.testing.assert_array_equal(before, after, err_msg=f"{source} to {target}")
        else:
            scale = np.abs(before).max()
            assert np.abs(before - after).max() <= scale / 200, f"{source} to {target}"
    worst = max(found, key=lambda holding: FIDELITIES.index(holding.fidelity))
    best = min(found, key=lambda holding: FIDELITIES.index(holding.fidelity))
    if best.fidelity == worst.fidelity and not first.by_value:
        return worst.fidelity, worst.reason
    if best.fidelity == "lossy":
        return "lossy", worst.reason
    return f"{worst.fidelity}?", worst.reason or first.reason


WORDS = {
    "exact": "every weight is bit-equal in f32, whatever the numbers",
    "exact?": "the numbers decide; those tried were exact",
    "codes?": "the numbers decide; codes always fit, a scale or an offset may be rounded",
    "lossy?": "the numbers decide; where zero points or codes do not fit, it is quantized anew",
    "lossy": "quantized anew",
}


def page() -> str:
    lines = [
        "# Exactness",
        "",
        "What becomes of quantized weights between any two layouts. This page is written by `tests/golden/test_exactness.py`, which",
        "runs every pair on random and edge values (negative and zero scales, the ends of every code) and compares the weights; it is not",
        "written by hand. A layout with parameters stands for its family. `hub plan` says the same for every tensor of a model, from its own numbers.",
        "",
        "| word | meaning |",
        "|---|---|",
        *(f"| {word} | {meaning} |" for word, meaning in WORDS.items()),
        "",
    ]
    for source in names():
        cells: dict[str, list[str]] = {}
        for target in names():
            if target != source:
                word, _ = judged(source, target)
                cells.setdefault(word, []).append(f"`{target}`")
        lines += [f"## From `{source}`", ""]
        lines += [f"- **{word}**: {', '.join(cells[word])}" for word in WORDS if word in cells and word != "lossy"]
        if "lossy" in cells:
            lines.append(f"- **lossy**: the other {len(cells['lossy'])}")
        lines.append("")
    return "\n".join(lines)


def test_the_page_says_what_was_found():
    made = page()
    if os.environ.get("HUB_WRITE_DOCS"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made, "docs/exactness.md is not what the layouts say: write it anew"


PAIRS = [
    ("gptq.v1/4bit-g32-sym", "ggml.Q4_0"), ("gptq.v1/4bit-g128-sym", "ggml.Q4_0"), ("ggml.Q4_0", "gptq.v1/4bit-g32-sym"),
    ("gptq.v1/8bit-g32-sym", "ggml.Q8_0"), ("ggml.Q8_0", "gptq.v1/8bit-g32-sym"), ("awq.gemm/4bit-g32", "gptq.v2/4bit-g32"),
    ("gptq.v2/4bit-g32", "awq.gemm/4bit-g32"), ("awq.gemm/4bit-g128-sym", "ggml.Q4_0"), ("ggml.Q4_0", "awq.gemm/4bit-g32"),
    ("ct.pack/4bit-g32-f16", "ggml.Q4_0"), ("ggml.Q4_0", "ct.pack/4bit-g32-f16"), ("ct.pack/4bit-g32-f16-asym", "awq.gemm/4bit-g32"),
    ("gptq.v2/4bit-g32", "ct.pack/4bit-g32-f16-asym"), ("ct.mxfp4", "ggml.MXFP4"), ("ggml.MXFP4", "ct.mxfp4"),
    ("ggml.Q4_0", "onnx.dq/4bit-g32-signed"), ("gptq.v2/4bit-g32", "onnx.dq/4bit-g32-zero"), ("ggml.Q4_K", "onnx.dq/4bit-g32-offset"),
    ("ggml.Q6_K", "onnx.dq/8bit-g16-signed"), ("ggml.MXFP4", "onnx.dq/8bit-g16-signed"), ("ggml.NVFP4", "ort.MatMulNBits/8bit-g16"),
    ("ggml.Q4_K", "ort.MatMulNBits/4bit-g32-offset"), ("awq.gemm/4bit-g32", "ort.MatMulNBits/4bit-g32-zero"),
    ("ggml.IQ4_XS", "ort.MatMulNBits/8bit-g16"), ("ggml.Q5_K", "onnx.rows/8bit-g16-offset"),
    ("ggml.Q4_0", "mlx.affine/4bit-g32-f32"), ("ggml.Q4_1", "mlx.affine/4bit-g32"), ("mlx.affine/4bit-g32", "ggml.Q4_1"),
    ("ggml.Q5_0", "mlx.affine/5bit-g32-f32"), ("ggml.Q5_1", "mlx.affine/5bit-g32"), ("mlx.affine/5bit-g32", "ggml.Q5_1"),
    ("ggml.Q8_0", "mlx.affine/8bit-g32-f32"), ("ggml.Q4_K", "mlx.affine/4bit-g32-f32"), ("ggml.Q5_K", "mlx.affine/5bit-g32-f32"),
    ("mlx.affine/3bit-g64", "ggml.Q4_1"), ("mlx.mxfp4", "ggml.MXFP4"), ("mlx.nvfp4", "ggml.NVFP4"), ("mlx.nvfp4", "ggml.NVFP4/scaled"),
    ("gptq.v2/4bit-g32", "mlx.affine/4bit-g32-f32"), ("awq.gemm/4bit-g32", "mlx.affine/4bit-g32-f32"), ("mlx.mxfp4", "ct.mxfp4"),
    ("ct.pack/4bit-g32-f16-asym", "mlx.affine/4bit-g32-f32"), ("ct.pack/8bit-g32-f16", "mlx.affine/8bit-g32-f32"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_proven_pairs_are_exact(source, target):
    assert judged(source, target)[0] == "exact"
