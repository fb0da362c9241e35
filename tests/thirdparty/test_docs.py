"""docs/plugins.md shows code that runs, and hooks that exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from hub import hookspecs

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "plugins.md").read_text()
KIT = HERE.parents[1] / "hub" / "testing"


def test_code_is_cut_from_the_plugin() -> None:
    """A line of three dots stands for what was left out."""
    blocks = re.findall(r"(?:<!-- cut from (\S+) -->\n)?```(\w+)\n(.*?)```", PAGE, re.S)
    cut = [(name, code) for name, language, code in blocks if language != "console"]
    assert len(cut) >= 8
    for name, code in cut:
        assert name, f"a block does not say what it was cut from:\n{code}"
        rest = (HERE / "hub_toy" / name).read_text()
        for piece in re.split(r"^ *\.\.\.\n", code, flags=re.M):
            assert piece in rest, f"not in {name}, or not in this order:\n{piece}"
            rest = rest[rest.index(piece) + len(piece) :]


def test_hooks_have_their_arguments() -> None:
    hooks = {
        name: f"{name}{inspect.signature(function)}".replace("'", "")
        for name, function in vars(hookspecs).items()
        if name.startswith("hub_") and callable(function)
    }
    headings = re.findall(r"^### `(.*)`$", PAGE, re.M)
    assert len(hooks) >= 4
    assert sorted(headings) == sorted(hooks.values())


def test_the_kit_is_told_of() -> None:
    options = set(re.findall(r'"(--hub-\w+)"', (KIT / "plugin.py").read_text()))
    assert len(options) == 3
    assert all(f"`{option} " in PAGE for option in options)
    files = {path.name for path in (KIT / "conformance").glob("test_*.py")}
    assert files == set(re.findall(r"^\| `(test_\w+\.py)` \|", PAGE, re.M))
