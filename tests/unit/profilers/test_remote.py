"""Workers on other machines, with a shell of this one for the machine."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import device_profiles
import profilers
from nasc.latency.session import MeasurementSession
from profilers.devices import remote
from profilers.devices.native_remote import native_target, runs_native
from profilers.devices.remote import KEPT_DAYS, Files, System, sent_names
from profilers.errors import ModelRejected, ProfilerError, RunnerUnavailable

PI = System("Linux", "aarch64", "glibc 2.41")


class Shell:
    """A transport to this machine. Its folder is the device's."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder
        self.asked: list[str] = []
        self.sent: list[str] = []

    def command(self, words: Sequence[str]) -> list[str]:
        raise NotImplementedError

    def ask(self, script: str) -> str:
        self.asked.append(script)
        return subprocess.run(
            ["sh", "-c", script], cwd=self._folder, check=True, capture_output=True, text=True
        ).stdout

    def send(self, files: Sequence[tuple[Path, str]], folder: str) -> None:
        self.sent.append(folder)
        for path, name in files:
            there = self._folder / folder / name
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)

    def failure(self, status: int, said: str) -> ProfilerError | None:
        return None


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "device").mkdir()
    return Shell(tmp_path / "device")


FOLDER = "a folder; $(touch interpreted)"


def damage(path: Path) -> None:
    """Changes a byte, and neither its size nor its time of writing."""
    before = path.stat()
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_process() -> None:
    """Forgets what this process has looked at."""
    remote._LOOKED_AT.clear()


def two_files(folder: Path) -> list[tuple[Path, str]]:
    (folder / "one").write_bytes(b"the model")
    (folder / "two").write_bytes(b"its weights")
    return [(folder / "one", "model.onnx"), (folder / "two", "deep/it's $(touch interpreted)")]


def test_what_lies_on_a_device_is_sent_once_and_looked_at_once(
    shell: Shell, tmp_path: Path
) -> None:
    files = two_files(tmp_path)
    path = Files(shell, FOLDER).place(files)
    there = tmp_path / "device" / path
    assert there.read_bytes() == b"the model"
    assert (there.parent / files[1][1]).read_bytes() == b"its weights"
    for _ in range(2):
        shell.asked.clear()
        again = Files(shell, FOLDER)
        assert again.place(files) == path
        assert len(shell.asked) == 1  # what lies there
    another_process()
    shell.asked.clear()
    again = Files(shell, FOLDER)
    assert again.place(files) == again.place(files) == path
    assert ["sha256sum" in script for script in shell.asked] == [False, True]
    assert Files(shell, FOLDER).place(files) == path
    assert len(shell.asked) == 3
    assert len(shell.sent) == 1
    assert not list(tmp_path.rglob("interpreted"))


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: shutil.rmtree(path.parent),
        lambda path: (shutil.rmtree(path.parent), path.parent.mkdir()),
        lambda path: (shutil.rmtree(path.parent), path.parent.write_text("no folder")),
    ],
)
def test_what_is_damaged_or_forged_on_a_device_is_sent_again(
    shell: Shell, tmp_path: Path, spoil: Callable[[Path], object], forgotten: bool
) -> None:
    files = two_files(tmp_path)
    there = tmp_path / "device" / Files(shell, FOLDER).place(files)
    Files(shell, FOLDER)
    time.sleep(0.02)  # the grain of a file system's time
    spoil(there)
    if forgotten:
        another_process()
    Files(shell, FOLDER).place(files)
    assert there.read_bytes() == b"the model"
    assert len(shell.sent) == 2


def test_a_file_that_changes_while_it_is_sent_is_not_used(shell: Shell, tmp_path: Path) -> None:
    files = two_files(tmp_path)
    send = shell.send

    def written(some: Sequence[tuple[Path, str]], folder: str) -> None:
        send(some, folder)
        files[1][0].write_bytes(b"other weights")

    shell.send = written  # type: ignore[method-assign]
    with pytest.raises(ModelRejected, match=r"changed while it was sent\. Wait until .* again"):
        Files(shell, FOLDER).place(files)
    assert list((tmp_path / "device" / FOLDER / "files").iterdir()) == []
    shell.send = send  # type: ignore[method-assign]
    there = tmp_path / "device" / Files(shell, FOLDER).place(files)
    assert (there.parent / files[1][1]).read_bytes() == b"other weights"


