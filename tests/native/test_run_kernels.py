"""Norms, rotary positions, attention, activations, routing and statistics of the exact mode, against float64."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from run_cases import attend, dots, fma, same_bits, softmax64, ulps

import hub_native

SIZES = [1, 15, 16, 17, 32, 100, 2048]


def gauss(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


# ------------------------------------------------------------------------------------------------ norms


@pytest.mark.parametrize("n", SIZES)
def test_rms_norm(n):
    x, weight, eps = gauss(5, n, scale=3), gauss(n, seed=1), np.float32(1e-5)
    out = np.empty_like(x)
    hub_native.rms_norm(x, weight, eps, out)
    square = np.concatenate([dots(row[None], row[None])[0] for row in x])
    by = np.float32(1) / np.sqrt(square / np.float32(n) + eps)
    same_bits(out, x * by[:, None] * weight)
    exact = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-5) * weight
    np.testing.assert_allclose(out, exact, rtol=2e-6)
    hub_native.rms_norm(x, None, eps, x)
    same_bits(x * weight, out)


def test_rms_norm_of_heads():
    x, weight = gauss(7, 6 * 20), gauss(20, seed=1)
    whole, heads = np.empty_like(x), np.empty((42, 20), np.float32)
    hub_native.rms_norm(x, weight, 1e-6, whole, 6)
    hub_native.rms_norm(x.reshape(42, 20), weight, 1e-6, heads)
    same_bits(whole.reshape(42, 20), heads)


@pytest.mark.parametrize("n", SIZES)
def test_layer_norm(n):
    x, weight, bias = gauss(5, n, scale=3) + np.float32(1), gauss(n, seed=1), gauss(n, seed=2)
    out, without = np.empty_like(x), np.empty_like(x)
    hub_native.layer_norm(x, weight, bias, 1e-5, out)
    hub_native.layer_norm(x, weight, None, 1e-5, without)
    same_bits(out, without + bias)
    wide = x.astype(np.float64)
    exact = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(out, exact, atol=2e-5)
    hub_native.layer_norm(x, weight, bias, 1e-5, x)
    same_bits(x, out)


# ------------------------------------------------------------------------------------------------ rotary positions


def test_rope_tables():
    inv_freq = np.concatenate([np.float32(10000.0) ** (-np.arange(32, dtype=np.float32) / 32), [np.float32(0)]])
    positions = np.array([0, 1, 2, 77, 4095, 131071, 2**24 + 1, 2**28], np.int32)
    cos, sin = np.empty((2, 8, 33), np.float32)
    hub_native.rope_tables(inv_freq, positions, 1.0, cos, sin)
    angle = (positions.astype(np.float32)[:, None] * inv_freq).astype(np.float64)
    np.testing.assert_allclose(cos, np.cos(angle), rtol=6.1e-8, atol=0)
    np.testing.assert_allclose(sin, np.sin(angle), rtol=6.1e-8, atol=0)
    scaled = np.empty_like(cos)
    hub_native.rope_tables(inv_freq, positions, 1.25, scaled, sin)
    same_bits(scaled, cos * np.float32(1.25))
    with pytest.raises(ValueError, match="limit is 2\\^28"):
        hub_native.rope_tables(inv_freq * 2, positions, 1.0, cos, sin)
    with pytest.raises(ValueError, match="inv_freq\\[0\\] is nan"):
        hub_native.rope_tables(inv_freq * np.nan, positions, 1.0, cos, sin)


@pytest.mark.parametrize("half", [0, 1, 5, 8])
@pytest.mark.parametrize("pairs", ["halves", "neighbours"])
def test_rope(half, pairs):
    tokens, heads, dim = 6, 3, 16
    x, (cos, sin) = gauss(tokens, heads * dim), gauss(2, tokens, half, seed=1)
    split = x.reshape(tokens, heads, dim).copy()
    a, b = (split[..., :half], split[..., half : 2 * half]) if pairs == "halves" else (
        split[..., 0 : 2 * half : 2], split[..., 1 : 2 * half : 2])  # fmt: skip
    c, s = cos[:, None], sin[:, None]
    a[...], b[...] = a * c - b * s, b * c + a * s
    hub_native.rope(x, cos, sin, heads, pairs)
    same_bits(x.reshape(split.shape), split)


@pytest.mark.parametrize(
    ("heads", "half", "pairs", "message"),
    [(3, 8, "both", "unknown pairs 'both'"), (5, 2, "halves", "5 heads"), (3, 9, "halves", "cos has 9 columns"),
     (0, 2, "halves", "0 heads")],
)  # fmt: skip
def test_rope_refused(heads, half, pairs, message):
    with pytest.raises(ValueError, match=message):
        hub_native.rope(np.zeros((2, 48), np.float32), *np.zeros((2, 2, half), np.float32), heads, pairs)


# ------------------------------------------------------------------------------------------------ attention


def attention64(q, k, v, heads, kv_heads, window=0, softcap=0.0, sinks=None):
    tokens, positions, dim = len(q), len(k), q.shape[1] // heads
    q, k, v = (
        a.astype(np.float64).reshape(len(a), h, -1).transpose(1, 0, 2)
        for a, h in ((q, heads), (k, kv_heads), (v, kv_heads))
    )
    k, v = (np.repeat(a, heads // kv_heads, axis=0) for a in (k, v))
    scores = q @ k.transpose(0, 2, 1) * dim**-0.5
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    at, seen = np.arange(positions - tokens, positions)[:, None], np.arange(positions)
    scores[:, (seen > at) | (seen <= at - window if window else False)] = -np.inf
    if sinks is not None:
        scores = np.concatenate([scores, np.broadcast_to(sinks[:, None, None], (heads, tokens, 1))], axis=2)
    return (softmax64(scores)[..., :positions] @ v).transpose(1, 0, 2).reshape(tokens, -1)


@pytest.mark.parametrize(("heads", "kv_heads", "dim", "value_dim"), [(4, 2, 64, 64), (3, 3, 20, 37), (2, 1, 1, 130)])
@pytest.mark.parametrize("tokens", [1, 2, 6, 23])
@pytest.mark.parametrize("earlier", [0, 9])
def test_attention(heads, kv_heads, dim, value_dim, tokens, earlier):
    q = gauss(tokens, heads * dim, scale=2)
    k, v = (
        gauss(tokens + earlier, kv_heads * dim, seed=1, scale=2),
        gauss(tokens + earlier, kv_heads * value_dim, seed=2),
    )
    sinks = gauss(heads, seed=3)
    for more in ({}, {"window": 4}, {"window": 100}, {"softcap": 5.0}, {"sinks": sinks}):
        out = attend(q, k, v, heads, kv_heads, **more)
        np.testing.assert_allclose(out, attention64(q, k, v, heads, kv_heads, **more), atol=4e-6)


def test_attention_order():
    """Scores in the order of a dot product, 16 partial sums in the softmax, then tokens one by one."""
    tokens, dim = 19, 33
    q, k, v = gauss(tokens, dim), gauss(tokens, dim, seed=1), gauss(tokens, dim, seed=2)
    scores = dots(k, q[-1:])[0] * np.float32(0.125)
    chances = np.empty((1, tokens), np.float32)
    hub_native.softmax_rows(scores[None], chances)
    wanted = np.zeros(dim, np.float32)
    for s in range(tokens):
        wanted = fma(np.broadcast_to(chances[0, s], dim), v[s], wanted)
    same_bits(attend(q, k, v, 1, 1, scale=0.125)[-1], wanted)


@pytest.mark.parametrize("window", [0, 5, 16])
def test_attention_in_any_parts(window):
    """One token or one head at a time, and with what a window hides cut away: the same bits."""
    heads, kv_heads, dim, tokens = 6, 2, 24, 31
    q = gauss(tokens, heads * dim)
    k, v = gauss(tokens, kv_heads * dim, seed=1), gauss(tokens, kv_heads * dim, seed=2)
    whole = attend(q, k, v, heads, kv_heads, window=window)
    for t in range(tokens):
        start = max(0, t - window + 1) if window else 0
        same_bits(attend(q[t : t + 1], k[: t + 1], v[: t + 1], heads, kv_heads, window=window), whole[t : t + 1])
        same_bits(attend(q[t : t + 1], k[start : t + 1], v[start : t + 1], heads, kv_heads), whole[t : t + 1])
    by_head = np.full_like(whole, np.nan)
    with ThreadPoolExecutor(3) as pool:
        for head in range(heads):
            pool.submit(
                hub_native.attention, q, k, v, by_head, heads, kv_heads, dim**-0.5, window, 0.0, head, head + 1
            ).result()
    same_bits(by_head, whole)


def test_later_tokens_do_not_leak():
    q, k, v = gauss(20, 16), gauss(20, 16, seed=1), gauss(20, 16, seed=2)
    clean = attend(q, k, v, 1, 1)
    k[13], v[14] = np.nan, np.inf
    out = attend(q, k, v, 1, 1)
    same_bits(out[:13], clean[:13])
    assert np.isnan(out[13:]).all()
    hidden = attend(q, k, v, 1, 1, window=3)
    assert np.isfinite(hidden[:13]).all()
    assert np.isfinite(hidden[17:]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "3 heads cannot share 2"),
        ({"kv_heads": 0}, "4 heads cannot share 0"),
        ({"k": np.zeros((4, 16), np.float32)}, "k has 4 positions, q has 5 tokens"),
        ({"k": np.zeros((5, 15), np.float32)}, "k is 5 x 15, 5 x 16 is needed"),
        ({"v": np.zeros((6, 16), np.float32)}, "v is 6 x 16"),
        ({"out": np.zeros((5, 30), np.float32)}, "not multiples of 4 heads"),
        ({"out": np.zeros((4, 32), np.float32)}, "out is 4 x 32, 5 x 32"),
        ({"window": -1}, "must not be negative"),
        ({"softcap": math.nan}, "must not be negative"),
        ({"first_head": 3, "last_head": 2}, "heads \\[3, 2\\) of 4"),
        ({"last_head": 5}, "heads \\[0, 5\\) of 4"),
        ({"sinks": np.zeros(3, np.float32)}, "sinks has 3 values, 4 are needed"),
    ],
)
def test_attention_refused(change, message):
    given = {
        "q": np.zeros((5, 32), np.float32), "k": np.zeros((5, 16), np.float32), "v": np.zeros((5, 16), np.float32),
        "out": np.zeros((5, 32), np.float32), "heads": 4, "kv_heads": 2, "scale": 1.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        hub_native.attention(**(given | change))


# ------------------------------------------------------------------------------------------------ number by number

GRID = np.concatenate(
    [np.linspace(-40, 40, 40_001), np.geomspace(1e-37, 1, 500), -np.geomspace(1e-37, 1, 500), [-80, 90, 1e30]]
).astype(np.float32)


def silu64(x):
    return x / (1 + np.exp(-x))


def gelu_tanh64(x):
    return silu64(x * (2 * math.sqrt(2 / math.pi)) * (1 + 0.044715 * x * x)) / (
        2 * math.sqrt(2 / math.pi) * (1 + 0.044715 * x * x)
    )


def gelu_erf64(x):
    return x * np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in x])


@pytest.mark.parametrize(("name", "exact"), [("silu", silu64), ("gelu_tanh", gelu_tanh64), ("gelu_erf", gelu_erf64)])
def test_activations(name, exact):
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        wanted = exact(GRID.astype(np.float64))
    x, out = GRID[None].copy(), np.empty((1, GRID.size), np.float32)
    getattr(hub_native, name)(x, out)
    usual = np.abs(wanted) > 1e-37
    assert ulps(out[0][usual], wanted[usual]) <= 0.51
    np.testing.assert_allclose(out[0][~usual], wanted[~usual], atol=2e-45)
    up, both = gauss(1, GRID.size), np.empty_like(out)
    getattr(hub_native, f"{name}_mul")(x, up, both)
    same_bits(both, out * up)
    getattr(hub_native, name)(x, x)
    same_bits(x, out)
    special = np.array([[np.nan, np.inf, 0.0, -0.0]], np.float32)
    getattr(hub_native, name)(special, special)
    np.testing.assert_array_equal(special, np.array([[np.nan, np.inf, 0.0, -0.0]], np.float32))
    assert np.signbit(special[0, 3])


def test_swiglu_pairs():
    """transformers' GptOssExperts._apply_gate, in double."""
    x = np.concatenate([gauss(5, 66) * 6, [[7.0, -7.0] * 33], [[1e38, -1e38] * 33]]).astype(np.float32)
    out = np.empty((len(x), 33), np.float32)
    hub_native.swiglu_pairs(x, 1.702, 7.0, out)
    gate, up = np.minimum(x[:, ::2].astype(float), 7.0), np.clip(x[:, 1::2].astype(float), -7.0, 7.0)
    with np.errstate(over="ignore"):
        wanted = (up + 1) * gate / (1 + np.exp(-np.float64(np.float32(1.702)) * gate))
    np.testing.assert_allclose(out, wanted, rtol=2e-7)
    x[0, 0], x[1, 3] = np.nan, np.nan
    hub_native.swiglu_pairs(x, 1.702, 7.0, out)
    assert np.argwhere(np.isnan(out)).tolist() == [[0, 0], [1, 1]]
    for wrong, message in ((x[:, :64], "is needed"), (x[:3], "is needed")):
        with pytest.raises(ValueError, match=message):
            hub_native.swiglu_pairs(np.ascontiguousarray(wrong), 1.702, 7.0, out)
    with pytest.raises(ValueError, match="limit"):
        hub_native.swiglu_pairs(x, 1.702, math.nan, out)


