"""The runner: what it refuses, what it tells observers, and the pieces that work is cut into."""

from __future__ import annotations

import numpy as np
import pytest
from made_models import DATA

import hub
from hub.errors import ConfigError, UsageError
from hub.runner import Runner, positions
from hub.runner.threads import Threads

TINY = DATA / "tiny-llama"


@pytest.fixture(scope="module")
def runner():
    with hub.open(TINY) as model, Runner(model) as made:
        yield made


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([5, 2048], "token 1 has id 2048"), ([-1], "token 0 has id -1"), ([], "a row of integers"),
        ([[1, 2]], "a row of integers"), ([0.5], "a row of integers"), ([1] * 1025, "1025 tokens, the model can see 1024"),
    ],
)  # fmt: skip
def test_ids_are_checked(runner, ids, said):
    with pytest.raises(UsageError, match=said):
        runner.logits(np.array(ids))


def test_observers_see_every_layer(runner):
    seen = {}
    hidden = runner.hidden([1, 2, 3], observe=lambda name, x: seen.setdefault(name, x.copy()))
    assert list(seen) == ["embedding", *(f"layer {i}" for i in range(6))]
    assert all(x.shape == (3, 256) for x in (*seen.values(), hidden))
    assert np.array_equal(runner.head(hidden[1:2])[0], runner.logits([1, 2, 3])[1])


def test_inputs_of_every_matrix_are_told():
    told = {}
    with hub.open(TINY) as model, Runner(model, inputs=lambda name, x: told.setdefault(name, x.shape)) as runner:
        runner.logits([1, 2])
    assert len(told) == 6 * 7 + 1
    assert told["model.layers.5.mlp.down_proj"] == (2, 768) and told["lm_head"] == (2, 256)


@pytest.mark.parametrize(("count", "size", "step"), [(1, 10, 4), (3, 1, 4), (3, 100, 1), (4, 1000, 16), (2, 0, 4)])
def test_pieces_cover_everything_once(count, size, step):
    hit = np.zeros(size, int)

    def work(start, stop):
        assert start % step == 0 and (stop % step == 0 or stop == size)
        hit[start:stop] += 1

    threads = Threads(count)
    threads.each(size, step, work)
    threads.close()
    assert (hit == 1).all()


def test_the_first_error_of_a_piece_is_raised():
    threads = Threads(2)
    with pytest.raises(ZeroDivisionError):
        threads.each(100, 1, lambda *_: 1 // 0)
    threads.close()


def test_rope_types():
    values = {"rope.factor": 4.0, "rope.original_max_position_embeddings": 64, "max_position_embeddings": 256}
    plain, scale = positions.frequencies("default", 8, 100.0, values, None, 10)
    assert np.allclose(plain, 100.0 ** (-np.arange(4) / 4)) and scale == 1.0
    linear, _ = positions.frequencies("linear", 8, 100.0, values, None, 10)
    assert np.allclose(linear, plain / 4)
    stretched, scale = positions.frequencies("yarn", 8, 100.0, values, None, 10)
    assert np.isclose(scale, 0.1 * np.log(4) + 1)
    assert stretched[0] == plain[0] and np.isclose(stretched[-1], plain[-1] / 4)
    values["rope.attention_factor"] = 1.25
    long, scale = positions.frequencies("longrope", 8, 100.0, values, np.full(4, 2, np.float32), 10)
    assert np.allclose(long, plain / 2) and scale == 1.25
    with pytest.raises(ConfigError, match="rope factors"):
        positions.frequencies("llama3", 8, 100.0, values, np.ones(3, np.float32), 10)
    with pytest.raises(ConfigError, match="cannot be run"):
        positions.frequencies("odd", 8, 100.0, values, None, 10)
