"""Ids of added tokens, against the tokenizers library; and what the files around tokenizer.json add."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import FormatError
from hub_safetensors.added_tokens import AddedToken, AddedVocabulary
from hub_safetensors.members import Members

tokenizers = pytest.importorskip("tokenizers")

words = st.sampled_from([*"abcdefgh", "", "XX", "YY", "<s>"])
token = st.builds(AddedToken, words, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())


def theirs(base: dict[str, int], calls: list[list[AddedToken]]) -> Any:
    made = tokenizers.Tokenizer.from_str(
        json.dumps({
            "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None,
            "added_tokens": [{"id": 7, **one.as_json()} for one in calls[0]],
            "model": {"type": "BPE", "vocab": base, "merges": []},
        })
    )  # fmt: skip
    for call in calls[1:]:
        made.add_tokens([tokenizers.AddedToken(**one.as_json()) for one in call])
    return made


@settings(max_examples=400, deadline=None)
@given(
    ids=st.lists(st.integers(0, 12), max_size=6, unique=True),
    calls=st.lists(st.lists(token, max_size=5), min_size=1, max_size=3),
)
def test_ids_and_properties_are_those_of_the_library(ids: list[int], calls: list[list[AddedToken]]) -> None:
    base = dict(zip("abcdef", ids, strict=False))
    ours = AddedVocabulary(base, "m")
    try:
        for call in calls:
            ours.add(call)
    except FormatError:
        # The library gives one id to two tokens then; no model can mean that.
        ids_given = sorted(theirs(base, calls).get_vocab(with_added_tokens=True).values())
        assert len(set(ids_given)) < len(ids_given)
        return
    library = theirs(base, calls)
    assert {**base, **ours.ids} == library.get_vocab(with_added_tokens=True)
    decoder = library.get_added_tokens_decoder()
    assert set(decoder) == set(ours.tokens)
    for index, one in ours.tokens.items():
        other = decoder[index]
        assert one == AddedToken(
            other.content, other.special, other.normalized, other.single_word, other.lstrip, other.rstrip
        )


def test_what_is_not_said_follows_from_special() -> None:
    assert AddedToken.of(Members({"content": "x"}, "m")) == AddedToken("x", special=False, normalized=True)
    assert AddedToken.of(Members({"content": "x", "special": True}, "m")).normalized is False
    assert AddedToken.of(Members({"content": "x", "normalized": True}, "m"), special=True).normalized is True


def test_a_taken_id_is_refused() -> None:
    with pytest.raises(FormatError, match="would get the id 3, which another token has"):
        AddedVocabulary({"a": 0, "b": 1, "c": 3}, "m").add([AddedToken("X")])
