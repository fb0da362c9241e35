"""hub moves the weights of language models between formats, exactly where that is possible, and says
per tensor what was lost where it is not.

    import hub

    with hub.open("tests/data/tiny-llama") as model:
        print(len(model.tensors))
    report = hub.convert("tests/data/tiny-llama", "tiny.gguf", to="gguf:q4_k_m")
    report = hub.verify("tests/data/tiny-llama", "tiny.gguf")

Functions are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub._version import __version__

if TYPE_CHECKING:
    from hub.measuring import evaluate, imatrix, logits
    from hub.session import check, convert, diff, inspect, open, plan, verify

_MEASURES = ("evaluate", "imatrix", "logits")
_FUNCTIONS = ("check", "convert", "diff", "inspect", "open", "plan", "verify")

__all__ = [
    "__version__",
    "check",
    "convert",
    "diff",
    "evaluate",
    "imatrix",
    "inspect",
    "logits",
    "open",
    "plan",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _MEASURES:
        from hub import measuring

        return getattr(measuring, name)
    if name in _FUNCTIONS:
        from hub import session

        return getattr(session, name)
    raise AttributeError(f"module 'hub' has no attribute {name!r}")
