"""scan_strings never reads outside of its buffer and stops where it says."""

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hub_native as h


def pack(strings):
    return b"".join(struct.pack("<Q", len(s)) + s for s in strings)


def walk(buf, offset, count, limit):
    """The same in Python."""
    done = 0
    while done < count and len(buf) - offset >= 8:
        (length,) = struct.unpack_from("<Q", buf, offset)
        if length > limit:
            return None
        if length > len(buf) - offset - 8:
            break
        offset += 8 + length
        done += 1
    return done, offset


@given(st.lists(st.binary(max_size=20), max_size=20), st.integers(0, 30), st.integers(0, 40), st.integers(0, 25))
def test_truncated_anywhere(strings, count, cut, limit):
    buf = pack(strings)
    buf = buf[: max(0, len(buf) - cut)]
    want = walk(buf, 0, count, limit)
    if want is None:
        with pytest.raises(ValueError, match=f"the limit is {limit}"):
            h.scan_strings(buf, 0, count, limit)
    else:
        assert h.scan_strings(buf, 0, count, limit) == want


@given(st.binary(max_size=64), st.integers(0, 64), st.integers(0, 10))
def test_random_bytes(buf, offset, count):
    if offset > len(buf):
        with pytest.raises(ValueError, match="outside"):
            h.scan_strings(buf, offset, count, 2**64 - 1)
    else:
        assert h.scan_strings(buf, offset, count, 2**64 - 1) == walk(buf, offset, count, 2**64 - 1)


@pytest.mark.parametrize("length", [2**64 - 1, 2**64 - 8, 2**63, 2**63 - 1, 2**32, 9, 8])
def test_hostile_lengths(length):
    """offset + length would wrap: the string does not lie in the buffer, and is not passed."""
    buf = pack([b"good"]) + struct.pack("<Q", length) + b"1234567"
    assert h.scan_strings(buf, 0, 5, 2**64) == (1, 12)
    with pytest.raises(ValueError, match=f"string 1 at offset 12 has {length} bytes, the limit is 7"):
        h.scan_strings(buf, 0, 5, 7)


def test_edges():
    buf = pack([b"", b"abc", b""])
    assert h.scan_strings(buf, 0, 3, 3) == (3, len(buf))
    assert h.scan_strings(buf, 0, 0, 0) == (0, 0)
    assert h.scan_strings(buf, 8, 1, 3) == (1, 19)
    assert h.scan_strings(buf, len(buf), 9, 3) == (0, len(buf))
    assert h.scan_strings(buf, 0, 10**30, 10**30) == (3, len(buf))
    assert h.scan_strings(b"", 0, 4, 4) == (0, 0)
    assert h.scan_strings(memoryview(bytearray(buf))[1:], 7, 1, 3) == (1, 18)
    for offset in (-1, len(buf) + 1, 2**64, -(2**64)):
        with pytest.raises(ValueError, match="outside of the buffer"):
            h.scan_strings(buf, offset, 1, 3)
    for count, limit in ((-1, 3), (1, -1)):
        with pytest.raises(ValueError, match="must not be negative"):
            h.scan_strings(buf, 0, count, limit)


def test_a_large_vocabulary_is_instant():
    buf = pack([b"token%d" % i for i in range(260_000)])
    best = min(_timed(buf) for _ in range(5))
    assert best < 0.02, f"{best * 1000:.1f} ms"  # about 1 ms; far less than the 100 ms of a loop in Python


def _timed(buf):
    start = time.perf_counter()
    assert h.scan_strings(buf, 0, 260_000, 1 << 20) == (260_000, len(buf))
    return time.perf_counter() - start
