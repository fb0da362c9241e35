"""Consumers: other programs that run models, and what a plugin brings so that hub can ask one of them.

A `CheckEntry` says by names that there is one. A `Check` knows the program's settings and what to expect of each; a
`Session` is a model opened in the program. Sessions live in a process of their own, which hub starts, limits and ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.format import API_VERSION

if TYPE_CHECKING:
    import numpy as np

    from hub.ir.model import Model

    Ids = np.ndarray[Any, np.dtype[np.int32]]
    F32Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class CheckEntry:
    """Registers a consumer: names only, nothing is imported before it is used.

    Attributes:
        name: the word a user types after ``--consumer``.
        summary: one line for `hub consumers`.
        factory: ``module:callable`` without arguments, which gives a `Check`.
        formats: names of the formats that the program opens.
        needs: packages that it needs, by the name that is imported, and what to do where one is missing, as
            ``{"onnxruntime": "pip install 'weighthub[onnx]'"}``.
        environment: variables that are set for its process.
        api: the API version that the plugin was written for.
    """

    name: str
    summary: str
    factory: str
    formats: tuple[str, ...]
    needs: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    api: tuple[int, int] = API_VERSION


@dataclass(frozen=True)
class Setting:
    """One way to run the program.

    Attributes:
        name: a word for reports: ``f32``.
        summary: what is set, in a line.
        limit: the largest relative error of the logits, ``|theirs - hub's| / |hub's|`` (Euclidean norms over all of
            them), where hub's are of the same file in f32.
        why: where the limit comes from.
        rounds: whether the program rounds activations in this setting. Then a model that makes much of that is
            allowed more; see `hub.verification.consumers`.
        positions: tokens at the beginning of a sequence that can be compared, where the program is known to compute
            something else behind them (a sliding window that it does not have); None for all. `summary` says why.
        values: what `Check.open` is told; plain JSON values.
    """

    name: str
    summary: str
    limit: float
    why: str
    rounds: bool = False
    positions: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """What a session may use.

    Attributes:
        threads: number of threads.
        context: tokens of the longest sequence that it will be fed.
        scratch: an empty folder for its files, which is removed afterwards.
    """

    threads: int
    context: int
    scratch: str


class Session(ABC):
    """A model opened in another program. It lives in a child process, and may do there what the program does."""

    @abstractmethod
    def start(self) -> None:
        """Begin a new sequence: what was fed before is forgotten."""

    @abstractmethod
    def feed(self, ids: Ids) -> F32Array:
        """Run further tokens of the sequence, on top of what the program keeps of those before (its cache).

        Args:
            ids: (tokens,).

        Returns:
            Scores of the token after each, (tokens, vocabulary).
        """

    def greedy(self, last: F32Array, count: int) -> Sequence[int]:
        """The next tokens, each time the likeliest one; for programs that generate by themselves, theirs.

        Args:
            last: scores of the token after the last one fed, (vocabulary,).
            count: how many.
        """
        import numpy as np

        out: list[int] = []
        for _ in range(count):
            out.append(int(last.argmax()))
            if len(out) < count:
                last = self.feed(np.array(out[-1:], np.int32))[-1]
        return out


class Check(ABC):
    """Knows how to run models in one program. Made in hub's process and again in the child."""

    def refuses(self, model: Model) -> str | None:
        """Why the program cannot run a model of its formats, as far as headers tell, or None."""
        return None

    @abstractmethod
    def settings(self, model: Model) -> Sequence[Setting]:
        """The ways to run a model, at least one. Nothing of the program is imported here."""

    @abstractmethod
    def versions(self) -> Mapping[str, str]:
        """The program's version and those of what it stands on, by distribution name, the program first; asked in
        the child."""

    @abstractmethod
    def open(self, path: str, setting: Setting, room: Room) -> Session:
        """Open a file or folder; called in the child, once. Whatever it raises is told as the program's answer.

        Code that a model brings must not be executed, and nothing be fetched.
        """
