"""The runner's logits against the reference implementation's (transformers, f32, eager attention)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.runner import Runner

DATA = Path(__file__).parent.parent / "data"
MODELS = {"tiny-llama": DATA / "tiny-llama"} | {path.name: path for path in sorted((DATA / "arch").iterdir())}
LIMIT = 1e-6


def golden(name):
    with np.load(MODELS[name] / "golden.npz") as file:
        return file["input_ids"].reshape(-1), file["logits"].astype(np.float64).reshape(-1, file["logits"].shape[-1])


def logits(path, ids, **options):
    with hub.open(path) as model, Runner(model, **options) as runner:
        return runner.logits(ids)


def nmse(found, wanted):
    return float(np.square(found - wanted).sum() / np.square(wanted).sum())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``made(name, "gguf:f32")``: a conversion of a bundled model, made once."""
    folder, done = tmp_path_factory.mktemp("made"), {}

    def make(name, *targets):
        if (name, *targets) not in done:
            source = make(name, *targets[:-1]) if len(targets) > 1 else MODELS[name]
            path = folder / f"{name}-{len(done)}{'.gguf' if targets[-1].startswith('gguf') else ''}"
            hub.convert(source, path, to=targets[-1], verify="weights")
            done[name, *targets] = path
        return done[name, *targets]

    return make


@pytest.mark.parametrize("name", MODELS)
def test_from_safetensors(name):
    ids, wanted = golden(name)
    assert nmse(logits(MODELS[name], ids, threads=2), wanted) < LIMIT


@pytest.mark.parametrize("name", MODELS)
def test_from_gguf_and_back(name, made):
    ids, wanted = golden(name)
    source = logits(MODELS[name], ids)
    for path in (made(name, "gguf:f32"), made(name, "gguf:f32", "safetensors:bf16"), made(name, "gguf:bf16")):
        found = logits(path, ids)
        assert nmse(found, wanted) < LIMIT
        assert np.array_equal(found, source), path  # the same weights, so the same bits


@pytest.mark.parametrize("name", MODELS)
def test_fast_mode_is_near(name):
    ids, wanted = golden(name)
    # Where two experts score nearly alike, noise makes another of them answer: the small gpt-oss has many such tokens.
    assert nmse(logits(MODELS[name], ids, mode="fast", threads=2), wanted) < (5e-2 if name == "gpt_oss" else 1e-2)


def test_threads_do_not_change_a_bit(made):
    for path in (MODELS["tiny-llama"], made("tiny-llama", "gguf:q4_k_m")):
        ids, _ = golden("tiny-llama")
        assert np.array_equal(logits(path, ids, threads=1), logits(path, ids, threads=3))


def test_a_sequence_begun_alike_begins_alike():
    """Causal: later tokens do not change what earlier ones give."""
    ids, _ = golden("tiny-llama")
    assert np.array_equal(logits(MODELS["tiny-llama"], ids)[:100], logits(MODELS["tiny-llama"], ids[:100]))


SCRIPT = """
import hashlib, sys, numpy, hub
from hub.runner import Runner
ids = numpy.load(sys.argv[2])["input_ids"].reshape(-1)[:40]
with hub.open(sys.argv[1]) as model, Runner(model) as runner:
    print(hashlib.sha256(runner.logits(ids).tobytes()).hexdigest())
"""


@pytest.mark.parametrize(
    ("name", "variant"),
    [("tiny-llama", variant) for variant in ("f32", "bf16", "q8_0", "q4_0", "q4_k_m", "q2_k")]
    + [("gpt_oss", "mxfp4_moe")],
)
def test_instruction_sets_agree_to_the_bit(name, variant, made):
    import hub_native

    path = made(name, f"gguf:{variant}")
    ids, _ = golden(name)
    here = hashlib.sha256(logits(path, ids[:40], threads=2).tobytes()).hexdigest()
    for isa in hub_native.available():
        command = [sys.executable, "-c", SCRIPT, str(path), str(MODELS[name] / "golden.npz")]
        run = subprocess.run(command, env={**os.environ, "HUB_ISA": isa}, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == here, isa
