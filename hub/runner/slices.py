"""Logits of many tokens and a large vocabulary are more than memory should hold at once: some tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator

HEAD_BYTES = 16 << 20
"""Bytes of logits of one slice, where that is a token at least."""


def head_slices(start: int, stop: int, vocab_size: int) -> Iterator[slice]:
    """Tokens `start` to `stop` in slices for `Runner.head`."""
    step = max(1, HEAD_BYTES // (4 * vocab_size))
    return (slice(row, min(row + step, stop)) for row in range(start, stop, step))
