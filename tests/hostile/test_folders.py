"""Model folders whose files are missing, disagree, or lead out of the folder; split models likewise."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hostile_build import (
    CONFIG,
    STR,
    U16,
    U32,
    entry,
    folder,
    gguf,
    kv,
    llama_gguf,
    llama_infos,
    llama_kvs,
    packed,
    safetensors,
    sharded,
    split,
    split_kvs,
    tensors,
    write_index,
)
from hostile_run import accepted, refused, snapshot

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
EMBED, NORM = "model.embed_tokens.weight", "model.norm.weight"
OUT = ("convert", "--from", "safetensors", "--to", "gguf:q8_0")


def refuse(root: Path, model: Path, *words: str, **more: Any) -> str:
    """`model` is refused, and nothing below `root` changes."""
    return refused(*OUT, model, root / "out.gguf", names=words, watch=root, **more)


# --- shards and index ---------------------------------------------------------------------------------------------


def test_shards_convert(tmp_path: Path) -> None:
    """What the cases below break is whole."""
    accepted(*OUT, sharded(tmp_path / "m"), tmp_path / "out.gguf")


def test_shards_without_index_convert(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    (model / INDEX).unlink()
    accepted(*OUT, model, tmp_path / "out.gguf")


NAMES = {
    "climbs": "../secret.safetensors",
    "climbs inside": "sub/../../secret.safetensors",
    "climbs with backslashes": "..\\secret.safetensors",
    "dot": "./model.safetensors",
    "absolute": "/etc/passwd",
    "absolute, right suffix": "/tmp/secret.safetensors",
    "drive": "C:\\secret.safetensors",
    "empty": "",
    "dots": "..",
    "with NUL": "a\0.safetensors",
    "double slash": "sub//model.safetensors",
    "trailing slash": "model.safetensors/",
    "wrong suffix": "weights.bin",
    "not there": "model-00009-of-00002.safetensors",
    "with escape codes": "\x1b[2J\n.safetensors",
    "of 10000 characters": "a" * 10000 + ".safetensors",
    "a URL": "https://example.org/model.safetensors",
}


@pytest.mark.parametrize("name", NAMES)
def test_shard_name_in_index(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.safetensors").write_bytes(packed(tensors()))
    model = sharded(tmp_path / "m", weight_map={EMBED: NAMES[name]})
    refuse(tmp_path, model, INDEX)


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, [ONE]])
def test_shard_that_is_no_name(tmp_path: Path, value: Any) -> None:
    model = sharded(tmp_path / "m")
    index = json.loads((model / INDEX).read_text())
    index["weight_map"][EMBED] = value
    (model / INDEX).write_text(json.dumps(index))
    refuse(tmp_path, model, INDEX, "weight_map")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "1", '{"weight_map": null}', '{"weight_map": []}', '{"weight_map": {}}', "{}",
        '{"weight_map": "model.safetensors"}', '{"weight_map": {"a": "b.safetensors", "a": "c.safetensors"}}',
        '{"weight_map": {}, "weight_map": {}}', "\ufeff{}", '{"weight_map": {"a": NaN}}', "[" * 100_000,
        "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "<!DOCTYPE html>",
    ],
)  # fmt: skip
def test_index_that_is_none(tmp_path: Path, text: str) -> None:
    model = sharded(tmp_path / "m")
    (model / INDEX).write_text(text)
    refuse(tmp_path, model, INDEX)


def test_index_places_a_tensor_in_the_other_shard(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m", weight_map={EMBED: TWO})
    refuse(tmp_path, model, INDEX, TWO, ONE, tensor=EMBED)


def test_index_names_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    refuse(tmp_path, sharded(tmp_path / "m", weight_map={"extra.weight": ONE}), INDEX, tensor="extra.weight")


def test_index_lacks_a_tensor(tmp_path: Path) -> None:
    refuse(tmp_path, sharded(tmp_path / "m", weight_map={EMBED: None}), INDEX, tensor=EMBED)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    everything = tensors()
    mine = {name: t for j, (name, t) in enumerate(everything.items()) if j % 2 == 1}
    (model / TWO).write_bytes(packed(mine | {EMBED: everything[EMBED]}))
    refuse(tmp_path, model, TWO, ONE, tensor=EMBED)


def test_a_shard_missing(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    (model / TWO).unlink()
    refuse(tmp_path, model, TWO, "missing")


def test_a_shard_missing_without_index(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    (model / INDEX).unlink()
    (model / TWO).unlink()
    refuse(tmp_path, model, "index")


def test_shards_of_two_models_without_index(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    (model / INDEX).unlink()
    shutil.copy(model / ONE, model / "model-extra.safetensors")
    refuse(tmp_path, model, "index")


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04abcdefgh", b"GGUF"]
)
def test_a_shard_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    model = sharded(tmp_path / "m")
    (model / TWO).write_bytes(content)
    refuse(tmp_path, model, TWO)


def test_a_shard_truncated(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    whole = (model / TWO).read_bytes()
    (model / TWO).write_bytes(whole[:-1])
    refuse(tmp_path, model, TWO, "truncated", offset=True)


@pytest.mark.parametrize(
    "kind", ["fifo", "folder", "link out", "link out, absolute", "link to nothing", "loop", "device"]
)
@pytest.mark.parametrize("victim", [TWO, INDEX, "config.json"])
def test_a_file_that_is_none(tmp_path: Path, kind: str, victim: str) -> None:
    model = sharded(tmp_path / "m")
    path = model / victim
    shutil.copy(path, tmp_path / "outside")
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        target = {"link out": "../outside", "link out, absolute": tmp_path / "outside", "link to nothing": "nowhere"}
        path.symlink_to(target[kind])
    refuse(tmp_path, model, victim)


def test_links_inside_the_folder_convert(tmp_path: Path) -> None:
    model = sharded(tmp_path / "m")
    (model / "data").mkdir()
    (model / TWO).rename(model / "data" / "two")
    (model / TWO).symlink_to("data/two")
    accepted(*OUT, model, tmp_path / "out.gguf")


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    sharded(tmp_path / "m")
    (tmp_path / "link").symlink_to("m")
    accepted(*OUT, tmp_path / "link", tmp_path / "out.gguf")


def cache(root: Path) -> Path:
    """A Hugging Face cache: every file of the snapshot is a link into `blobs`."""
    plain = sharded(root / "plain")
    repo = root / "models--a--b"
    snapshot_ = repo / "snapshots" / "0123abc"
    snapshot_.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for number, file in enumerate(sorted(plain.iterdir())):
        file.rename(repo / "blobs" / f"{number:064x}")
        (snapshot_ / file.name).symlink_to(f"../../blobs/{number:064x}")
    return snapshot_


def test_hugging_face_cache_converts(tmp_path: Path) -> None:
    accepted(*OUT, cache(tmp_path), tmp_path / "out.gguf")


def test_hugging_face_cache_may_not_lead_elsewhere(tmp_path: Path) -> None:
    model = cache(tmp_path)
    shutil.copy(model / TWO, tmp_path / "outside")
    (model / TWO).unlink()
    (model / TWO).symlink_to("../../../outside")
    refuse(tmp_path, model, TWO, "outside")


def test_blobs_may_not_be_a_link(tmp_path: Path) -> None:
    """`models--x/blobs -> /` would make everything a blob."""
    model = cache(tmp_path)
    blobs = model.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    refuse(tmp_path, model, "outside")


# --- folders ------------------------------------------------------------------------------------------------------


def test_no_config(tmp_path: Path) -> None:
    refuse(tmp_path, folder(tmp_path / "m", config=None), "m:", "config.json")


def test_nothing_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    refuse(tmp_path, tmp_path / "m", "model.safetensors")
    refused("inspect", tmp_path / "m", names=["none of the known formats"])


def test_only_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"\x80\x02}q\0.")
    refuse(tmp_path, tmp_path / "m", "pytorch_model.bin", "pickle")
    refused("inspect", tmp_path / "m", names=["pytorch_model.bin", "pickle"])


def test_a_tensor_missing(tmp_path: Path) -> None:
    made = tensors()
    del made[NORM]
    refuse(tmp_path, folder(tmp_path / "m", made=made), "missing", NORM)


def test_tensors_that_the_architecture_does_not_name(tmp_path: Path) -> None:
    made = tensors()
    for number in range(20):
        made[f"model.layers.0.self_attn.\x1bextra{number}"] = made[NORM]
    refuse(tmp_path, folder(tmp_path / "m", made=made), "20 tensors", "\\x1bextra0", "15 more")


def test_a_tensor_of_a_layer_too_many(tmp_path: Path) -> None:
    made = tensors()
    name = "model.layers.1.input_layernorm.weight"
    made[name] = made[NORM]
    refuse(tmp_path, folder(tmp_path / "m", made=made), name)


def test_no_code_of_the_folder_runs(tmp_path: Path) -> None:
    """A folder may bring Python, templates and pickles; hub reads none of them as code."""
    canary = tmp_path / "ran"
    code = f"open({str(canary)!r}, 'w').close()\n"
    config = CONFIG | {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}, "trust_remote_code": True}
    model = folder(tmp_path / "m", config=config)
    for name in ("modeling.py", "configuration.py", "hub.py", "numpy.py", "click.py", "__init__.py", "conftest.py"):
        (model / name).write_text(code)
    (model / "chat_template.jinja").write_text(
        "{{ cycler.__init__.__globals__.os.popen('touch " + str(canary) + "') }}"
    )
    (model / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.")
    (model / "README.md").write_text("---\nname: !!python/object/apply:os.system ['touch " + str(canary) + "']\n---\n")
    here = os.getcwd()
    os.chdir(model)
    try:
        accepted(*OUT, model, tmp_path / "out.gguf")
        accepted("inspect", ".")
    finally:
        os.chdir(here)
    assert not canary.exists()


# --- paths that are no models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("inspect",), ("check",), ("plan", "--to", "gguf"), ("inspect", "--from", "gguf"),
                                     ("inspect", "--from", "safetensors")])  # fmt: skip
@pytest.mark.parametrize(
    "kind", ["nothing", "fifo", "loop", "link to nothing", "device", "socket", "below a file", "long"]
)
def test_a_path_that_is_no_model(tmp_path: Path, command: tuple[str, ...], kind: str) -> None:
    path = tmp_path / "it"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            here = os.getcwd()
            os.chdir(tmp_path)  # the name of a socket must be short
            made.bind("it")
            os.chdir(here)
    elif kind == "below a file":
        path.write_bytes(b"x")
        path = path / "it"
    elif kind == "long":
        path = tmp_path / ("it" * 2000)
    refused(*command, path, names=["it"], watch=tmp_path)


def test_an_empty_path() -> None:
    refused("inspect", "", names=["''"])


@pytest.mark.parametrize("format", [None, "gguf", "safetensors"])
def test_a_path_with_nul(format: str | None) -> None:
    """No shell can give one, a program can."""
    import hub
    from hub.errors import HubError

    with pytest.raises(HubError, match=r"a\\x00b: the name holds a NUL character"):
        hub.open("a\0b", format=format)


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    refused("inspect", os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"), names=["udcff"])


# --- split GGUF models ------------------------------------------------------------------------------------------------

G = ("convert", "--to", "gguf:q8_0")


def test_split_converts(tmp_path: Path) -> None:
    accepted(*G, split(tmp_path)[0], tmp_path / "out.gguf")


def test_split_in_a_cache_converts(tmp_path: Path) -> None:
    snapshot_ = tmp_path / "models--a--b" / "snapshots" / "1"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot_.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(split(tmp_path)):
        path.rename(blobs / str(number))
        (snapshot_ / path.name).symlink_to(f"../../blobs/{number}")
    accepted(*G, snapshot_ / "m-00001-of-00003.gguf", tmp_path / "out.gguf")


@pytest.mark.parametrize("number", [2, 3])
def test_split_file_missing(tmp_path: Path, number: int) -> None:
    first, *_ = split(tmp_path)
    (tmp_path / f"m-0000{number}-of-00003.gguf").unlink()
    refused(*G, first, tmp_path / "out.gguf", names=[f"m-0000{number}-of-00003.gguf", "missing"], watch=tmp_path)


@pytest.mark.parametrize("number", [2, 3])
def test_split_not_the_first(tmp_path: Path, number: int) -> None:
    path = split(tmp_path)[number - 1]
    refused(*G, path, tmp_path / "out.gguf", names=[path.name, "m-00001-of-00003.gguf"], watch=tmp_path)


def test_split_under_another_name(tmp_path: Path) -> None:
    first, *_ = split(tmp_path)
    first.rename(tmp_path / "model.gguf")
    refused(*G, tmp_path / "model.gguf", tmp_path / "out.gguf", names=["model.gguf", "00001-of-00003"], watch=tmp_path)


def test_split_count_and_name_disagree(tmp_path: Path) -> None:
    first, second, third = split(tmp_path)
    for number, path in enumerate((first, second, third)):
        path.rename(tmp_path / f"m-0000{number + 1}-of-00004.gguf")
    refused(
        *G, tmp_path / "m-00001-of-00004.gguf", tmp_path / "out.gguf", names=["m-00001-of-00004.gguf"], watch=tmp_path
    )


def test_split_files_swapped(tmp_path: Path) -> None:
    first, second, third = split(tmp_path)
    second.rename(tmp_path / "x")
    third.rename(second)
    (tmp_path / "x").rename(third)
    refused(*G, first, tmp_path / "out.gguf", names=[second.name], watch=tmp_path)


def test_split_file_twice(tmp_path: Path) -> None:
    first, second, third = split(tmp_path)
    shutil.copy(second, third)
    refused(*G, first, tmp_path / "out.gguf", names=[third.name], watch=tmp_path)


def test_split_tensor_in_two_files(tmp_path: Path) -> None:
    first, second, _ = split(tmp_path)
    infos = llama_infos()
    second.write_bytes(gguf(split_kvs(1, 3, 13), [*infos[1::3], infos[0]]))
    first.write_bytes(gguf([*llama_kvs(), *split_kvs(0, 3, 13)], infos[0::3]))
    refused(
        *G, first, tmp_path / "out.gguf", names=[second.name], tensor="token_embd.weight", offset=True, watch=tmp_path
    )


def test_split_total_disagrees(tmp_path: Path) -> None:
    first, *_ = split(tmp_path)
    first.write_bytes(gguf([*llama_kvs(), *split_kvs(0, 3, 99)], llama_infos()[0::3]))
    refused(*G, first, tmp_path / "out.gguf", names=[first.name, "99", "12"], watch=tmp_path)


def test_split_file_without_the_keys(tmp_path: Path) -> None:
    first, second, _ = split(tmp_path)
    second.write_bytes(gguf([], llama_infos()[1::3]))
    refused(*G, first, tmp_path / "out.gguf", names=[second.name], watch=tmp_path)


def test_split_keys_of_another_type(tmp_path: Path) -> None:
    first, second, _ = split(tmp_path)
    second.write_bytes(gguf([kv("split.no", STR, "1"), kv("split.count", U16, 3)], llama_infos()[1::3]))
    refused(*G, first, tmp_path / "out.gguf", names=[second.name, "split.no"], offset=True, watch=tmp_path)


@pytest.mark.parametrize("count", [65535, 2])
def test_split_count_lies(tmp_path: Path, count: int) -> None:
    path = tmp_path / f"m-00001-of-{count:05}.gguf"
    path.write_bytes(gguf([*llama_kvs(), *split_kvs(0, count, 12)], llama_infos()))
    refused(*G, path, tmp_path / "out.gguf", names=[path.name, "missing"], watch=tmp_path)


def test_split_count_huge(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-99999.gguf"
    path.write_bytes(gguf([*llama_kvs(), kv("split.no", U16, 0), kv("split.count", U32, 2**32 - 1)], llama_infos()))
    refused(*G, path, tmp_path / "out.gguf", names=[path.name], watch=tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "link out", "loop"])
def test_split_file_that_is_none(tmp_path: Path, kind: str) -> None:
    inside = tmp_path / "m"
    inside.mkdir()
    first, second, _ = split(inside)
    second.rename(tmp_path / "outside.gguf")
    if kind == "fifo":
        os.mkfifo(second)
    elif kind == "folder":
        second.mkdir()
    elif kind == "loop":
        second.symlink_to(second.name)
    else:
        second.symlink_to("../outside.gguf")
    refused(*G, first, tmp_path / "out.gguf", names=[second.name], watch=tmp_path)


def test_split_file_of_another_format(tmp_path: Path) -> None:
    first, second, _ = split(tmp_path)
    second.write_bytes(safetensors({"a": entry("F32", [4], 0)}, bytes(16)))
    refused(*G, first, tmp_path / "out.gguf", names=[second.name, "not a GGUF file"], watch=tmp_path)


def test_split_file_truncated(tmp_path: Path) -> None:
    """The merger of llama.cpp fills what is missing with other bytes and says nothing."""
    first, _, third = split(tmp_path)
    third.write_bytes(third.read_bytes()[:-100])
    refused(*G, first, tmp_path / "out.gguf", names=[third.name, "truncated"], offset=True, watch=tmp_path)


def test_right_formats_under_wrong_names(tmp_path: Path) -> None:
    """What a file is decides how it is read, not what it is called."""
    (tmp_path / "a.safetensors").write_bytes(llama_gguf())
    (tmp_path / "b.gguf").write_bytes(packed(tensors()))
    assert "gguf," in accepted("inspect", tmp_path / "a.safetensors")
    assert "safetensors," in accepted("inspect", tmp_path / "b.gguf")
    refused("inspect", "--from", "gguf", tmp_path / "b.gguf", names=["not a GGUF file"])
    refused("inspect", "--from", "safetensors", tmp_path / "a.safetensors", names=["GGUF"])


def test_inspect_changes_nothing(tmp_path: Path) -> None:
    sharded(tmp_path / "m")
    write_index(tmp_path / "m", {})
    before = snapshot(tmp_path)
    refused("inspect", tmp_path / "m")
    assert snapshot(tmp_path) == before


def test_more_small_files_than_a_process_may_open(tmp_path: Path) -> None:
    model = folder(tmp_path / "m")
    for i in range(1200):
        (model / f"{i:04}.txt").touch()
    said = accepted("convert", model, tmp_path / "out", "--to", "safetensors:f16", "--verify", "weights")
    assert "432 of 1200 small files do not go along, at most 768 do" in said
    assert len(os.listdir(tmp_path / "out")) == 770
