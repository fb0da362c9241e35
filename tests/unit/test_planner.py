"""Routes and fidelity of every tensor, before anything is written."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from made_models import TINY, folder, llama_config, llama_shapes, weights

import hub
from hub import holding, planner
from hub.errors import ArchitectureError, ConfigError, ExactnessError, PluginError, UsageError
from hub.format import PlannedFile
from hub.holding import held
from hub.plugins import registry
from hub.recipe import Recipe, rule


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same small Llama as safetensors in three types, and as GGUF in three."""
    base = tmp_path_factory.mktemp("models")
    paths = {dtype: folder(base / dtype, dtype=dtype) for dtype in ("f32", "f16", "bf16")}
    for variant in ("f32", "q4_k_s", "q8_0"):
        paths[f"gguf-{variant}"] = base / f"{variant}.gguf"
        hub.convert(paths["f32"], paths[f"gguf-{variant}"], to=f"gguf:{variant}", threads=1)
    return paths


def plan(path, to, **options):
    with hub.open(path) as model:
        return hub.plan(model, to=to, **options)


def routes(path, to, **options):
    return Counter((e.tensor.layout, e.layout, e.route, e.fidelity) for e in plan(path, to, **options).entries)


PLAIN, HEADS, NORMS = 12, 4, 5  # matrices that keep their rows, q and k whose rows move, vectors


