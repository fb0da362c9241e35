"""JSON that every parser reads alike, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import FormatError
from hub.io.strict_json import MAX_DEPTH, load_object, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_the_standard_library_writes_is_read_back(value):
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        try:
            assert loads(text, path="x") == value
        except FormatError as error:
            assert "not UTF-8" in str(error)  # half a surrogate pair, written raw
            assert not ascii_only


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"x": {"a": 1, "\\u0061": 2}}', "stands twice"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "beyond the range"),
        (b"[" + b"1" * 41 + b"]", "41 digits"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        (b"{'a': 1}", "not acceptable JSON"),
        (b"[1,]", "not acceptable JSON"),
        (b"[1] 2", "Extra data"),
        (b"", "not acceptable JSON"),
        (b"// x\n{}", "not acceptable JSON"),
        (b'"a\nb"', "control character"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(FormatError, match=message) as caught:
        loads(text, path="config.json")
    assert caught.value.path == "config.json"


def test_the_offset_is_in_bytes_of_the_file():
    with pytest.raises(FormatError) as caught:
        loads('{"é": 1,}'.encode(), path="x", offset=100)
    assert caught.value.offset == 109
    with pytest.raises(FormatError) as caught:
        loads(b'"ab\xff"', path="x", offset=100)
    assert caught.value.offset == 103


def test_the_deepest_nesting_is_read():
    value = loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, path="x")
    for _ in range(MAX_DEPTH - 1):
        (value,) = value
    assert value == []


def test_brackets_in_strings_nest_nothing():
    assert loads(json.dumps(["[" * 500, '\\"[' * 100]).encode(), path="x") == ["[" * 500, '\\"[' * 100]


def test_length_has_a_limit():
    with pytest.raises(FormatError, match="at most 3 are allowed"):
        loads(b"[ 1 ]", path="x", max_bytes=3)


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null"])
def test_an_object_is_wanted(text):
    with pytest.raises(FormatError, match="expected a JSON object"):
        load_object(text, path="x")


def test_an_integer_that_64_bits_do_not_hold_is_no_integer():
    """What transformers writes for a tokenizer without a limit of length."""
    (value,) = loads(b"[1000000000000000019884624838656]", path="x")
    assert type(value) is float and value == 1e30
    (value,) = loads(b"[18446744073709551615]", path="x")
    assert type(value) is int
