"""MLX's layouts: bits by the page's examples and by any codes, meaning as MLX decodes, codes to and from other formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import reference
from hub.api import F32, U8, ArrayPart, Calibration, Const, Dense, HubError, PartSpec, UsageError, rows_spec
from hub.dtypes import DTYPES
from hub.ir.tensor import Tensor
from hub.pipeline import tile
from hub.planner import Entry
from hub.plugins import registry
from hub.transcode import conform
from hub_mlx.layouts import GROUPS, WIDTHS, Form

FLOATS = {"mlx.mxfp4": 32, "mlx.mxfp8": 32, "mlx.nvfp4": 16, "mlx.nvfp4/scaled": 16}


def hexes(words):
    return " ".join(f"{word:08x}" for word in np.ascontiguousarray(words).reshape(-1))


def arrays_of(name, shape, seed=0):
    """Random parts that mean finite numbers, scales of both signs."""
    layout, random = registry().layout(name), np.random.RandomState(seed)
    made = {}
    for part, spec in layout.parts(shape).items():
        if spec.dtype.name == "u32":
            made[part] = random.randint(0, 1 << 32, spec.shape, np.uint32)
        elif spec.dtype.name == "u8":
            made[part] = random.randint(100, 127, spec.shape).astype(np.uint8)
        else:
            made[part] = (random.randint(-2048, 2048, spec.shape) / 2.0**14).astype(spec.dtype.numpy())
    if "global_scale" in made:
        made["global_scale"] = np.abs(made["global_scale"]) + np.float32(1)
    if name == "mlx.mxfp8":  # two codes are NaN
        made["weight"] &= np.uint32(0xBFBFBFBF)
    return made


@pytest.mark.parametrize(("bits", "codes", "words"), [
    (4, list(range(16)), "76543210 fedcba98"),
    (3, list(range(8)) * 4, "88fac688 c688fac6 fac688fa"),
    (5, list(range(32)), "8a418820 c5a92839 ca307b9a 38bdab49 ffbbcdeb"),
    (6, list(range(32)), "440c2040 a2481c61 3ce34c2c 544d2450 a6585d65 7de75c6d"),
])  # fmt: skip
def test_words_as_mlx_has_them(bits, codes, words):
    """Seen in mlx 0.32.4."""
    layout = registry().layout(f"mlx.affine/{bits}bit-g32")
    codes = np.resize(np.array(codes, np.uint8), (1, 32))
    groups = np.ones((1, 1), np.float16)
    body = layout.unpack({"weight": np.zeros((1, bits), np.uint32), "scales": groups, "biases": groups}, (1, 32))
    packed = layout.pack(replace(body, codes=ArrayPart(codes, rows_spec(U8, (1, 32)))))
    assert hexes(packed["weight"]).startswith(words)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(WIDTHS), st.integers(1, 5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_any_codes_come_back_in_their_bits(bits, rows, groups, random):
    """The stream of a row, spelled out: bit k of it is bit k % 8 of byte k // 8."""
    columns = 32 * groups
    layout = registry().layout(f"mlx.affine/{bits}bit-g32-f32")
    codes = np.array([[random.randrange(1 << bits) for _ in range(columns)] for _ in range(rows)], np.uint8)
    numbers = np.ones((rows, groups), np.float32)
    shape = rows, columns
    blank = {"weight": np.zeros((rows, columns * bits // 32), np.uint32), "scales": numbers, "biases": numbers}
    body = replace(layout.unpack(blank, shape), codes=ArrayPart(codes, rows_spec(U8, shape)))
    packed = layout.pack(body)
    for row, stored in zip(codes, packed["weight"], strict=True):
        stream = sum(int(code) << (i * bits) for i, code in enumerate(row))
        assert stored.tobytes() == stream.to_bytes(columns * bits // 8, "little")
    np.testing.assert_array_equal(layout.unpack(packed, shape).codes.whole(), codes)


def test_names_say_everything():
    for bits in WIDTHS:
        for group in GROUPS:
            for scale in ("f16", "bf16", "f32"):
                form = Form(bits, group, scale)
                layout = registry().layout(form.layout)
                assert layout.name == form.layout
                assert Form.parse(form.layout.partition("/")[2]) == form
                specs = layout.parts((3, 2 * group))
                assert specs["weight"] == PartSpec(DTYPES["u32"], (3, 2 * group * bits // 32))
                assert specs["scales"] == specs["biases"] == PartSpec(DTYPES[scale], (3, 2))


@pytest.mark.parametrize("name", [
    "mlx.affine/7bit-g64", "mlx.affine/4bit-g16", "mlx.affine/4bit-g256", "mlx.affine/4bit", "mlx.affine/4bit-g64-f64", "mlx.affine/4bit-g064",
    "mlx.mxfp4/x", "mlx.affine", "mlx.affine/4bit-g64-f16",
])  # fmt: skip
def test_other_names_are_refused(name):
    with pytest.raises(UsageError):
        registry().layout(name)


@pytest.mark.parametrize(
    ("name", "bad"),
    [("mlx.mxfp4", 255), ("mlx.mxfp8", 255), ("mlx.nvfp4", 127), ("mlx.nvfp4", 128), ("mlx.nvfp4", 255)],
)
def test_scales_that_are_no_numbers_are_damage(name, bad):
    arrays = arrays_of(name, (4, 64))
    arrays["scales"][2, 1] = bad
    with pytest.raises(HubError, match=r"1 of .* bytes of scale of these rows are .* the model is damaged"):
        registry().layout(name).unpack(arrays, (4, 64))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan])
def test_a_global_scale_that_is_no_number_is_damage(bad):
    arrays = arrays_of("mlx.nvfp4/scaled", (4, 64))
    arrays["global_scale"][0] = bad
    with pytest.raises(HubError, match="global_scale is no positive number"):
        registry().layout("mlx.nvfp4/scaled").unpack(arrays, (4, 64))


def test_each_expert_has_a_global_scale():
    layout, shape = registry().layout("mlx.nvfp4/scaled"), (3, 4, 32)
    specs = layout.parts(shape)
    assert specs["weight"].shape == (12, 4)
    assert specs["global_scale"] == PartSpec(F32, (3,), 0, 4)
    arrays = arrays_of("mlx.nvfp4/scaled", shape)
    arrays["global_scale"] = np.array([1, 2, 4], np.float32) * 2688
    decoded = layout.decode(arrays, (12, 32))
    bare = registry().layout("mlx.nvfp4").decode({k: v for k, v in arrays.items() if k != "global_scale"}, (12, 32))
    np.testing.assert_array_equal(
        decoded.reshape(3, 4, 32), bare.reshape(3, 4, 32) * np.array([1, 2, 4]).reshape(3, 1, 1)
    )


def test_global_scales_of_16_bits_come_back():
    """Two of them may give one quotient; that of fewer digits is what was there."""
    layout, random = registry().layout("mlx.nvfp4/scaled"), np.random.RandomState(1)
    arrays = arrays_of("mlx.nvfp4/scaled", (1, 32))
    for kind in ("f16", "bf16"):
        for value in np.exp(random.randn(300) * 3).astype(DTYPES[kind].numpy()).astype(np.float32):
            arrays["global_scale"] = np.array([value], np.float32)
            assert layout.pack(layout.unpack(arrays, (1, 32)))["global_scale"][0] == value


def test_every_factor_is_near_the_global_scale_that_is_kept():
    layout, random = registry().layout("mlx.nvfp4/scaled"), np.random.RandomState(2)
    body = layout.unpack(arrays_of("mlx.nvfp4/scaled", (1, 32)), (1, 32))
    exact = 0
    for value in np.exp(random.randn(300) * 3).astype(np.float32):
        factor = np.array([[value]], np.float32)
        told = replace(body, scale=replace(body.scale, scale=Dense(ArrayPart(factor, PartSpec(F32, (1, 1), None)))))
        kept = layout.unpack(layout.pack(told), (1, 32)).scale.scale.part.whole()
        holding = layout.can_hold(layout.scheme((1, 32)), (1, 32), told)
        assert holding.fidelity == ("exact" if kept[0, 0] == value else "codes")
        assert abs(kept[0, 0] - value) <= np.spacing(value)
        exact += holding.fidelity == "exact"
    assert exact > 150


def test_quantizers_round_as_the_stored_type_says():
    """The scale of small f16 weights is rounded to f16 in MLX, here to its least step, and then up to a power of two."""
    layout = registry().layout("mlx.mxfp8")
    quantizer = registry().quantizer("mlx.mxfp8")
    rows = np.zeros((1, 32), np.float32)
    rows[0, 0] = 450 * 2.0**-24
    made = {
        kind: quantizer.quantize(rows, Calibration(stored=None if kind is None else DTYPES[kind]))["scales"][0, 0]
        for kind in (None, "f32", "bf16", "f16")
    }
    assert made == {None: 104, "f32": 104, "bf16": 104, "f16": 103}
    assert layout.decode(quantizer.quantize(rows, Calibration(stored=DTYPES["f16"])), (1, 32))[0, 0] > 0


@pytest.mark.parametrize(("kind", "byte"), [("f32", 104), ("bf16", 104), ("f16", 103)])
def test_a_conversion_tells_quantizers_the_stored_type(kind, byte):
    array = np.zeros((2, 32), DTYPES[kind].numpy())
    array[1, 0] = 450 * 2.0**-24
    part = ArrayPart(array, rows_spec(DTYPES[kind], array.shape))
    layout = registry().layout("mlx.mxfp8")
    entry = Entry(
        Tensor("w", (2, 32), Dense(part)),
        "mlx.mxfp8",
        "quantize",
        "lossy",
        "",
        False,
        "mlx.mxfp8/mlx",
        layout.nbytes((2, 32)),
    )
    assert tile(entry, registry(), 0, 2)["scales"].tolist() == [[127], [byte]]


def test_rows_are_rounded_to_the_type_of_scales():
    random = np.random.RandomState(3)
    rows = random.randn(4, 128).astype(np.float32)
    narrow = rows.astype(DTYPES["bf16"].numpy()).astype(np.float32)
    quantizer = registry().quantizer("mlx.affine/4bit-g64-bf16")
    one, other = (quantizer.quantize(x, Calibration()) for x in (rows, narrow))
    assert (rows != narrow).any()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes()


# ---------------------------------------------------------------- to and from other formats


def carried(source, target, arrays, shape):
    old, new = registry().layout(source), registry().layout(target)
    holding = new.can_hold(old.scheme(shape), shape)
    body = old.unpack(arrays, shape)
    if holding.by_value:
        holding = new.can_hold(old.scheme(shape), shape, body)
    return holding, new.pack(conform(body, old.scheme(shape), new.scheme(shape)))


@pytest.mark.parametrize(("ggml", "mlx"), [
    ("Q4_0", "affine/4bit-g32"), ("Q4_1", "affine/4bit-g32"), ("Q5_0", "affine/5bit-g32"), ("Q5_1", "affine/5bit-g32"), ("Q8_0", "affine/8bit-g32"),
    ("Q4_0", "affine/4bit-g32-f32"), ("Q8_0", "affine/8bit-g32-f32"),
    ("MXFP4", "mxfp4"), ("NVFP4", "nvfp4"),
])  # fmt: skip
def test_ggml_and_back_is_the_same_bytes(ggml, mlx):
    gguf = pytest.importorskip("gguf")
    shape = 8, 256
    random = np.random.RandomState(4)
    rows = random.randn(*shape).astype(np.float32) * np.float32(0.1)
    rows[2], rows[3], rows[4] = 0, np.abs(rows[3]), 0.25
    kind = gguf.GGMLQuantizationType[ggml]
    if ggml == "NVFP4":
        blocks = random.randint(0, 256, (8, 144)).astype(np.uint8)
        blocks.reshape(8, 4, 36)[:, :, :4] &= 0x3F
    else:
        blocks = gguf.quants.quantize(rows, kind)
    holding, packed = carried(f"ggml.{ggml}", f"mlx.{mlx}", {"blocks": blocks}, shape)
    assert holding.fidelity == "exact"
    decoded = registry().layout(f"mlx.{mlx}").decode(packed, shape)
    np.testing.assert_array_equal(decoded, gguf.quants.dequantize(blocks, kind))
    holding, again = carried(f"mlx.{mlx}", f"ggml.{ggml}", packed, shape)
    assert holding.fidelity == "exact"
    assert again["blocks"].tobytes() == blocks.tobytes()


@pytest.mark.parametrize(("ggml", "mlx"), [("Q4_K", "affine/4bit-g32-f32"), ("Q5_K", "affine/5bit-g32-f32")])
def test_k_quants_and_back_is_the_same_bytes(ggml, mlx):
    """MLX has products of scales; what they are products of is found again."""
    gguf = pytest.importorskip("gguf")
    shape = 40, 512
    rows = np.random.RandomState(5).randn(*shape).astype(np.float32) * np.float32(0.02)
    rows[3], rows[4], rows[5] = 0, np.abs(rows[4]), rows[5] * 40
    blocks = registry().quantizer(f"ggml.{ggml}").quantize(rows, Calibration())["blocks"]
    holding, packed = carried(f"ggml.{ggml}", f"mlx.{mlx}", {"blocks": blocks}, shape)
    assert holding.fidelity == "exact"
    wanted = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[ggml])
    np.testing.assert_array_equal(registry().layout(f"mlx.{mlx}").decode(packed, shape), wanted)
    holding, again = carried(f"mlx.{mlx}", f"ggml.{ggml}", packed, shape)
    assert holding.fidelity == "exact"
    np.testing.assert_array_equal(gguf.quants.dequantize(again["blocks"], gguf.GGMLQuantizationType[ggml]), wanted)
    assert again["blocks"].tobytes() == blocks.tobytes()
    packed["scales"][7, 9] *= np.float32(1.0001)
    body = registry().layout(f"mlx.{mlx}").unpack(packed, shape)
    holding = registry().layout(f"ggml.{ggml}").can_hold(registry().layout(f"mlx.{mlx}").scheme(shape), shape, body)
    assert (holding.fidelity, holding.reason) == (
        "lossy",
        "scales are small multiples of one number for some neighbours there",
    )


def test_half_the_groups_of_mlx_have_negative_scales_and_stay():
    random = np.random.RandomState(6)
    shape = 16, 256
    rows = random.randn(*shape).astype(np.float32)
    for form, target in (
        ("4bit-g64", "ggml.Q4_1"),
        ("3bit-g128", "ggml.Q4_1"),
        ("5bit-g32", "ggml.Q5_1"),
        ("4bit-g64-bf16", "ggml.Q4_1"),
    ):
        made = registry().quantizer(f"mlx.affine/{form}").quantize(rows, Calibration())
        assert 0.2 < (made["scales"] < 0).mean() < 0.8
        holding, packed = carried(f"mlx.affine/{form}", target, made, shape)
        assert holding.fidelity == "exact"
        wanted = registry().layout(f"mlx.affine/{form}").decode(made, shape)
        np.testing.assert_array_equal(registry().layout(target).decode(packed, shape), wanted)


@pytest.mark.parametrize("target", ["gptq.v2/4bit-g64", "awq.gemm/4bit-g64", "ct.pack/4bit-g64-f16-asym"])
def test_biases_that_are_nearly_whole_become_zero_points(target):
    """What mx.quantize makes of f16 is a hundredth of a step from an integer; codes are kept."""
    random = np.random.RandomState(7)
    shape = 64, 256
    made = registry().quantizer("mlx.affine/4bit-g64").quantize(random.randn(*shape).astype(np.float32), Calibration())
    mlx = registry().layout("mlx.affine/4bit-g64")
    holding, packed = carried("mlx.affine/4bit-g64", target, made, shape)
    assert (holding.fidelity, holding.reason) == ("codes", "offsets are rounded to whole zero points")
    layout = registry().layout(target)
    body = layout.unpack(packed, shape)
    low = 8 if body.values.signed else 0
    np.testing.assert_array_equal(body.codes.whole().astype(int) + low, mlx.unpack(made, shape).codes.whole())
    step = np.abs(made["scales"].astype(np.float32)).max()
    changed = np.abs(layout.decode(packed, shape) - mlx.decode(made, shape)).max()
    assert 0 < changed <= holding.error * 1.01 < step / 16
    back, again = carried(target, "mlx.affine/4bit-g64-f32", packed, shape)
    assert back.fidelity == "exact"
    np.testing.assert_array_equal(again["weight"], made["weight"])


def test_biases_far_from_whole_are_no_zero_points():
    made = arrays_of("mlx.affine/4bit-g64", (64, 256))
    layout = registry().layout("gptq.v2/4bit-g64")
    mlx = registry().layout("mlx.affine/4bit-g64")
    holding = layout.can_hold(mlx.scheme((64, 256)), (64, 256), mlx.unpack(made, (64, 256)))
    assert (holding.fidelity, holding.reason) == ("lossy", "offsets are not whole numbers of scales")


# ---------------------------------------------------------------- MLX itself


def mlx():
    try:
        import mlx.core as core
    except ImportError as error:
        pytest.skip(f"mlx cannot be imported: {error}")
    return core


@pytest.mark.consumers
@pytest.mark.parametrize("name", [*(f"mlx.affine/{b}bit-g{g}-f32" for b in WIDTHS for g in GROUPS), *FLOATS])
def test_decodes_as_mlx_does(name):
    core = mlx()
    shape = 16, 512
    layout = registry().layout(name)
    arrays = arrays_of(name, shape, seed=8)
    how = {"group_size": layout.group, "bits": layout.bits}
    given = {"scales": core.array(arrays["scales"])}
    if "biases" in arrays:
        given["biases"] = core.array(arrays["biases"])
    else:
        how |= {"mode": name.removeprefix("mlx.").partition("/")[0], "dtype": core.float32}
    if "global_scale" in arrays:
        how["global_scale"] = core.array(arrays["global_scale"])
    with core.stream(core.cpu):
        theirs = np.array(core.dequantize(core.array(arrays["weight"]), **given, **how))
    np.testing.assert_array_equal(layout.decode(arrays, shape), theirs)
    np.testing.assert_array_equal(reference.decode(layout.unpack(arrays, shape)), theirs)
    assert isinstance(layout.unpack(arrays, shape).zero, Const)
