"""Places where no output can or may be written. The source is never harmed, and nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_build import folder, llama_gguf
from hostile_run import accepted, refused, run, snapshot

TO = ("convert", "--to", "gguf:q8_0")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder(tmp_path / "m")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.gguf"
    path.write_bytes(llama_gguf())
    return path


# --- what is there already ------------------------------------------------------------------------------------------


def test_exists(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(b"precious")
    refused(*TO, model, out, names=["out.gguf", "exists", "--force"], watch=tmp_path)


def test_force_replaces(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")
    accepted(*TO, "--force", model, out)
    assert out.read_bytes().startswith(b"GGUF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("kind", ["folder", "fifo", "link to nothing", "loop", "device", "socket", "link to a folder"])
def test_exists_and_is_no_file(tmp_path: Path, model: Path, kind: str, force: tuple[str, ...]) -> None:
    """Even by force only a file takes the place of a file: /dev/null must survive a root's typing error."""
    out = tmp_path / "out.gguf"
    if kind == "folder":
        out.mkdir()
    elif kind == "fifo":
        os.mkfifo(out)
    elif kind == "loop":
        out.symlink_to("out.gguf")
    elif kind == "device":
        try:
            os.mknod(out, 0o600 | 0o020000, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("no device can be made here")
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            here = os.getcwd()
            os.chdir(tmp_path)
            made.bind("out.gguf")
            os.chdir(here)
    elif kind == "link to a folder":
        (tmp_path / "real").mkdir()
        out.symlink_to("real")
    else:
        out.symlink_to("nowhere.gguf")
        if force:
            # What the link means is clear, and nothing is lost.
            accepted(*TO, *force, model, out)
            assert (tmp_path / "nowhere.gguf").read_bytes().startswith(b"GGUF")
            assert out.is_symlink()
            return
    refused(*TO, *force, model, out, names=["out.gguf"], watch=tmp_path)


@pytest.mark.parametrize("how", ["itself", "dot", "symlink", "hard link", "link to its folder", "symlink chain"])
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_is_the_source(tmp_path: Path, source: Path, how: str, force: tuple[str, ...]) -> None:
    out = {
        "itself": source,
        "dot": tmp_path / "." / ".." / tmp_path.name / "source.gguf",
        "symlink": tmp_path / "link.gguf",
        "hard link": tmp_path / "hard.gguf",
        "link to its folder": tmp_path / "folder" / "source.gguf",
        "symlink chain": tmp_path / "chain.gguf",
    }[how]
    if how == "symlink":
        out.symlink_to("source.gguf")
    elif how == "hard link":
        os.link(source, out)
    elif how == "link to its folder":
        (tmp_path / "folder").symlink_to(tmp_path)
    elif how == "symlink chain":
        (tmp_path / "one").symlink_to("source.gguf")
        out.symlink_to("one")
    refused(*TO, *force, source, os.fspath(out), names=[out.name], watch=tmp_path)


@pytest.mark.parametrize("victim", ["model.safetensors", "config.json", "tokenizer.json"])
def test_is_a_file_of_the_source(tmp_path: Path, model: Path, victim: str) -> None:
    """Also one that is read only for what it says about the weights."""
    (model / "tokenizer.json").touch()
    (model / "tokenizer.json").unlink()
    if not (model / victim).exists():
        (model / "notes.json").write_text("{}")
        victim = "notes.json"
    refused(*TO, "--force", model, model / victim, names=[victim, "source"], watch=tmp_path)


def test_is_the_source_folder(tmp_path: Path, model: Path) -> None:
    refused(*TO, "--force", model, model, names=["m"], watch=tmp_path)


def test_inside_the_source_folder(tmp_path: Path, model: Path) -> None:
    accepted(*TO, model, model / "out.gguf")
    accepted(*TO, "--force", model, model / "out.gguf")


# --- where it cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["beside", "two folders up", "link"])
def test_a_folder_that_holds_the_source_is_not_replaced(tmp_path: Path, how: str) -> None:
    """A new folder takes the place of the old one with all that is in it."""
    inside = tmp_path / "mine" / "deep" if how == "two folders up" else tmp_path / "mine"
    inside.mkdir(parents=True)
    (inside / "a.gguf").write_bytes(llama_gguf())
    folder(tmp_path / "made").rename(tmp_path / "mine" / "m")  # makes it look like a model, too
    shutil.copy(tmp_path / "mine" / "m" / "model.safetensors", tmp_path / "mine")
    target = tmp_path / "mine"
    if how == "link":
        target = tmp_path / "link"
        target.symlink_to("mine")
    options = ("convert", "--to", "safetensors:f16", "--force")
    refused(*options, inside / "a.gguf", target, names=["the source lies in it"], watch=tmp_path)
    refused(*options, tmp_path / "mine" / "m", target, names=["the source lies in it"], watch=tmp_path)


def test_force_replaces_models_and_no_other_folders(tmp_path: Path, source: Path) -> None:
    options = ("convert", "--to", "safetensors:f16", "--force", "--verify", "weights", source)
    home, empty = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    empty.mkdir()
    (home / "precious").write_text("x")
    refused(*options, home, names=["home", "holds none of format safetensors"], watch=tmp_path)
    accepted(*options, empty)
    (empty / "note").write_text("of an earlier output")
    accepted(*options, empty)
    assert "note" not in os.listdir(empty)


def test_folder_missing(tmp_path: Path, model: Path) -> None:
    refused(*TO, model, tmp_path / "no" / "out.gguf", names=["no", "does not exist"], watch=tmp_path)


def test_folder_is_a_file(tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused(*TO, model, tmp_path / "file" / "out.gguf", names=["file"], watch=tmp_path)


def test_name_too_long(tmp_path: Path, model: Path) -> None:
    """Told before the work, not after it."""
    stages: list[str] = []
    refused(*TO, model, tmp_path / ("o" * 300), names=["ooo"], watch=tmp_path)
    import hub
    from hub.errors import OutputError

    class Seen:
        def start(self, stage: str, total: int) -> None:
            stages.append(stage)

        def advance(self, amount: int) -> None:
            pass

    with pytest.raises(OutputError):
        hub.convert(model, tmp_path / ("o" * 300), to="gguf:q8_0", progress=Seen())
    assert not stages


@pytest.mark.parametrize("name", ["o" * 250 + ".gguf", "ж" * 125 + ".gguf", "😀" * 62 + ".gguf"])
def test_name_as_long_as_may_be(tmp_path: Path, model: Path, name: str) -> None:
    accepted(*TO, model, tmp_path / name)
    assert (tmp_path / name).exists()


def test_name_not_utf8(tmp_path: Path, model: Path) -> None:
    out = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.gguf")
    assert "udcff" in accepted(*TO, model, out)
    assert os.path.exists(out)


def test_empty_name(tmp_path: Path, model: Path) -> None:
    refused(*TO, model, "", watch=tmp_path)


def test_read_only_file_system(tmp_path: Path, model: Path) -> None:
    """/proc takes no files, not even root's."""
    refused(*TO, model, "/proc/out.gguf", names=["/proc"], watch=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_folder(tmp_path: Path, model: Path) -> None:
    (tmp_path / "ro").mkdir(0o500)
    refused(*TO, model, tmp_path / "ro" / "out.gguf", names=["ro"], watch=tmp_path)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EPERM])
@pytest.mark.parametrize("call", ["open", "posix_fallocate", "pwrite", "fsync", "link"])
def test_system_says_no(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int) -> None:
    """Every call on the way to the final name may fail."""
    real = getattr(os, call)

    def fails(*arguments: object, **more: object) -> object:
        if call == "open" and not (isinstance(arguments[1], int) and arguments[1] & os.O_CREAT):
            return real(*arguments, **more)
        raise OSError(error, os.strerror(error))

    if call == "link" and error == errno.EPERM:
        pytest.skip("a file system without hard links: the file is renamed")
    monkeypatch.setattr(os, call, fails)
    if call == "link":
        monkeypatch.setattr(os, "rename", fails)
    refused(*TO, "--threads", "1", model, tmp_path / "out.gguf", names=["out.gguf"], watch=tmp_path)


def test_a_file_system_without_preallocation_and_space(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*arguments: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", without)
    accepted(*TO, model, tmp_path / "one.gguf")
    monkeypatch.setattr(os, "ftruncate", full)
    refused(*TO, model, tmp_path / "two.gguf", names=["two.gguf", "space"], watch=tmp_path)


def test_a_file_system_without_hard_links(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*arguments: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", without)
    accepted(*TO, model, tmp_path / "out.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


def test_no_room(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    refused(*TO, model, tmp_path / "out.gguf", names=["10 are free", tmp_path.name], watch=tmp_path)


def test_appears_meanwhile(tmp_path: Path, model: Path) -> None:
    """Another program writes the name while hub converts: its file stays."""
    import hub
    from hub.errors import OutputError

    out = tmp_path / "out.gguf"

    class Rival:
        def start(self, stage: str, total: int) -> None:
            if stage == "convert":
                out.write_bytes(b"mine")

        def advance(self, amount: int) -> None:
            pass

    with pytest.raises(OutputError, match="appeared"):
        hub.convert(model, out, to="gguf:q8_0", progress=Rival())
    assert out.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out.gguf"]


@pytest.mark.parametrize("bytes_allowed", [0, 1, 4096, 10_000])
def test_file_size_limit(tmp_path: Path, model: Path, bytes_allowed: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_allowed, bytes_allowed))

    before = snapshot(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "hub", *TO, os.fspath(model), os.fspath(tmp_path / "out.gguf")],
        capture_output=True, text=True, preexec_fn=limit, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "out.gguf" in done.stderr
    assert "size" in done.stderr
    assert snapshot(tmp_path) == before


# --- reports --------------------------------------------------------------------------------------------------------


def test_report(tmp_path: Path, model: Path) -> None:
    accepted(*TO, "--report", tmp_path / "r.json", model, tmp_path / "out.gguf")
    assert json.loads((tmp_path / "r.json").read_text())["plan"]


def test_report_folder_missing(tmp_path: Path, model: Path) -> None:
    refused(*TO, "--report", tmp_path / "no" / "r.json", model, tmp_path / "out.gguf", names=["no"], watch=tmp_path)


def test_report_is_a_folder(tmp_path: Path, model: Path) -> None:
    (tmp_path / "r.json").mkdir()
    refused(*TO, "--report", tmp_path / "r.json", model, tmp_path / "out.gguf", names=["r.json"], watch=tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "loop"])
def test_report_is_no_file(tmp_path: Path, model: Path, kind: str) -> None:
    path = tmp_path / "r.json"
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("r.json")
    refused(*TO, "--report", path, model, tmp_path / "out.gguf", names=["r.json"], watch=tmp_path)


def test_report_would_be_the_output(tmp_path: Path, model: Path) -> None:
    refused(*TO, "--report", tmp_path / "x.json", model, tmp_path / "x.json", names=["x.json"], watch=tmp_path)


@pytest.mark.parametrize("how", ["itself", "symlink", "hard link"])
def test_report_would_be_a_file_of_the_source(tmp_path: Path, model: Path, how: str) -> None:
    path = {"itself": model / "config.json", "symlink": tmp_path / "l.json", "hard link": tmp_path / "h.json"}[how]
    if how == "symlink":
        path.symlink_to(model / "config.json")
    elif how == "hard link":
        os.link(model / "config.json", path)
    refused(*TO, "--report", path, model, tmp_path / "out.gguf", names=[path.name], watch=tmp_path)


def test_report_of_a_name_not_utf8(tmp_path: Path) -> None:
    model = folder(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))
    accepted(*TO, "--report", tmp_path / "r.json", model, tmp_path / "out.gguf")
    json.loads((tmp_path / "r.json").read_text())


# --- the terminal ---------------------------------------------------------------------------------------------------


def test_standard_output_full(tmp_path: Path, source: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hub", "inspect", os.fspath(source)],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_reader_of_the_output_went_away(tmp_path: Path, source: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "hub", "inspect", "--tensors", os.fspath(source)],
        stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(write)
    assert not done.stderr


def test_plan_writes_nothing(tmp_path: Path, model: Path) -> None:
    before = snapshot(tmp_path)
    accepted("plan", "--to", "gguf:q8_0", model, tmp_path / "out.gguf")
    refused("plan", "--to", "gguf:q8_0", model, tmp_path / "no" / "out.gguf", names=["no", "does not exist"])
    assert run("plan", "--to", "gguf:q8_0", model).status == 0
    assert snapshot(tmp_path) == before
