"""A process in which mlx-lm does a list of jobs: read as JSON from stdin, answered as JSON on the last line of stdout.

Jobs: ``{"logits": FOLDER, "ids": [...], "out": FILE.npy}`` loads strictly and runs in f32;
``{"convert": {arguments of mlx_lm.convert}}`` makes a folder; ``{"quantize": FOLDER, "config": {...}, "out": FOLDER,
...}`` does what that does with weights, for folders without a tokenizer and with members of config.json that are
missing; ``{"generate": FOLDER}`` continues a prompt greedily.
An answer is null, what was generated, or ``{"error": ...}``.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from mlx_lm import convert, generate, load
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import load_model, quantize_model, save_config, save_model


def logits(folder: str, ids: list[int], out: str) -> None:
    model, _ = load_model(Path(folder), strict=True)
    model.set_dtype(mx.float32)
    np.save(out, np.array(model(mx.array([ids])).astype(mx.float32))[0])


def quantized(job: dict[str, Any]) -> None:
    path = Path(job["quantize"])
    model, config = load_model(path, lazy=True, model_config=job["config"])
    predicate, group = job.get("predicate"), job.get("group")
    if config.get("torch_dtype"):
        kind = getattr(mx, config["torch_dtype"])
        model.update(
            tree_map(lambda v: v.astype(kind) if mx.issubdtype(v.dtype, mx.floating) else v, model.parameters())
        )
    if predicate:
        predicate = mixed_quant_predicate_builder(predicate, model, group or 64)
    _, config = quantize_model(
        model, config, group, job.get("bits"), job.get("mode", "affine"), job.get("global_scale", False), predicate
    )
    save_model(job["out"], model)
    save_config(config, Path(job["out"]) / "config.json")


def continued(folder: str) -> str:
    model, tokenizer = load(folder)
    return generate(model, tokenizer, prompt="Once upon a time", max_tokens=6)


def work(job: dict[str, Any]) -> Any:
    if "logits" in job:
        return logits(job["logits"], job["ids"], job["out"])
    if "quantize" in job:
        return quantized(job)
    if "convert" in job:
        return convert(**job["convert"])
    return continued(job["generate"])


def main() -> None:
    answers: list[Any] = []
    for job in json.load(sys.stdin):
        with contextlib.redirect_stdout(sys.stderr):
            try:
                answers.append(work(job))
            except Exception as error:
                answers.append({"error": f"{type(error).__name__}: {error}"})
    print(json.dumps(answers))


main()
