"""Workers on other machines, with a shell of this one for the machine."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

import device_profiles
import profilers
from nasc.latency.session import MeasurementSession
from profilers.devices.native_remote import native_target, runs_native
from profilers.devices.remote import System
from profilers.errors import RunnerUnavailable

PI = System("Linux", "aarch64", "glibc 2.41")


@pytest.mark.parametrize(
    ("worker", "runtime", "system", "native"),
    [
        (None, "onnxruntime", PI, True),
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
    assert runs_native(worker, runtime, system) is native


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
