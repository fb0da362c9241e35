"""What a model answers to a sequence of tokens, written as it comes: some rows of logits at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.errors import UsageError, WeightError
from hub.io.npz import NpzOutput, read_integers
from hub.ir.model import Model
from hub.measures import chunks
from hub.runner.slices import head_slices

if TYPE_CHECKING:
    from hub.pipeline import Progress
    from hub.runner import Runner

    Ids = np.ndarray[Any, np.dtype[np.int64]]

IDS, LOGITS = "input_ids", "logits"
"""Names of the arrays in .npz files, those of transformers."""


def ids_of(
    model: Model, runner: Runner, *, ids: str | os.PathLike[str] | None, text: str | os.PathLike[str] | None
) -> Ids:
    """The ids to run, (tokens,) int64, out of an .npz file or from a text; checked against the model.

    Raises:
        UsageError: not one row of ids, ids outside the vocabulary, more than the model can see.
        HubError: the file cannot be read, or the text not be tokenized.
    """
    path: str | os.PathLike[str]
    if ids is not None:
        path, row = ids, read_integers(ids, IDS)
        if row.ndim == 2 and len(row) == 1:
            row = row[0]
        if row.ndim != 1 or not row.size:
            raise UsageError(f"{IDS} has shape {list(row.shape)}, one row of ids is needed", path=path)
        wrong = np.flatnonzero((row < 0) | (row >= runner.vocab_size))
        if wrong.size:
            raise UsageError(
                f"token {wrong[0]} has id {row[wrong[0]]}, the vocabulary has ids 0 to {runner.vocab_size - 1}",
                path=path,
            )
    else:
        assert text is not None
        path = text
        row = chunks.tokenize(model, runner.configured.architecture, text, runner.vocab_size).ids
    if len(row) > runner.context:
        raise UsageError(f"{len(row)} tokens, the model can see {runner.context}", path=path, remedy="give fewer")
    return row.astype(np.int64)


def write(
    runner: Runner, ids: Ids, output: str | os.PathLike[str], *, model: Model, force: bool, progress: Progress
) -> None:
    """Run the model and write ids and logits to an .npz file, which is there when all is done, or not at all.

    Raises:
        WeightError: the results are not finite.
        OutputError: they cannot be written there.
    """
    count, vocab = len(ids), runner.vocab_size
    progress.start("run", count * runner.weight_bytes)
    hidden = runner.hidden(ids.astype(np.int32))
    with NpzOutput(output, {IDS: ((count,), "i8"), LOGITS: ((count, vocab), "f4")}, force=force) as file:
        file.append(IDS, ids)
        for part in head_slices(0, count, vocab):
            rows = runner.head(hidden[part])
            if not np.isfinite(rows).all():
                raise WeightError("running it gives numbers that are not finite", path=runner.path)
            file.append(LOGITS, rows)
        model.check_unchanged()
        file.commit()
    progress.advance(count * runner.weight_bytes)
