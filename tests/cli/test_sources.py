"""The same weights from different sources give the same output: GGUF and safetensors, whole and in pieces, wide
and narrow."""

from __future__ import annotations

import pytest
from made_models import TINY, folder, llama_config, read_gguf, split_gguf, tiny_as

TYPES = {0: "f32", 1: "f16", 30: "bf16", 8: "q8_0", 12: "q4_k"}


def tensors(path):
    return {name: (kind, shape, raw) for name, (kind, shape, raw) in read_gguf(path)[1].items()}


def keys(path):
    return {key: (kind, value) for key, kind, value in read_gguf(path)[0]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """tiny-llama as GGUF files, by the name of their type."""
    import hub

    base = tmp_path_factory.mktemp("gguf")
    for variant in ("f32", "f16", "bf16", "q4_k_m", "q8_0"):
        hub.convert(TINY, base / f"{variant}.gguf", to=f"gguf:{variant}")
    return {path.stem: path for path in base.iterdir()}


# ------------------------------------------------------------------------------------------------ GGUF to GGUF


@pytest.mark.parametrize("variant", ["f32", "f16", "bf16", "q4_k_m", "q8_0"])
def test_a_copy_keeps_every_byte_of_every_tensor(hub, made, tmp_path, variant):
    hub("convert", "--to", "gguf", "--require", "identical", made[variant], tmp_path / "copy.gguf")
    assert tensors(tmp_path / "copy.gguf") == tensors(made[variant])
    assert keys(tmp_path / "copy.gguf") == keys(made[variant])


def test_a_copy_of_a_copy_is_the_same_file(hub, made, tmp_path):
    hub("convert", "--to", "gguf", "-q", made["q4_k_m"], tmp_path / "1.gguf")
    hub("convert", "--to", "gguf", "-q", tmp_path / "1.gguf", tmp_path / "2.gguf")
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "2.gguf").read_bytes()


@pytest.mark.parametrize("source", ["f32", "bf16"])
@pytest.mark.parametrize("variant", ["q4_k_m", "q8_0", "q3_k_l", "q5_1"])
def test_gguf_and_safetensors_quantize_to_the_same_bytes(hub, made, tmp_path, source, variant):
    """bf16 and f32 hold the checkpoint's bf16 weights alike, so it does not matter which way they come."""
    hub("convert", "--to", f"gguf:{variant}", "-q", made[source], tmp_path / "a.gguf")
    hub("convert", "--to", f"gguf:{variant}", "-q", TINY, tmp_path / "b.gguf")
    one, two = tensors(tmp_path / "a.gguf"), tensors(tmp_path / "b.gguf")
    assert list(one) == list(two)
    assert one == two
    assert keys(tmp_path / "a.gguf")["general.file_type"] == keys(tmp_path / "b.gguf")["general.file_type"]


def test_the_file_type_follows_the_variant_and_the_rest_of_the_keys_stays(hub, made, tmp_path):
    hub("convert", "--to", "gguf:q8_0", "-q", made["f32"], tmp_path / "x.gguf", "--set", "general.name=N")
    old, new = keys(made["f32"]), keys(tmp_path / "x.gguf")
    assert new.pop("general.file_type") == ("u32", 7)
    assert new.pop("general.name") == ("str", b"N")
    assert {key: value for key, value in new.items() if old.get(key) != value} == {}
    assert set(old) - set(new) == {"general.file_type", "general.name"}


