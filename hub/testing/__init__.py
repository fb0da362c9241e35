"""The conformance kit: what every plugin must keep, as tests that its author runs with one command.

    hub plugin test NAME

which is ``pytest --pyargs hub.testing.conformance -p hub.testing.plugin --hub-plugin NAME`` away from any
configuration of the folder it is started in. docs/plugins.md tells more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hub.errors import MissingDependency


def run(name: str, arguments: Sequence[str] = ()) -> int:
    """Run the kit on a plugin.

    Args:
        name: of its entry point.
        arguments: further ones for pytest.

    Returns:
        pytest's exit status; 0 when every check passed.

    Raises:
        MissingDependency: pytest is not installed.
        HubError: there is no such plugin, or it cannot be loaded.
    """
    try:
        import pytest
    except ModuleNotFoundError:
        raise MissingDependency(
            "the conformance kit needs the package pytest", remedy="pip install 'weighthub[test]'"
        ) from None
    from hub.testing.subject import Subject

    Subject.of(name)  # refuses here, in one line, rather than from inside pytest
    fixed = [
        "--pyargs", "hub.testing.conformance", "-p", "hub.testing.plugin", "--hub-plugin", name,
        "-c", os.devnull, "--rootdir", os.fspath(Path(__file__).parent), "--import-mode=importlib",
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--tb=short",
    ]  # fmt: skip
    return int(pytest.main([*fixed, *arguments]))
