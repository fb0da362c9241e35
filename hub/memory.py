"""Private memory of this process: what it holds itself, without files that the kernel caches for it."""

from __future__ import annotations

import threading

_peak = 0


def private() -> int:
    """Bytes of anonymous memory now (RssAnon); 0 where the system does not tell.

    Not the resident size: mapped files count there, and ru_maxrss never comes down.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def note_peak() -> None:
    """Remember the private memory of this moment if it is the most so far."""
    global _peak
    _peak = max(_peak, private())


def peak_private() -> int:
    """The most that `note_peak` saw, this moment included."""
    note_peak()
    return _peak


class Watch:
    """Calls `note_peak` every 50 ms while it is entered."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub-memory", daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            note_peak()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
