"""Regular expressions out of a config: the names that Python's own matcher finds, in bounded time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api import FormatError
from hub_safetensors.patterns import Pattern

PATTERNS = [
    r".*mlp.gate$", r"^(?!.*(lm_head|vision)).*proj", r"model\.layers\.(\d+|x)\.[a-z_]+\.(q|k|v)_proj$", r"(a|aa)+$",
    r"(?:a*)*b", r"[^x]{2,3}y?", r"\w+?\b.*", r"(?i)MODEL.*", r"lm_head", r"(a{2}){1,2}$|b*", r"^$", r"(?=ab)a.*",
    r"[a-c]+[\d.]*", r"a\Z", r"\Aa|\Bb", r"\S+\s?\D",
]  # fmt: skip
NAMES = ["", "model.layers.0.mlp.gate", "model.layers.0.self_attn.q_proj", "lm_head", "vision.proj", "Model.x_proj"]


@pytest.mark.parametrize("pattern", PATTERNS)
@given(drawn=st.text("ab.1xy_ B", max_size=9))
def test_finds_what_python_finds(pattern: str, drawn: str) -> None:
    ours = Pattern(pattern)
    for name in (*NAMES, drawn):
        assert ours.match(name) == bool(re.match(pattern, name)), name
        assert ours.search(name) == bool(re.search(pattern, name)), name


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "((a*)*)*b", "(.*)(.*)(.*)(.*)x", "(a{0,1000000}){0,1000000}b"]
)
def test_hostile_patterns_end(pattern: str) -> None:
    start = time.monotonic()
    assert not Pattern(pattern).match("a" * 300)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?<=a)b", "(", "a" * 2000, "(?s)a.b", "(?>a)b", "a*+b", "(a)(?(1)b|c)"])
def test_what_is_not_known_is_refused(pattern: str) -> None:
    with pytest.raises(FormatError, match="regular expression"):
        Pattern(pattern)
