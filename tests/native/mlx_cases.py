"""Weights that quantizers of MLX are tried on, and what MLX makes of them, told in NumPy.

Everything here is exact and the same everywhere: random bits of a frozen generator, and powers of two.
"""

import ml_dtypes
import numpy as np

WIDTHS = (1, 2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
MODES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}
TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
_LARGEST = {"f32": 3.4028234663852886e38, "f16": 65504.0, "bf16": 3.3895313892515355e38}
_SPAN = {"f32": (-149, 127), "f16": (-24, 15), "bf16": (-133, 127)}
f32 = np.float32


def weights(columns, kind, seed, rows=24, least=0.0):
    """(rows of many sorts, columns) f32, each a finite number of type `kind`; magnitudes below `least` are zero."""
    random = np.random.RandomState(seed)
    low, high = _SPAN[kind]

    def normal(n=rows):
        # Sums of integers are near enough to a bell, and exact.
        return random.randint(-(2**20), 2**20, (4, n, columns)).sum(axis=0) / f32(2**21)

    def spread(shape):
        return np.ldexp(1.0, random.randint(low, high, shape))

    sorts = [
        normal() / 64,
        normal(),
        np.abs(normal()) + 0.125,
        -np.abs(normal()) - 0.125,
        5 + normal() / 1024,
        normal(6).repeat(columns, axis=1)[:, :columns],
        np.repeat(normal(8)[:, :1], columns, axis=1),
        random.randint(-8, 9, (rows, columns)),
        random.randint(-3, 4, (rows, columns)) / 2,
        random.randint(-1, 2, (rows, columns)),
        np.where(random.randint(0, 10, (rows, columns)), 0, normal()),
        np.where(random.randint(0, 2, (8, columns)), 0.0, -0.0),
        np.zeros((2, columns)),
        normal() * spread((rows, 1)),
        normal() * spread((rows, columns)),
        normal() * 2.0**-23,
        normal() * 2.0**-26,
        random.randint(-9, 10, (rows, columns)) * 2.0**low,
        random.choice([_LARGEST[kind], -_LARGEST[kind], 0, 1], (8, columns)),
        np.full((1, columns), _LARGEST[kind]),
        np.full((1, columns), -_LARGEST[kind]),
    ]
    with np.errstate(all="ignore"):
        made = np.concatenate(sorts).astype(f32).astype(TYPES[kind]).astype(f32)
    made = np.clip(made, -f32(_LARGEST[kind]), f32(_LARGEST[kind]))
    return np.ascontiguousarray(np.where((made != 0) & (np.abs(made) < least), f32(0), made))


def affine(x, group, bits, kind):
    """Codes (rows, columns), scales and biases (rows, groups) of type `kind`; the formula of src/mlx.h."""
    with np.errstate(all="ignore"):
        g = x.astype(TYPES[kind]).astype(f32).reshape(-1, group)
        n = f32(2**bits - 1)
        low = np.take_along_axis(g, g.argmin(axis=1)[:, None], axis=1)[:, 0]  # the first of them
        high = g.max(axis=1)
        scale, bias = np.maximum((high - low) / n, f32(1e-7)), low
        if bits > 1:
            below = np.abs(low) > np.abs(high)
            edge = np.where(below, low, high)
            scale = np.where(below, scale, -scale)
            steps = np.rint(edge / scale)
            scale = np.where(steps != 0, edge / steps, scale)
            bias = np.where(steps != 0, edge, f32(0))
        codes = np.rint((g - bias[:, None]) / scale[:, None])
        codes = np.where(np.isnan(codes), 0, np.clip(codes, 0, n)).astype(np.uint8)
        shape = len(x), -1
        kept = [one.astype(TYPES[kind]).reshape(shape) for one in (scale, bias)]
    return codes.reshape(x.shape), *kept


def _e4m3(x):
    return np.clip(x, -448, 448).astype(f32).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def floats(x, mode, kind, global_scale=None):
    """Codes (rows, columns) and bytes of scale (rows, groups); the formula of src/mlx.h."""
    group, bits = MODES[mode]

    def rounded(a):
        return a.astype(TYPES[kind]).astype(f32)

    with np.errstate(all="ignore"):
        g = rounded(x).reshape(-1, group)
        r = rounded(np.abs(g).max(axis=1) / f32(448 if bits == 8 else 6))
        encode = f32(1) if global_scale is None else f32(2688) / f32(global_scale)
        if mode == "nvfp4":
            scales = _e4m3(r * encode)
            scale = scales.view(ml_dtypes.float8_e4m3fn).astype(f32)
        else:
            fraction, exponent = np.frexp(r.astype(np.float64))
            exponent = exponent - (fraction == 0.5)
            gone = (r == 0) | (exponent < -127)
            scales = np.where(gone, 127, 127 + exponent).astype(np.uint8)
            scale = np.where((r != 0) & gone, 0, np.ldexp(1.0, scales.astype(np.int32) - 127)).astype(f32)
        t = np.where(scale[:, None] == 0, f32(0), rounded(g / scale[:, None]) * encode)
        if bits == 8:
            codes = _e4m3(t)
        else:
            steps = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], f32)
            codes = np.searchsorted(steps, np.abs(t)).astype(np.uint8)  # what lies on a step goes down
            codes = np.where((t < 0) & (codes > 0), codes | 8, codes).astype(np.uint8)
    return codes.reshape(x.shape), scales.reshape(len(x), -1)
