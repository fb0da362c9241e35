"""Texts as chunks, scores of chunks, and sums of what experts meet."""

from __future__ import annotations

import numpy as np
import pytest

from hub.errors import HubError, UsageError
from hub.io.text import text_file
from hub.mapping import Relation
from hub.measures import chunks, perplexity
from hub.measures.importance import Collector, Moments, localised
from hub.runner import slices
from hub.transforms import Concat, Stack, Transpose


def tokens(count, first):
    return chunks.Tokens("text.txt", np.arange(count, dtype=np.int32) + 10, first)


def test_chunks_start_with_what_the_model_wants():
    parts = chunks.chunks(tokens(11, 1), 4)
    assert [list(part) for part in parts] == [[1, 11, 12, 13], [1, 15, 16, 17]]
    assert [list(part) for part in chunks.chunks(tokens(11, None), 4)] == [[10, 11, 12, 13], [14, 15, 16, 17]]
    assert len(chunks.chunks(tokens(11, None), 4, 1)) == 1


def test_too_short_a_text_is_refused():
    with pytest.raises(UsageError, match="has 7 tokens, at least 8 are needed for a context of 4"):
        chunks.chunks(tokens(7, None), 4)


@pytest.mark.parametrize(
    ("raw", "says"), [(b"", "empty"), (b" \n\t", "empty"), (b"ab\xff", "at byte 2: the text is not UTF-8")]
)
def test_texts_that_are_none(tmp_path, raw, says):
    (tmp_path / "a.txt").write_bytes(raw)
    with pytest.raises(HubError, match=says):
        text_file(tmp_path / "a.txt", 100)


def test_a_text_that_is_too_long_is_refused_or_cut_between_letters(tmp_path):
    (tmp_path / "a.txt").write_bytes("aéé".encode())
    with pytest.raises(HubError, match="a text of 5 bytes, at most 4 are read"):
        text_file(tmp_path / "a.txt", 4)
    assert text_file(tmp_path / "a.txt", 4, beginning=True) == "aé"


def test_loss_is_minus_log_softmax():
    logits = np.random.default_rng(1).normal(0, 4, (5, 37)).astype(np.float32)
    following = np.array([0, 36, 5, 5, 1], np.int32)
    wide = logits.astype(np.float64)
    expected = np.log(np.exp(wide).sum(1)) - wide[np.arange(5), following]
    np.testing.assert_allclose(perplexity.loss(logits, following), expected, rtol=1e-12)


class FakeRunner:
    """Logits that are a table of ids, so that scores can be told by hand."""

    vocab_size, weight_bytes, mode, path = 4, 1, "exact", "fake"

    def __init__(self, table):
        self.table = np.asarray(table, np.float32)

    def hidden(self, ids):
        return np.asarray(ids, np.float32)[:, None]

    def head(self, hidden):
        return self.table[hidden[:, 0].astype(int)]


class Quiet:
    def start(self, stage, total):
        pass

    def advance(self, amount):
        pass


def test_the_second_half_is_scored(monkeypatch):
    table = np.log([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.2, 0.1]])
    ids = [np.array(row, np.int32) for row in ([3, 3, 3, 2, 3, 0], [0, 0, 0, 1, 2, 3])]
    chances = np.array([0.4, 0.5, 0.25, 0.4])  # after 2 comes 3, after 3 comes 0; after 1 comes 2, after 2 comes 3
    nll = -np.log(chances)
    value = np.exp(nll.mean())
    for held in (slices.HEAD_BYTES, 1):
        monkeypatch.setattr(slices, "HEAD_BYTES", held)
        found = perplexity.measure(FakeRunner(table), ids, Quiet())
        assert (found.chunks, found.context, found.scored) == (2, 6, 4)
        assert found.value == pytest.approx(value, rel=1e-6)
        assert found.error == pytest.approx(value * nll.std() / np.sqrt(3), rel=1e-5)


def test_one_score_has_no_error():
    found = perplexity.measure(FakeRunner(np.zeros((4, 4))), [np.zeros(4, np.int32)], Quiet())
    assert (found.value, found.error) == (pytest.approx(4.0), None)


def test_collector_sums_squares_of_what_is_wanted():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    collector = Collector(frozenset({"a.weight", "b.weight"}), {})
    for module, value in (("a", x), ("b", x), ("c", x), ("a", x[:1] + 1)):
        collector(module, value)
    assert set(collector.moments) == {"a.weight", "b.weight"}
    assert collector.moments["a.weight"].sums.tolist() == [[0 + 9 + 1, 1 + 16 + 4, 4 + 25 + 9]]
    assert collector.moments["a.weight"].counts.tolist() == [3]
    assert collector.moments["b.weight"].sums.tolist() == [[9, 17, 29]]


def test_experts_of_one_tensor_are_told_apart():
    collector = Collector(frozenset({"down"}), {"down": 3, "other": 2})
    for module in ("down[2]", "other[0]", "down[0]", "down[2]", "down", "down[3]"):
        collector(module, np.full((2, 2), 3, np.float32))
    assert collector.moments.keys() == {"down"}
    assert collector.moments["down"].sums.tolist() == [[18, 18], [0, 0], [36, 36]]
    assert collector.moments["down"].counts.tolist() == [2, 0, 4]


def moments(**by_name):
    return {name: Moments(np.array([sums], float), np.array([count])) for name, (sums, count) in by_name.items()}


def test_experts_keep_their_own_and_fused_parts_share():
    met = moments(g0=([1, 2], 3), u0=([1, 2], 3), g2=([5, 6], 7), u2=([5, 6], 7), f=([1, 1, 1], 2))
    relations = [
        Relation("fused", ("g0", "u0"), (Concat(2),), "fused"),
        Relation("stacked", ("g0", "u0", "g1", "u1", "g2", "u2"), (Concat(2), Stack(3)), "stacked"),
        Relation("turned", ("f",), (Transpose(1),), "turned"),
        Relation("unmet", ("x",), (), "unmet"),
    ]
    found = {item.name: item for item in localised(relations, met, "model")}
    assert set(found) == {"fused", "stacked", "turned"}
    assert found["fused"].sums.tolist() == [[1, 2]] and found["fused"].counts.tolist() == [3]
    assert found["stacked"].sums.tolist() == [[1, 2], [0, 0], [5, 6]] and found["stacked"].counts.tolist() == [3, 0, 7]
    assert found["turned"].sums.tolist() == [[1, 1, 1]]
    with pytest.raises(UsageError, match="no matrix"):
        localised(relations[-1:], met, "model")
