"""The products of `fast` mode: against f64, against each other, and what their boundary refuses."""

import threading

import numpy as np
import pytest
from fast_cases import F16, INTEGER, KINDS, activations, as_prepared, product, reference, shapes, weights
from native_cases import K

import hub_native

CASES = [(kind, *shape) for kind in KINDS for shape in shapes(kind)]


@pytest.mark.parametrize(("kind", "cols", "rows", "tokens"), CASES)
def test_product_of_what_was_prepared(kind, cols, rows, tokens):
    """Integer sums are exact: all that is left are the roundings of a few f32 operations per block."""
    data, x = weights(kind, rows, cols), activations(tokens, cols)
    wanted, size = reference(kind, data, x)
    operations = cols if kind not in INTEGER else cols // 16 * 2
    assert (np.abs(product(kind, data, x) - wanted) <= 2.0**-24 * (operations + 3) * size).all()


@pytest.mark.parametrize("kind", INTEGER)
def test_largest_codes_of_either_sign(kind):
    """Nothing saturates where all codes, and all activations, are the largest there are."""
    _, size = hub_native.block(kind)
    given = weights(kind, 9, 512).reshape(-1, size)
    for byte in (0x00, 0x7F, 0x80, 0x88, 0xFF):
        data = np.full_like(given, byte)
        for at in F16[kind]:
            data[:, at : at + 2] = given[:, at : at + 2]
        data = data.reshape(9, -1)
        for sign in (1, -1):
            x = np.full((3, 512), sign * 127, np.float32)
            x[1, ::2] *= -1
            wanted, magnitude = reference(kind, data, x)
            assert (np.abs(product(kind, data, x) - wanted) <= 2.0**-24 * 67 * magnitude).all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_address_and_any_place_in_out(kind):
    cols, rows, tokens = 512, 37, 14
    data, x = weights(kind, rows, cols), activations(tokens, cols)
    wanted = product(kind, data, x)
    prepared = hub_native.fast_input(kind, x)
    for shift in (1, 2, 3, 33):
        arena = np.zeros(data.size + 64, np.uint8)
        moved = arena[shift : shift + data.size]
        moved[:] = data.reshape(-1)
        out = np.full((tokens, rows + 9), 7, np.float32)
        hub_native.linear_fast(kind, moved, rows, prepared, out, 4)
        assert (out[:, :4] == 7).all() and (out[:, 4 + rows :] == 7).all()
        assert np.array_equal(out[:, 4 : 4 + rows], wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_rows_do_not_influence_each_other(kind):
    cols, rows, tokens = 512, 40, 29
    data, x = weights(kind, rows, cols), activations(tokens, cols)
    whole = product(kind, data, x)
    for start, stop in ((0, 1), (3, 20), (11, 29)):
        assert np.array_equal(product(kind, data, np.ascontiguousarray(x[start:stop])), whole[start:stop])
        assert np.array_equal(product(kind, np.ascontiguousarray(data[start:stop]), x), whole[:, start:stop])


@pytest.mark.parametrize("kind", ["q4_k", "q8_0", "bf16", "f32"])
def test_threads(kind):
    """Buffers filled and columns computed by four threads are those of one."""
    cols, rows, tokens = 512, 150, 100
    data, x = weights(kind, rows, cols), activations(tokens, cols)
    wanted = product(kind, data, x)
    prepared = hub_native.fast_buffer(kind, tokens, cols)
    out = np.full((tokens, rows), np.nan, np.float32)

    def each(size, step, work):
        ranges = [(a, min(a + step, size)) for a in range(0, size, step)]
        threads = [threading.Thread(target=work, args=r) for r in ranges]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    each(tokens, 3 * hub_native.FAST_TOKEN_BATCH, lambda a, b: hub_native.fast_input_rows(prepared, x, a, b))
    each(rows, 48, lambda a, b: hub_native.linear_fast(kind, data[a:b].reshape(-1), b - a, prepared, out, a))
    assert np.array_equal(out, wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_activations_that_are_not_finite_spoil_their_token_alone(kind, bad):
    data, x = weights(kind, 20, 512), activations(14, 512)
    wanted = product(kind, data, x)
    x[5, 300] = bad
    found = product(kind, data, x)
    assert not np.isfinite(found[5]).any()
    assert np.array_equal(np.delete(found, 5, axis=0), np.delete(wanted, 5, axis=0))


@pytest.mark.parametrize("kind", INTEGER)
def test_zero_tiny_and_huge_activations(kind):
    data = weights(kind, 20, 512)
    x = activations(6, 512)
    x[0] = 0
    x[1] = -0.0
    x[2] *= np.float32(1e-40)  # subnormal: counts as zero
    x[3] /= np.abs(x[3]).max()
    x[3] *= np.float32(2.0**-99)
    x[4] *= np.float32(1e30)
    found = product(kind, data, x)
    assert (found[:3] == 0).all()
    wanted, size = reference(kind, data, x[3:])
    assert (np.abs(found[3:] - wanted) <= 2.0**-24 * 67 * size).all()


def test_families():
    families = {kind: hub_native.fast_family(kind) for kind in KINDS}
    assert families["q8_0"] == families["q5_1"] == "int8/32"
    assert {families[kind] for kind in K} == {"int8/256"}
    assert families["bf16"] == "bf16" and families["f16"] == families["f32"] == "f32"


def test_one_input_serves_a_family():
    x = activations(5, 512)
    prepared = hub_native.fast_input("q4_k", x)
    data = weights("q6_k", 7, 512)
    out = np.empty((5, 7), np.float32)
    hub_native.linear_fast("q6_k", data.reshape(-1), 7, prepared, out, 0)
    assert np.array_equal(out, product("q6_k", data, x))
    assert (prepared.tokens, prepared.cols, prepared.family) == (5, 512, "int8/256")
    assert 5 * 512 < prepared.nbytes < 2 * 5 * 512


def test_rounding_is_half_to_even():
    x = np.zeros((1, 32), np.float32)
    x[0, :5] = 127, 0.5, 1.5, -2.5, 3.5
    assert as_prepared("q8_0", x)[0, :5].tolist() == [127, 0, 2, -2, 4]
    data = np.zeros((1, 34), np.uint8)
    data[0, :2] = np.frombuffer(np.float16(1).tobytes(), np.uint8)
    for at, wanted in enumerate([127, 0, 2, -2, 4]):
        data[0, 2:] = 0
        data[0, 2 + at] = 1
        assert product("q8_0", data, x)[0, 0] == wanted


def test_nothing_to_do():
    none = np.empty((0, 256), np.float32)
    out = np.empty((0, 3), np.float32)
    hub_native.linear_fast("q4_k", weights("q4_k", 3, 256).reshape(-1), 3, hub_native.fast_input("q4_k", none), out, 0)
    out = np.full((2, 3), 7, np.float32)
    hub_native.linear_fast("q4_k", b"", 0, hub_native.fast_input("q4_k", activations(2, 256)), out, 3)
    assert (out == 7).all()
    hub_native.linear_fast("f32", b"", 3, hub_native.fast_input("f32", np.empty((2, 0), np.float32)), out, 0)
    assert (out == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "q9_k"}, "no integer or float product for type 'q9_k'; there is one for: "),
        ({"kind": "q8_0"}, "q8_0 takes activations of family int8/32, these are int8/256"),
        ({"rows": 5}, "576 bytes of weights, 5 x 256 take 720"),
        ({"rows": -1}, "-1 rows"),
        ({"rows": 2**62}, "bytes of weights"),
        ({"data": b"\0"}, "1 bytes of weights, 4 x 256 take 576"),
        ({"out": np.empty((3, 4), np.float32)}, "out has 3 rows, there are 2 tokens"),
        ({"column": 1}, r"columns 1..5 do not lie in out's 4"),
        ({"column": -1}, r"columns -1..3 do not lie in out's 4"),
        ({"column": 2**62}, "do not lie in out's 4"),
        ({"out": np.empty((2, 4), np.float64)}, "dtype mismatch"),
        ({"out": np.frombuffer(bytearray(33), np.uint8)[1:].view(np.float32).reshape(2, 4)}, "past a multiple of 4"),
        ({"out": np.empty((2, 8), np.float32)[:, ::2]}, "not C-contiguous|not C contiguous"),
    ],
)
def test_refusals(change, message):
    given = {"kind": "q4_k", "data": weights("q4_k", 4, 256).tobytes(), "rows": 4, "column": 0}
    given |= {
        "prepared": hub_native.fast_input("q4_k", activations(2, 256)),
        "out": np.empty((2, 4), np.float32),
    } | change
    with pytest.raises(ValueError, match=message):
        hub_native.linear_fast(*(given[name] for name in ("kind", "data", "rows", "prepared", "out", "column")))


def test_refusals_of_inputs():
    x = activations(30, 512)
    with pytest.raises(ValueError, match="40 columns are not a multiple of the block, 256"):
        hub_native.fast_buffer("q4_k", 3, 40)
    with pytest.raises(ValueError, match="-1 x 256 activations"):
        hub_native.fast_buffer("q4_k", -1, 256)
    buffer = hub_native.fast_buffer("q4_k", 30, 512)
    for start, stop in ((1, 30), (0, 13), (-12, 0), (0, 31), (24, 12)):
        with pytest.raises(ValueError, match="multiples of 12, or the end"):
            hub_native.fast_input_rows(buffer, x, start, stop)
    with pytest.raises(ValueError, match="x is 30 x 256, the buffer 30 x 512"):
        hub_native.fast_input_rows(buffer, np.ascontiguousarray(x[:, :256]), 0, 30)
    with pytest.raises(TypeError):
        hub_native.fast_buffer("q4_k", 3, "a")
    with pytest.raises(TypeError):
        hub_native.FastInput()
