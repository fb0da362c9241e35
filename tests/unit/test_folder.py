"""A model folder: names out of files stay inside it, whatever they say and wherever links lead."""

from __future__ import annotations

import os
import stat

import pytest

from hub.api import FileSource, Folder, HubError
from hub.errors import ChangedError, FormatError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "model"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "model-2").mkdir()
    (tmp_path / "model-2" / "c.txt").write_text("secret")
    return Folder(root)


def test_names_inside_are_opened(folder):
    for name, text in (("a.txt", b"a"), ("sub/b.txt", b"b")):
        with folder.open(name) as source:
            assert source.read(0, source.size) == text
    assert folder.names() == ["a.txt", "sub"]
    assert folder.exists("a.txt")
    assert not folder.exists("z.txt")


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt", "sub/../../outside.txt", "sub/../a.txt", "/etc/hostname", "", ".", "..", "./a.txt",
        "sub//b.txt", "sub/",
        "..\\outside.txt", "sub\\..\\a.txt", "C:\\x", "c:/x", "a.txt\0.json", "\\\\host\\share",
    ],
)  # fmt: skip
def test_names_that_leave_it_are_refused(folder, name):
    with pytest.raises(FormatError) as caught:
        folder.open(name, named_in="index.json")
    assert caught.value.path == "index.json"


@pytest.mark.parametrize("target", ["../outside.txt", "../model-2/c.txt", "/etc/hostname"])
def test_links_that_leave_it_are_refused(folder, target):
    os.symlink(target, folder.root / "link.txt")
    with pytest.raises(FormatError, match="leads outside"):
        folder.open("link.txt")


def test_a_link_to_a_folder_outside_is_refused(folder):
    os.symlink("../model-2", folder.root / "linked")
    with pytest.raises(FormatError, match="leads outside"):
        folder.open("linked/c.txt")


def test_links_inside_are_followed(folder):
    os.symlink("sub/b.txt", folder.root / "link.txt")
    with folder.open("link.txt") as source:
        assert source.read(0, 1) == b"b"


def test_dangling_links_and_loops_are_errors(folder):
    os.symlink("nothing", folder.root / "dangling")
    os.symlink("loop", folder.root / "loop")
    assert folder.exists("dangling")
    with pytest.raises(HubError, match="no such file"):
        folder.open("dangling")
    with pytest.raises(HubError, match="loop"):
        folder.open("loop")


@pytest.mark.parametrize(("kind", "message"), [("folder", "this is a folder"), ("fifo", "not a regular file")])
def test_only_regular_files_are_opened(folder, kind, message):
    if kind == "fifo":
        os.mkfifo(folder.root / "odd")
    else:
        (folder.root / "odd").mkdir()
    with pytest.raises(HubError, match=message):
        folder.open("odd")


def hugging_face_cache(tmp_path, name):
    base = tmp_path / name
    (base / "blobs").mkdir(parents=True)
    (base / "blobs" / "abc").write_text("weights")
    snapshot = base / "snapshots" / "rev"
    snapshot.mkdir(parents=True)
    os.symlink("../../blobs/abc", snapshot / "model.safetensors")
    os.symlink("../../refs", snapshot / "refs")
    (base / "refs").write_text("x")
    return snapshot


def test_a_hugging_face_cache_may_lead_to_its_blobs_and_nowhere_else(tmp_path):
    folder = Folder(hugging_face_cache(tmp_path, "models--a--b"))
    with folder.open("model.safetensors") as source:
        assert source.read(0, 7) == b"weights"
    with pytest.raises(FormatError, match="leads outside"):
        folder.open("refs")


def test_a_folder_that_only_looks_like_one_may_not(tmp_path):
    with pytest.raises(FormatError, match="leads outside"):
        Folder(hugging_face_cache(tmp_path, "somewhere")).open("model.safetensors")


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "no such file"), ("file", "this is a file"), ("a\0b", "NUL")]
)
def test_what_is_not_a_folder(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match=message):
        Folder(tmp_path / name)


def test_text_and_json_say_where_they_are_wrong(folder):
    (folder.root / "bad.txt").write_bytes(b"ab\xff")
    with pytest.raises(FormatError, match="not UTF-8") as caught:
        folder.text("bad.txt")
    assert caught.value.offset == 2
    (folder.root / "bad.json").write_text('{"a": 1, "a": 1}')
    with pytest.raises(FormatError, match="stands twice"):
        folder.json("bad.json")
    with pytest.raises(FormatError, match="at most 2 are allowed"):
        folder.bytes("bad.json", max_bytes=2)


# ------------------------------------------------------------------------------------------------ files


def test_ranges_are_checked_before_anything_is_read(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    with FileSource(tmp_path / "f") as source:
        assert source.read(3, 4) == b"3456"
        assert source.read(10, 0) == b""
        for offset, size in ((8, 3), (-1, 2), (0, -1), (11, 0), (0, 1 << 62)):
            with pytest.raises(FormatError):
                source.read(offset, size)


def test_a_file_that_shrinks_or_grows_is_noticed(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(100))
    with FileSource(path) as source:
        source.check_unchanged()
        os.truncate(path, 50)
        with pytest.raises(ChangedError, match="size 100 then, 50 now"):
            source.read(40, 40)
        os.truncate(path, 100)
        with pytest.raises(ChangedError):
            source.check_unchanged()


def test_a_file_that_is_replaced_keeps_its_old_content(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with FileSource(path) as source:
        (tmp_path / "g").write_bytes(b"new")
        os.replace(tmp_path / "g", path)
        assert source.read(0, 3) == b"old"


def test_files_are_closed_once_and_not_inherited(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    source = FileSource(tmp_path / "f")
    assert not os.get_inheritable(source._fd)
    source.close()
    source.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    (tmp_path / "f").write_bytes(b"x")
    os.chmod(tmp_path / "f", 0)
    with pytest.raises(HubError, match="no permission"):
        FileSource(tmp_path / "f")


def test_sha256(tmp_path):
    import hashlib

    data = os.urandom(3_000_001)
    (tmp_path / "f").write_bytes(data)
    with FileSource(tmp_path / "f") as source:
        assert source.sha256() == hashlib.sha256(data).hexdigest()
    assert stat.S_ISREG(os.stat(tmp_path / "f").st_mode)
