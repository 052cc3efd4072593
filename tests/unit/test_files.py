"""`nasc.files`: whole files or none, content keys, the cache folder, locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

import nasc.files
from nasc.errors import CacheBusy, NascError
from nasc.files import (
    CACHE_VARIABLE,
    cache_folder,
    content_key,
    filling,
    locked,
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


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from nasc.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as part: part.write_bytes(b'half'); os._exit(9)"
    )
    path = tmp_path / "a[1].json"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    (stray,) = tmp_path.iterdir()
    others = [
        f".{path.name}.{os.getppid()}.part",  # its process is alive
        f".b.json.{stray.name.split('.')[-2]}.part",  # of another file
        f".{path.name}.mine.part",
        f".{path.name}.{10**30}.part",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    write_atomically(path, b"whole")
    assert {p.name for p in tmp_path.iterdir()} == {path.name, *others}


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

    monkeypatch.setattr(nasc.files.tempfile, "TemporaryFile", refuse)
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
    monkeypatch.setattr(nasc.files, "LOCK_TIMEOUT_S", 0.0)
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


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    stray = tmp_path / ".out.999999999.part"
    stray.mkdir()

    def fill_a_full_disk() -> None:
        with filling(folder) as part:
            (part / "a").write_text("1", encoding="utf-8")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_a_full_disk()
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    (folder / "a").write_text("0", encoding="utf-8")
    (folder / "mine").write_text("0", encoding="utf-8")
    with filling(folder) as part:
        (part / "a").write_text("1", encoding="utf-8")
        assert (folder / "a").read_text(encoding="utf-8") == "0"
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir()} == {
        "a": "1",
        "mine": "0",
    }
    assert list(tmp_path.iterdir()) == [folder]
