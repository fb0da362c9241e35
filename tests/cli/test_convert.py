"""hub convert: names, options, what is printed and what is left behind."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from made_models import TINY, folder, llama_config, llama_shapes, read_gguf, weights


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("small") / "model", dtype="bf16")


def types(path):
    return {name: kind for name, (kind, _, _) in read_gguf(path)[1].items()}


def names(path):
    return sorted(os.listdir(path))


F32, F16, Q4_0, Q8_0, Q4_K, Q6_K = 0, 1, 2, 8, 12, 14


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("to", "name"), [("gguf:q4_k_m", "model-Q4_K_M.gguf"), ("gguf:Q8_0", "model-Q8_0.gguf"), ("gguf", "model.gguf")]
)
def test_without_dst_a_usual_name_beside_the_source(hub, tmp_path, to, name):
    model = folder(tmp_path / "model")
    assert f"wrote {tmp_path / name}: " in hub("convert", "--to", to, model).out
    assert names(tmp_path) == sorted(["model", name])
    hub("convert", "--to", to, f"{model}/", status=1)  # it exists now


def test_a_relative_source_and_no_dst(hub, tmp_path, monkeypatch):
    folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")
    hub("convert", "--to", "gguf:q4_0", ".", "-q")
    assert names(tmp_path) == ["model", "model-Q4_0.gguf"]


def test_a_split_source_gives_a_name_without_the_numbers(hub, tmp_path):
    from made_models import split_gguf

    hub("convert", "--to", "gguf:f32", folder(tmp_path / "m"), tmp_path / "m.gguf", "-q")
    first = split_gguf(tmp_path / "m.gguf", tmp_path, 3)
    os.unlink(tmp_path / "m.gguf")
    hub("convert", "--to", "gguf", first, "-q")
    hub("convert", "--to", "gguf:q8_0", first, "-q")
    assert {"m.gguf", "m-Q8_0.gguf"} <= set(names(tmp_path))


# ------------------------------------------------------------------------------------------------ force


def test_an_existing_dst_is_kept_without_force(hub, small, tmp_path):
    out = tmp_path / "x.gguf"
    out.write_bytes(b"precious")
    assert "--force" in hub("convert", "--to", "gguf:q4_0", small, out, status=1).err
    assert out.read_bytes() == b"precious"
    hub("convert", "--to", "gguf:q4_0", small, out, "--force")
    assert out.read_bytes()[:4] == b"GGUF"
    assert names(tmp_path) == ["x.gguf"]


@pytest.mark.parametrize("how", ["same", "link", "hard link"])
def test_the_source_is_never_overwritten(hub, small, tmp_path, how):
    source = tmp_path / "a.gguf"
    hub("convert", "--to", "gguf:f32", small, source, "-q")
    before = source.read_bytes()
    target = source if how == "same" else tmp_path / "b.gguf"
    if how == "link":
        os.symlink("a.gguf", target)
    elif how == "hard link":
        os.link(source, target)
    assert "the source itself" in hub("convert", "--to", "gguf:q4_0", source, target, "--force", status=1).err
    assert source.read_bytes() == before


@pytest.mark.parametrize("target", ["missing/x.gguf", ".", "\0", "x" * 300 + ".gguf"])
def test_targets_that_cannot_be(hub, small, tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    hub("convert", "--to", "gguf:q4_0", small, target, status=1)
    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------------------ rules


def test_tensor_rules(hub, small, tmp_path):
    hub(
        "convert", "--to", "gguf:q4_k_m", small, tmp_path / "x.gguf", "--tensor", "attn_k=q8_0", "--tensor",
        "^output=F16",
        "--tensor", "ffn_up=ggml.Q4_0",
    )  # fmt: skip
    found = types(tmp_path / "x.gguf")
    assert found["blk.0.attn_k.weight"] == found["blk.1.attn_k.weight"] == Q8_0
    assert found["output.weight"] == F16
    assert found["blk.1.ffn_up.weight"] == Q4_0
    assert found["blk.1.ffn_gate.weight"] == Q4_K


@pytest.mark.parametrize("kind", ["toml", "json", "pure"])
def test_recipes(hub, small, tmp_path, kind):
    recipe = "pure"
    if kind == "toml":
        recipe = tmp_path / "r.toml"
        recipe.write_text('pure = true\n[[tensors]]\nmatch = "attn_k"\nlayout = "q8_0"\n[set]\n"general.name" = "R"\n')
    elif kind == "json":
        recipe = tmp_path / "r.json"
        data = {"pure": True, "tensors": [{"match": "attn_k", "layout": "q8_0"}], "set": {"general.name": "R"}}
        recipe.write_text(json.dumps(data))
    hub("convert", "--to", "gguf:q4_k_m", small, tmp_path / "x.gguf", "--recipe", recipe)
    found, kvs = types(tmp_path / "x.gguf"), {key: value for key, _, value in read_gguf(tmp_path / "x.gguf")[0]}
    assert found["output.weight"] == found["blk.0.attn_v.weight"] == Q4_K
    assert found["blk.0.attn_k.weight"] == (Q4_K if kind == "pure" else Q8_0)
    assert (kvs["general.name"] == b"R") == (kind != "pure")


def test_the_command_line_wins_over_the_recipe(hub, small, tmp_path):
    (tmp_path / "r.toml").write_text('[[tensors]]\nmatch = "attn_k"\nlayout = "q8_0"\n[set]\n"general.name" = "R"\n')
    hub(
        "convert", "--to", "gguf:q4_0", small, tmp_path / "x.gguf", "--recipe", tmp_path / "r.toml", "--tensor",
        "k=f16",
        "--set", "general.name=C",
    )  # fmt: skip
    assert types(tmp_path / "x.gguf")["blk.0.attn_k.weight"] == F16
    assert ("general.name", "str", b"C") in read_gguf(tmp_path / "x.gguf")[0]


def test_settings(hub, small, tmp_path):
    text = hub(
        "convert", "--to", "gguf:q4_0", small, tmp_path / "x.gguf", "--set", "general.name=A b", "--set",
        "llama.context_length=99",
        "--set", "my.key=u8:7", "--set", "my.flag=true", "--set", 'my.list=arr[str]:["x", "y"]',
    ).out  # fmt: skip
    kvs = {key: (kind, value) for key, kind, value in read_gguf(tmp_path / "x.gguf")[0]}
    assert kvs["general.name"] == ("str", b"A b")
    assert kvs["llama.context_length"] == ("u32", 99)
    assert kvs["my.key"] == ("u8", 7)
    assert kvs["my.flag"] == ("bool", True)
    assert kvs["my.list"] == ("arr[str]", [b"x", b"y"])
    assert "note: llama.context_length set to 99" in text
    for bad in ("llama.context_length=many", "general.alignment=64", "my.key=u8:300"):
        hub("convert", "--to", "gguf:q4_0", small, tmp_path / "y.gguf", "--set", bad, status=2)
    assert names(tmp_path) == ["x.gguf"]


# ------------------------------------------------------------------------------------------------ printing


def test_what_is_printed(hub, small, tmp_path):
    done = hub("convert", "--to", "gguf:q4_0", small, tmp_path / "x.gguf")
    assert done.err == ""
    assert re.search(r"^wrote .*x\.gguf: [\d.]+ [kM]B in [\d.]+ s, peak private memory [\d.]+ MB$", done.out, re.M)
    assert re.search(
        r"^verified: 5 of 21 tensors bit-equal to the source, 16 quantized or rounded; lowest SQNR \d+\.\d dB",
        done.out,
        re.M,
    )
    assert "blk.1.ffn_up.weight [" not in done.out
    verbose = hub("convert", "--to", "gguf:q4_0", small, tmp_path / "y.gguf", "-v").out
    assert "blk.1.ffn_up.weight [512, 256] bf16 -> Q4_0 quantize lossy" in verbose
    quiet = hub("convert", "--to", "gguf:q4_0", small, tmp_path / "z.gguf", "-q")
    assert (quiet.out, quiet.err) == ("", "")
    assert "not verified" in hub("convert", "--to", "gguf:q4_0", small, tmp_path / "w.gguf", "--verify", "none").out


def test_events_for_programs(hub, small, tmp_path):
    done = hub("convert", "--to", "gguf:q4_0", small, tmp_path / "x.gguf", "--json")
    assert [event["event"] for event in done.events] == ["plan", "cost", "stage", "stage", "stage", "stage", "done"]
    assert [event["stage"] for event in done.events if event["event"] == "stage"] == [
        "scan",
        "convert",
        "verify",
        "run",
    ]
    assert done.events[-1]["report"]["verified"] == "full"
    assert done.err == ""


def test_the_report(hub, small, tmp_path):
    import hashlib

    hub("convert", "--to", "gguf:q4_0", small, tmp_path / "x.gguf", "--report", tmp_path / "r.json", "--threads", "2")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["output"] == str(tmp_path / "x.gguf")
    assert report["threads"] == 2
    assert report["input"][0]["sha256"] == hashlib.sha256((small / "model.safetensors").read_bytes()).hexdigest()
    errors = {tensor["name"]: tensor["error"] for tensor in report["plan"]["tensors"]}
    assert errors["output_norm.weight"]["equal"]
    assert errors["blk.0.attn_v.weight"]["sqnr_db"] > errors["blk.0.attn_v.weight"]["limit_db"]


def test_a_report_needs_a_folder(hub, small, tmp_path):
    hub("convert", "--to", "gguf:q4_0", small, tmp_path / "x.gguf", "--report", tmp_path / "no" / "r.json", status=1)
    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------------------ odd weights


def converted(hub, tmp_path, arrays, to, *more, status=0, config=None):
    path = folder(tmp_path / "m", config, arrays)
    return hub("convert", "--to", to, path, tmp_path / "x.gguf", *more, status=status)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_stop_it_before_it_writes(hub, tmp_path, value):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.layers.0.mlp.up_proj.weight"][2, 3] = value
    done = converted(hub, tmp_path, arrays, "gguf:q4_0", status=1)
    assert f"1 weights are not finite, the first is number {2 * 256 + 3}" in done.err
    assert "model.layers.0.mlp.up_proj.weight" in done.err
    assert names(tmp_path) == ["m"]


def test_what_f16_cannot_hold_stops_it_before_it_writes(hub, tmp_path):
    arrays = weights(llama_shapes(llama_config()))
    arrays["lm_head.weight"][0, 0] = 70000
    assert "beyond what f16 can hold" in converted(hub, tmp_path, arrays, "gguf:f16", status=1).err
    converted(hub, tmp_path, arrays, "gguf:bf16")


def test_doubles_beyond_f32_are_told_as_infinite_in_one_line(program, tmp_path):
    arrays = {name: array.astype(np.float64) for name, array in weights(llama_shapes(llama_config())).items()}
    arrays["lm_head.weight"][0, 1] = 1e300
    path = folder(tmp_path / "m", arrays=arrays)
    done = program("convert", "--to", "gguf:q4_0", path, tmp_path / "x.gguf")
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert "not finite" in done.err


def test_all_zeros(hub, tmp_path):
    """A scale of -0 turns zeros into -0: other bits, no error; the summary must not stumble over a ratio without
    noise."""
    arrays = {name: np.zeros_like(array) for name, array in weights(llama_shapes(llama_config())).items()}
    text = converted(hub, tmp_path, arrays, "gguf:q4_0", "--report", tmp_path / "r.json").out
    assert "verified: " in text
    for tensor in json.loads((tmp_path / "r.json").read_text())["plan"]["tensors"]:
        assert tensor["error"]["max_abs"] == 0
        assert tensor["error"]["fault"] is None


def test_weights_that_a_type_represents_exactly(hub, tmp_path):
    """Ternary weights in Q4_0: nothing is lost but the sign of zeros."""
    random = np.random.default_rng(1)
    arrays = {
        name: (random.integers(-1, 2, shape) * 0.5).astype(np.float32) if len(shape) > 1 else np.ones(shape, np.float32)
        for name, shape in llama_shapes(llama_config()).items()
    }
    assert "verified: " in converted(hub, tmp_path, arrays, "gguf:q4_0").out


@pytest.mark.parametrize("byte", [0, 0xFF], ids=["zeros", "no numbers"])
def test_an_output_that_does_not_agree_is_kept_aside_with_status_3(hub, tmp_path, monkeypatch, byte):
    """A broken quantizer: all zeros, or scales that are NaN. The file is written, found out, and never gets its
    name."""
    from hub_gguf.quantizers import GgmlQuantizer

    right = GgmlQuantizer.quantize

    def broken(self, rows, calibration):
        out = right(self, rows, calibration)
        return {name: np.full_like(array, byte) for name, array in out.items()} if rows.shape == (512, 256) else out

    monkeypatch.setattr(GgmlQuantizer, "quantize", broken)
    done = converted(hub, tmp_path, None, "gguf:q8_0", "--report", tmp_path / "r.json", status=3)
    assert "4 of 21 tensors do not agree with the source: blk." in done.err
    assert "x.gguf.rejected" in done.err
    assert names(tmp_path) == ["m", "r.json", "x.gguf.rejected"]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["verified"] == "rejected"
    wanted = {f"blk.{i}.ffn_{kind}.weight" for i in range(2) for kind in ("up", "gate")}
    assert {fault["name"] for fault in report["faults"]} == wanted
    errors = {tensor["name"]: tensor["error"] for tensor in report["plan"]["tensors"]}
    assert all((errors[name]["fault"] is not None) == (name in wanted) for name in errors)
    hub("convert", "--to", "gguf:q8_0", tmp_path / "m", tmp_path / "y.gguf", "--verify", "none")  # nobody looks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("a bit", "1 of 256 weights differ, the route is exact"),
        ("a tensor less", "the output lacks it"),
        ("a tensor more", "the plan does not"),
        ("a shape", "shape [128], planned was [256]"),
        ("a layout", "layout f16, planned was f32"),
    ],
)
def test_a_disk_that_lies_is_found_out(hub, tmp_path, monkeypatch, change, message):
    """One bit of a copied tensor is a fault, and so is every disagreement about what there is."""
    from hub.api import F16, F32, Dense, FilePart, Tensor, rows_spec
    from hub_gguf.reader import GgufReader

    right = GgufReader.open

    def lying(self, path):
        model = right(self, path)
        if change == "a bit":
            part = model.tensors["output_norm.weight"].parts["data"]
            with open(path, "r+b") as file:
                file.seek(part.offset)
                byte = file.read(1)[0]
                file.seek(part.offset)
                file.write(bytes([byte ^ 1]))
            return right(self, path)
        old = model.tensors.pop("output_norm.weight")
        shape, dtype = {"a shape": ((128,), F32), "a layout": ((256,), F16)}.get(change, ((256,), F32))
        part = FilePart(rows_spec(dtype, shape), old.parts["data"].source, old.parts["data"].offset)
        if change != "a tensor less":
            model.tensors["output_norm.weight"] = Tensor("output_norm.weight", shape, Dense(part))
        if change == "a tensor more":
            model.tensors["more.weight"] = Tensor("more.weight", shape, Dense(part))
        return model

    monkeypatch.setattr(GgufReader, "open", lying)
    done = converted(hub, tmp_path, None, "gguf:f32", status=3)
    assert message in done.err
    assert ("more.weight" if change == "a tensor more" else "output_norm.weight") in done.err
    assert names(tmp_path) == ["m", "x.gguf.rejected"]


def test_a_model_whose_rows_are_longer_than_a_usual_tile(hub, tmp_path):
    config = llama_config(intermediate_size=(1 << 21) + 256, num_hidden_layers=1, hidden_size=2, num_attention_heads=1,
                          num_key_value_heads=1, vocab_size=8)  # fmt: skip
    arrays = weights(llama_shapes(config), "bf16")
    converted(hub, tmp_path, arrays, "gguf:q8_0", "--threads", "2", config=config)


def test_tied_embeddings_have_no_output(hub, tmp_path):
    config = llama_config(tie_word_embeddings=True)
    converted(hub, tmp_path, weights(llama_shapes(config)), "gguf:q4_0", config=config)
    found = types(tmp_path / "x.gguf")
    assert "output.weight" not in found
    assert found["token_embd.weight"] == Q6_K


def test_a_copy_of_the_output_head_is_written_once_as_llama_cpp_does(hub, tmp_path):
    """Tied models may still carry lm_head.weight; a file with it is read with it."""
    config = llama_config(tie_word_embeddings=True)
    arrays = weights(llama_shapes(llama_config()))
    converted(hub, tmp_path, arrays, "gguf:q4_0", config=config)
    assert "token_embd.weight" in types(tmp_path / "x.gguf")


def test_the_main_job(hub, tmp_path):
    done = hub("convert", "--from", "safetensors", "--to", "gguf:q4_k_m", TINY, tmp_path / "x.gguf")
    assert "4.87 bits per weight" in done.out
    assert "verified: 13 of 57 tensors bit-equal" in done.out