def test_softcap():
    x, out = GRID[None], np.empty((1, GRID.size), np.float32)
    hub_native.softcap(x, 30.0, out)
    assert ulps(out[0], 30 * np.tanh(GRID.astype(np.float64) / 30)) <= 0.51
    special = np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    hub_native.softcap(special, 30.0, special)
    np.testing.assert_array_equal(special, np.array([[np.nan, 30, -30, -0.0]], np.float32))
    with pytest.raises(ValueError, match="must be positive"):
        hub_native.softcap(x, 0.0, out)


def test_sums():
    a, b, bias = gauss(7, 33), gauss(7, 33, seed=1), gauss(33, seed=2)
    out = np.empty_like(a)
    hub_native.add(a, b, out)
    same_bits(out, a + b)
    hub_native.add(a, b, b)
    same_bits(b, out)
    hub_native.add_row(b, bias)
    same_bits(b, out + bias)
    hub_native.scale(b, 1 / 3)
    same_bits(b, (out + bias) * np.float32(1 / 3))
    for wrong in (
        lambda: hub_native.add(a, b[:6], out),
        lambda: hub_native.add_row(a, bias[1:]),
        lambda: hub_native.silu(a, out[:6]),
    ):
        with pytest.raises(ValueError):
            wrong()


# ------------------------------------------------------------------------------------------------ softmax, routing


