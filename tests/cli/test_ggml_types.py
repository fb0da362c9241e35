"""Files with the tensor types that hub decodes and does not make: copied, widened, run, and refused where damaged.

Their blocks are ggml's own (tests/data/golden/ggml), dealt out over a small Llama.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_ggml import FTYPES, WORDS, as_type
from made_models import GGUF_TYPES, NUMPY, folder, llama_config, read_gguf, read_safetensors, write_gguf

import hub
from hub.errors import UsageError, VerifyError, WeightError
from hub.recipe import Rule
from hub.runner import Runner

IDS = [1, 5, 60, 33, 2, 2, 17]


@pytest.fixture(scope="module")
def floats(tmp_path_factory) -> Path:
    """A small Llama as a GGUF file of f32."""
    base = tmp_path_factory.mktemp("floats")
    hub.convert(folder(base / "model", llama_config()), base / "f32.gguf", to="gguf:f32", verify="none")
    return base / "f32.gguf"


@pytest.fixture(scope="module", params=FTYPES)
def model(request, floats, tmp_path_factory):
    """(type, file, weights by name)"""
    path = tmp_path_factory.mktemp("types") / f"{request.param}.gguf"
    return request.param, path, as_type(floats, path, request.param)


def plan(path: Path, to: str, **more):
    with hub.open(path) as opened:
        return hub.plan(opened, to=to, **more)


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and np.array_equal(
        np.ascontiguousarray(ours, np.float32).view(np.uint32), np.ascontiguousarray(theirs, np.float32).view(np.uint32)
    )


def test_a_copy_keeps_every_byte(model, tmp_path) -> None:
    _, source, _ = model
    planned = plan(source, "gguf")
    assert {(entry.route, entry.fidelity) for entry in planned.entries} == {("copy", "identical")}
    hub.convert(source, tmp_path / "copy.gguf", to="gguf", verify="weights")
    before, after = read_gguf(source), read_gguf(tmp_path / "copy.gguf")
    assert [name for name, *_ in before[1].items()] == [name for name, *_ in after[1].items()]
    assert before[1] == after[1]
    assert {k: v for k, _, v in before[0]}.items() <= {k: v for k, _, v in after[0]}.items()


def test_widened_weights_are_ggmls(model, tmp_path) -> None:
    _, source, weights = model
    planned = plan(source, "gguf:f32")
    assert {entry.fidelity for entry in planned.entries if entry.route == "dequantize"} == {"exact"}
    hub.convert(source, tmp_path / "wide.gguf", to="gguf:f32", verify="weights")
    for name, (number, shape, raw) in read_gguf(tmp_path / "wide.gguf")[1].items():
        assert number == 0
        assert same(np.frombuffer(raw, "<f4", int(np.prod(shape))).reshape(shape), weights[name]), name


EXACT_HALVES = {"mxfp4": {"bf16"}, "nvfp4": {"f16", "bf16"}, "tq1_0": {"f16"}, "q1_0": {"f16"}}
"""16-bit floats that hold whatever the type can tell; a scale of MXFP4 can be 2^-128, which f16 has not."""


def test_halves_are_promised_where_they_hold_everything(model, tmp_path) -> None:
    kind, source, weights = model
    for variant in ("f16", "bf16"):
        exact = variant in EXACT_HALVES.get(kind, ())
        planned = plan(source, f"gguf:{variant}")
        assert {e.fidelity for e in planned.entries if e.route == "dequantize"} == {"exact" if exact else "lossy"}
        if exact:
            hub.convert(source, tmp_path / f"{variant}.gguf", to=f"gguf:{variant}", verify="weights")
            _, shape, raw = read_gguf(tmp_path / f"{variant}.gguf")[1]["output.weight"]
            halves = np.frombuffer(raw, NUMPY[variant], int(np.prod(shape))).reshape(shape)
            assert same(halves.astype(np.float32), weights["output.weight"])


def test_a_folder_has_the_weights(model, tmp_path) -> None:
    _, source, weights = model
    hub.convert(source, tmp_path / "out", to="safetensors:f32", verify="weights")
    found = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        found |= read_safetensors(file)
    for ours, theirs in (
        ("model.embed_tokens", "token_embd"),
        ("lm_head", "output"),
        ("model.layers.1.mlp.down_proj", "blk.1.ffn_down"),
        ("model.layers.0.self_attn.v_proj", "blk.0.attn_v"),
    ):
        assert same(found[f"{ours}.weight"], weights[f"{theirs}.weight"]), ours


def test_it_runs_where_it_lies(model, tmp_path) -> None:
    """Exact mode is a sum of decoded weights in one order, so the file of f32 gives the same bits."""
    _, source, _ = model
    hub.convert(source, tmp_path / "wide.gguf", to="gguf:f32", verify="none")
    logits = []
    for path in (source, tmp_path / "wide.gguf"):
        with hub.open(path) as opened, Runner(opened) as runner:
            logits.append(runner.logits(IDS))
    assert np.isfinite(logits[0]).all()
    assert same(*logits)


def test_there_is_no_quantizer(model, floats) -> None:
    kind, source, _ = model
    if kind != "mxfp4":
        with pytest.raises(UsageError, match=f"no layout '{kind}'"):
            plan(floats, "gguf:q8_0", rules=[Rule("output.weight", kind)])
    planned = plan(source, "gguf:q8_0")
    # Whole numbers with a scale for each 32 weights move into wider codes as they are; products of scales are rounded to f16.
    keeps = {"iq4_nl": "exact", "tq1_0": "exact", "tq2_0": "exact", "q1_0": "exact", "q2_0": "exact"}
    keeps |= dict.fromkeys(("iq4_xs", "iq3_s", "iq3_xxs", "iq2_xxs"), "codes")
    fidelity = keeps.get(kind, "lossy")
    route = "requantize" if fidelity == "lossy" else "repack"
    matrices = [entry for entry in planned.entries if len(entry.tensor.shape) > 1]
    assert {(entry.route, entry.fidelity) for entry in matrices} == {(route, fidelity)}


@pytest.mark.parametrize("kind", [kind for kind in FTYPES if kind not in ("mxfp4", "nvfp4")])
def test_a_scale_that_is_not_finite_is_damage(kind, floats, tmp_path) -> None:
    at = {"tq1_0": 52, "tq2_0": 64}.get(kind, 0)
    as_type(floats, tmp_path / "bad.gguf", kind)
    damage(tmp_path / "bad.gguf", "blk.1.ffn_up.weight", kind, at)
    with pytest.raises(WeightError, match=r"blk\.1\.ffn_up\.weight.* not finite"):
        hub.convert(tmp_path / "bad.gguf", tmp_path / "out.gguf", to="gguf", verify="none")
    assert not (tmp_path / "out.gguf").exists()


def test_the_exponent_that_is_no_number_is_damage(floats, tmp_path) -> None:
    as_type(floats, tmp_path / "bad.gguf", "mxfp4")
    damage(tmp_path / "bad.gguf", "blk.1.ffn_up.weight", "mxfp4", 0, b"\xff" + b"\x77" * 16)
    with pytest.raises(WeightError, match="not finite"):
        hub.convert(tmp_path / "bad.gguf", tmp_path / "out.gguf", to="gguf:f32", verify="none")


def with_blocks(source: Path, path: Path, change) -> None:
    """The file with the blocks of one matrix, (blocks, bytes), changed in place."""
    kvs, tensors = read_gguf(source)
    made = {}
    for name, (number, shape, raw) in tensors.items():
        _, block, size = GGUF_TYPES[WORDS[number]]
        blocks = np.frombuffer(raw, np.uint8, int(np.prod(shape)) // block * size).reshape(-1, size).copy()
        if name == "blk.1.attn_k.weight":
            change(blocks)
        made[name] = WORDS[number], shape, blocks.tobytes()
    write_gguf(path, kvs, made)


@pytest.mark.parametrize(
    ("kind", "codes", "span"),
    [
        ("iq4_nl", slice(2, 18), 32), ("iq4_xs", slice(8, 136), 32), ("mxfp4", slice(1, 17), 32),
        ("nvfp4", slice(4, 36), 16), ("tq2_0", slice(0, 64), 128),
    ],
)  # fmt: skip
def test_nibbles_in_the_wrong_order_are_named(kind, codes, span, floats, tmp_path) -> None:
    def swap(blocks) -> None:
        blocks[:, codes] = blocks[:, codes] >> 4 | blocks[:, codes] << 4

    as_type(floats, tmp_path / "good.gguf", kind)
    with_blocks(tmp_path / "good.gguf", tmp_path / "bad.gguf", swap)
    with pytest.raises(VerifyError, match=f"nibble order swapped in .*halves of every {span} codes exchanged"):
        hub.verify(tmp_path / "good.gguf", tmp_path / "bad.gguf", level="weights")


def test_other_codes_are_no_match(model, tmp_path) -> None:
    """Whatever the type, whose codes need not be nibbles and whose tables may end where they end."""
    kind, source, _ = model
    last = {"tq1_0": 51, "tq2_0": 63, "iq1_m": 40}.get(kind, -1)

    def turn(blocks) -> None:
        blocks[:, last] ^= 0x2D

    with_blocks(source, tmp_path / "bad.gguf", turn)
    with pytest.raises(VerifyError, match="1 of 21 tensors do not agree with the source"):
        hub.verify(source, tmp_path / "bad.gguf", level="weights")


def damage(path: Path, name: str, kind: str, at: int, new: bytes | None = None) -> None:
    """Make the f16 scale of the third block of a tensor infinite, or put `new` there."""
    raw = path.read_bytes()
    _, _, data = read_gguf(path)[1][name]
    start = raw.index(data[:512]) + 2 * GGUF_TYPES[kind][2] + at
    if kind == "iq1_m":
        start, new = start + 48, b"\x00\x00\x00\x00\x00\xc0\x00\x70"  # a nibble on top of each of four words: 0x7c00
    new = new or b"\x00\x7c"
    path.write_bytes(raw[:start] + new + raw[start + len(new) :])
