"""Every way hub says no.

One class per kind of refusal; each carries the facts apart from the sentence, so that a report
can hold them and a message is always built the same way:
``FILE: TENSOR: at byte OFFSET: what was found, what was allowed; what to do``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Self

MAX_LINE = 680
"""Longest line shown; a hostile name must not fill the screen."""
MAX_PATH = 200
"""Characters of a path in a message, its end before its beginning."""
MAX_REMEDY = 160


def printable(text: object, limit: int = 120, *, end: bool = False) -> str:
    """`text` as printable ASCII of at most `limit` characters, so that a name out of a file cannot
    move the cursor, fake a line, or hide what follows it.

    Args:
        end: keep the end of a text that is too long, not its beginning; for paths.
    """
    raw = text if isinstance(text, str) else str(text)
    safe = raw if raw.isascii() and raw.isprintable() else ascii(raw)[1:-1]
    if len(safe) <= limit:
        return safe
    return "..." + safe[3 - limit :] if end else safe[: limit - 3] + "..."


class HubError(Exception):
    """A refusal that a user can act on; the base of all errors hub raises on purpose.

    Args:
        message: what is wrong, what was found, what was allowed.
        path: the file or folder at fault.
        tensor: the tensor at fault, as the file spells it.
        offset: the byte offset in `path` at which the fault was seen.
        remedy: what to do about it.
    """

    exit_status = 1

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        tensor: str | None = None,
        offset: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else os.fspath(path)
        self.tensor = tensor
        self.offset = offset
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        lead = []
        if self.path is not None:
            lead.append(printable(self.path, MAX_PATH, end=True) or "''")
        if self.tensor is not None:
            lead.append(f"tensor {printable(self.tensor)}")
        if self.offset is not None:
            lead.append(f"at byte {self.offset}")
        remedy = f"; {printable(self.remedy, MAX_REMEDY)}" if self.remedy else ""
        start = "".join(f"{fact}: " for fact in lead)
        return start + printable(self.message, MAX_LINE - len(start) - len(remedy)) + remedy

    def at(self, *, path: str | os.PathLike[str] | None = None, tensor: str | None = None) -> Self:
        """The same error with a file and a tensor where it names none yet: who raised it deep inside
        need not know them."""
        return type(self)(
            self.message,
            path=path if self.path is None else self.path,
            tensor=tensor if self.tensor is None else self.tensor,
            offset=self.offset,
            remedy=self.remedy,
        )


class FormatError(HubError):
    """A file is not what its format allows, or not a model at all."""


class ConfigError(HubError):
    """The configuration is missing a fact, or contradicts the tensors."""


class ArchitectureError(HubError):
    """No architecture file describes this model, or the model has tensors its architecture does not name."""


class WeightError(HubError):
    """The numbers themselves cannot be converted: not finite, or beyond the target's range."""


class ExactnessError(HubError):
    """``--require`` asks for a fidelity that some tensors cannot keep.

    Attributes:
        failing: of each such tensor `name`, `from`, `to`, `fidelity` and `why`; empty where nobody has listed them.
    """

    failing: Sequence[Mapping[str, str]] = ()


class OutputError(HubError):
    """The output cannot be written: it exists, there is no room, the disk failed."""


class ChangedError(HubError):
    """A source file changed while hub was reading it."""


class PluginError(HubError):
    """A plugin cannot be loaded, or breaks its contract."""


class MissingDependency(HubError):
    """A format needs a package that is not installed."""


class UsageError(HubError):
    """The request itself makes no sense: an unknown format, variant, layout or option."""

    exit_status = 2


class VerifyError(HubError):
    """The output was written and does not agree with its source."""

    exit_status = 3
