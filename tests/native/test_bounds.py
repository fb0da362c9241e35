"""Everything that the boundary must refuse, and the numbers in its messages."""

import threading
import time

import numpy as np
import pytest
from native_cases import DECODED, LEGACY, PLAIN, K

import hub_native as h


def f32(*shape):
    return np.zeros(shape, np.float32)


def u8(n):
    return np.zeros(n, np.uint8)


def misaligned(*shape):
    n = int(np.prod(shape)) * 4
    return np.zeros(n + 1, np.uint8)[1:].view(np.float32).reshape(shape)


def frozen(a):
    a.flags.writeable = False
    return a


REFUSED = [
    ("unknown type 'q9_9'; known: f32 f16 bf16 q8_0", lambda: h.quantize("q9_9", f32(1, 32), u8(18))),
    ("iq4_nl: it can be decoded, there is no quantizer", lambda: h.quantize("iq4_nl", f32(1, 32), u8(18))),
    ("unknown type", lambda: h.dequantize([], u8(18), f32(1, 32))),
    ("unknown type", lambda: h.block("Q4_0")),
    ("q4_0: 33 columns are not a multiple of the block, 32", lambda: h.quantize("q4_0", f32(1, 33), u8(18))),
    ("q4_k: 128 columns are not a multiple of the block, 256", lambda: h.dequantize("q4_k", u8(72), f32(2, 128))),
    ("q4_0: out has 17 bytes, 1 x 32 weights take 18", lambda: h.quantize("q4_0", f32(1, 32), u8(17))),
    ("q4_0: out has 19 bytes, 1 x 32 weights take 18", lambda: h.quantize("q4_0", f32(1, 32), u8(19))),
    ("q4_0: out has 1 bytes, 0 x 32 weights take 0", lambda: h.quantize("q4_0", f32(0, 32), u8(1))),
    ("q6_k: data has 0 bytes, 2 x 256 weights take 420", lambda: h.dequantize("q6_k", b"", f32(2, 256))),
    ("importance has 31 values, x has 32 columns", lambda: h.quantize("q4_0", f32(1, 32), u8(18), f32(31))),
    ("importance has 64 values, x has 32 columns", lambda: h.quantize("q4_0", f32(2, 32), u8(36), f32(64))),
    ("x: float32 data lies 1 bytes past", lambda: h.quantize("q4_0", misaligned(1, 32), u8(18))),
    ("importance: float32 data lies 1 bytes past", lambda: h.quantize("q4_0", f32(1, 32), u8(18), misaligned(32))),
    ("out: float32 data lies", lambda: h.dequantize("q4_0", u8(18), misaligned(1, 32))),
    ("out: float32 data lies", lambda: h.to_f32("f16", u8(4), misaligned(2))),
    ("a: float32 data lies", lambda: h.compare(misaligned(2), f32(2))),
    ("b: float32 data lies", lambda: h.compare(f32(2), misaligned(2))),
    ("contiguous", lambda: h.quantize("q4_0", f32(2, 64)[:, ::2], u8(36))),
    ("contiguous", lambda: h.quantize("q4_0", f32(32, 2).T, u8(36))),
    ("contiguous", lambda: h.quantize("q4_0", f32(1, 32), u8(36)[::2])),
    ("dimensions", lambda: h.quantize("q4_0", f32(32), u8(18))),
    ("dtype mismatch", lambda: h.quantize("q4_0", np.zeros((1, 32)), u8(18))),
    ("dtype mismatch", lambda: h.quantize("q4_0", f32(1, 32), np.zeros(18, np.int8))),
    ("buffer dtype", lambda: h.to_f32("f16", np.zeros(2, np.float16), f32(2))),
    ("read-only", lambda: h.quantize("q4_0", f32(1, 32), frozen(u8(18)))),
    ("read-only", lambda: h.dequantize("q4_0", u8(18), frozen(f32(1, 32)))),
    ("unknown dtype 'q8_0'; known: f32 f16 bf16", lambda: h.to_f32("q8_0", u8(34), f32(32))),
    ("f16: src has 5 bytes, 1 x 2 weights take 4", lambda: h.to_f32("f16", u8(5), f32(2))),
    ("unknown dtype", lambda: h.scan("f64", u8(8))),
    ("f32: 6 bytes are not a multiple of 4", lambda: h.scan("f32", u8(6))),
    ("a has 2 values, b has 3", lambda: h.compare(f32(2), f32(3))),
]


