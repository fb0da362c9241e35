"""What the tests of the runner's exact kernels share: the documented order of a dot product, written down with NumPy."""

from __future__ import annotations

import numpy as np

import hub_native


def fma(a, b, c):
    """a * b + c of float32, rounded once.

    The product of two float32 is exact in float64. The sum is rounded to odd (an inexact result gets its last bit set),
    and 53 bits to odd, then 24 to nearest is the same as 24 to nearest at once.
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    back = total - product
    lost = (product - (total - back)) + (c - back)
    even = total.view(np.int64) & 1 == 0
    odd = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where((lost != 0) & even, odd, total).astype(np.float32)


def dots(w, x):
    """dot(w[r], x[t]) as [t, r]: sixteen partial sums by fma, joined by halves."""
    spare = -w.shape[1] % 16
    w, x = (np.pad(a, ((0, 0), (0, spare))).reshape(len(a), -1, 16) for a in (w, x))
    parts = np.zeros((len(x), len(w), 16), np.float32)
    for k in range(w.shape[1]):
        parts = fma(w[None, :, k], x[:, None, k], parts)
    while parts.shape[-1] > 1:
        half = parts.shape[-1] // 2
        parts = parts[..., :half] + parts[..., half:]
    return parts[..., 0]


def linear(kind, data, rows, x):
    """All of x through all rows, in one call, into an array of exactly that size."""
    out = np.full((len(x), rows), np.nan, np.float32)
    hub_native.linear_exact(kind, data, rows, x, out)
    return out


def attend(q, k, v, heads, kv_heads, **more):
    out = np.full((len(q), v.shape[1] // kv_heads * heads), np.nan, np.float32)
    scale = more.pop("scale", (q.shape[1] // heads) ** -0.5)
    hub_native.attention(q, k, v, out, heads, kv_heads, scale, **more)
    return out


def softmax64(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def same_bits(a, b):
    np.testing.assert_array_equal(np.ascontiguousarray(a).view(np.uint32), np.ascontiguousarray(b).view(np.uint32))


def ulps(ours, exact):
    """The largest error in units of the last place of float32."""
    return float(np.max(np.abs(ours.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32))))
