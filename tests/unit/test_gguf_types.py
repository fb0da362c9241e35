"""hub_gguf's table of tensor types against the `gguf` package."""

from __future__ import annotations

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

import hub_native
from hub.errors import HubError
from hub_gguf.filetypes import FILE_TYPES, fallback
from hub_gguf.kvtypes import KvType
from hub_gguf.layouts import GgmlLayout
from hub_gguf.types import BY_ID, BY_NAME, DECODED, QUANTIZED, REMOVED, type_of


@pytest.mark.parametrize("kind", list(GGMLQuantizationType), ids=lambda kind: kind.name)
def test_every_type_of_the_package_has_the_same_id_and_block(kind):
    ours = BY_ID[kind.value]
    assert ours.name == kind.name
    block, size = GGML_QUANT_SIZES[kind]
    if kind.name == "Q8_1":
        size = 36  # block_q8_1 has two f16; the package counts two f32. No file has the type.
    assert (ours.block, ours.bytes) == (block, size)
    assert ours.row_bytes(4 * ours.block) == 4 * ours.bytes


def test_types_that_the_package_does_not_know_yet():
    """Both come from ggml.h; a newer package may know them, and the test above then looks at them."""
    assert {name for name in BY_NAME if name not in GGMLQuantizationType.__members__} <= {"Q1_0", "Q2_0", "NVFP4"}


def test_every_type_of_model_files_has_a_layout():
    """Q8_1 and Q8_K are what activations are rounded to while a model runs; integers are no weights."""
    others = {kind.name for kind in BY_ID.values() if kind.dense is None} - {
        kind.name for kind in (*QUANTIZED, *DECODED)
    }
    assert others == {"Q8_1", "Q8_K"}


def test_a_layout_with_a_further_part_is_of_its_type():
    assert type_of("ggml.NVFP4/scaled") is BY_NAME["NVFP4"] is type_of("ggml.NVFP4")
    assert type_of("f16") is BY_NAME["F16"]
    assert type_of("mlx.affine/4bit-g64") is None


def test_removed_ids_are_free():
    assert not set(REMOVED) & set(BY_ID)
    assert set(range(43)) == set(REMOVED) | set(BY_ID)


@pytest.mark.parametrize("kind", [*QUANTIZED, *DECODED], ids=lambda kind: kind.name)
def test_the_kernels_agree_on_blocks(kind):
    assert tuple(hub_native.block(kind.word)) == (kind.block, kind.bytes)


@pytest.mark.parametrize("name", sorted(FILE_TYPES))
def test_file_types_have_the_numbers_of_llama_ftype(name):
    theirs = {member.name: member.value for member in LlamaFileType}
    spelling = "ALL_F32" if name == "f32" else f"MOSTLY_{name.upper()}"
    assert FILE_TYPES[name].number == theirs[spelling]
    assert FILE_TYPES[name].default in BY_NAME


def test_kv_types_have_the_numbers_of_the_package():
    from gguf import GGUFValueType

    long = {"UINT": "U", "INT": "I", "FLOAT": "F"}
    for member in GGUFValueType:
        name = member.name
        for theirs, ours in long.items():
            if name.startswith(theirs):
                name = name.replace(theirs, ours, 1)
        assert KvType[name] == member.value


@pytest.mark.parametrize(
    ("wanted", "width", "got"),
    [
        ("Q4_K", 512, "Q4_K"), ("Q4_K", 288, "Q5_0"), ("Q5_K", 288, "Q5_1"), ("Q6_K", 288, "Q8_0"),
        ("Q3_K", 96, "Q4_0"),
        ("Q2_K", 96, "Q4_0"), ("Q4_K", 40, "F16"), ("Q8_0", 40, "F16"), ("Q4_0", 33, "F16"), ("F32", 7, "F32"),
        ("BF16", 7, "BF16"),
    ],
)  # fmt: skip
def test_rows_that_are_not_whole_blocks_fall_back(wanted, width, got):
    assert fallback(BY_NAME[wanted], width) == BY_NAME[got]


@pytest.mark.parametrize("kind", [*QUANTIZED, *DECODED], ids=lambda kind: kind.name)
def test_layouts_say_what_they_cannot_hold(kind):
    layout = GgmlLayout(kind)
    assert layout.fits((3, kind.block)) is None
    assert "dimensions" in layout.fits((kind.block,))
    assert "not a multiple" in layout.fits((3, kind.block + 1))
    with pytest.raises(HubError):
        layout.parts((3, kind.block + 1))
    assert layout.nbytes((2, 3, 2 * kind.block)) == 12 * kind.bytes
