"""Folders with MXFP4 that contradict themselves: one line that names the tensor, before any number is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_mxfp4
import numpy as np
import pytest

import hub
from hub.errors import HubError

Arrays = dict[str, np.ndarray]
STEM = "model.layers.1.mlp.experts.down_proj"
BLOCKS, SCALES = f"{STEM}_blocks", f"{STEM}_scales"


def change(name: str, made: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: np.ascontiguousarray(made(arrays[name]))})


def leave(name: str) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.pop(name)


def dense_too(arrays: Arrays) -> None:
    arrays[STEM] = np.zeros((4, 96, 64), np.float32)


def no_experts(arrays: Arrays) -> None:
    arrays.update({name: array for name, array in made_mxfp4.decoded().items() if name not in arrays})
    for name in [name for name in arrays if name.endswith(("_blocks", "_scales"))]:
        del arrays[name]


DAMAGES: dict[str, tuple[Callable[[Arrays], object], str]] = {
    "scales are missing": (leave(SCALES), f"{BLOCKS}.*{SCALES}, which belongs to it, is missing"),
    "blocks are missing": (leave(BLOCKS), f"{SCALES}.*{BLOCKS}, which belongs to it, is missing"),
    "there twice": (dense_too, f"{STEM}.*it is there in MXFP4, too"),
    "blocks of 8 bytes": (change(BLOCKS, lambda a: a[..., :8]), f"{BLOCKS}.*16 bytes"),
    "blocks without experts": (change(BLOCKS, lambda a: a[0, 0]), f"{BLOCKS}|{SCALES}"),
    "no blocks in a row": (change(BLOCKS, lambda a: a[:, :, :0]), f"{BLOCKS}.*16 bytes"),
    "five axes": (change(BLOCKS, lambda a: a[None]), f"{BLOCKS}.*16 bytes"),
    "fewer scales": (change(SCALES, lambda a: a[:, :, :2]), f"{SCALES}.*its blocks make it \\[4, 64, 3\\]"),
    "scales the other way round": (change(SCALES, lambda a: a.transpose(0, 2, 1)), f"{SCALES}.*its blocks make it"),
    "fewer experts": (change(SCALES, lambda a: a[:3]), f"{SCALES}.*its blocks make it"),
    "signed blocks": (change(BLOCKS, lambda a: a.view(np.int8)), f"{BLOCKS}.*its numbers are i8, allowed is u8"),
    "scales in f32": (change(SCALES, lambda a: a.astype(np.float32)), f"{SCALES}.*its numbers are f32, allowed is u8"),
    "no tensor is MXFP4": (no_experts, "the config says mxfp4, and no tensor ends in _blocks"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_tensors_that_do_not_fit(name: str, tmp_path: Path) -> None:
    damage, message = DAMAGES[name]
    arrays = made_mxfp4.arrays()
    damage(arrays)
    folder = made_mxfp4.folder(tmp_path / "m", arrays)
    with pytest.raises(HubError, match=message) as caught, hub.open(folder, format="mxfp4"):
        pass
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value) or "config says" in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [(f"{STEM}_blocks", (4, 64, 2, 16)), (f"{STEM}_blocks", (4, 32, 3, 16)), (BLOCKS, (2, 64, 3, 16))],
)
def test_shapes_that_the_settings_contradict(tensor: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    arrays = made_mxfp4.arrays()
    arrays[BLOCKS], arrays[SCALES] = np.zeros(shape, np.uint8), np.full(shape[:-1], 127, np.uint8)
    folder = made_mxfp4.folder(tmp_path / "m", arrays)
    with hub.open(folder) as model, pytest.raises(HubError, match=f"{STEM}.*the configuration makes it"):
        hub.plan(model, to="gguf")


def test_scales_without_a_meaning_are_damage(tmp_path: Path) -> None:
    """255 is NaN in E8M0; ggml's and transformers' loaders go on, with infinite weights."""
    arrays = made_mxfp4.arrays()
    arrays[SCALES] = arrays[SCALES].copy()
    arrays[SCALES][2, 7, 1] = 255
    folder = made_mxfp4.folder(tmp_path / "m", arrays)
    with pytest.raises(HubError, match="down_proj"):
        hub.convert(folder, tmp_path / "out.gguf", to="gguf")
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["model.layers.1.mlp.experts"], "modules_to_not_convert says that its module is not"),
        (["model.layers.*.mlp"], "modules_to_not_convert says that its module is not"),
        ("lm_head", "modules_to_not_convert"),
        ([7], "must be a list of at most"),
        (["("], "is not one"),
        (["x" * 2000], "at most 1000"),
    ],
)
def test_configs_that_contradict_the_tensors(value: Any, message: str, tmp_path: Path) -> None:
    folder = made_mxfp4.folder(tmp_path / "m", modules_to_not_convert=value)
    with pytest.raises(HubError, match=message), hub.open(folder):
        pass
