"""The toy program as a consumer: hub runs what it wrote in it, and compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hub.api import Check, Model, Room, Session, Setting


class Toy(Check):
    """Runs Llama models of toy files."""

    def refuses(self, model: Model) -> str | None:
        return None if model.architecture == "LlamaForCausalLM" else "the program runs Llama and nothing else"

    def settings(self, model: Model) -> Sequence[Setting]:
        return [Setting("f64", "f64 throughout", limit=1e-5, why="rounding of f32 in hub's runner")]

    def versions(self) -> Mapping[str, str]:
        from hub_toy.program import VERSION

        return {"hub-toy": VERSION}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        from hub_toy.program import Llama

        return Running(Llama(path))


class Running(Session):
    """The program keeps nothing of tokens that it has seen, so all of them are run again."""

    def __init__(self, program: Any) -> None:
        self.program = program

    def start(self) -> None:
        self.ids = np.empty(0, np.int32)

    def feed(self, ids: np.ndarray[Any, np.dtype[np.int32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        self.ids = np.concatenate([self.ids, ids])
        logits: np.ndarray[Any, Any] = self.program.logits(self.ids)[-len(ids) :]
        return logits.astype(np.float32)
