"""The README shows real output of real commands: they are run, and compared but for times and memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def _steady(text: str) -> list[str]:
    text = re.sub(r"in \d+\.\d s(, peak private memory .*)?", "in N s", text)
    text = re.sub(r"\d+ tokens/s", "N tokens/s", text)
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "tests" / "data" / "tiny-llama", made / "tests" / "data" / "tiny-llama")
    # `hub` in the blocks is this very Python's.
    (made / "hub").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hub "$@"\n')
    (made / "hub").chmod(0o755)
    return made


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 4


def test_blocks_print_what_they_say(folder: Path) -> None:
    # One test, because later blocks use what earlier ones wrote.
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    for block in BLOCKS:
        command, _, expected = block.removeprefix("$ ").partition("\n")
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert _steady(done.stdout) == _steady(expected), command


def test_set_up_commands_are_marked_for_ci() -> None:
    for name in ("convert", "test"):
        assert re.search(rf"<!-- {name} -->\n```\n[^\n]+\n```", README), name


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
