"""The tokens that a conversion is run on: a given text, the built-in sample, or seeded ids."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from hub.errors import ConfigError, UsageError
from hub.io.text import text_file
from hub.ir.tokenizer import Tokenizer
from hub.tokens.encoder import Encoder

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int32]]

TOKENS = 256
"""Tokens run where nobody says how many."""
MOST_TOKENS = 1 << 24
"""Most tokens run: of a model of a billion weights that takes weeks."""
BUILT_IN = "built-in sample"
SEEDED = "seeded ids"
_SEED = 20261121
_SHORTEST, _LONGEST = 64, 512
"""Bounds for the length of a sequence: long enough that positions matter, short enough that several places of the
text are looked at."""
_MOST_TEXT = 64 << 20
"""Bytes of a text file that are read."""


@dataclass(frozen=True)
class Sample:
    """Sequences of token ids.

    Attributes:
        name: where they are from, for the report.
        sequences: each (length,) int32, all of one length.
    """

    name: str
    sequences: tuple[Ids, ...]

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(len(ids) for ids in self.sequences)

    @property
    def context(self) -> int:
        """Tokens of the longest sequence."""
        return max(len(ids) for ids in self.sequences)


@cache
def built_in() -> str:
    """The built-in sample: English prose, code, a dozen scripts, tables and numbers, some 2900 bytes of UTF-8."""
    return resources.files(__package__).joinpath("sample.txt").read_text("utf-8")


def of_file(path: str | os.PathLike[str]) -> str:
    """The beginning of a text file, as much as any sample needs.

    Raises:
        HubError: it cannot be read, or is not UTF-8.
        UsageError: it is empty.
    """
    return text_file(path, _MOST_TEXT, beginning=True)


def make(
    tokenizer: Tokenizer | None, vocab_size: int, context: int, *, tokens: int = TOKENS,
    text: str | None = None, name: str = BUILT_IN,
) -> Sample:  # fmt: skip
    """The sequences to run.

    Windows of equal length are taken from places all over the text, each with the token in front that the model wants
    there. A text that is too short gives fewer tokens; without a tokenizer ids are drawn, always the same ones.

    Args:
        vocab_size, context: ids and tokens that the model takes.
        tokens: how many in all.
        text: what to take them from; the built-in sample when not given.
        name: where `text` is from.

    Raises:
        UsageError: less than two tokens or more than `MOST_TOKENS`, or a text for a model without a tokenizer.
        ConfigError: the tokenizer gives ids that the model does not have, or is of an unknown kind.
    """
    import numpy as np

    if tokens < 2:
        raise UsageError(f"{tokens} tokens, at least 2 are needed")
    if tokens > MOST_TOKENS:
        raise UsageError(f"{tokens} tokens, at most {MOST_TOKENS} are run")
    length = min(context, max(_SHORTEST, min(_LONGEST, tokens // 4)), tokens)
    count = max(1, tokens // length)
    if tokenizer is None:
        if text is not None:
            raise UsageError(f"{name}: the model has no tokenizer, a text cannot be run")
        drawn = np.random.default_rng(_SEED).integers(0, vocab_size, (count, length), dtype=np.int32)
        return Sample(SEEDED, tuple(drawn))
    encoder = Encoder(tokenizer)
    ids = np.array(encoder.encode(built_in() if text is None else text, add_bos=False), np.int32)
    head = [encoder.bos] if encoder.add_bos and encoder.bos is not None else []
    largest = max(int(ids.max(initial=0)), *head, 0)
    if largest >= vocab_size:
        raise ConfigError(f"the tokenizer gives id {largest}, the model has ids 0 to {vocab_size - 1}")
    if len(ids) + len(head) < 2:
        fault = UsageError if text is not None else ConfigError  # the built-in sample is not the user's mistake
        raise fault(f"{name}: the text has {len(ids)} tokens, at least 2 are needed")
    inner = min(length - len(head), len(ids))
    count = min(count, max(1, len(ids) // inner))
    starts = np.linspace(0, len(ids) - inner, count).astype(np.int64)
    return Sample(name, tuple(np.concatenate([np.array(head, np.int32), ids[s : s + inner]]) for s in starts.tolist()))