@pytest.mark.parametrize(
    ("source", "to", "wanted"),
    [
        ("f32", "gguf", {("f32", "f32", "copy", "identical"): PLAIN + NORMS, ("f32", "f32", "copy", "exact"): HEADS}),
        ("f32", "gguf:f32", {("f32", "f32", "copy", "identical"): PLAIN + NORMS, ("f32", "f32", "copy",
        "exact"): HEADS}),
        ("f32", "gguf:f16", {("f32", "f16", "cast", "lossy"): PLAIN + HEADS, ("f32", "f32", "copy",
        "identical"): NORMS}),
        ("bf16", "gguf:f32", {("bf16", "f32", "cast", "exact"): PLAIN + HEADS + NORMS}),
        ("bf16", "gguf:f16", {("bf16", "f16", "cast", "lossy"): PLAIN + HEADS, ("bf16", "f32", "cast",
        "exact"): NORMS}),
        (
            "bf16", "gguf",
            {("bf16", "bf16", "copy", "identical"): PLAIN, ("bf16", "bf16", "copy", "exact"): HEADS,
             ("bf16", "f32", "cast", "exact"): NORMS},
        ),
        ("f16", "gguf:bf16", {("f16", "bf16", "cast", "lossy"): PLAIN + HEADS, ("f16", "f32", "cast", "exact"): NORMS}),
        (
            "f16", "gguf:q8_0",
            {("f16", "ggml.Q8_0", "quantize", "lossy"): PLAIN + HEADS, ("f16", "f32", "cast", "exact"): NORMS},
        ),
        ("gguf-f32", "gguf", {("f32", "f32", "copy", "identical"): PLAIN + HEADS + NORMS}),
        (
            "gguf-q8_0", "gguf",
            {("ggml.Q8_0", "ggml.Q8_0", "copy", "identical"): PLAIN + HEADS, ("f32", "f32", "copy",
            "identical"): NORMS},
        ),
        (
            "gguf-q8_0", "gguf:f32",
            {("ggml.Q8_0", "f32", "dequantize", "exact"): PLAIN + HEADS, ("f32", "f32", "copy", "identical"): NORMS},
        ),
        (
            "gguf-q8_0", "gguf:f16",
            {("ggml.Q8_0", "f16", "dequantize", "lossy"): PLAIN + HEADS, ("f32", "f32", "copy", "identical"): NORMS},
        ),
        (
            "gguf-q8_0", "gguf:q8_0",
            {("ggml.Q8_0", "ggml.Q8_0", "copy", "identical"): PLAIN + HEADS, ("f32", "f32", "copy",
            "identical"): NORMS},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_routes(made, source, to, wanted):
    assert routes(made[source], to) == wanted


def test_quantized_sources_are_requantized_only_where_nothing_better_holds(made):
    """Q4_K to Q5_K keeps every weight; Q4_K to Q4_0 cannot."""
    found = routes(made["gguf-q4_k_s"], "gguf:q5_k_s")
    assert found["ggml.Q4_K", "ggml.Q5_K", "repack", "exact"] >= 10
    assert not any(fidelity == "lossy" for _, _, _, fidelity in found)
    again = plan(made["gguf-q4_k_s"], "gguf:q4_0")
    for entry in again.entries:
        if entry.route == "requantize":
            assert (entry.layout, entry.quantizer, entry.fidelity) == ("ggml.Q4_0", "ggml.Q4_0/reference", "lossy")
            assert entry.why
    assert Counter(entry.route for entry in again.entries)["requantize"] >= 10


def test_steps_and_quantizers_are_named(made):
    entries = {entry.name: entry for entry in plan(made["f32"], "gguf:q4_k_m").entries}
    assert entries["blk.0.attn_q.weight"].tensor.derived == ("interleave_heads",)
    assert entries["blk.0.attn_v.weight"].tensor.derived == ()
    assert entries["blk.0.attn_q.weight"].quantizer == "ggml.Q4_K/reference"
    assert entries["blk.0.attn_norm.weight"].quantizer is None
    assert "mixture" in entries["output.weight"].why


def test_sizes_add_up(made):
    found = plan(made["f32"], "gguf:q4_k_m")
    (file,) = found.files
    assert found.size == file.size
    assert (
        sum(entry.nbytes for entry in found.entries) < file.size < sum(entry.nbytes for entry in found.entries) + 10_000
    )
    shapes = llama_shapes(llama_config())
    assert found.weights == sum(int(np.prod(shape)) for shape in shapes.values())
    assert found.bits_per_weight == pytest.approx(8 * sum(e.nbytes for e in found.entries) / found.weights)


def test_odd_rows_fall_back_and_say_so(tmp_path):
    config = llama_config(hidden_size=96, intermediate_size=100, num_attention_heads=2, num_key_value_heads=1)
    found = {e.name: e for e in plan(folder(tmp_path / "m", config), "gguf:q4_k_m").entries}
    assert (found["blk.0.attn_q.weight"].layout, found["blk.0.attn_q.weight"].fallback) == ("ggml.Q5_0", True)
    assert "not whole blocks of Q4_K (256)" in found["blk.0.attn_q.weight"].why
    assert found["blk.0.ffn_down.weight"].layout == "f16"
    assert not found["blk.0.attn_norm.weight"].fallback


def test_require_lists_what_cannot_be_kept(made):
    planner.require(plan(made["f32"], "gguf"), "exact")
    planner.require(plan(made["gguf-q4_k_s"], "gguf"), "identical")
    planner.require(plan(made["gguf-q4_k_s"], "gguf:q5_k_s"), "exact")
    with pytest.raises(ExactnessError, match=r"4 of 21 tensors cannot stay identical: .*attn_q"):
        planner.require(plan(made["f32"], "gguf"), "identical")
    for least in ("identical", "exact", "codes"):
        with pytest.raises(ExactnessError, match=f"16 of 21 tensors cannot stay {least}: .* and 14 more") as refused:
            planner.require(plan(made["f32"], "gguf:f16"), least)
        assert len(refused.value.failing) == 16
    planner.require(plan(made["f32"], "gguf:q4_0"), "lossy")


@pytest.mark.parametrize(("source", "to", "least", "reasons"), [
    ("f32", "gguf", "identical", {"the same numbers, moved (interleave_heads)"}),
    ("f32", "gguf:f16", "exact", {"f32 is rounded to f16"}),
    ("f32", "gguf:q8_0", "codes", {"floats are rounded to codes of 8 bits"}),
    ("f32", "compressed-tensors:mxfp4", "codes", {"floats are rounded to 16 values of a table"}),
    ("bf16", "gguf:f32", "identical", {"the same numbers in another type"}),
    ("gguf-q4_k_s", "gguf:q5_k_s", "identical", {"the same codes in other bytes"}),
    ("gguf-q4_k_s", "gguf:q4_0", "codes", {"offsets are not whole numbers of scales", "codes u5 do not fit u4"}),
])  # fmt: skip
def test_every_tensor_that_cannot_be_kept_is_told_why(made, source, to, least, reasons):
    found = plan(made[source], to)
    with pytest.raises(ExactnessError) as refused:
        planner.require(found, least)
    told = {one["name"]: one for one in refused.value.failing}
    worse = {"identical": ("exact", "codes", "lossy"), "exact": ("codes", "lossy"), "codes": ("lossy",)}[least]
    assert set(told) == {entry.name for entry in found.entries if entry.fidelity in worse}
    assert {one["why"] for one in told.values()} <= reasons, told
    assert any(reason in str(refused.value) for reason in reasons)


def test_a_fault_seen_while_looking_at_numbers_names_the_tensor_and_its_file(made, monkeypatch):
    def broken(*_args):
        raise ConfigError("a fault deep inside")

    monkeypatch.setattr(holding, "_looked", broken)
    found = hub.open(made["gguf-q4_k_s"])
    tensor = next(t for t in found.tensors.values() if t.layout == "ggml.Q4_K")
    with pytest.raises(ConfigError, match="a fault deep inside") as caught:
        held(tensor, registry().layout("ggml.Q4_K"), registry().layout("ggml.Q4_1"))
    assert (caught.value.tensor, caught.value.path) == (tensor.stored_name, str(made["gguf-q4_k_s"]))


def test_rules_win_over_the_variant(made):
    rules = [rule("attn_k=q8_0"), rule("attn=f16"), rule("^output.weight$=f32")]
    found = {e.name: e for e in plan(made["f32"], "gguf:q4_k_m", rules=rules).entries}
    assert found["blk.1.attn_k.weight"].layout == "ggml.Q8_0"
    assert found["blk.1.attn_v.weight"].layout == "f16"
    assert found["output.weight"].layout == "f32"
    assert found["blk.1.attn_v.weight"].why.startswith("as the user asked")
    pure = {e.layout for e in plan(made["f32"], "gguf:q4_k_m", recipe=Recipe(pure=True)).entries}
    assert pure == {"ggml.Q4_K", "f32"}


def test_a_rule_that_matches_nothing_is_noted(made):
    notes = plan(made["f32"], "gguf:q4_0", rules=[rule("attn_z=q8_0"), rule("attn_q=q8_0")]).notes
    assert [note for note in notes if "attn_z" in note]
    assert not [note for note in notes if "attn_q" in note]


@pytest.mark.parametrize("to", ["gguf:q9", "gguf:", ":q4_0", "", "ggufs", "gguf:q4_0:x", "safetensors:f17"])
def test_targets_that_do_not_exist(made, to):
    with pytest.raises(UsageError):
        plan(made["f32"], to)


def test_a_layout_that_does_not_exist_or_fit(made):
    with pytest.raises(UsageError, match="no layout 'q99'"):
        plan(made["f32"], "gguf:q4_0", rules=[rule("attn_q=q99")])
    with pytest.raises(ConfigError, match="cannot be laid out"):
        plan(made["f32"], "gguf:q4_0", rules=[rule("attn_norm=q8_0")])


def test_a_type_without_a_quantizer(made):
    with pytest.raises((ConfigError, UsageError)):
        plan(made["f32"], "gguf:q4_0", rules=[rule("attn_q=iq4_xs")])


def test_tensors_that_the_architecture_does_not_know(tmp_path):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.layers.0.self_attn.surprise.weight"] = np.zeros((4, 4), np.float32)
    with pytest.raises(ArchitectureError, match=r"does not name: model.layers.0.self_attn.surprise.weight"):
        plan(folder(tmp_path / "more", arrays=arrays), "gguf")
    del arrays["model.layers.0.self_attn.surprise.weight"], arrays["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ArchitectureError, match=r"are missing: model.layers.1.mlp.up_proj.weight"):
        plan(folder(tmp_path / "less", arrays=arrays), "gguf")


def test_shapes_that_contradict_the_settings(tmp_path):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.norm.weight"] = np.ones(255, np.float32)
    with pytest.raises(ConfigError, match=r"shape \[255\], the configuration makes it \[256\]") as caught:
        plan(folder(tmp_path / "m", arrays=arrays), "gguf")
    assert caught.value.tensor == "model.norm.weight"


def test_recomputed_tables_are_dropped_with_a_reason(tmp_path):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(32, np.float32)
    found = plan(folder(tmp_path / "m", arrays=arrays), "gguf")
    assert [name for name, _ in found.dropped] == ["model.layers.0.self_attn.rotary_emb.inv_freq"]


def test_integers_are_not_weights(tmp_path):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.norm.weight"] = np.ones(256, np.int32)
    with pytest.raises(ConfigError, match="type i32, which hub does not convert"):
        plan(folder(tmp_path / "m", arrays=arrays), "gguf")


def test_planning_reads_no_weights(made, monkeypatch):
    from hub.ir import part

    def refuse(*_args):
        raise AssertionError("a weight was read")

    monkeypatch.setattr(part.FilePart, "load", refuse)
    for source in ("f32", "gguf-q4_k_s"):
        assert plan(made[source], "gguf:q4_k_m").size


@pytest.mark.parametrize("stem", ["model.gguf", "dir/model.gguf", "model"])
def test_the_name_of_a_source(stem):
    assert planner.source_stem(f"/x/{stem}") == "model"
    assert planner.source_stem(str(TINY)) == "tiny-llama"
    assert planner.source_stem(str(TINY) + "/") == "tiny-llama"


def broken(files, made):
    entries = plan(made["f32"], "gguf").entries
    planner._check_files(entries, files(entries), registry())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda _: [PlannedFile("f", 10)], "did not place"),
        (lambda entries: [PlannedFile("f", 10, placed={(e.name, "data"): 0 for e in entries})], "outside"),
        (lambda entries: [PlannedFile("f", 1 << 30, placed={(e.name, "data"): 0 for e in entries})], "overlaps"),
        (
            lambda entries: [
                PlannedFile(
                    "f",
                    1 << 40,
                    [(100, b"xxx"), (102, b"y")],
                    {(e.name, "data"): (i + 1) << 30 for i, e in enumerate(entries)},
                )
            ],
            "overlaps at byte 102",
        ),
    ],
)
def test_a_writer_that_misplaces_parts_is_found_before_writing(made, files, message):
    with pytest.raises(PluginError, match=message):
        broken(files, made)
