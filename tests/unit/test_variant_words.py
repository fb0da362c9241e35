"""Words behind the colon that formats with codes in groups share, and what is said of those that they lack."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_models import TINY

import hub
from hub.errors import UsageError


def layouts(path: Path, to: str) -> set[str]:
    with hub.open(path) as model:
        return {entry.layout for entry in hub.plan(model, to=to).entries}


@pytest.mark.parametrize("to", ["gptq:4bit", "awq:4bit", "compressed-tensors:4bit"])
@pytest.mark.parametrize("kind", ["", "-sym", "-asym"])
def test_a_group_of_all_is_a_scale_for_each_row(to: str, kind: str) -> None:
    assert layouts(TINY, f"{to}-gall{kind}") == layouts(TINY, f"{to}-channel{kind}")


@pytest.mark.parametrize("format", ["gptq", "awq", "compressed-tensors", "mlx", "onnx", "gguf", "safetensors", "fp8"])
def test_a_word_that_is_none_is_refused_with_the_formats_name(format: str) -> None:
    with pytest.raises(UsageError, match=rf"^{format} has no variant '99bit-g7'; "):
        layouts(TINY, f"{format}:99bit-g7")


@pytest.mark.parametrize("format", ["gptq", "awq"])
def test_an_order_of_columns_is_not_made_up(format: str) -> None:
    with pytest.raises(UsageError, match=f"^{format} has no variant '4bit-g64-actorder': .*calibrated"):
        layouts(TINY, f"{format}:4bit-g64-actorder")


def test_a_folder_of_codes_without_any_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"^no tensor would be awq's: model.layers.0.*: rows of \d+ are not a multiple"
    ):
        layouts(TINY, "awq:4bit-g100")
    assert any(layout.startswith("awq.") for layout in layouts(TINY, "awq:4bit-g48"))  # some do have such rows


@pytest.mark.parametrize(
    ("format", "usual"), [("gptq", "4bit-g128-sym"), ("awq", "4bit-g128"), ("compressed-tensors", "4bit-g128")]
)
def test_a_format_alone_says_which_variant_that_is(format: str, usual: str) -> None:
    said = f"no codes to keep: {usual}, the usual variant"
    with hub.open(TINY) as model:
        assert said in hub.plan(model, to=format).notes
        assert said not in hub.plan(model, to=f"{format}:4bit-g128").notes


@pytest.mark.parametrize(("group", "said"), [(48, ["no kernel", "36 matrices end"]), (512, ["42 matrices"]), (32, [])])
def test_groups_that_loaders_do_not_take_are_told(group: int, said: list[str]) -> None:
    with hub.open(TINY) as model:
        notes = [note for note in hub.plan(model, to=f"gptq:4bit-g{group}").notes if "group" in note]
    assert len(notes) == len(said) and all(a in b for a, b in zip(said, notes, strict=True)), notes
