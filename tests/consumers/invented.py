"""A program that is hub's own runner, with whatever can be wrong with a program; `fault` of a setting says what is."""

from __future__ import annotations

import os
import resource
import signal
import time

import numpy as np

from hub.api import Check, Setting
from hub.consumer import Room, Session

LIMIT = 1e-6
SHORT = 20
FAULTS = {
    "none": None,
    "refuses": "does not open it: ValueError: no such operator",
    "fails": "fails on it: RuntimeError: out of luck",
    "network": "does not open it: PermissionError: socket.",
    "aborts": "it was ended by SIGABRT, having said: terminate called",
    "signals": "it was ended by signal 40",
    "exits": "it ended with status 7",
    "nan": "its logits are not finite",
    "narrow": "logits of shape [61, 2047] where [61, 2048] is right",
    "noisy": "its logits differ from hub's by",
    "cache": "its logits differ from hub's by",
    "generates": "and number 2 is",
    "outside": "and number 1 is",
    "short": None,
    "rounds": None,
    "rounds badly": "its logits differ from hub's by",
}
"""What is wrong, and what is said of it."""


class Invented(Check):
    faults: tuple[str, ...] = ()
    refused: str | None = None

    def refuses(self, model):
        return self.refused

    def settings(self, model):
        return [
            Setting(
                fault,
                "as invented",
                LIMIT,
                "because",
                rounds=fault.startswith("rounds"),
                positions=SHORT if fault == "short" else None,
                values={"fault": fault},
            )
            for fault in self.faults
        ]

    def versions(self):
        return {"invented": "1.2", "stone": "3"}

    def open(self, path: str, setting: Setting, room: Room) -> Session:
        fault = setting.values["fault"]
        assert os.listdir(room.scratch) == [] and os.environ["INVENTED"] == "yes" and os.environ["HF_HUB_OFFLINE"]
        assert (
            0 < resource.getrlimit(resource.RLIMIT_AS)[0] < 1 << 40 and resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # as a real one does
        print("noise on stdout")
        if fault == "refuses":
            raise ValueError("no such operator")
        if fault == "network":
            import socket

            socket.create_connection(("127.0.0.1", 9), timeout=1)
        if fault == "aborts":
            os.write(2, b"some line\nterminate called\n")
            os.kill(os.getpid(), signal.SIGABRT)
        if fault == "signals":
            os.kill(os.getpid(), 40)  # a real-time one, for which Python has no name
        if fault == "exits":
            os._exit(7)
        if fault == "hangs":
            started = os.fork()
            if started:
                with open(os.environ["INVENTED_PID"], "w") as file:
                    file.write(str(started))
            time.sleep(60)
        return Running(path, fault, room)


class Running(Session):
    def __init__(self, path, fault, room):
        import hub
        from hub.runner import Runner

        self.fault, self.context = fault, room.context
        mode = "fast" if fault.startswith("rounds") else "exact"
        self.runner = Runner(hub.open(path), mode=mode)

    def start(self):
        self.ids = np.empty(0, np.int32)

    def feed(self, ids):
        if self.fault == "cache" and len(self.ids) > 60:
            self.ids = self.ids[1:]
        self.ids = np.concatenate([self.ids, ids])
        assert len(self.ids) <= self.context
        if self.fault == "fails" and len(ids) == 1:
            raise RuntimeError("out of luck")
        rows = self.runner.logits(self.ids)[-len(ids) :]
        if self.fault == "short" and len(self.ids) > SHORT:
            rows = -rows
        if self.fault == "nan":
            rows[-1, 0] = np.nan
        if self.fault == "narrow":
            rows = rows[:, 1:]
        if self.fault == "noisy":
            rows = rows * np.float32(1 + 2 * LIMIT)
        if self.fault == "rounds badly":
            rows = rows[:, ::-1]
        return rows

    def greedy(self, last, count):
        found = super().greedy(last, count)
        if self.fault == "generates":
            found[1] = (found[1] + 1) % len(last)
        if self.fault == "outside":
            found[0] = len(last)
        return found