def test_alignment_and_split_keys_are_not_carried_over(hub, made, tmp_path):
    from made_models import write_gguf

    kvs, found = read_gguf(made["f32"])
    sizes = {0: 4}
    chosen = {
        name: ("f32", shape, raw[: len(raw) // 32 * 32]) for name, (kind, shape, raw) in found.items() if sizes[kind]
    }
    extra = [("general.alignment", "u32", 32), ("split.count", "u16", 0), ("split.no", "u16", 0), ("my.key", "i8", -3)]
    hub("convert", "--to", "gguf", "-q", write_gguf(tmp_path / "a.gguf", [*kvs, *extra], chosen), tmp_path / "b.gguf")
    new = keys(tmp_path / "b.gguf")
    assert new["my.key"] == ("i8", -3)
    assert not {"general.alignment", "split.count", "split.no"} & set(new)
    assert tensors(tmp_path / "b.gguf") == tensors(made["f32"])


def test_types_of_keys_survive(hub, tmp_path):
    """Whatever its type and however strange: numbers of every width, empty strings and arrays, bytes that are not
    UTF-8."""
    odd = [
        ("t.u8", "u8", 200), ("t.i8", "i8", -100), ("t.u16", "u16", 60000), ("t.i16", "i16", -30000),
        ("t.u32", "u32", 1 << 31),
        ("t.i32", "i32", -1), ("t.f32", "f32", 0.5), ("t.bool", "bool", True), ("t.u64", "u64", 1 << 63),
        ("t.i64", "i64", -(1 << 62)),
        ("t.f64", "f64", 0.1), ("t.str", "str", b""), ("t.raw", "str", b"\xff\xfe a"), ("t.none", "arr[str]", []),
        ("t.no", "arr[i32]", []),
        ("t.strs", "arr[str]", [b"", b"\xff", "é".encode()]), ("t.flags", "arr[bool]", [True, False]),
        ("t.many", "arr[i16]", list(range(500))),
    ]  # fmt: skip
    from made_models import write_gguf

    hub("convert", "--to", "gguf:f32", "-q", folder(tmp_path / "m"), tmp_path / "a.gguf")
    kvs, found = read_gguf(tmp_path / "a.gguf")
    write_gguf(
        tmp_path / "b.gguf", [*kvs, *odd], {name: ("f32", shape, raw) for name, (_, shape, raw) in found.items()}
    )
    hub("convert", "--to", "gguf", "-q", tmp_path / "b.gguf", tmp_path / "c.gguf")
    new = keys(tmp_path / "c.gguf")
    assert {key: new[key] for key, _, _ in odd} == {key: (kind, value) for key, kind, value in odd}


# ------------------------------------------------------------------------------------------------ pieces


@pytest.mark.parametrize("count", [2, 5])
def test_a_split_gguf_is_read_as_one(hub, made, tmp_path, count):
    import shutil

    whole = tmp_path / "m.gguf"
    shutil.copy(made["f32"], whole)
    first = split_gguf(whole, tmp_path, count)
    assert f"in {count} files" in hub("inspect", first).out
    hub("convert", "--to", "gguf:q4_k_m", "-q", first, tmp_path / "a.gguf")
    hub("convert", "--to", "gguf:q4_k_m", "-q", whole, tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    hub("convert", "--to", "gguf", "--require", "identical", first, tmp_path / "c.gguf")
    assert tensors(tmp_path / "c.gguf") == tensors(whole)
    assert hub("check", first).out.endswith("no faults\n")
    second = tmp_path / f"m-00002-of-{count:05}.gguf"
    assert "give the first one" in hub("inspect", second, status=1).err
    second.unlink()
    assert "are missing" in hub("inspect", first, status=1).err


@pytest.mark.parametrize("shards", [2, 4])
def test_shards_are_read_as_one(hub, tmp_path, shards):
    """Tensors are ordered by shard, so a float file's order may differ; quantized files sort, so they are the same
    file."""
    (tmp_path / "b").mkdir()
    sharded = tiny_as(tmp_path / "a" / "model", "bf16", shards)
    single = tiny_as(tmp_path / "b" / "model", "bf16")
    for path in (sharded, single):
        hub("convert", "--to", "gguf:q4_k_m", "-q", path, path.parent / "q.gguf")
        hub("convert", "--to", "gguf:f32", "-q", path, path.parent / "f.gguf")
    assert (tmp_path / "a" / "q.gguf").read_bytes() == (tmp_path / "b" / "q.gguf").read_bytes()
    assert tensors(tmp_path / "a" / "f.gguf") == tensors(tmp_path / "b" / "f.gguf")


# ------------------------------------------------------------------------------------------------ types


@pytest.mark.parametrize("variant", ["q4_k_m", "q8_0", "f32", "f16", "bf16"])
def test_weights_that_every_type_holds_come_out_the_same_whatever_they_are_stored_in(hub, tmp_path, variant):
    """The test weights are bf16 and f16 numbers; f64, f32, f16 and bf16 checkpoints of them are one model."""
    out = {}
    for dtype in ("f32", "f16", "bf16", "f64"):
        path = folder(tmp_path / dtype / "m", dtype=dtype)
        hub("convert", "--to", f"gguf:{variant}", "-q", path, tmp_path / f"{dtype}.gguf")
        out[dtype] = tensors(tmp_path / f"{dtype}.gguf")
    assert out["f32"] == out["f16"] == out["bf16"] == out["f64"]


def test_tied_and_untied_copies_of_one_head(hub, tmp_path):
    config = llama_config(tie_word_embeddings=True)
    hub("convert", "--to", "gguf:q8_0", "-q", folder(tmp_path / "m", config), tmp_path / "x.gguf")
    hub("convert", "--to", "gguf:f32", "-q", tmp_path / "x.gguf", tmp_path / "y.gguf")
    assert "output.weight" not in tensors(tmp_path / "y.gguf")


# ------------------------------------------------------------------------------------------------ determinism


@pytest.mark.parametrize("variant", ["q4_k_m", "q8_0", "f16"])
def test_bytes_do_not_depend_on_threads_memory_or_chance(hub, tmp_path, variant):
    """Small tiles too: with the least memory every tensor is cut into many."""
    first = None
    settings = [(1, "1G"), (2, "1G"), (3, "1G"), (8, "1G"), (2, "1G"), (1, "162M"), (3, "168M")]
    for i, (threads, memory) in enumerate(settings):
        out = tmp_path / f"{i}.gguf"
        hub("convert", "--to", f"gguf:{variant}", "-q", "--threads", threads, "--max-memory", memory, TINY, out)
        first = first or out.read_bytes()
        assert out.read_bytes() == first, (threads, memory)


def test_gguf_sources_are_cut_into_tiles_alike(hub, made, tmp_path):
    for i, (threads, memory) in enumerate([(1, "1G"), (2, "162M"), (8, "200M")]):
        out = tmp_path / f"{i}.gguf"
        hub("convert", "--to", "gguf:q5_k_m", "-q", "--threads", threads, "--max-memory", memory, made["q4_k_m"], out)
        assert out.read_bytes() == (tmp_path / "0.gguf").read_bytes()


def test_instruction_sets_give_the_same_bytes(program, tmp_path):
    import os

    import hub_native

    outs = []
    for isa in hub_native.available():
        out = tmp_path / f"{isa}.gguf"
        environment = os.environ | {"HUB_ISA": isa}
        done = program("convert", "--to", "gguf:q4_k_m", "-q", TINY, out, env=environment)
        assert done.status == 0, done.err
        outs.append(out.read_bytes())
    assert len(set(outs)) == 1
    done = program("convert", "--to", "gguf:q4_k_m", TINY, tmp_path / "x.gguf", env=os.environ | {"HUB_ISA": "mmx"})
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
