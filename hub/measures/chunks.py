"""A text as the chunks of ids that llama.cpp's tools measure a model on.

The whole text is tokenized at once, without its last line break, and cut into chunks of one length; what is left over
is not used. Where the model wants a token in front of a text, it replaces the first id of every chunk
(llama.cpp 0c1e570, tools/perplexity/perplexity.cpp and tools/imatrix/imatrix.cpp).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hub.architecture import Architecture
from hub.errors import ConfigError, UsageError
from hub.io.text import text_file
from hub.ir.model import Model
from hub.tokens.encoder import Encoder

if TYPE_CHECKING:
    from hub.runner import Runner

    Ids = np.ndarray[Any, np.dtype[np.int32]]

CONTEXT: Final = 512
"""Tokens of a chunk where nobody says how many, as in llama.cpp's tools."""
MAX_TEXT: Final = 256 << 20
"""Most bytes of a text."""


@dataclass(frozen=True)
class Tokens:
    """The ids of a text.

    Attributes:
        path: where the text is from.
        ids: (tokens,) int32, with what the model wants around a text.
        first: the id that every chunk starts with; None for its own.
    """

    path: str
    ids: Ids
    first: int | None


def tokenize(model: Model, architecture: Architecture, path: str | os.PathLike[str], vocab_size: int) -> Tokens:
    """The ids that a model's tokenizer makes of a text file.

    Args:
        vocab_size: number of ids that the model has.

    Raises:
        HubError: the text or the tokenizer cannot be read.
        UsageError: the text is empty, or the model has no tokenizer.
        ConfigError: the tokenizer is of a kind that hub does not encode with, or gives ids that the model lacks.
    """
    text = text_file(path, MAX_TEXT).removesuffix("\n")  # as llama.cpp reads a file
    tokenizer = model.load_tokenizer(architecture)
    if tokenizer is None:
        raise UsageError("the model has no tokenizer, so a text cannot be given", path=model.path)
    try:
        encoder = Encoder(tokenizer)
        ids = np.array(encoder.encode(text), np.int32)
    except ConfigError as error:
        raise error.at(path=model.path) from None
    first = encoder.bos if encoder.add_bos else None
    largest = max(int(ids.max(initial=0)), first or 0)
    if largest >= vocab_size:
        raise ConfigError(f"the tokenizer gives id {largest}, the model has ids 0 to {vocab_size - 1}", path=model.path)
    return Tokens(os.fspath(path), ids, first)


def chunks(tokens: Tokens, context: int, most: int | None = None) -> list[Ids]:
    """Whole chunks of `context` ids, (context,) int32 each.

    Args:
        most: how many at most.

    Raises:
        UsageError: the text has less than two chunks, which llama.cpp's tools refuse too.
    """
    if len(tokens.ids) < 2 * context:
        raise UsageError(
            f"the text has {len(tokens.ids)} tokens, at least {2 * context} are needed for a context of {context}",
            path=tokens.path,
            remedy="give a longer text or a smaller --ctx",
        )
    count = len(tokens.ids) // context
    out = tokens.ids[: context * count].reshape(count, context)[:most].copy()
    if tokens.first is not None:
        out[:, 0] = tokens.first
    return list(out)


def of(model: Model, runner: Runner, path: str | os.PathLike[str], context: int, most: int | None) -> list[Ids]:
    """The chunks of a text file for a model that is ready to run.

    Raises:
        UsageError: the model cannot see that many tokens, or as `chunks`.
        HubError: as `tokenize`.
    """
    check_context(context, runner.context, model.path)
    return chunks(tokenize(model, runner.configured.architecture, path, runner.vocab_size), context, most)


def check_context(context: int, model_context: int, path: str) -> None:
    """Raises:
    UsageError: the model cannot see that many tokens.
    """
    if context > model_context:
        raise UsageError(
            f"a context of {context} tokens, the model can see {model_context}",
            path=path,
            remedy="give a smaller --ctx",
        )
