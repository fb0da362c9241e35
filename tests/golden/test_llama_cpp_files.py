"""Whole files, byte for byte as llama.cpp writes them; tests/data/golden/llama_cpp_sha256.md says how those were made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import hub

DATA = Path(__file__).parents[1] / "data"
GOLDEN: dict[str, dict[str, str]] = json.loads((DATA / "golden" / "llama_cpp_sha256.json").read_text())


def test_the_table_is_whole() -> None:
    assert len(GOLDEN) == 12
    assert all(len(types) == 18 for types in GOLDEN.values())


@pytest.mark.parametrize("model", GOLDEN)
def test_every_file_type_is_llama_cpps_file(model: str, tmp_path: Path) -> None:
    source = DATA / model if (DATA / model).is_dir() else DATA / "arch" / model
    different = []
    for file_type, expected in GOLDEN[model].items():
        target = tmp_path / f"{file_type}.gguf"
        hub.convert(source, target, to=f"gguf:{file_type}", verify="none")
        if hashlib.sha256(target.read_bytes()).hexdigest() != expected:
            different.append(file_type)
        target.unlink()
    assert different == []
