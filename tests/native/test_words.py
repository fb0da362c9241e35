"""Codes in and out of words, against NumPy; all instruction sets of the machine against each other.

Run as a program (`HUB_ISA=avx2 python test_words.py`) this file prints a digest of what every kernel writes.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import words_oracle as oracle

import hub_native

WIDTHS = range(1, 9)
AWQ = np.array([0, 2, 4, 6, 1, 3, 5, 7], np.uint8)
SHAPES = [(1, 1), (1, 7), (3, 8), (2, 31), (5, 33), (4, 64), (16, 256), (17, 257), (33, 300), (20, 520), (1, 4097)]


def random_codes(shape, bits, seed=0):
    return np.random.default_rng([*shape, bits, seed]).integers(0, 1 << bits, shape, np.uint8)


def loose(array, gap=5, start=3):
    """A copy whose rows are `gap` bytes further apart and begin at an odd address, between bytes of 0xA5."""
    rows, size = array.shape
    memory = np.full(start + rows * (size + gap) + 1, 0xA5, np.uint8)
    view = np.ndarray((rows, size), np.uint8, memory, start, (size + gap, 1))
    view[...] = array
    return view


def room(shape):
    """Somewhere to write, and a look at whether the bytes between its rows are as they were."""
    view = loose(np.zeros(shape, np.uint8))
    gap = np.ndarray((shape[0], 5), np.uint8, view.base, 3 + shape[1], view.strides)
    return view, lambda: bool((gap == 0xA5).all() and (view.base[:3] == 0xA5).all())


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows(shape, bits):
    codes = random_codes(shape, bits)
    for size in {-(-shape[1] * bits // 8), 4 * oracle.words(shape[1], bits), 4 * oracle.words(shape[1], bits) + 9}:
        packed, kept = room((shape[0], size))
        hub_native.pack_rows(loose(codes), bits, packed)
        assert np.array_equal(packed, oracle.pack_rows(codes, bits, size))
        assert kept()
        again = np.full(shape, 0xA5, np.uint8)
        hub_native.unpack_rows(packed, bits, again)
        assert np.array_equal(again, codes)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_columns(shape, bits):
    codes = random_codes(shape, bits)
    wanted = oracle.pack_columns(codes, bits)
    packed, kept = room(wanted.shape)
    hub_native.pack_columns(loose(codes), bits, packed)
    assert np.array_equal(packed, wanted)
    assert kept()
    again = np.full(shape, 0xA5, np.uint8)
    hub_native.unpack_columns(packed, bits, again)
    assert np.array_equal(again, codes)


@pytest.mark.parametrize("bits", WIDTHS)
def test_any_bytes_are_unpacked(bits):
    """Bits past the last code mean nothing."""
    data = random_codes((19, 4 * oracle.words(300, bits)), 8)
    out = np.empty((19, 300), np.uint8)
    hub_native.unpack_rows(data, bits, out)
    assert np.array_equal(out, oracle.unpack_rows(data, bits, 300))
    data = random_codes((oracle.words(300, bits), 4 * 19), 8)
    hub_native.unpack_columns(data, bits, out)
    assert np.array_equal(out, oracle.unpack_columns(data, bits, 300))


@pytest.mark.parametrize("bits", WIDTHS)
def test_codes_too_large_do_not_reach_their_neighbours(bits):
    codes = random_codes((5, 83), 8)
    packed = np.empty((5, 4 * oracle.words(83, bits)), np.uint8)
    hub_native.pack_rows(codes, bits, packed)
    assert np.array_equal(packed, oracle.pack_rows(codes & np.uint8((1 << bits) - 1), bits, packed.shape[1]))


@pytest.mark.parametrize("order", [AWQ, np.arange(8, dtype=np.uint8), np.arange(8, dtype=np.uint8)[::-1].copy()])
@pytest.mark.parametrize("shape", [(8, 1), (8, 17), (24, 33), (32, 64), (128, 16), (136, 300), (264, 256), (8, 4097)])
def test_nibbles_across_rows(shape, order):
    codes = random_codes(shape, 4)
    wanted = oracle.pack_nibbles(codes, order)
    packed, kept = room(wanted.shape)
    hub_native.pack_nibbles(loose(codes), order, packed)
    assert np.array_equal(packed, wanted)
    assert kept()
    again = np.full(shape, 0xA5, np.uint8)
    hub_native.unpack_nibbles(packed, order, again)
    assert np.array_equal(again, codes)
    assert np.array_equal(oracle.unpack_nibbles(wanted, order), codes)


@pytest.mark.parametrize("half", [1, 8, 16, 32])
@pytest.mark.parametrize("n", [1, 2, 31])
def test_halves(n, half):
    codes = random_codes((n, 2 * half), 4)
    packed, kept = room((n, half))
    hub_native.pack_halves(codes, packed)
    assert np.array_equal(packed, oracle.pack_halves(codes))
    assert kept()
    again = np.full(codes.shape, 0xA5, np.uint8)
    hub_native.unpack_halves(packed, again)
    assert np.array_equal(again, codes)
    assert np.array_equal(oracle.unpack_halves(packed), codes)


@pytest.mark.parametrize("size", [1, 2, 16, 32, 33])
def test_copied_rows(size):
    data = random_codes((9, size), 8)
    out, kept = room(data.shape)
    hub_native.copy_rows(loose(data, 2, 1), out)
    assert np.array_equal(out, data)
    assert kept()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 32), (1, 100), (1, 7), (3, 16), (11, 100)])
def test_moves(signed, height, width):
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 16, (11, 100)).astype(np.int8 if signed else np.uint8) - (8 if signed else 0)
    moves = rng.integers(-8, 9, (-(-11 // height), -(-100 // width))).astype(np.int16)
    wanted = oracle.move(codes, moves, height, width)
    low, high = int(wanted.min()), int(wanted.max())
    out = np.empty(codes.shape, np.int8)
    move = (codes.view(np.uint8), signed, moves, height, width)
    assert hub_native.move_codes(*move, low, high, out.view(np.uint8))
    assert np.array_equal(out, wanted)
    assert not hub_native.move_codes(*move, low + 1, high, out.view(np.uint8))
    assert not hub_native.move_codes(*move, low, high - 1, out.view(np.uint8))


def test_moves_at_the_ends_of_a_byte():
    codes = np.array([[0, 127, 128, 255]], np.uint8)
    out = np.empty_like(codes)
    assert hub_native.move_codes(codes, False, np.array([[-128]], np.int16), 1, 4, -128, 127, out)
    assert out.view(np.int8).tolist() == [[-128, -1, 0, 127]]
    assert hub_native.move_codes(out, True, np.array([[128]], np.int16), 1, 4, 0, 255, out.copy())
    assert not hub_native.move_codes(codes, False, np.array([[1]], np.int16), 1, 4, 0, 255, out)


def zeros(*shape):
    return np.zeros(shape, np.uint8)


WRONG = {
    "width 0": (hub_native.unpack_rows, zeros(2, 4), 0, zeros(2, 8)),
    "width 9": (hub_native.pack_rows, zeros(2, 4), 9, zeros(2, 8)),
    "short rows": (hub_native.unpack_rows, zeros(2, 4), 4, zeros(2, 9)),
    "rows differ": (hub_native.unpack_rows, zeros(3, 4), 4, zeros(2, 8)),
    "no room": (hub_native.pack_rows, zeros(2, 9), 4, zeros(2, 4)),
    "rows apart": (hub_native.unpack_rows, zeros(4, 2).T, 4, zeros(2, 8)),
    "a word too few": (hub_native.unpack_columns, zeros(1, 8), 4, zeros(2, 9)),
    "a word too many": (hub_native.unpack_columns, zeros(2, 8), 4, zeros(2, 8)),
    "columns differ": (hub_native.unpack_columns, zeros(1, 8), 4, zeros(3, 8)),
    "columns packed elsewhere": (hub_native.pack_columns, zeros(2, 9), 4, zeros(1, 8)),
    "no permutation": (hub_native.unpack_nibbles, zeros(1, 4), np.zeros(8, np.uint8), zeros(8, 1)),
    "half a permutation": (hub_native.unpack_nibbles, zeros(1, 4), np.arange(4, dtype=np.uint8), zeros(8, 1)),
    "not whole words": (hub_native.unpack_nibbles, zeros(1, 2), AWQ, zeros(4, 1)),
    "nibbles differ": (hub_native.pack_nibbles, zeros(8, 2), AWQ, zeros(1, 4)),
    "halves differ": (hub_native.unpack_halves, zeros(2, 16), zeros(2, 31)),
    "blocks differ": (hub_native.pack_halves, zeros(2, 32), zeros(1, 16)),
    "copies differ": (hub_native.copy_rows, zeros(2, 32), zeros(2, 16)),
    "moves differ": (hub_native.move_codes, zeros(2, 8), False, np.zeros((2, 1), np.int16), 1, 4, 0, 15, zeros(2, 8)),
    "no rectangle": (hub_native.move_codes, zeros(2, 8), False, np.zeros((2, 1), np.int16), 1, 0, 0, 15, zeros(2, 8)),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_lengths_are_refused(case):
    function, *arguments = WRONG[case]
    with pytest.raises(ValueError):
        function(*arguments)


def test_a_read_only_output_is_refused():
    out = zeros(1, 8)
    out.flags.writeable = False
    with pytest.raises(ValueError):
        hub_native.unpack_rows(zeros(1, 4), 4, out)


@pytest.mark.parametrize("shape", [(0, 8), (8, 0), (0, 0)])
def test_nothing_to_do(shape):
    rows, cols = shape
    hub_native.unpack_rows(zeros(rows, cols // 2), 4, zeros(rows, cols))
    hub_native.pack_columns(zeros(rows, cols), 4, zeros(oracle.words(cols, 4), 4 * rows))
    hub_native.unpack_nibbles(zeros(cols, rows // 2), AWQ, zeros(rows, cols))
    assert hub_native.move_codes(zeros(rows, cols), False, np.zeros(shape, np.int16), 1, 1, 0, 0, zeros(rows, cols))
    rest = np.full((rows, 4), 7, np.uint8)
    hub_native.pack_rows(zeros(rows, 0), 4, rest)
    assert not rest.any()


def digest():
    """Of what every kernel writes for inputs that are all bytes, in ragged shapes."""
    found = hashlib.sha256()
    for shape in [(8, 1), (24, 45), (136, 300), (72, 1025)]:
        codes = random_codes(shape, 8)
        for bits in WIDTHS:
            packed = zeros(shape[0], 4 * oracle.words(shape[1], bits))
            hub_native.pack_rows(codes, bits, packed)
            columns = zeros(oracle.words(shape[1], bits), 4 * shape[0])
            hub_native.pack_columns(codes, bits, columns)
            out, other = zeros(*shape), zeros(*shape)
            hub_native.unpack_rows(random_codes(packed.shape, 8, 1), bits, out)
            hub_native.unpack_columns(random_codes(columns.shape, 8, 2), bits, other)
            for array in (packed, columns, out, other):
                found.update(array.tobytes())
        packed, out = zeros(shape[1], shape[0] // 2), zeros(*shape)
        hub_native.pack_nibbles(codes, AWQ, packed)
        hub_native.unpack_nibbles(packed, AWQ, out)
        halves = zeros(shape[1] * shape[0] // 8, 4)
        hub_native.pack_halves(codes.reshape(-1, 8), halves)
        moved = zeros(*shape)
        inside = hub_native.move_codes(codes, True, np.full((shape[0], 1), 5, np.int16), 1, shape[1], -99, 99, moved)
        for array in (packed, out, halves, moved):
            found.update(array.tobytes())
        found.update(bytes([inside]))
    return found.hexdigest()


@pytest.mark.parametrize("isa", [isa for isa in hub_native.available() if isa != "scalar"])
def test_every_instruction_set_writes_the_same(isa):
    answers = {
        name: subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "HUB_ISA": name, "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for name in (isa, "scalar")
    }
    assert answers[isa] == answers["scalar"]


if __name__ == "__main__":
    print(digest())
