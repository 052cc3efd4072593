"""What a command may write, found before the work, and no file of a user's lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import nasc.utils.files
import nasc.utils.outputs
from nasc import api
from nasc.cli import main
from nasc.errors import CheckpointError, NascError, OutputBusy, UsageError
from nasc.utils.outputs import FILES, check_file, check_folder, claimed, filling


def fill(folder: Path, **files: str) -> None:
    with filling(folder) as part:
        for name, text in files.items():
            (part / name).write_text(text, encoding="utf-8")


def content(folder: Path) -> dict[str, str]:
    """What a folder holds but for the record."""
    return {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir() if p.name != FILES}


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill_a_full_disk() -> None:
        with filling(tmp_path / "out") as part:
            (part / "a").write_text("1", encoding="utf-8")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_a_full_disk()
    assert list(tmp_path.iterdir()) == []


def test_only_what_nasc_wrote_into_a_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    fill(folder, a="1", old="1")
    (folder / "mine").write_text("ten years", encoding="utf-8")
    check_folder(folder, force=True)
    fill(folder, a="2", b="2")
    assert content(folder) == {"a": "2", "b": "2", "mine": "ten years"}
    with pytest.raises(UsageError, match=r"mine' lies where a new file is to go: what nasc did"):
        fill(folder, a="3", mine="3")
    assert content(folder) == {"a": "2", "b": "2", "mine": "ten years"}
    (folder / "b").write_text("edited", encoding="utf-8")
    with pytest.raises(UsageError, match=r"out/b' was changed since nasc wrote it.*--output DIR"):
        check_folder(folder, force=True)
    with pytest.raises(UsageError, match="b' was changed"):
        fill(folder, a="3")
    assert content(folder) == {"a": "2", "b": "edited", "mine": "ten years"}
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_nasc_did_not_fill_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is not empty"):
        check_folder(tmp_path)
    with pytest.raises(UsageError, match=r"holds files, and no nasc_files\.json that lists them"):
        check_folder(tmp_path, force=True)
    with pytest.raises(UsageError, match=r"config\.json' lies where a new file is to go"):
        fill(tmp_path, **{"config.json": "new"})
    for text in ("{", "[]", '{"format": "nasc.files"}', json.dumps({"files": {}, "coming": {}})):
        (tmp_path / FILES).write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match="record of"):
            check_folder(tmp_path, force=True)
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == "mine"


def test_a_record_that_names_files_elsewhere_touches_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "thesis.txt").write_text("", encoding="utf-8")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    record = {"format": "nasc.files", "files": {"../thesis.txt": empty}, "coming": {}}
    (tmp_path / "out" / FILES).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UsageError, match="was changed"):
        fill(tmp_path / "out", a="1")
    assert (tmp_path / "thesis.txt").exists()


def test_a_folder_whose_filling_was_killed_is_filled_by_the_next_run(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; import nasc.utils.outputs as o\n"
        "real = Path.replace\n"
        "def replace(self, target):\n"
        "    real(self, target)\n"
        "    if target.name == 'a': os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.replace = replace\n"
        "with o.filling(Path(sys.argv[1])) as part:\n"
        "    (part / 'a').write_text('2'); (part / 'b').write_text('2')\n"
    )
    folder = tmp_path / "out"
    fill(folder, a="1", b="1")
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "a").read_text(encoding="utf-8") == "2"
    assert (folder / "b").read_text(encoding="utf-8") == "1"
    check_folder(folder, force=True)
    fill(folder, a="3", b="3")
    assert content(folder) == {"a": "3", "b": "3"}


def test_what_cannot_be_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "null").symlink_to("/dev/null")
    for name, why in (
        ("taken", r"exists\. Replace it: --force"),
        ("link", r"is a link\. Replace the link, not what it leads to: --force"),
        ("pipe", "is no file but a device or a pipe"),
        ("null", "is no file but a device or a pipe"),
        (".", "is a folder"),
        ("taken/x", "cannot write to the folder .*Name another: --output FILE"),
        ("x" * 250, "File name too long"),
    ):
        with pytest.raises(NascError, match=why):
            check_file(tmp_path / name)
    check_file(tmp_path / "taken", force=True)
    for name in ("pipe", "null"):
        with pytest.raises(UsageError, match="is no file"):
            check_file(tmp_path / name, force=True)
    with pytest.raises(NascError, match="is a folder"):
        check_file(Path("/"), force=True)

    def refuse(*, dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nasc.utils.files.tempfile, "TemporaryFile", refuse)
    for check in (check_file, check_folder):
        with pytest.raises(NascError, match="Permission denied"):
            check(tmp_path / "new")


@pytest.mark.parametrize(
    "command",
    [
        ("compile", "--latency-ms", "5", "--output", "{}"),
        ("train", "--steps", "1", "--output", "{}"),
        ("distill", "keep", "--output", "{}"),
        ("finetune", "--task", "rte", "--train", "x.tsv", "--output", "{}"),
        ("audit", "--csv", "{}"),
        ("audit", "--plot", "{}"),
        ("report", "--csv", "{}"),
        ("report", "--plot", "{}"),
        ("search", "--front", "--plot", "{}"),
    ],
    ids=" ".join,
)
def test_every_command_looks_at_its_output_first(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.png").write_text("mine", encoding="utf-8")
    for output in ("mine.png", "mine.png/new.png", "/"):
        arguments = [part.format(output) for part in command]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code in (1, 2)
        assert result.stderr.count("Error: ") == 1
        assert "mine.png" in result.stderr or output == "/"
    assert (tmp_path / "mine.png").read_text(encoding="utf-8") == "mine"
    assert [p.name for p in tmp_path.rglob("*") if p.name != "cache"] == ["mine.png"]


def test_two_runs_into_one_output_the_second_hears_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path; from nasc.utils.outputs import claimed\n"
        "with claimed(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    output = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        monkeypatch.setenv("NASC_CACHE", str(tmp_path / "another" / "cache"))
        for command in (
            ("compile", "--latency-ms", "5", "--output", str(output)),
            ("train", "--steps", "1", "--output", str(output)),
            ("distill", "keep", "--output", str(output)),
            ("finetune", "--task", "rte", "--train", "x.tsv", "--output", str(output)),
        ):
            result = CliRunner().invoke(main, command, catch_exceptions=False)
            assert result.exit_code == 1
            assert f"another nasc is at work on '{output}'" in result.stderr
        other.send_signal(signal.SIGKILL)
    with claimed(output), pytest.raises(OutputBusy), claimed(output):
        pytest.fail("it is held")
    assert not list(tmp_path.glob(".out*"))


def test_a_report_never_takes_a_user_s_file(tmp_path: Path) -> None:
    path = tmp_path / "left.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"left\.csv' exists\. Replace it: --force.*--csv FILE"):
        api.report(csv=path)
    with pytest.raises(CheckpointError):
        api.report(tmp_path / "nothing", csv=path, force=True)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/new.csv"])
def test_nothing_is_put_among_devices_and_processes(name: str, force: bool) -> None:
    """Where stdout is a file, /dev/stdout leads to one; the link itself would be replaced."""
    before = os.lstat("/dev/stdout")
    with pytest.raises(UsageError, match=r"lies among the devices and processes .*--csv FILE"):
        check_file(Path(name), "--csv FILE", force=force)
    assert os.path.samestat(before, os.lstat("/dev/stdout"))


def test_shared_memory_is_a_place_for_files() -> None:
    check_file(Path("/dev/shm") / f"nasc-{os.getpid()}.csv")


def test_a_home_folder_is_one_from_the_check_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    check_folder(Path("~/out"))
    fill(Path("~/out"), a="1")
    check_folder(Path("~/out"), force=True)
    assert content(tmp_path / "out") == {"a": "1"}
    monkeypatch.chdir(tmp_path)
    check_file(Path("~nobody-of-this-name/x"))  # a folder's name like any other
    assert (tmp_path / "~nobody-of-this-name").is_dir()


@pytest.mark.parametrize("command", ["train", "distill", "finetune"])
def test_what_another_run_has_just_written_is_not_replaced(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one ends between the look at the output and the claim of it."""
    output = tmp_path / "out"

    @contextlib.contextmanager
    def late(path: Path) -> Iterator[None]:
        if command == "train":
            path.write_text("theirs", encoding="utf-8")
        else:
            fill(path, a="theirs")
        with claimed(path):
            yield

    monkeypatch.setattr(f"nasc.pipelines.{command}.claimed", late)
    runs: dict[str, Callable[[], object]] = {
        "train": lambda: api.train(output=output, steps=1),
        "distill": lambda: api.distill("keep", output),
        "finetune": lambda: api.finetune(None, "rte", tmp_path / "x.tsv", output),
    }
    with pytest.raises(UsageError, match=r"(exists|is not empty)\. Replace.*: --force"):
        runs[command]()
