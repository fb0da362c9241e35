"""Makes the files that the tests work on: models written in every format, once per run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hub import pipeline, planner
from hub.errors import HubError
from hub.format import Request
from hub.io.atomic import AtomicOutput
from hub.ir.model import Model
from hub.ir.part import row_length
from hub.pipeline import Silent
from hub.planner import Plan
from hub.plugins import registry
from hub.recipe import Recipe
from hub.testing import models
from hub.testing.subject import Subject
from hub.tiles import COPIES, RESERVED, Budget, step
from hub.verification import verifier

ROOMY = Budget(1 << 30, 1)
THREADS = 2


def tight(plan: Plan) -> Budget:
    """The smallest tiles that a plan can be carried out with, and two threads."""
    known = registry()
    least = 1 << 16
    for entry in plan.entries:
        rows = step(entry.tensor, known.layout(entry.tensor.layout), known.layout(entry.layout))
        least = max(least, 4 * row_length(entry.tensor.shape) * rows)
    return Budget(RESERVED + THREADS * COPIES * least, THREADS)


@dataclass(frozen=True)
class Written:
    """A model that was written.

    Attributes:
        plan: what wrote it; its source stays open.
        path: where it is.
    """

    plan: Plan
    path: Path

    @property
    def files(self) -> Sequence[Path]:
        """Its files."""
        return files_of(self.path)


@dataclass(frozen=True)
class Sample:
    """A model to read.

    Attributes:
        format: the name of its format.
        path: a file or folder.
    """

    format: str
    path: Path

    def copied(self, folder: Path) -> Sample:
        """A copy in `folder` under the same name, to be damaged."""
        copy = folder / self.path.name
        if self.path.is_dir():
            shutil.copytree(self.path, copy)
        else:
            shutil.copyfile(self.path, copy)
        return Sample(self.format, copy)

    def open(self) -> Model:
        """The model, opened by its format's reader."""
        return registry().reader(self.format).open(str(self.path))


def files_of(path: Path) -> Sequence[Path]:
    """The files of a model: itself, or all in its folder."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def contents(path: Path) -> Mapping[str, bytes]:
    """Bytes of every file of a model, by name inside it."""
    if not path.is_dir():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in files_of(path)}


def write(model: Model, format: str, variant: str, folder: Path, budget: Budget = ROOMY) -> Written:
    """Write a model into `folder`, which is made, under the name that the format's habit gives it."""
    made = planner.make(model, format, variant, Recipe(), registry())
    name = made.writer.default_name(models.NAME, Request(variant, Recipe(), models.NAME))
    folder.mkdir(parents=True)
    with AtomicOutput(folder / name, folder=made.writer.folder) as output:
        pipeline.fill(made, registry(), output, budget, Silent())
        output.seal()
        output.commit()
    return Written(made, folder / name)


def faults(written: Written, reopened: Model) -> Sequence[str]:
    """What the verifier finds wrong with a written model."""
    results = verifier.verify(written.plan, reopened, registry(), ROOMY, Silent())
    return [f"{result.name}: {result.fault}" for result in results if result.fault]


class Workshop:
    """Written models, made on demand and kept for the run.

    Args:
        subject: the plugin under test.
        root: an empty folder.
    """

    def __init__(self, subject: Subject, root: Path) -> None:
        self.subject = subject
        self.root = root
        self._made: dict[tuple[str, str, str], Written] = {}

    def folder(self) -> Path:
        """A name for a folder that does not exist yet."""
        return self.root / str(len(list(self.root.iterdir())))

    def written(self, format: str, variant: str, dtype: str = "f32") -> Written:
        """The first model of the ladder that the format takes, written.

        Raises:
            HubError: it takes none.
        """
        key = format, variant, dtype
        if key not in self._made:
            refused = []
            for model in models.ladder(dtype):
                try:
                    self._made[key] = write(model, format, variant, self.folder())
                    break
                except HubError as error:
                    refused.append(error)
            else:
                raise refused[-1]
        return self._made[key]

    @cached_property
    def samples(self) -> Mapping[str, Sequence[Path]]:
        """Models of every format that can be read, by format: given ones, or written here.

        A format that cannot write is left out: tests of writing say so if it is this plugin's.
        """
        out: dict[str, list[Path]] = {name: list(paths) for name, paths in self.subject.samples.items()}
        for name, item in registry().formats.items():
            if not item.reader or not item.writer:
                continue
            for variant in ("", *item.variants):
                try:
                    out.setdefault(name, []).append(self.written(name, variant).path)
                    break
                except Exception:  # whatever is wrong with it, the tests of writing say
                    continue
        return out