@pytest.mark.parametrize("n", SIZES)
def test_softmax(n):
    x = gauss(9, n, scale=8)
    out = np.empty_like(x)
    hub_native.softmax_rows(x, out)
    np.testing.assert_allclose(out, softmax64(x.astype(np.float64)), rtol=4e-6, atol=1e-42)  # x - max is rounded
    hub_native.softmax_rows(x, x)
    same_bits(x, out)
    x[3, 0] = np.nan
    hub_native.softmax_rows(x, out)
    np.testing.assert_array_equal(np.isnan(out).any(axis=1), np.arange(9) == 3)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (8, 2), (60, 4), (60, 60), (128, 8)])
def test_top_k(n, k):
    x = np.random.default_rng(n).integers(0, n // 2 + 1, (20, n)).astype(np.float32)  # many ties
    ids, values = np.empty((20, k), np.int32), np.empty((20, k), np.float32)
    hub_native.top_k(x, k, ids, values)
    wanted = np.argsort(-x, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(ids, wanted)
    same_bits(values, np.take_along_axis(x, wanted, axis=1))


def test_top_k_nan_is_last():
    x = np.array([[np.nan, -np.inf, np.nan, 3, 5]], np.float32)
    ids, values = np.empty((1, 5), np.int32), np.empty((1, 5), np.float32)
    hub_native.top_k(x, 5, ids, values)
    np.testing.assert_array_equal(ids, [[4, 3, 1, 0, 2]])
    with pytest.raises(ValueError, match="the 6 largest of 5"):
        hub_native.top_k(x, 6, np.empty((1, 6), np.int32), np.empty((1, 6), np.float32))


# ------------------------------------------------------------------------------------------------ statistics


def stats(a, b, following):
    rows = len(a)
    kl, nll_a, nll_b = (np.full(rows, np.nan) for _ in range(3))
    same = np.full(rows, 7, np.uint8)
    hub_native.log_softmax_stats(a, b, np.asarray(following, np.int32), kl, nll_a, nll_b, same)
    return kl, nll_a, nll_b, same


@pytest.mark.parametrize("n", [1, 15, 17, 100, 3001])
def test_log_softmax_stats(n):
    a, b = gauss(11, n, scale=5), gauss(11, n, seed=1, scale=5)
    b[:4] = a[:4] + np.float32(0.01) * b[:4]
    following = np.random.default_rng(2).integers(-1, n, 11)
    kl, nll_a, nll_b, same = stats(a, b, following)
    log_a, log_b = (
        wide - wide.max(1, keepdims=True) - np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1, keepdims=True))
        for wide in (a.astype(np.float64), b.astype(np.float64))
    )
    np.testing.assert_allclose(kl, (np.exp(log_a) * (log_a - log_b)).sum(1), atol=1e-13, rtol=1e-11)
    rows = np.arange(11)
    np.testing.assert_allclose(nll_a, np.where(following < 0, 0, -log_a[rows, following]), atol=1e-13)
    np.testing.assert_allclose(nll_b, np.where(following < 0, 0, -log_b[rows, following]), atol=1e-13)
    np.testing.assert_array_equal(same, a.argmax(1) == b.argmax(1))