@pytest.mark.parametrize(("message", "call"), REFUSED, ids=[f"{i}-{m[:30]}" for i, (m, _) in enumerate(REFUSED)])
def test_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: h.quantize("q4_0", None, u8(18)),
        lambda: h.quantize("q4_0", f32(1, 32), None),
        lambda: h.scan("f32", 5),
        lambda: h.scan("f32", "text"),
    ],
)
def test_not_a_buffer(call):
    with pytest.raises(TypeError):
        call()


@pytest.mark.parametrize("kind", h.types())
def test_nothing_to_do(kind):
    if kind not in DECODED:
        h.quantize(kind, f32(0, 256), u8(0))
        h.quantize(kind, f32(5, 0), u8(0), f32(0))
    h.dequantize(kind, b"", f32(0, 256))


@pytest.mark.parametrize("kind", DECODED)
def test_decodes_into_its_output_and_nothing_else(kind):
    weights, size = h.block(kind)
    blocks = np.random.default_rng(0).integers(0, 256, 6 * size, np.uint8)
    for fill in (7, np.nan):
        arena = np.full(6 * weights + 64, fill, np.float32)
        h.dequantize(kind, blocks, arena[32 : 32 + 6 * weights].reshape(3, -1))
        edges = np.concatenate([arena[:32], arena[-32:]])
        np.testing.assert_array_equal(edges, np.full(64, fill, np.float32))
        if fill == 7:
            first = arena[32:-32].copy()
    np.testing.assert_array_equal(first.view(np.uint32), arena[32:-32].view(np.uint32))  # every weight is written


@pytest.mark.parametrize("kind", [*PLAIN, *LEGACY, *K])
def test_writes_its_output_and_nothing_else(kind):
    weights, size = h.block(kind)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2 * weights)).astype(np.float32)
    n = 6 * size
    for importance in (None, np.ones(2 * weights, np.float32)):
        for fill in (0x00, 0xFF):
            arena = np.full(n + 128, fill, np.uint8)
            h.quantize(kind, x, arena[61 : 61 + n], importance)
            assert (arena[:61] == fill).all()
            assert (arena[61 + n :] == fill).all()
            if fill == 0:
                first = arena[61 : 61 + n].copy()
        np.testing.assert_array_equal(first, arena[61 : 61 + n])  # every byte is written: old contents do not show
    arena = np.full(6 * weights + 64, 7, np.float32)
    h.dequantize(kind, first, arena[32 : 32 + 6 * weights].reshape(3, -1))
    assert (arena[:32] == 7).all()
    assert (arena[-32:] == 7).all()


def test_sizes():
    assert h.types() == (*PLAIN, *LEGACY, *K, *DECODED)
    gguf = pytest.importorskip("gguf")
    for kind in h.types():
        if kind.upper() not in gguf.GGMLQuantizationType.__members__:
            assert kind in ("nvfp4", "q1_0", "q2_0")  # an older package
            continue
        assert h.block(kind) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]


def test_any_buffer_will_do():
    x = memoryview(bytearray(128)).cast("f", (1, 32))
    out = bytearray(18)
    h.quantize("q4_0", x, out)
    assert bytes(out) == b"\x00\x80" + b"\x88" * 16  # d = 0 / -8
    h.dequantize("q4_0", bytes(out), x)


def test_the_interpreter_lock_is_released():
    """While one thread quantizes, another must run Python; on a busy machine not every time."""
    x = np.random.default_rng(0).standard_normal((256, 4096)).astype(np.float32)
    out = u8(256 * 16 * 144)
    most = 0
    for _ in range(20):
        running = threading.Thread(target=h.quantize, args=("q4_k", x, out))
        ticks = 0
        running.start()
        while running.is_alive():
            time.sleep(0.001)
            ticks += 1
        most = max(most, ticks)
        if most > 5:
            return
    raise AssertionError(f"{most} ticks at most")
