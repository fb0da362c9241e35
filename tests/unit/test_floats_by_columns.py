"""Floats stay floats of their own type however they lie: a graph multiplies with matrices by columns, other formats
have them by rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_models import TINY

import hub
from hub.planner import Entry

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def planned(path: Path, to: str) -> dict[str, Entry]:
    with hub.open(path) as model:
        return {entry.tensor.name: entry for entry in hub.plan(model, to=to).entries}


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bf16, as all of tiny-llama."""
    made = tmp_path_factory.mktemp("columns") / "floats"
    hub.convert(TINY, made, to="onnx", verify="none")
    return made


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers in codes, embedding and output matrix in bf16."""
    made = tmp_path_factory.mktemp("columns")
    hub.convert(TINY, made / "gptq", to="gptq:4bit-g128-sym", verify="none")
    hub.convert(made / "gptq", made / "codes", to="onnx", verify="none")
    return made / "codes"


def test_floats_come_back_to_the_last_byte(floats: Path, tmp_path: Path) -> None:
    hub.convert(floats, tmp_path / "back", to="safetensors", verify="none")
    hub.convert(TINY, tmp_path / "straight", to="safetensors", verify="none")
    name = "model.safetensors"
    assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


@pytest.mark.parametrize("to", ["mlx", "gptq", "awq", "compressed-tensors", "fp8", "gguf", "safetensors"])
def test_the_output_matrix_of_a_model_in_codes_keeps_its_type(to: str, codes: Path) -> None:
    made = planned(codes, to)
    head = made["output.weight" if to == "gguf" else HEAD]
    assert (head.layout, head.fidelity) == ("bf16", "exact")


def test_what_is_no_code_is_not_quantized_where_codes_are_kept(codes: Path) -> None:
    made = planned(codes, "mlx")
    assert not any(entry.fallback for entry in made.values())
    assert made[EMBEDDING].route == "copy" and {entry.fidelity for entry in made.values()} == {"identical", "exact"}


@pytest.mark.parametrize("to", ["gguf", "mlx:bf16"])
def test_floats_need_no_more_room_than_in_the_source(to: str, floats: Path) -> None:
    matrices = [entry for entry in planned(floats, to).values() if len(entry.tensor.shape) == 2]
    assert len(matrices) == 44 and {entry.layout for entry in matrices} == {"bf16"}
