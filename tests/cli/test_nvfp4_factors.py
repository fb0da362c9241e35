"""NVFP4 weights with a factor in a tensor of its own: `X.scale` goes where `X.weight` goes, `X.input_scale` stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_models import DATA, GGUF_TYPES, folder, llama_config, read_gguf, read_safetensors, write_gguf

import hub
from hub.errors import ArchitectureError, FormatError, WeightError
from hub.ir.derived import cut
from hub.pipeline import weights as decoded
from hub.plugins import registry
from hub.runner import Runner
from hub_gguf.factors import attach

WORDS = {number: word for word, (number, _, _) in GGUF_TYPES.items()}
QUANTIZED = ("attn_q", "attn_k", "ffn_down")
FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
IDS = [1, 5, 60, 33, 2, 2, 17]


def f32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def blocks_for(shape: tuple[int, ...]) -> bytes:
    with np.load(DATA / "golden" / "ggml" / "NVFP4.npz") as file:
        blocks, weights = file["imatrix"].reshape(-1, 36), file["imatrix_f32"].reshape(-1, 64)
    fine = blocks[(np.abs(weights) < 8).all(axis=1)]
    return fine[np.random.default_rng(2).integers(0, len(fine), int(np.prod(shape)) // 64)].tobytes()


def half_e4m3(codes: np.ndarray) -> np.ndarray:
    """By ml_dtypes; the golden blocks have neither its NaN nor a sign."""
    import ml_dtypes

    assert (codes < 0x7F).all()
    return codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) / 2


def scaled(raw: bytes, factors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The definition: the scale of 16 weights times the factor, rounded to f32, times the code's value."""
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, 36)
    scales = half_e4m3(blocks[:, :4].copy()).reshape(len(factors), -1) * factors.reshape(-1, 1).astype(np.float32)
    halves = blocks[:, 4:].reshape(-1, 4, 8)
    codes = np.concatenate([halves & 15, halves >> 4], axis=2)
    return (scales.reshape(-1, 4, 1) * FP4[codes]).astype(np.float32).reshape(shape)


