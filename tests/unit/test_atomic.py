"""Output is whole at its final name or not there."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from hub.errors import OutputError
from hub.io import atomic
from hub.io.atomic import AtomicOutput, check_room, write_text


def names(path):
    return sorted(os.listdir(path))


def filled(output, data=b"new"):
    output.create("f", len(data)).write(data, 0)
    output.seal()
    return output


def test_nothing_is_at_the_final_name_before_the_commit(tmp_path):
    final = tmp_path / "out.bin"
    with AtomicOutput(final, folder=False) as output:
        filled(output)
        assert not final.exists()
        (hidden,) = names(tmp_path)
        assert hidden.startswith(".out.bin.")
        assert hidden.endswith(".partial")
        assert output.commit() == final
    assert names(tmp_path) == ["out.bin"]
    assert final.read_bytes() == b"new"


@pytest.mark.parametrize("folder", [False, True])
def test_leaving_without_a_commit_leaves_nothing(tmp_path, folder):
    with pytest.raises(KeyboardInterrupt), AtomicOutput(tmp_path / "out", folder=folder) as output:
        output.create("f", 10).write(b"x", 0)
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_appears_in_one_piece(tmp_path):
    final = tmp_path / "out"
    with AtomicOutput(final, folder=True) as output:
        output.create("a", 1).write(b"a", 0)
        output.create("sub/b", 1).write(b"b", 0)
        output.seal()
        assert not final.exists()
        output.commit()
    assert (final / "sub" / "b").read_bytes() == b"b"
    assert names(tmp_path) == ["out"]


def test_files_are_filled_by_position_and_holes_are_zeros(tmp_path):
    with AtomicOutput(tmp_path / "f", folder=False) as output:
        file = output.create("", 100)
        threads = [threading.Thread(target=file.write, args=(bytes([i] * 9), i * 10)) for i in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        output.seal()
        output.commit()
    assert (tmp_path / "f").read_bytes() == b"".join(bytes([i] * 9) + b"\0" for i in range(10))


@pytest.mark.parametrize(("offset", "size"), [(-1, 2), (9, 2), (11, 0), (0, 11)])
def test_a_write_outside_the_plan_is_refused(tmp_path, offset, size):
    with AtomicOutput(tmp_path / "f", folder=False) as output:
        file = output.create("", 10)
        with pytest.raises(OutputError, match="leaves the planned 10"):
            file.write(bytes(size), offset)


@pytest.mark.parametrize("folder", [False, True])
def test_what_exists_is_kept_without_force(tmp_path, folder):
    (tmp_path / "out").mkdir() if folder else (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(OutputError, match="--force"):
        AtomicOutput(tmp_path / "out", folder=folder)
    assert names(tmp_path) == ["out"]


def test_force_keeps_the_old_one_until_the_new_one_is_complete(tmp_path):
    final = tmp_path / "out"
    final.write_bytes(b"old")
    with AtomicOutput(final, folder=False, force=True) as output:
        filled(output)
        assert final.read_bytes() == b"old"
    assert final.read_bytes() == b"old"  # no commit
    with AtomicOutput(final, folder=False, force=True) as output:
        filled(output).commit()
    assert final.read_bytes() == b"new"
    assert names(tmp_path) == ["out"]


def test_force_replaces_a_folder_whole(tmp_path):
    final = tmp_path / "out"
    final.mkdir()
    (final / "old").write_text("")
    with AtomicOutput(final, folder=True, force=True) as output:
        filled(output)
        assert names(final) == ["old"]
        output.commit()
    assert names(final) == ["f"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_force_does_not_turn_a_file_into_a_folder_or_back(tmp_path, folder):
    (tmp_path / "out").write_text("") if folder else (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match=r"the output is (not|a file)"):
        AtomicOutput(tmp_path / "out", folder=folder, force=True)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    final = tmp_path / "out"
    with AtomicOutput(final, folder=False) as output:
        filled(output)
        final.write_bytes(b"someone else's")
        with pytest.raises(OutputError, match="meanwhile"):
            output.commit()
    assert final.read_bytes() == b"someone else's"
    assert names(tmp_path) == ["out"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path):
    final = tmp_path / "out"
    with AtomicOutput(final, folder=True) as output:
        filled(output)
        final.mkdir()
        (final / "theirs").write_text("")
        with pytest.raises(OutputError):
            output.commit()
    assert names(final) == ["theirs"]
    assert names(tmp_path) == ["out"]


def test_file_systems_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(atomic.os, "link", refuse)
    with AtomicOutput(tmp_path / "out", folder=False) as output:
        filled(output).commit()
    assert (tmp_path / "out").read_bytes() == b"new"
    with AtomicOutput(tmp_path / "late", folder=False) as output:
        filled(output)
        (tmp_path / "late").write_bytes(b"someone else's")
        with pytest.raises(OutputError, match="meanwhile"):
            output.commit()
    assert (tmp_path / "late").read_bytes() == b"someone else's"


def test_a_rejected_output_gets_a_name_that_shows_it(tmp_path):
    for data in (b"first", b"second"):
        with AtomicOutput(tmp_path / "out.gguf", folder=False) as output:
            assert filled(output, data).reject() == tmp_path / "out.gguf.rejected"
    assert names(tmp_path) == ["out.gguf.rejected"]
    assert (tmp_path / "out.gguf.rejected").read_bytes() == b"second"


def test_a_link_at_the_final_name_is_replaced_where_it_points(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real").write_bytes(b"old")
    os.symlink("disk/real", tmp_path / "link")
    with AtomicOutput(tmp_path / "link", folder=False, force=True) as output:
        assert filled(output).path.parent == tmp_path / "disk"
        output.commit()
    assert os.readlink(tmp_path / "link") == "disk/real"
    assert (tmp_path / "disk" / "real").read_bytes() == b"new"


def test_the_hidden_name_fits_where_the_final_name_fits(tmp_path):
    final = tmp_path / ("n" * 250)
    with AtomicOutput(final, folder=False) as output:
        filled(output).commit()
    assert final.exists()


def test_two_outputs_of_one_name_do_not_meet(tmp_path):
    one, two = (AtomicOutput(tmp_path / "out", folder=False) for _ in range(2))
    assert one.path != two.path
    with one, two:
        filled(one, b"one")
        filled(two, b"two")
        one.commit()
        with pytest.raises(OutputError, match="meanwhile"):
            two.commit()
    assert (tmp_path / "out").read_bytes() == b"one"
    assert names(tmp_path) == ["out"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        AtomicOutput(tmp_path / "no" / "out", folder=False)


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "no space"), (errno.EFBIG, "size"), (errno.EIO, "nput/output")]
)
def test_a_disk_that_fails_is_one_line(tmp_path, monkeypatch, code, message):
    with AtomicOutput(tmp_path / "out", folder=False) as output:
        file = output.create("", 10)

        def refuse(*_args):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(atomic.os, "pwrite", refuse)
        with pytest.raises(OutputError, match=message):
            file.write(b"x", 0)
    assert names(tmp_path) == []


def test_no_room_is_noticed_at_creation(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(atomic.os, "posix_fallocate", refuse)
    with AtomicOutput(tmp_path / "out", folder=False) as output, pytest.raises(OutputError, match="no space"):
        output.create("", 10)
    assert names(tmp_path) == []


def test_file_systems_that_cannot_preallocate(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(atomic.os, "posix_fallocate", refuse)
    with AtomicOutput(tmp_path / "out", folder=False) as output:
        filled(output).commit()
    assert (tmp_path / "out").read_bytes() == b"new"


def test_room_is_compared_beforehand(tmp_path):
    check_room(tmp_path / "out", 1)
    with pytest.raises(OutputError, match="are free"):
        check_room(tmp_path / "out", 1 << 60)


def test_text_is_replaced_whole(tmp_path):
    write_text(tmp_path / "report.json", "é1")
    write_text(tmp_path / "report.json", "2")
    assert (tmp_path / "report.json").read_bytes() == b"2"
    assert names(tmp_path) == ["report.json"]
