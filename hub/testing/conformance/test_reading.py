"""Opening: headers only, every file accounted for, nothing left open."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from hub.architecture import configure, find
from hub.errors import ArchitectureError, HubError
from hub.io.cursor import WINDOW
from hub.io.source import FileSource
from hub.plugins import registry
from hub.testing import models
from hub.testing.workshop import Sample, Workshop, Written, files_of, write


def test_model_is_complete(sample: Sample) -> None:
    with sample.open() as model:
        assert model.format == sample.format
        assert model.path == str(sample.path)
        assert model.tensors
        assert {str(Path(source.path).resolve()) for source in model.sources} <= {
            str(path.resolve()) for path in files_of(sample.path)
        }
        for name, tensor in model.tensors.items():
            assert tensor.name == name
            specs = {key: part.spec for key, part in tensor.parts.items()}
            if registry().knows_layout(tensor.layout):
                assert specs == dict(registry().layout(tensor.layout).parts(tensor.shape)), name
            for key, part in tensor.parts.items():
                if part.span is not None:
                    assert part.span.nbytes == part.spec.nbytes, (name, key)
                    assert part.span.offset + part.span.nbytes <= part.span.source.size, (name, key)
                assert part.load(0, tensor.rows).nbytes == part.spec.nbytes, (name, key)


def test_settings_are_understood(sample: Sample) -> None:
    with sample.open() as model:
        if model.architecture is None:
            pytest.skip("the format does not say an architecture")
        try:
            find(model)
        except ArchitectureError as error:
            pytest.skip(str(error))
        configure(model)


def test_open_reads_no_tensor_data(
    readable: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if registry().format(readable).writer is None:
        pytest.skip("the format cannot be written, and a sample may be too small to tell")
    written = write(models.llama("f32", intermediate=24576), readable, "", tmp_path / "large")
    reader = registry().reader(readable)
    for small in workshop.samples.get(readable, ()):
        reader.open(str(small)).close()  # imports what it imports, which reads files too
    got = 0
    original = FileSource.read_into

    def counted(self: FileSource, buffer: memoryview, offset: int) -> None:
        nonlocal got
        got += buffer.nbytes
        original(self, buffer, offset)

    monkeypatch.setattr(FileSource, "read_into", counted)
    before = _bytes_read()
    reader.open(str(written.path)).close()
    read = max(got, _bytes_read() - before)
    data = sum(entry.nbytes for entry in written.plan.entries)
    sizes = [path.stat().st_size for path in written.files]
    headers = sum(sizes) - data
    allowed = 2 * headers + sum(min(4 * WINDOW, size) for size in sizes)  # headers are read by windows, which overlap
    allowed += _beside_codes(written)
    assert data > allowed, "the model is too small to tell"
    assert read <= allowed, f"opening read {read} bytes, headers have {headers}, tensors {data}"


def _beside_codes(written: Written) -> int:
    """Bytes of zero points, indices and the like, which may have to be seen to know what codes mean."""
    out = 0
    for entry in written.plan.entries:
        sizes = [spec.nbytes for spec in registry().layout(entry.layout).parts(entry.tensor.shape).values()]
        out += sum(sizes) - max(sizes, default=0)
    return out


def _bytes_read() -> int:
    """Bytes that this process has read by any system call, where the system counts them."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return int(lines[0].partition(":")[2])


def test_change_while_reading_is_noticed(sample: Sample, tmp_path: Path) -> None:
    with sample.copied(tmp_path).open() as model:
        model.check_unchanged()
        holders = {Path(p.span.source.path) for t in model.tensors.values() for p in t.parts.values() if p.span}
        assert holders, "no tensor lies in a file"
        for path in holders:
            with path.open("ab") as file:
                file.write(b"\0")
            with pytest.raises(HubError):
                model.check_unchanged()
            os.truncate(path, path.stat().st_size - 1)


def test_nothing_stays_open(sample: Sample, tmp_path: Path) -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list open files")
    sample.open().close()
    before = len(list(folder.iterdir()))
    sample.open().close()
    copy = sample.copied(tmp_path)
    for path in files_of(copy.path):
        os.truncate(path, path.stat().st_size // 2)
        with contextlib.suppress(HubError):
            copy.open().close()
    assert len(list(folder.iterdir())) == before


@pytest.mark.parametrize("what", ["nothing", "a folder", "an empty file", "text", "a link to nothing"])
def test_refuses_what_is_no_model(readable: str, what: str, tmp_path: Path) -> None:
    path: Any = tmp_path / "model"
    if what == "a folder":
        path.mkdir()
    elif what == "a link to nothing":
        path.symlink_to(tmp_path / "elsewhere")
    elif what != "nothing":
        path.write_bytes(b"" if what == "an empty file" else b"no model at all\n" * 100)
    with pytest.raises(HubError) as raised:
        registry().reader(readable).open(str(path))
    assert str(path) in str(raised.value), "the message does not name the file"
