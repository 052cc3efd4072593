"""`nasc.utils.files`: whole files or none, content keys, the cache folder, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock
import pytest

import nasc.utils.files
from device_profiles.temporary import temporary_folder
from nasc.errors import CacheBusy, NascError
from nasc.utils.files import (
    CACHE_VARIABLE,
    cache_folder,
    content_key,
    locked,
    replacing,
    write_atomically,
)


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", b"new")
    assert list(tmp_path.iterdir()) == []


def killed_inside(block: str, path: Path) -> None:
    """Runs a process that is killed by SIGKILL inside a block about a path."""
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nasc.utils.files import replacing\n"
        "from device_profiles.temporary import temporary_folder\n"
        "path = Path(sys.argv[1])\n"
        f"with {block} as part:\n"
        "    (part / 'half' if part.is_dir() else part).write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "a[1].json"
    killed_inside("replacing(path)", path)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a[1].json.")
    mine = tmp_path / ".a[1].json.999999999.part"  # a user's: nasc made no lock file in it
    mine.mkdir()
    (mine / "thesis.txt").write_text("ten years")
    (tmp_path / ".a[1].json.2024.part").write_bytes(b"mine")
    (tmp_path / ".b.json.0.part").write_bytes(b"of another file")
    (tmp_path / ".a[1].json.link.part").symlink_to(left)
    others = {p.name for p in tmp_path.iterdir()} - {left.name}
    with replacing(path) as running:  # its process is alive
        running.write_bytes(b"slow")
        with replacing(path) as other:
            other.write_bytes(b"quick")
    assert path.read_bytes() == b"slow"
    assert {p.name for p in tmp_path.iterdir()} == {path.name, *others}
    assert (mine / "thesis.txt").read_text() == "ten years"


def test_temporary_folders_of_killed_processes_go_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of the process that made them may be another's by now: here it is our own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    killed_inside("temporary_folder()", tmp_path)
    (left,) = tmp_path.iterdir()
    (tmp_path / "nasc-notes").mkdir()
    (tmp_path / "nasc-notes" / "thesis.txt").write_text("ten years")
    with temporary_folder() as first, temporary_folder() as second:
        assert not left.exists()
        assert first.is_dir()
        assert second.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["nasc-notes"]
    killed_inside("temporary_folder()", tmp_path)
    (left,) = (p for p in tmp_path.iterdir() if p.name != "nasc-notes")
    (left / "thesis.txt").write_text("ten years")  # whatever it does there, it is a user's
    with temporary_folder():
        pass
    assert [p.name for p in left.iterdir()] == ["thesis.txt"]


def test_where_there_are_no_locks_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(handle: int, how: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    killed_inside("replacing(path)", tmp_path / "a.json")
    (left,) = tmp_path.iterdir()
    monkeypatch.setattr(fcntl, "flock", unknown)
    write_atomically(tmp_path / "a.json", b"whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", left.name}


def test_a_file_that_must_be_new_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def write(path: Path) -> None:
        with replacing(path, new=True) as part:
            part.write_bytes(b"new")
            (tmp_path / "a").write_bytes(b"mine")  # it comes while the work is done

    for _ in range(2):
        with pytest.raises(FileExistsError):
            write(tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == b"mine"
        (tmp_path / "a").unlink()
        write(tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"new"
        (tmp_path / "b").unlink()
        monkeypatch.setattr(os, "link", no_links)
        (tmp_path / "a").unlink()


def test_writing_over_a_folder_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_content_keys_depend_on_the_content_alone() -> None:
    key = content_key({"a": 1, "b": [1.5, None], "path": Path("x")})
    # sha256 of the sorted JSON: it must not change, or every cache is lost.
    assert key == "8d8d0f71253d4a80"
    assert key == content_key({"path": Path("x"), "b": [1.5, None], "a": 1})
    assert key != content_key({"a": 2, "b": [1.5, None], "path": Path("x")})
    assert key != content_key({"a": 1, "b": [1.5, None]})


def test_the_cache_is_the_given_one_then_the_environment_s_then_the_user_s(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == own_cache / "cache" / "nasc"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "from-environment"))
    assert cache_folder() == tmp_path / "from-environment"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert (tmp_path / "given").is_dir()


def test_a_relative_cache_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cache_folder(Path("here")) == tmp_path / "here"


def test_a_cache_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        NascError, match=r"cannot write to the cache folder '.*file/cache'.*--cache"
    ):
        cache_folder(tmp_path / "file" / "cache")


def test_an_unwritable_cache_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without write permission would not stop the root user."""

    def refuse(*, dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nasc.utils.files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(NascError, match=r"cannot write to the cache folder .*: Permission denied"):
        cache_folder(tmp_path)


def test_a_lock_is_held_and_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    with locked(folder, "a table"):
        other = filelock.FileLock(folder / "lock", is_singleton=False)
        with pytest.raises(filelock.Timeout):
            other.acquire(timeout=0)
    with other.acquire(timeout=0):
        pass


def test_a_lock_in_a_folder_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(NascError, match=r"cannot write to '.*file/entry'.*--cache DIR"),
        locked(tmp_path / "file" / "entry", "a table"),
    ):
        pytest.fail("there is no such folder")


def test_a_lock_held_too_long_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nasc.utils.files, "LOCK_TIMEOUT_S", 0.0)
    said: list[str] = []
    with (
        filelock.FileLock(tmp_path / "lock", is_singleton=False),
        pytest.raises(CacheBusy, match=r"another nasc has been making a table in .* or stop it"),
        locked(tmp_path, "a table", said.append),
    ):
        pytest.fail("the lock was not respected")
    assert said == ["waiting for another nasc that is making a table"]
    with locked(tmp_path, "a table", said.append) as folder:
        assert folder == tmp_path
    assert len(said) == 1