@pytest.fixture(scope="module")
def floats(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("floats")
    hub.convert(folder(base / "model", llama_config()), base / "f32.gguf", to="gguf:f32", verify="none")
    return base / "f32.gguf"


def write(source: Path, path: Path, changes=lambda _: None) -> dict[str, np.ndarray]:
    """The model with some matrices in NVFP4, each with another factor; what these are, by name."""
    kvs, tensors = read_gguf(source)
    made, out = {}, {}
    for number, (name, (kind, shape, raw)) in enumerate(tensors.items()):
        stem = name.removesuffix(".weight")
        if not stem.endswith(QUANTIZED):
            made[name] = WORDS[kind], shape, raw[: 4 * int(np.prod(shape))]
            continue
        factor = np.float32(0.3 + number / 7)
        made[name] = "nvfp4", shape, blocks_for(shape)
        made[f"{stem}.scale"] = "f32", (1,), f32(factor)
        made[f"{stem}.input_scale"] = "f32", (1,), f32(0.01 * number)
        out[name] = scaled(made[name][2], np.array([factor]), shape)
    changes(made)
    write_gguf(path, kvs, made)
    return out


@pytest.fixture(scope="module")
def model(floats, tmp_path_factory):
    path = tmp_path_factory.mktemp("scaled") / "scaled.gguf"
    return path, write(floats, path)


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return np.array_equal(np.ascontiguousarray(ours).view(np.uint32), np.ascontiguousarray(theirs).view(np.uint32))


def refused(path: Path, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        hub.convert(path, path.with_suffix(".out"), to="gguf:f32", verify="none")
    assert not path.with_suffix(".out").exists()


def test_a_copy_has_all_tensors(model, tmp_path) -> None:
    source, _ = model
    with hub.open(source) as opened:
        made = hub.plan(opened, to="gguf")
        assert {(entry.route, entry.fidelity) for entry in made.entries} == {("copy", "identical")}
        assert not made.dropped
    hub.convert(source, tmp_path / "copy.gguf", to="gguf", verify="weights")
    before, after = read_gguf(source)[1], read_gguf(tmp_path / "copy.gguf")[1]
    assert before == after


def test_the_factor_is_part_of_the_weight(model, tmp_path) -> None:
    source, weights = model
    hub.convert(source, tmp_path / "wide.gguf", to="gguf:f32", verify="weights")
    found = read_gguf(tmp_path / "wide.gguf")[1]
    assert not [name for name in found if name.endswith("scale")]
    for name, theirs in weights.items():
        assert same(np.frombuffer(found[name][2], "<f4").reshape(theirs.shape), theirs), name


def test_what_is_left_out_is_told(model) -> None:
    source, _ = model
    with hub.open(source) as opened:
        widened = hub.plan(opened, to="gguf:f32")
        assert any("6 scales of 4-bit activations left out" in note for note in widened.notes)
        dropped = dict(hub.plan(opened, to="safetensors:f32").dropped)
    assert "blk.0.attn_q.input_scale" in dropped
    assert "blk.0.attn_q.scale" not in dropped


def test_rows_that_move_keep_the_factor(model, tmp_path) -> None:
    """Query rows of a GGUF file are in another order than those of a folder."""
    source, weights = model
    hub.convert(source, tmp_path / "out", to="safetensors:f32", verify="weights")
    found = read_safetensors(tmp_path / "out" / "model.safetensors")
    there = weights["blk.0.attn_q.weight"].reshape(4, 32, 2, 256).swapaxes(1, 2).reshape(256, 256)
    assert same(found["model.layers.0.self_attn.q_proj.weight"], there)
    assert same(found["model.layers.1.mlp.down_proj.weight"], weights["blk.1.ffn_down.weight"])


def test_it_runs_as_its_weights_do(model, tmp_path) -> None:
    source, _ = model
    hub.convert(source, tmp_path / "wide.gguf", to="gguf:f32", verify="none")
    logits = []
    for path in (source, tmp_path / "wide.gguf"):
        with hub.open(path) as opened, Runner(opened) as runner:
            logits.append(runner.logits(IDS))
    assert np.isfinite(logits[0]).all()
    assert same(*logits)


@pytest.mark.parametrize(
    ("kind", "shape", "raw"),
    [("f32", (2,), f32(1, 2)), ("f16", (1,), b"\0<"), ("f32", (1, 4), f32(1, 2, 3, 4))],
)
def test_a_factor_of_another_kind(kind, shape, raw, floats, tmp_path) -> None:
    write(floats, tmp_path / "bad.gguf", lambda made: made.update({"blk.0.attn_q.scale": (kind, shape, raw)}))
    refused(tmp_path / "bad.gguf", FormatError, r"blk\.0\.attn_q\.scale.*a factor of blk\.0\.attn_q\.weight is \[1\]")


def test_a_factor_of_a_weight_that_takes_none(floats, tmp_path) -> None:
    """It would have to be multiplied with, and passing over it would give a wrong model."""
    write(floats, tmp_path / "bad.gguf", lambda made: made.update({"blk.0.attn_v.scale": ("f32", (1,), f32(2))}))
    refused(tmp_path / "bad.gguf", ArchitectureError, r"does not name: blk\.0\.attn_v\.scale")


def test_a_factor_without_its_weight(floats, tmp_path) -> None:
    write(floats, tmp_path / "bad.gguf", lambda made: made.update({"blk.9.attn_q.scale": ("f32", (1,), f32(2))}))
    refused(tmp_path / "bad.gguf", ArchitectureError, r"does not name: blk\.9\.attn_q\.scale")


@pytest.mark.parametrize("factor", [np.nan, np.inf, 3e38])
def test_a_factor_that_is_damage(factor, floats, tmp_path) -> None:
    write(floats, tmp_path / "bad.gguf", lambda made: made.update({"blk.0.attn_q.scale": ("f32", (1,), f32(factor))}))
    refused(tmp_path / "bad.gguf", WeightError, r"blk\.0\.attn_q\.weight.*not finite")


def test_experts_have_a_factor_each(tmp_path) -> None:
    shape, factors = (3, 4, 128), np.array([0.5, 1.7, 0.3], np.float32)
    raw = blocks_for(shape)
    path = write_gguf(
        tmp_path / "experts.gguf",
        [("general.architecture", "str", "llama")],
        {"e.weight": ("nvfp4", shape, raw), "e.scale": ("f32", (3,), factors.tobytes())},
    )
    want = scaled(raw, factors, (12, 128))
    with hub.open(path) as opened:
        tensor = opened.tensors["e.weight"]
        layout = registry().layout(tensor.layout)
        assert list(opened.tensors) == ["e.weight"]
        assert layout.parts(shape) == {name: part.spec for name, part in tensor.parts.items()}
        assert same(decoded(tensor, layout, 0, 12), want)
        for start in range(0, 12, 4):
            assert same(decoded(tensor, layout, start, start + 4), want[start : start + 4])
        second = {name: cut(part, 4, 8) for name, part in tensor.parts.items()}
        arrays = {name: part.load(0, 4) for name, part in second.items()}
        assert same(layout.decode(arrays, (4, 128)), want[4:8])
        assert same(layout.decode({name: part.load(1, 3) for name, part in second.items()}, (2, 128)), want[5:7])


def test_experts_with_the_factor_of_one(tmp_path) -> None:
    path = write_gguf(
        tmp_path / "experts.gguf",
        [("general.architecture", "str", "llama")],
        {"e.weight": ("nvfp4", (3, 4, 128), blocks_for((3, 4, 128))), "e.scale": ("f32", (1,), f32(2))},
    )
    with pytest.raises(FormatError, match=r"e\.scale: .*shape \[1\] of f32, a factor of e\.weight is \[3\] of f32"):
        hub.open(path)


def test_experts_are_run_and_parted_with_their_factors(tmp_path) -> None:
    hub.convert(DATA / "arch" / "mixtral", tmp_path / "f32.gguf", to="gguf:f32", verify="none")
    kvs, tensors = read_gguf(tmp_path / "f32.gguf")
    made = {}
    for name, (kind, shape, raw) in tensors.items():
        if name.endswith("ffn_gate_exps.weight"):
            made[name] = "nvfp4", shape, blocks_for(shape)
            factors = np.linspace(0.01, 0.03, shape[0]).astype(np.float32)
            made[name.replace(".weight", ".scale")] = "f32", (shape[0],), factors.tobytes()
        else:
            made[name] = WORDS[kind], shape, raw[: 4 * int(np.prod(shape))]
    write_gguf(tmp_path / "scaled.gguf", kvs, made)
    hub.convert(tmp_path / "scaled.gguf", tmp_path / "folder", to="safetensors:f32", verify="weights")
    hub.convert(tmp_path / "folder", tmp_path / "back.gguf", to="gguf:f32", verify="weights")
    logits = []
    for path in (tmp_path / "scaled.gguf", tmp_path / "back.gguf"):
        with hub.open(path) as opened, Runner(opened) as runner:
            logits.append(runner.logits(IDS))
    assert np.isfinite(logits[0]).all()
    assert same(*logits)


def test_attaching_changes_nothing_else() -> None:
    assert attach({}) == ({}, {})
