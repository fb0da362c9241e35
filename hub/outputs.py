"""Where an output may be written: its name, and what must not be replaced by it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hub.errors import HubError, OutputError
from hub.ir.model import Model
from hub.plugins import registry
from hub.recipe import Recipe

if TYPE_CHECKING:
    from hub.planner import Plan


def beside(source: str | os.PathLike[str], made: Plan) -> Path:
    """The name, in the ecosystem's habit, of an output for which the user gave none."""
    from hub import planner
    from hub.format import Request

    full = Path(os.path.abspath(source))
    request = Request(made.variant, Recipe(), planner.source_stem(os.fspath(source)))
    return full.parent / made.writer.default_name(request.source_name, request)


def check_target(made: Plan, final: Path, force: bool, report_to: str | os.PathLike[str] | None) -> None:
    """Raises:
    OutputError: the output or the report may not be written there.
    """
    from hub.io.atomic import check_free

    check_free(final, folder=made.writer.folder, force=force)
    kept = _files(made.source)
    if any(_same_file(final, path) for path in kept):
        raise OutputError("it is the source itself, or a file of it", path=final, remedy="give another name")
    if made.writer.folder and final.is_dir():
        _check_replaced(final, kept, made.target_format)
    if report_to is None:
        return
    check_free(report_to, folder=False, force=True)
    if any(_same_file(report_to, path) for path in (*kept, os.fspath(final))):
        raise OutputError(
            "the report would replace the output or a file of the source", path=report_to, remedy="give another name"
        )


def _check_replaced(folder: Path, kept: Sequence[str], format: str) -> None:
    """A folder is replaced with all that is in it, so it must be an earlier output and nothing more.

    Raises:
        OutputError: it has the source in it, or something that is no model of that format.
    """
    inside = os.path.realpath(folder)
    if any(os.path.commonpath([inside, os.path.realpath(path)]) == inside for path in kept):
        raise OutputError("the source lies in it, and would go with it", path=folder, remedy="give another name")
    try:
        known = not any(folder.iterdir()) or registry().detect(os.fspath(folder)).name == format
    except HubError:
        known = False
    if not known:
        raise OutputError(
            f"--force replaces models, and this folder holds none of format {format}",
            path=folder, remedy="give another name, or remove it first",
        )  # fmt: skip


def _files(model: Model) -> list[str]:
    """What a conversion must not replace: the model, and every file beside its weights."""
    beside = [os.path.join(model.path, name) for name in model.companions]
    return [model.path, *(source.path for source in model.sources), model.config_path or model.path, *beside]


def _same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether two names lead to one file, by a link of either kind or by being the same name of nothing yet."""
    if os.path.realpath(a) == os.path.realpath(b):
        return True
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def check_report(report_to: str | os.PathLike[str] | None, models: Sequence[Model]) -> None:
    """Raises:
    OutputError: a report may not be written there.
    """
    from hub.io.atomic import check_free

    if report_to is None:
        return
    check_free(report_to, folder=False, force=True)
    if any(_same_file(report_to, path) for model in models for path in _files(model)):
        raise OutputError("the report would replace a file of a model", path=report_to, remedy="give another name")


def check_file(
    output: str | os.PathLike[str],
    force: bool,
    models: Sequence[Model],
    others: Sequence[str | os.PathLike[str] | None] = (),
) -> None:
    """Raises:
    OutputError: a file may not be written there: it exists, or it is one that is read.
    """
    from hub.io.atomic import check_free

    check_free(output, folder=False, force=force)
    read = [path for model in models for path in _files(model)] + [os.fspath(path) for path in others if path]
    if any(_same_file(output, path) for path in read):
        raise OutputError("the output would replace a file that is read", path=output, remedy="give another name")
