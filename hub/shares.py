"""Transforms by which a format has several tensors for one canonical tensor: some of its rows each.

They come first among a rule's steps. Towards the format each cuts out its own; what comes back from a file waits until
all are there (`hub.mapping`), and `together` makes them one again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hub.errors import ConfigError
from hub.ir.part import Shape, rows_spec
from hub.ir.tensor import Packed, Tensor
from hub.ir.values import Dense
from hub.ir.woven import ColumnsPart, WovenColumnsPart, every, woven
from hub.transforms import Concat, Step, alike, cut_rows, in_rows, with_parts


class Share(Step):
    """One of several tensors of a format that are one canonical tensor together; the first of a rule's steps."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Where among the others it stands."""

    @classmethod
    @abstractmethod
    def together(cls, shares: Sequence[tuple[Any, Tensor]]) -> Tensor:
        """The canonical tensor of all shares, (step, tensor) by `order`.

        Raises:
            ConfigError: some are missing, or they do not fit together.
        """

    def backward(self, tensor: Tensor) -> Tensor:
        return tensor


class Rows(Share):
    """Some rows, where a format has several tensors for one canonical tensor.

    Args:
        argument: the first row and the one after the last.
    """

    name = "rows"

    def forward(self, tensor: Tensor) -> Tensor:
        start, stop = self.range
        if not 0 <= start < stop <= tensor.shape[0]:
            raise ConfigError(f"rows {start} to {stop} of {tensor.shape[0]}", tensor=tensor.name)
        return cut_rows(tensor, start, stop, (stop - start, *tensor.shape[1:]), self.name)

    @property
    def range(self) -> tuple[int, int]:
        """The rows of the canonical tensor."""
        start, stop = self.argument
        return int(start), int(stop)

    @property
    def order(self) -> int:
        return self.range[0]

    @classmethod
    def together(cls, shares: Sequence[tuple[Any, Tensor]]) -> Tensor:
        begin = 0
        for step, tensor in shares:
            if step.order != begin:
                raise ConfigError(f"rows {begin} to {step.order} are in no tensor")
            begin = step.order + tensor.rows
        (joined,) = Concat(len(shares)).forward([tensor for _, tensor in shares])
        return joined


class Every(Share):
    """Every second row, or third: gate and up as gpt-oss has them, in turns.

    Args:
        argument: the first row, and how far on the next one is.
    """

    name = "every"

    def forward(self, tensor: Tensor) -> Tensor:
        first, of = self.turn
        if len(tensor.shape) < 2 or tensor.shape[-2] % of:
            raise ConfigError(f"shape {list(tensor.shape)}, its rows are not {of} in turns", tensor=tensor.name)
        tensor = in_rows(tensor, 1)
        shape = (*tensor.shape[:-2], tensor.shape[-2] // of, tensor.shape[-1])
        parts = {key: part if part.spec.axis is None else every(part, first, of) for key, part in tensor.parts.items()}
        return replace(tensor, shape=shape, body=with_parts(tensor, parts, shape), derived=(*tensor.derived, self.name))

    @property
    def turn(self) -> tuple[int, int]:
        """The first row, and how far on the next one is."""
        first, of = (int(number) for number in self.argument)
        if not 0 <= first < of:
            raise ConfigError(f"{self.name}: {first} of {of}")
        return first, of

    @property
    def order(self) -> int:
        return self.turn[0]

    @classmethod
    def together(cls, shares: Sequence[tuple[Any, Tensor]]) -> Tensor:
        tensors = alike([in_rows(tensor, 1) for tensor in cls._all(shares)])
        first, names = tensors[0], [tensor.stored_name for tensor in tensors]
        if len({(type(tensor.body), tensor.layout, tensor.shape) for tensor in tensors}) != 1:
            raise ConfigError(f"{listed(names)} are not of one type and shape, so they cannot become one tensor")
        shape = (*first.shape[:-2], first.shape[-2] * len(tensors), first.shape[-1])
        parts = {key: woven([tensor.parts[key] for tensor in tensors], names) for key in first.parts}
        return _woven(first, names, shape, with_parts(first, parts, shape), f"undo {cls.name}")

    @classmethod
    def _all(cls, shares: Sequence[tuple[Any, Tensor]]) -> list[Tensor]:
        turns = [step.turn for step, _ in shares]
        if turns != [(i, turns[0][1]) for i in range(turns[0][1])]:
            raise ConfigError(f"{len(shares)} of {turns[0][1]} tensors that make it are there")
        return [tensor for _, tensor in shares]


class EveryColumn(Every):
    """The same of the numbers in a row, for what belongs to such rows and is stored dense: biases of all experts."""

    name = "every_column"

    def forward(self, tensor: Tensor) -> Tensor:
        import numpy as np

        first, of = self.turn
        if not isinstance(tensor.body, Dense) or len(tensor.shape) < 2 or tensor.shape[-1] % of:
            raise ConfigError(f"shape {list(tensor.shape)}, its columns are not {of} in turns", tensor=tensor.name)
        shape = (*tensor.shape[:-1], tensor.shape[-1] // of)
        part = tensor.body.part
        if isinstance(part, WovenColumnsPart) and len(part.parts) == of:
            part = part.parts[first]
        else:
            part = ColumnsPart(part, rows_spec(part.spec.dtype, shape), np.arange(first, tensor.shape[-1], of))
        return replace(tensor, shape=shape, body=Dense(part), derived=(*tensor.derived, self.name))

    @classmethod
    def together(cls, shares: Sequence[tuple[Any, Tensor]]) -> Tensor:
        tensors = cls._all(shares)
        first, names = tensors[0], [tensor.stored_name for tensor in tensors]
        parts = [tensor.body.part for tensor in tensors if isinstance(tensor.body, Dense)]
        if len({tensor.shape for tensor in tensors}) != 1 or len({part.spec for part in parts}) != 1:
            raise ConfigError(f"{listed(names)} are not of one type and shape, so they cannot become one tensor")
        shape = (*first.shape[:-1], first.shape[-1] * len(tensors))
        part = WovenColumnsPart(tuple(parts), rows_spec(parts[0].spec.dtype, shape), tuple(names))
        return _woven(first, names, shape, Dense(part), f"undo {cls.name}")


def _woven(first: Tensor, names: Sequence[str], shape: Shape, body: Dense | Packed, step: str) -> Tensor:
    return Tensor(first.name, shape, body, (*first.derived, step), listed(names))


def listed(names: Sequence[str]) -> str:
    """What a tensor made of these is called in messages."""
    return " and ".join(names)
