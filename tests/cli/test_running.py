"""`hub logits`, `hub eval` and `hub imatrix`: what they print and write, and what they refuse."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from made_models import DATA, TINY, folder, llama_config, llama_shapes, weights

TEXT = TINY / "eval.txt"
GOLDEN = TINY / "golden.npz"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT.read_text()[:4000])
    return path


@pytest.fixture
def ids(tmp_path):
    def make(values, name="input_ids"):
        path = tmp_path / "ids.npz"
        np.savez(path, **{name: values})
        return path

    return make


def refused(hub, *arguments, status, says, out=None):
    """A command that fails with one line and leaves nothing at `out` or beside it."""
    before = sorted(os.listdir(out.parent)) if out else []
    line = hub(*arguments, status=status).err
    assert says in line, line
    if out:
        assert sorted(os.listdir(out.parent)) == before


# ------------------------------------------------------------------------------------------------------- logits


@pytest.mark.parametrize("slices", [1, 200], ids=["row by row", "all at once"])
def test_logits_of_ids(hub, tmp_path, monkeypatch, slices):
    monkeypatch.setattr("hub.runner.slices.HEAD_BYTES", slices * 4 * 2048)
    out = tmp_path / "out.npz"
    line = hub("logits", TINY, "--ids", GOLDEN, "-o", out, "--threads", 2).out
    assert re.fullmatch(r"wrote .*out.npz: logits of 256 tokens, 2048 each, in \d+\.\d s\n", line)
    with np.load(out, allow_pickle=False) as found, np.load(GOLDEN) as golden:
        assert (found["input_ids"].dtype, found["logits"].dtype) == (np.int64, np.float32)
        np.testing.assert_array_equal(found["input_ids"], golden["input_ids"].reshape(-1))
        wanted = golden["logits"].astype(np.float64)
        assert np.square(found["logits"] - wanted).sum() / np.square(wanted).sum() < 1e-10


def test_logits_of_a_text_in_fast_mode(hub, tmp_path, text):
    out = tmp_path / "out.npz"
    (tmp_path / "short.txt").write_text(text.read_text()[:200])
    done = hub("logits", TINY, "--text", tmp_path / "short.txt", "-o", out, "--mode", "fast", "--json").json
    with np.load(out) as found:
        assert found["input_ids"][0] == 1  # the token in front of every text
        assert found["logits"].shape == (done["tokens"], 2048)
    assert done["mode"] == "fast"


def test_one_row_of_two_axes_is_taken(hub, tmp_path, ids):
    hub("logits", TINY, "--ids", ids(np.array([[5, 6, 7]], np.uint16)), "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["input_ids"].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("values", "status", "says"),
    [
        ([1, 2048], 2, "token 1 has id 2048, the vocabulary has ids 0 to 2047"),
        ([-1], 2, "token 0 has id -1"),
        (np.ones(1025, int), 2, "1025 tokens, the model can see 1024"),
        ([[1], [2]], 2, "input_ids has shape [2, 1], one row of ids is needed"),
        (np.zeros(0, int), 2, "one row of ids is needed"),
        ([1.0], 1, "type <f8, integers are needed"),
        (np.array([{}]), 1, "type |O, integers are needed"),
        (np.array([2**64 - 1], np.uint64), 2, "token 0 has id 18446744073709551615"),
    ],
)
def test_bad_ids(hub, tmp_path, ids, values, status, says):
    out = tmp_path / "out.npz"
    refused(hub, "logits", TINY, "--ids", ids(values), "-o", out, status=status, says=says, out=out)


def test_archives_without_ids(hub, tmp_path, ids):
    out = tmp_path / "out.npz"
    args = ("logits", TINY, "-o", out, "--ids")
    refused(hub, *args, ids([1], "tokens"), status=1, says="no array input_ids in it, it has tokens", out=out)
    (tmp_path / "x.npz").write_text("hello")
    refused(hub, *args, tmp_path / "x.npz", status=1, says="not an .npz archive", out=out)
    refused(hub, *args, tmp_path / "none.npz", status=1, says="no such file", out=out)


def test_an_output_is_not_replaced_unasked(hub, tmp_path, ids):
    out, given = tmp_path / "out.npz", ids([1])
    out.write_text("kept")
    refused(hub, "logits", TINY, "--ids", given, "-o", out, status=1, says="exists already", out=out)
    assert out.read_text() == "kept"
    hub("logits", TINY, "--ids", given, "-o", out, "--force")
    says = "would replace a file that is read"
    refused(hub, "logits", TINY, "--ids", given, "-o", given, "--force", status=1, says=says, out=given)


def test_ids_or_text(hub, tmp_path, ids, text):
    out = tmp_path / "out.npz"
    refused(hub, "logits", TINY, "-o", out, status=2, says="either --ids or --text")
    refused(hub, "logits", TINY, "-o", out, "--ids", ids([1]), "--text", text, status=2, says="either --ids or --text")


def test_weights_that_are_no_numbers(hub, tmp_path, ids):
    arrays = weights(llama_shapes(llama_config()))
    arrays["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan
    model, out = folder(tmp_path / "model", arrays=arrays), tmp_path / "out.npz"
    refused(hub, "logits", model, "--ids", ids([1, 2]), "-o", out, status=1, says="not finite", out=out)


def test_missing_tensors(hub, tmp_path, ids):
    arrays = weights(llama_shapes(llama_config()))
    del arrays["model.layers.1.mlp.up_proj.weight"]
    model, out = folder(tmp_path / "model", arrays=arrays), tmp_path / "out.npz"
    says = "missing: model.layers.1.mlp.up_proj.weight"
    refused(hub, "logits", model, "--ids", ids([1, 2]), "-o", out, status=1, says=says, out=out)


# --------------------------------------------------------------------------------------------------------- eval


def test_perplexity(hub, text):
    line = hub("eval", TINY, "--text", text, "--ctx", 64, "--threads", 2).out
    wanted = (
        r"perplexity (\d+\.\d{4}) \+/- (\d+\.\d{4}): (\d+) chunks of 64 tokens, (\d+) scored, exact, \d+ tokens/s\n"
    )
    match = re.fullmatch(wanted, line)
    assert match, line
    found = hub("eval", TINY, "--text", text, "--ctx", 64, "--json").json
    assert f"{found['perplexity']:.4f}" == match[1] and found["chunks"] == int(match[3])
    assert found["scored"] == found["chunks"] * 31 == int(match[4])
    one = hub("eval", TINY, "--text", text, "--ctx", 64, "--chunks", 1, "--json").json
    assert (one["chunks"], one["scored"]) == (1, 31)


def test_texts_that_cannot_be_evaluated(hub, tmp_path, text):
    refused(hub, "eval", TINY, "--text", text, "--ctx", 1025, status=2, says="1025 tokens, the model can see 1024")
    refused(hub, "eval", TINY, "--text", text, "--ctx", 1024, status=2, says="at least 2048 are needed")
    refused(hub, "eval", TINY, "--text", text, "--ctx", 3, status=2, says="--ctx")
    (tmp_path / "a.txt").write_text("")
    refused(hub, "eval", TINY, "--text", tmp_path / "a.txt", status=2, says="a.txt: the text is empty")
    refused(hub, "eval", TINY, "--text", tmp_path / "b.txt", status=1, says="b.txt: no such file")
    (tmp_path / "c.txt").write_bytes(b"abc\xff")
    refused(hub, "eval", TINY, "--text", tmp_path / "c.txt", status=1, says="at byte 3: the text is not UTF-8")


def test_a_model_without_tokenizer(hub, tmp_path, text):
    model, out = DATA / "arch" / "qwen2", tmp_path / "out"
    for command in (["eval"], ["logits", "-o", out], ["imatrix", "-o", out]):
        refused(hub, *command, model, "--text", text, status=2, says="qwen2: the model has no tokenizer")
    assert not out.exists()


# ------------------------------------------------------------------------------------------------------ imatrix


def test_importance_is_written(hub, tmp_path, text):
    out = tmp_path / "imatrix.gguf"
    line = hub("imatrix", TINY, "--text", text, "--ctx", 64, "--chunks", 3, "-o", out).out
    assert re.match(r"wrote .*: importance of 42 tensors, 61\.\d kB, from 3 chunks of 64 tokens, in", line)
    found = hub("imatrix", TINY, "--text", text, "--ctx", 64, "-o", out, "--force", "--process-output", "--json").json
    assert (found["tensors"], found["format"], found["bytes"]) == (43, "gguf", out.stat().st_size)


def test_importance_that_cannot_be_had(hub, tmp_path, text):
    out = tmp_path / "out.gguf"
    args = ("imatrix", TINY, "--text", text, "-o", out)
    refused(hub, *args, "--to", "safetensors", status=2, says="no importance files; gguf has", out=out)
    refused(hub, *args, "--to", "nothing", status=2, says="no format 'nothing'", out=out)
    refused(hub, *args, "--ctx", 1024, status=2, says="at least 2048", out=out)
    out.write_text("kept")
    refused(hub, *args, "--ctx", 64, status=1, says="exists already", out=out)


def test_help(hub):
    for command in ("logits", "eval", "imatrix"):
        assert re.search(rf"^  {command}\b", hub("--help").out, re.MULTILINE)
        assert "--mode" in hub(command, "--help").out