def test_a_device_that_tells_no_states_is_looked_at_every_time(
    shell: Shell, tmp_path: Path
) -> None:
    files = two_files(tmp_path)
    asked = shell.ask
    shell.ask = lambda script: asked(script.replace("stat -c", "no-such-program"))  # type: ignore[method-assign]
    there = tmp_path / "device" / Files(shell, FOLDER).place(files)
    Files(shell, FOLDER).place(files)
    assert len(shell.sent) == 1
    damage(there)
    Files(shell, FOLDER).place(files)
    assert there.read_bytes() == b"the model"
    assert len(shell.sent) == 2


def test_what_is_used_is_kept_and_what_is_not_goes(shell: Shell, tmp_path: Path) -> None:
    old = time.time() - 86400 * (KEPT_DAYS + 2)
    kept = tmp_path / "device" / Files(shell, FOLDER).place(two_files(tmp_path))
    other = kept.parent.with_name("0" * 32)
    part = kept.parent.with_name("part-0123")
    for folder in (other, part):
        folder.mkdir()
    for folder in (kept.parent, other, part):
        os.utime(folder, (old, old))
    Files(shell, FOLDER)  # of the process that uses it
    assert kept.exists()
    assert not other.exists()
    assert not part.exists()
    another_process()
    os.utime(kept.parent, (old + 86400 * 5,) * 2)
    Files(shell, FOLDER).place(two_files(tmp_path))
    assert kept.parent.stat().st_mtime > time.time() - 3600


def test_a_model_has_a_name_that_none_of_its_weights_has(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    weights = [tmp_path / "model.onnx", tmp_path / "_model.onnx" / "x"]
    assert sent_names([model, *weights]) == [
        (model, "__model.onnx"),
        (weights[0], "model.onnx"),
        (weights[1], "_model.onnx/x"),
    ]
    with pytest.raises(ModelRejected, match=r"weights 'a\\\\b/x' .* cannot be sent"):
        sent_names([model, tmp_path / "a\\b" / "x"])


@pytest.mark.parametrize(
    ("worker", "runtime", "system", "native"),
    [
        (None, "onnxruntime", PI, True),
        (None, "onnxruntime on cuda", PI, False),
        (None, "openvino", PI, False),
        (None, "onnxruntime", System("Linux", "x86_64", ""), True),
        (None, "onnxruntime", System("Linux", "armv7l", "glibc 2.36"), False),
        (None, "onnxruntime", System("Darwin", "arm64", ""), False),
        (None, "onnxruntime", System("Linux", "aarch64", "glibc 2.27"), False),
        (None, "onnxruntime", System("Linux", "aarch64", "glibc 3.0"), True),
        (None, "onnxruntime", System("Linux", "aarch64", "musl libc (aarch64)"), False),
        (None, "onnxruntime", System("", "", ""), False),
        ("python", "onnxruntime", PI, False),
        ("native", "openvino", PI, True),
    ],
)
def test_the_native_worker_runs_where_it_can(
    worker: str | None, runtime: str, system: System, native: bool
) -> None:
    runtime, _, accelerator = runtime.partition(" on ")
    options = profilers.RuntimeOptions(runtime, accelerator=accelerator or "cpu")
    assert runs_native(worker, options, system) is native


def test_a_machine_that_has_no_native_worker_is_refused() -> None:
    assert native_target("pi", PI).machine == "aarch64"
    message = (
        r"does not run on device 'a \$\(b\)', which is 'armv7l-linux': it is for: x86_64-linux"
    )
    with pytest.raises(RunnerUnavailable, match=message):
        native_target("a $(b)", System("Linux", "armv7l", ""))


def test_the_cache_of_a_session_reaches_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = MeasurementSession.on(device_profiles.find("host"), tmp_path)
    assert isinstance(session.opener, functools.partial)
    asked = []
    monkeypatch.setattr(
        "profilers.devices.native.NativeWorker", lambda *_, **named: asked.append(named["cache"])
    )
    path = tmp_path / "own.toml"
    host = Path(str(device_profiles.find("host").path)).read_text()
    native = 'kind = "local"\nworker = "native"'
    path.write_text(host.replace('"host"', '"own"').replace('kind = "local"', native))
    own = device_profiles.find(path)
    session.opener(own, profilers.RuntimeOptions())
    assert asked == [tmp_path]
