"""The arithmetic of architecture files: what it can, and that it can nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import ConfigError
from hub.expression import evaluate

NAMES = {
    "a": 6,
    "b": 4,
    "zero": 0,
    "rope.type": "yarn",
    "yes": True,
    "kinds": ["local", "full"],
    "no": False,
    "word": "silu",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 6), ("a * b", 24), ("a // b", 1), ("a / b", 1.5), ("a + b * 2", 14), ("(a + b) * 2", 20), ("a - b", 2),
        ("rope.type == 'yarn'", True), ("rope.type != 'yarn'", False),
        ("rope.type == 'a' or rope.type == 'yarn'", True),
        ("yes and no", False), ("yes and a", True), ("no or b", 4), ("zero or b or a", 4), ("not no", True),
        ("missing", None), ("missing or 7", 7), ("zero or missing", False), ("'silu' == word", True), ("1.5e3", 1500.0),
        (7, 7), (1e-6, 1e-6), (False, False),
        ("a if yes else b", 6), ("a if missing else b", 4), ("a < b", False), ("a >= 6", True), ("a % b", 2), ("-a", -6),
        ("b ** -0.5", 0.5), ("kinds[b - 3]", "full"), ("'full' in kinds", True), ("index(kinds, 'full')", 1), ("index(kinds, word)", 2), ("word not in ['silu']", False), ("[a]", [6]),
    ],
)  # fmt: skip
def test_values(text, value):
    found = evaluate(text, NAMES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["a // zero", "a / zero", "1 // 0"])
def test_division_by_zero(text):
    with pytest.raises(ConfigError, match="division by zero"):
        evaluate(text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "a.__class__()", "a()", "print(a)", "{a: b}", "{a}", "a[0]", "kinds[7]", "word[0]",
        "kinds[0:1]", "[a for a in kinds]", "a ** 1e9", "(0 - 1) ** 0.5 < 1", "missing < 1",
        "lambda: a", "a := 1", "a == b == 6", "a in b", "a is b", "~a", "a << 40",
        "a @ b",
        "f'{a}'", "b'x'", "None", "...", "1j", "a; b", "a = 1", "import os", "", "  ", "a b", "await a", "yield",
        "*a", "a\n+b\nc",
    ],
)  # fmt: skip
def test_nothing_else_is_understood(text):
    with pytest.raises(ConfigError, match="cannot calculate"):
        evaluate(text, NAMES)


def test_attributes_are_names_and_reach_no_object():
    class Trap:
        secret = "x"

    assert evaluate("trap.secret", {"trap": Trap()}) is None
    assert evaluate("trap.__class__.__mro__", {"trap": Trap()}) is None


@pytest.mark.parametrize("text", ["missing * 2", "a + missing", "word * word", "word - a"])
def test_calculating_with_what_is_not_a_number(text):
    with pytest.raises(ConfigError, match="cannot calculate"):
        evaluate(text, NAMES)


@pytest.mark.parametrize(
    "text", ["a" * 100_000 + "(", "(" * 300 + "a" + ")" * 300, "a" + " + a" * 20_000, "not " * 5000 + "a", "a\0b"]
)
def test_giant_expressions_are_an_error_and_no_crash(text):
    with pytest.raises(ConfigError):
        evaluate(text, NAMES)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(1, 50))
def test_it_calculates_as_python_does(a, b, c):
    assert evaluate("(a + b) * c - a // c", {"a": a, "b": b, "c": c}) == (a + b) * c - a // c


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_config_error(text):
    with contextlib.suppress(ConfigError):
        evaluate(text, NAMES)
