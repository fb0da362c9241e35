"""Tokenizers of wrong types, in key-values and in files: converted or refused, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile_build import (
    ARR,
    BOOL,
    F32,
    I32,
    STR,
    U8,
    U32,
    array,
    folder,
    gguf,
    kv,
    llama_infos,
    llama_kvs,
)
from hostile_run import one_line, run

PREFIX = "tokenizer.ggml."
GOOD = {
    "model": (STR, "llama"),
    "tokens": (ARR, array(STR, [f"t{i}" for i in range(64)])),
    "scores": (ARR, array(F32, [0.0] * 64)),
    "token_type": (ARR, array(I32, [1] * 64)),
}
VALUES: list[tuple[int, Any]] = [
    (U32, 2**32 - 1), (I32, -1), (STR, "abc"), (STR, b"\xff"), (BOOL, 1), (F32, float("nan")), (ARR, array(U8, [1])),
    (ARR, array(STR, ["a"] * 63)), (ARR, array(STR, ["same"] * 64)), (ARR, array(STR, [b"\xff \xfe"] * 64)),
    (ARR, array(STR, ["<0x-1>", "<0xZZ>", "<0x100>"] * 22)), (ARR, array(I32, [99] * 64)), (ARR, array(STR, [])),
    (ARR, array(F32, [float("inf")] * 64)), (ARR, array(BOOL, [2] * 64)),
]  # fmt: skip
KEYS = [*GOOD, "bos_token_id", "eos_token_id", "add_bos_token", "merges", "pre", "added_tokens", "precompiled_charsmap"]


def fine(*arguments: object) -> None:
    """It works, or says no as it should."""
    outcome = run(*arguments)
    assert (outcome.out + outcome.err).isascii()
    if outcome.err:
        one_line(outcome)
    else:
        assert outcome.status in (0, 1)


@pytest.mark.parametrize("key", KEYS)
def test_key_values(tmp_path: Path, key: str) -> None:
    for number, value in enumerate(VALUES):
        made = [kv(PREFIX + name, *pair) for name, pair in (GOOD | {key: value}).items()]
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(gguf([*llama_kvs(), *made], llama_infos()))
        fine("convert", "--to", "gguf:q8_0", "--force", path, tmp_path / "out.gguf")
        fine("check", path)
        fine("inspect", path)


@pytest.mark.parametrize("model", ["", "gpt2", "bert", "t5", "rwkv", "none", "no_vocab", "zeta", "\x1b[2J"])
def test_models(tmp_path: Path, model: str) -> None:
    path = tmp_path / "m.gguf"
    made = [kv(PREFIX + name, *pair) for name, pair in (GOOD | {"model": (STR, model)}).items()]
    path.write_bytes(gguf([*llama_kvs(), *made], llama_infos()))
    fine("convert", "--to", "gguf:q8_0", path, tmp_path / "out.gguf")
    fine("check", path)


PLAIN = '{"version":"1.0","model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]},"added_tokens":[]}'
FILES: dict[str, list[str]] = {
    "tokenizer.json": [
        "", "[]", "{}", '{"model":1}', '{"model":{"type":"BPE","vocab":[],"merges":{}}}',
        '{"model":{"type":"BPE","vocab":{"a":4294967294},"merges":[]}}', '{"model":{"type":"BPE","vocab":{"a":-1}}}',
        '{"model":{"type":"BPE","vocab":{"a":0},"merges":[1]},"added_tokens":[1]}',
        '{"model":{"type":"BPE","vocab":{"a":0.5}}}',
        '{"model":{"type":"Unigram","vocab":[["a"]]}}', "version https://git-lfs.github.com/spec/v1\n",
    ],
    "tokenizer.model": ["", "x", "\x0a\udcff\udcff\udcff\udcff\udcff\udcff\udcff\udcff\x01", "version https://git-lfs"],
    "tokenizer_config.json": [
        "[]", '{"chat_template":1}', '{"chat_template":[1]}', '{"added_tokens_decoder":{"x":1}}',
        '{"tokenizer_class":1}', '{"bos_token":[]}', "version https://git-lfs.github.com/spec/v1\n",
    ],
    "special_tokens_map.json": ["[]", "x", '{"bos_token":1}'],
    "added_tokens.json": ["[]", '{"a":-1}', '{"a":4294967294}', '{"a":"x"}'],
    "generation_config.json": ["[]", "{", '{"temperature":"x"}', '{"top_k":1e300}', '{"top_k":1.5}', '{"top_k":-1}'],
    "vocab.json": ['{"a":1e3}', "[]", '{"a":0,"b":0}'],
    "merges.txt": ["\udcff", "a\nb c d\n\n"],
    "chat_template.jinja": ["\udcff", "{{ x" * 1000],
    "README.md": [
        "---\n" + "- [" * 200, "---\na: &x [*x]\n---", "\udcff", "---\n!!python/object/apply:os.system [x]\n---",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path: Path, name: str) -> None:
    for number, text in enumerate(FILES[name]):
        model = folder(tmp_path / str(number))
        (model / "tokenizer.json").write_text(PLAIN)
        if name in ("vocab.json", "merges.txt"):
            (model / "tokenizer.json").unlink()
            (model / "vocab.json").write_text('{"a":0}')
            (model / "merges.txt").write_text("a b\n")
        if name == "tokenizer.model":
            (model / "tokenizer.json").unlink()
        (model / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        fine("convert", "--to", "gguf:q8_0", "--force", model, tmp_path / "out.gguf")
        fine("check", model)
        fine("inspect", model)