def test_equal_logits_differ_by_nothing():
    a = gauss(3, 1000, scale=30)
    kl, nll_a, nll_b, same = stats(a, a.copy(), [0, 5, -1])
    assert not kl.any()
    np.testing.assert_array_equal(nll_a, nll_b)
    assert same.all()


def test_forbidden_tokens():
    a, b = gauss(1, 40), gauss(1, 40, seed=1)
    without = stats(a[:, :30].copy(), b[:, :30].copy(), [2])
    a[:, 30:] = b[:, 30:] = -np.inf
    kl, nll_a, *_ = stats(a, b, [2])
    np.testing.assert_allclose(kl, without[0], rtol=1e-13)
    np.testing.assert_allclose(nll_a, without[1], rtol=1e-13)
    for wrong in (40, -2):
        with pytest.raises(ValueError, match=f"next\\[0\\] is {wrong}"):
            stats(a, b, [wrong])
    with pytest.raises(ValueError, match="next has 2 values"):
        stats(a, b, [1, 2])


def test_sum_squares():
    x, out = gauss(37, 50), np.ones(50)
    hub_native.sum_squares(x, out)
    wanted = np.ones(50)
    for row in x.astype(np.float64):
        wanted += row * row
    np.testing.assert_array_equal(out, wanted)
    halves = np.ones(50)
    hub_native.sum_squares(x[:20], halves)
    hub_native.sum_squares(x[20:], halves)
    np.testing.assert_array_equal(halves, out)
    with pytest.raises(ValueError, match="out has 49 values"):
        hub_native.sum_squares(x, out[:49])
