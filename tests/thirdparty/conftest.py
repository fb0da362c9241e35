"""hub_toy as a user has it: on the path beside the checkout, and (slow) built and installed into a new environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
TOY = HERE / "hub_toy"


@dataclass
class Installation:
    """A hub with plugins.

    Attributes:
        command: what starts it.
        path: further entries of PYTHONPATH.
        wheel: the wheel of hub that is installed, if one is.
        work: a folder for its files.
    """

    command: list[str]
    work: Path
    path: list[Path] = field(default_factory=list)
    wheel: Path | None = None

    def hub(self, *arguments: str | Path, status: int = 0, **environment: str) -> str:
        """Run a command; what it prints, errors included."""
        path = os.pathsep.join(map(str, self.path))
        done = subprocess.run(
            [*self.command, *map(str, arguments)], cwd=self.work, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )  # fmt: skip
        assert done.returncode == status, f"hub {arguments}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *arguments: str | Path, **environment: str) -> Any:
        """Run a command with --json."""
        return json.loads(self.hub(*arguments, "--json", **environment))

    def convert(self, source: Path, to: str, target: str, *arguments: str) -> tuple[Path, list[dict[str, Any]]]:
        """Convert a model and check it; the output, and what the report says of each tensor."""
        output, report = self.work / target, self.work / f"{target}.json"
        self.hub("convert", source, output, "--to", to, "--report", report, *arguments)
        return output, json.loads(report.read_text())["plan"]["tensors"]


def distribution(folder: Path, name: str, points: str) -> None:
    """A distribution that consists of its description: what importlib.metadata finds plugins by."""
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[hub]\n{points}\n")


def beside(work: Path) -> Installation:
    """The hub of this environment, with hub_toy on PYTHONPATH."""
    distribution(work / "path", "hub-toy", "toy = hub_toy")
    return Installation([sys.executable, "-m", "hub"], work, [work / "path", TOY])


def installed(work: Path) -> Installation:
    """hub and hub_toy built as wheels and installed into a new environment, and nothing else of the checkout.

    What hub depends on is not installed again: the new environment looks into this one for it.
    """
    wheels, source = work / "wheels", work / "source"
    shutil.copytree(TOY, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    _wheel(REPOSITORY, wheels, find_spec("scikit_build_core") is not None, "-C", f"build-dir={work / 'build'}")
    _wheel(source, wheels, _setuptools_makes_wheels())
    fresh = work / "fresh"
    venv.create(fresh, with_pip=False, symlinks=True)
    python = fresh / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    _run([*pip, "install", "--no-deps", "--no-index", *map(str, sorted(wheels.glob("*.whl")))])
    (site,) = fresh.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = wheels.glob("weighthub-*.whl")
    code = "import hub, hub_native, hub_toy; print(*(m.__file__ for m in (hub, hub_native, hub_toy)))"
    found = subprocess.run([python, "-c", code], cwd=work, capture_output=True, text=True, check=True).stdout.split()
    assert all(Path(path).is_relative_to(site) for path in found), found
    return Installation([str(fresh / "bin" / "hub")], work, wheel=wheel)


def _wheel(source: Path, wheels: Path, backend_is_here: bool, *options: str) -> None:
    isolation = ["--no-build-isolation"] if backend_is_here else []
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    _run([*pip, *isolation, *options, "--wheel-dir", str(wheels), str(source)])


def _setuptools_makes_wheels() -> bool:
    """Before 70.1 it did so only with the package wheel; pip fetches a newer one then."""
    try:
        major, minor = map(int, metadata.version("setuptools").split(".")[:2])
    except metadata.PackageNotFoundError:
        return False
    return (major, minor) >= (70, 1) or find_spec("wheel") is not None


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session", params=["beside", pytest.param("installed", marks=pytest.mark.slow)])
def toy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A hub that knows hub_toy."""
    make = {"beside": beside, "installed": installed}[request.param]
    return make(tmp_path_factory.mktemp(request.param))


@pytest.fixture
def hub_with(tmp_path: Path) -> Any:
    """A function: the hub of this environment with plugins made of source text, as {entry point: source}."""

    def made(plugins: dict[str, str], *, toy: bool = False) -> Installation:
        path = tmp_path / "plugins"
        for name, source in plugins.items():
            module = f"plugin_{name.replace('-', '_')}"
            distribution(path, f"hub-{name}", f"{name} = {module}")
            (path / f"{module}.py").write_text(source)
        if toy:
            distribution(path, "hub-toy", "toy = hub_toy")
        return Installation([sys.executable, "-m", "hub"], tmp_path, [path, TOY])

    return made
