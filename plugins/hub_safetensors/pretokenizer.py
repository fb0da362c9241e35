"""How a BPE tokenizer cuts text before merging, identified the way llama.cpp does it.

A GGUF file does not hold the regular expressions, it holds a name (``qwen2``). llama.cpp's
converter finds the name by encoding a fixed text and looking the hash of the ids up in a table;
that table is pretokenizers.toml here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from hub.api import FormatError, strict_json
from hub_safetensors.members import Members
from hub_safetensors.tokenizer_files import TokenizerFiles
from hub_safetensors.vocabulary import Vocabulary, classes

TIMEOUT: Final = 30.0
"""Seconds for encoding; the largest tokenizers in the field take 3."""


@cache
def table() -> Mapping[str, Any]:
    """pretokenizers.toml of this package."""
    return tomllib.loads(resources.files(__package__).joinpath("pretokenizers.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Encoded:
    """What encoding showed.

    Attributes:
        pre: llama.cpp's name, None when not known.
        pre_hash: the hash looked up, None when the text could not be encoded.
        decoded: the text that an added token comes back as, where it was asked for.
        failure: why the text could not be encoded.
    """

    pre: str | None = None
    pre_hash: str | None = None
    decoded: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None


def fingerprint(ids: Sequence[int]) -> str:
    """The hash of ids by which the table is ordered."""
    return hashlib.sha256(str(list(ids)).encode()).hexdigest()


def encode(
    vocabulary: Vocabulary,
    files: TokenizerFiles,
    decode: Sequence[str],
    *,
    timeout: float = TIMEOUT,
) -> Encoded:
    """Encode the check text, and each of `decode` there and back.

    The table's hashes were made with whatever each model's class put around the text then. So
    three sets of ids are tried: as the class would, as tokenizer.json says, and bare; the text is
    long enough that any of them in the table tells the pre-tokenizer.

    Args:
        files: where the vocabulary was read from.
        timeout: seconds after which encoding is given up.
    """
    settings = files.config
    rule = classes().get(vocabulary.tokenizer_class or "", {})
    around = _around(vocabulary, rule, settings)
    prefix_space = settings.flag("add_prefix_space") if settings is not None else None
    request = {
        "text": table()["check_text"],
        "add": [token.as_json() for token in vocabulary.put_on_top],
        "decode": list(decode),
        # Llama's classes pass no value on where none is given; the others pass false.
        "prefix_space": prefix_space if around is not None else bool(prefix_space),
        "around": around,
    }
    text = files.json_text or json.dumps(vocabulary.json.values).encode()
    answer = _ask(request, text, timeout)
    if isinstance(answer, str):
        return Encoded(failure=answer)
    hashes = [fingerprint(ids) for ids in answer["ids"]]
    names = table()["names"]
    known = next((digest for digest in hashes if digest in names), None)
    return Encoded(
        pre=names[known] if known else None,
        pre_hash=known or hashes[0],
        decoded=answer["decoded"],
    )


def _around(
    vocabulary: Vocabulary, rule: Mapping[str, Any], settings: Members | None
) -> dict[str, tuple[str, int]] | None:
    """The tokens that the class puts around text by itself, or None where it leaves that to the file."""
    if not rule.get("bos"):
        return None
    around = {}
    for role, default in (("bos", True), ("eos", False)):
        flag = settings.flag(f"add_{role}_token") if settings is not None else None
        text = vocabulary.named.get(f"{role}_token")
        if (default if flag is None else flag) and text in vocabulary.added.ids:
            around[role] = (text, vocabulary.added.ids[text])
    return around


def _ask(request: dict[str, Any], tokenizer: bytes, timeout: float) -> dict[str, Any] | str:
    """The answer of the child process, or why there is none."""
    script = Path(__file__).with_name("pretokenizer_child.py")
    # The child finds the same packages, but nothing that lies in the current folder.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONSAFEPATH": "1",
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
    }
    data = json.dumps(request).encode() + b"\n" + tokenizer
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"timed out after {timeout:g} seconds"
    except OSError as error:
        return f"no process could be started: {error.strerror}"
    try:
        answer = strict_json.load_object(done.stdout, path=script)
    except FormatError:
        return "the tokenizers library refused tokenizer.json"
    if "missing" in answer:
        return f"the package {answer['missing']} is not installed"
    return answer
