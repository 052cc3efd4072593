"""ONNX Runtime's shared library for a device."""

from __future__ import annotations

import base64
import errno
import hashlib
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from profilers import RunnerUnavailable, RuntimeMissing
from profilers.runner import library
from profilers.runner.targets import TARGETS, runner_folder, this_machine
from profilers.runtimes import installed

CONTENT = b"\x7fELF a library"
NAME = "onnxruntime/capi/libonnxruntime.so.1.2.3"
RECORD = "onnxruntime-1.2.3.dist-info/RECORD"


def line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def write_wheel(
    path: Path, content: bytes = CONTENT, name: str = NAME, record: str | None = None
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("onnxruntime/__init__.py", "")
        archive.writestr(name, content)
        text = line(NAME, CONTENT) + f"{RECORD},,\n"
        archive.writestr(RECORD, text if record is None else record)
    return path


def another() -> str:
    """A target that this machine is not."""
    return next(name for name in TARGETS if name != this_machine().name)


def test_this_machine_s_is_the_installed_one(tmp_path: Path) -> None:
    found = library.runtime_library(this_machine().name, tmp_path)
    assert found.name.startswith("libonnxruntime.so")
    assert found.parent.name == "capi"
    assert not list(tmp_path.iterdir())


def test_a_library_comes_out_of_a_wheel(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "onnxruntime-1.2.3-any.whl")
    taken = library.take_library(wheel, tmp_path)
    assert taken == tmp_path / "libonnxruntime.so.1.2.3"
    assert taken.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"content": b"\x7fELF b library"}, "is damaged: .* is not what its RECORD says"),
        ({"name": "onnxruntime/other.so"}, "holds no capi/libonnxruntime.so.*--upgrade"),
        ({"record": ""}, f"is damaged: its RECORD has no line for {NAME}"),
        ({"record": line(NAME, CONTENT) * 2}, "its RECORD has no line"),
        ({"record": f"{NAME},,\n"}, "is not what its RECORD says"),
    ],
)
def test_a_wheel_that_is_wrong_is_refused(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    wheel = write_wheel(tmp_path / "onnxruntime-1.2.3-any.whl", **changed)  # type: ignore[arg-type]
    with pytest.raises(RunnerUnavailable, match=message):
        library.take_library(wheel, tmp_path)
    assert not list(tmp_path.glob("libonnx*"))


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "onnxruntime-1.2.3-any.whl"
    wheel.write_bytes(b"no zip")
    with pytest.raises(RunnerUnavailable, match=r"is damaged: .*not a zip"):
        library.take_library(wheel, tmp_path)
    write_wheel(wheel)
    wheel.write_bytes(wheel.read_bytes().replace(CONTENT, b"\x7fELF A library"))
    with pytest.raises(RunnerUnavailable, match="is damaged: Bad CRC-32"):
        library.take_library(wheel, tmp_path)


class Pip:
    """In the place of pip: writes a wheel, or fails as pip does."""

    def __init__(self, stderr: str = "") -> None:
        self.stderr = stderr
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        folder = Path(command[-1].removeprefix("--dest="))
        if not self.stderr:
            folder.mkdir()
            write_wheel(folder / "onnxruntime-1.2.3-cp311-cp311-manylinux_2_28_x.whl")
        return subprocess.CompletedProcess(command, 1 if self.stderr else 0, "", self.stderr)


def test_another_machine_s_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    first = library.runtime_library(another(), tmp_path)
    assert first == library.runtime_library(another(), tmp_path)
    assert first.read_bytes() == CONTENT
    (command,) = pip.commands
    assert f"onnxruntime=={installed('onnxruntime')[1]}" in command
    machine = TARGETS[another()].machine
    assert f"--platform=manylinux_2_28_{machine}" in command
    assert {"--no-deps", "--only-binary=:all:"} <= set(command)
    assert [path.name for path in runner_folder(tmp_path).iterdir()] == [first.parent.name]


def test_without_a_network_the_next_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Pip("WARNING: x\nERROR: No matching distribution\n"))
    message = (
        rf"for '{another()}' could not be fetched: No matching distribution\. It is fetched once.*"
        r"Try the command by itself: \S+ -P -m pip download onnxruntime=="
    )
    with pytest.raises(RunnerUnavailable, match=message):
        library.runtime_library(another(), tmp_path)
    assert not list(runner_folder(tmp_path).iterdir())


@pytest.mark.slow
def test_pip_takes_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one, which is kept from the network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(RunnerUnavailable, match=r"fetched: No matching distribution found for onn"):
        library.runtime_library(another(), tmp_path)


def test_without_the_runtime_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "installed", lambda name: (False, None))
    with pytest.raises(RuntimeMissing, match="pip install onnxruntime"):
        library.runtime_library(another(), tmp_path)


def test_where_it_cannot_be_kept_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(wheel: Path, folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(subprocess, "run", Pip())
    monkeypatch.setattr(library, "take_library", full)
    with pytest.raises(RunnerUnavailable, match=r"keep the library .* No space .*set NASC_CACHE"):
        library.runtime_library(another(), tmp_path)
    assert not list(runner_folder(tmp_path).iterdir())


def test_a_download_without_an_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(command: Sequence[str], **about: object) -> None:
        raise subprocess.TimeoutExpired(command, 1.0)

    monkeypatch.setattr(subprocess, "run", stuck)
    with pytest.raises(RunnerUnavailable, match=r"it took too long\. It is fetched once"):
        library.runtime_library(another(), tmp_path)
