"""What a browser is driven by, and what is said where it is missing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

import device_profiles
from device_profiles import Connection
from profilers import DeviceUnreachable, RuntimeMissing, RuntimeOptions, reachable
from profilers.browser import library
from profilers.devices.browser_located import located
from profilers.devices.local import LocalWorker
from profilers.devices.transports import runtimes_on
from profilers.runtimes import NAMES, ONNXRUNTIME_WEB

CHROMIUM = device_profiles.find("chromium")
LOCK = Path(__file__).parents[3] / "integration" / "web" / "package-lock.json"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of npm's with what the release has, but for its content."""
    (tmp_path / "dist").mkdir()
    for name in library.SHA256:
        (tmp_path / "dist" / name).write_bytes(name.encode())
    named = {"name": "onnxruntime-web", "version": library.VERSION}
    (tmp_path / "package.json").write_text(json.dumps(named))
    monkeypatch.setenv(library.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def program(tmp_path: Path) -> str:
    """The program of a browser that nobody starts."""
    path = tmp_path / "browser"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def of(program: str | None) -> device_profiles.DeviceProfile:
    return dataclasses.replace(CHROMIUM, connection=Connection("browser", program=program))


def test_the_release_is_that_of_the_lock_file() -> None:
    entry = json.loads(LOCK.read_text())["packages"]["node_modules/onnxruntime-web"]
    assert entry["version"] == library.VERSION


def test_files_are_run_with_the_content_of_the_release_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeMissing, match=r"'.*mjs' is not that of onnxruntime-web 1\.30\.0"):
        library.checked_files(folder)
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in library.SHA256}
    monkeypatch.setattr(library, "SHA256", hashes)
    assert library.checked_files(folder) == {name: folder / "dist" / name for name in hashes}
    (folder / "dist" / library.WASM).unlink()
    with pytest.raises(RuntimeMissing, match=r"cannot read .*wasm.*npm install onnxruntime-web@"):
        library.checked_files(folder)


def test_a_browser_and_its_runtime_are_looked_for(
    folder: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert located(of(program)) == (program, folder)
    assert reachable(of(program)) == (True, "a browser on this machine")
    (folder / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.29.0"}')
    with pytest.raises(DeviceUnreachable, match=r"it is onnxruntime-web 1\.29\.0, not"):
        located(of(program))
    monkeypatch.delenv(library.VARIABLE)
    with pytest.raises(DeviceUnreachable, match=r"npm install .*NASC_ONNXRUNTIME_WEB=node_modules"):
        located(of(program))


def test_where_no_browser_is_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceUnreachable, match="there is no program 'netscape'"):
        located(of("netscape"))
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(DeviceUnreachable, match=r"none of chromium, .*apt install chromium"):
        located(of(None))
    there, reason = reachable(of(None))
    assert (there, reason.endswith("in PATH")) == (False, True)


def test_its_runtime_is_of_browsers_alone() -> None:
    assert runtimes_on(CHROMIUM) == (ONNXRUNTIME_WEB,)
    assert runtimes_on(device_profiles.find("host")) == NAMES
    with pytest.raises(RuntimeMissing, match=r"runs in browsers alone.*--device chromium"):
        LocalWorker(RuntimeOptions(ONNXRUNTIME_WEB))
