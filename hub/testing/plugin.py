"""The pytest plugin of the conformance kit: options, header, and which checks run on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.errors import HubError
from hub.format import API_VERSION
from hub.kernels import isa
from hub.testing.subject import Subject
from hub.testing.workshop import Sample, Workshop

_SUBJECT = pytest.StashKey[Subject]()

_CASES: Mapping[str, Callable[[Subject], Sequence[Any]]] = {
    "format_name": lambda subject: list(subject.formats),
    "readable": lambda subject: [name for name, item in subject.formats.items() if item.reader],
    "writable": lambda subject: [name for name, item in subject.formats.items() if item.writer],
    "variant": lambda subject: subject.variants,
    "sample": lambda subject: subject.sample_names,
    "layout_name": lambda subject: subject.layout_names,
    "quantizer_name": lambda subject: subject.quantized_layouts,
    "architecture_file": lambda subject: subject.architecture_files,
    "check_name": lambda subject: list(subject.checks),
}
"""What a test is repeated for, by the name of its argument."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hub", "conformance of a plugin of hub")
    group.addoption("--hub-plugin", metavar="NAME", help="the plugin to test, by the name of its entry point")
    group.addoption(
        "--hub-sample", metavar="FORMAT=PATH", action="append", default=[],
        help="a model of a format, needed for formats that are only read (repeatable)",
    )  # fmt: skip
    group.addoption(
        "--hub-xfails", metavar="FILE",
        help="tests that are known to fail, one per line as FILE::TEST[CASE] # REASON; one that passes is an error",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--hub-plugin")
    if not name:
        raise pytest.UsageError("--hub-plugin NAME says which plugin to test")
    try:
        config.stash[_SUBJECT] = Subject.of(name, _samples(config.getoption("--hub-sample")))
    except HubError as error:
        raise pytest.UsageError(str(error)) from None


def _samples(given: Sequence[str]) -> Mapping[str, Sequence[Path]]:
    out: dict[str, list[Path]] = {}
    for text in given:
        format, found, path = text.partition("=")
        if not found or not Path(path).exists():
            raise pytest.UsageError(f"--hub-sample {text}: not FORMAT=PATH, or there is nothing at PATH")
        out.setdefault(format, []).append(Path(path).resolve())
    return out


def pytest_report_header(config: pytest.Config) -> list[str]:
    subject = config.stash[_SUBJECT]
    record = subject.record
    written_for = sorted({".".join(map(str, item.api)) for item in subject.formats.values()})
    return [
        f"hub plugin: {record.name}, of {record.distribution} {record.version}, "
        f"written for API {', '.join(written_for) or 'any'}",
        f"hub: API {'.'.join(map(str, API_VERSION))}, isa {isa()}",
        f"registers: {len(subject.formats)} formats, {len(subject.layouts)} layouts, "
        f"{len(subject.quantizers)} quantizers, {len(subject.architecture_files)} architecture files, "
        f"{len(subject.checks)} checks",
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    subject = metafunc.config.stash[_SUBJECT]
    for argument, cases in _CASES.items():
        if argument in metafunc.fixturenames:
            found = cases(subject)
            metafunc.parametrize(argument, found, ids=[_id(case) for case in found], indirect=argument == "sample")


def _id(case: Any) -> str:
    parts = (case,) if isinstance(case, str) else case
    return ":".join(Path(part).name if part.startswith("/") else part for part in parts if part)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the plugin has nothing for, and mark what is known to fail."""
    mine = set(_CASES)
    empty = [item for item in items if mine & _unset(item)]
    items[:] = [item for item in items if item not in empty]
    config.hook.pytest_deselected(items=empty)
    listed = config.getoption("--hub-xfails")
    for name, reason in _xfails(Path(listed)) if listed else ():
        found = [item for item in items if item.nodeid.endswith(f"/{name}") or item.nodeid == name]
        if not found:
            raise pytest.UsageError(f"{listed}: there is no test {name}")
        for item in found:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def _unset(item: pytest.Item) -> set[str]:
    callspec = getattr(item, "callspec", None)
    params = {} if callspec is None else callspec.params
    return {name for name, value in params.items() if not isinstance(value, str | tuple)}


def _xfails(path: Path) -> Sequence[tuple[str, str]]:
    out = []
    for line in path.read_text("utf-8").splitlines():
        name, _, reason = (text.strip() for text in line.partition("# "))
        if name and not name.startswith("#"):
            out.append((name, reason))
    return out


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The plugin under test."""
    return pytestconfig.stash[_SUBJECT]


@pytest.fixture(scope="session")
def workshop(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Where models are written."""
    return Workshop(subject, tmp_path_factory.mktemp("models"))


@pytest.fixture
def sample(request: pytest.FixtureRequest, workshop: Workshop) -> Sample:
    """A model of one of the plugin's formats: a given one, or one that is written now."""
    format, path = request.param
    if path:
        return Sample(format, Path(path))
    written = [found for found in workshop.samples.get(format, ()) if str(found) not in _given(workshop, format)]
    if not written:
        pytest.skip("the format cannot be written, tests of writing say why")
    return Sample(format, written[0])


def _given(workshop: Workshop, format: str) -> set[str]:
    return {str(path) for path in workshop.subject.samples.get(format, ())}
