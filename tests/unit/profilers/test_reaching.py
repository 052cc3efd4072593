"""What ssh and adb say of a failure, and what is said of it: recorded words, no connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_profiles import Connection
from profilers.devices import ssh
from profilers.devices.adb import AdbTransport
from profilers.devices.ssh import SshTransport
from profilers.errors import DeviceLost, DeviceUnreachable, RunnerUnavailable, RuntimeMissing

BOARD = SshTransport(Connection("ssh", host="me@$(x)"))
PHONE = AdbTransport("pixel6", "1A $(x)")
WORDS = "Warning: Permanently added it to the list of known hosts.\n{}\n"


def client(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An ssh of one's own."""
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "ssh: Could not resolve hostname pi: Name or service not known",
            r"no machine of that name is known. Try by itself: ssh 'me@$(x)'",
        ),
        (
            "Host key verification failed.",
            "its host key is not known here, or has changed. Look at",
        ),
        ("me@pi: Permission denied (publickey).", "Try: ssh-copy-id 'me@$(x)'"),
        (
            "ssh: connect to host pi port 22: Connection refused",
            "no SSH server answers there. Start one, or give the right port",
        ),
        (
            "ssh: connect to host 10.0.0.9 port 22: Connection timed out",
            "it does not answer. Is it on, and on this network? Try: ssh 'me@$(x)'",
        ),
        (
            "Timeout, server pi not responding.\nssh: connection to pi timed out",
            "it does not answer. Is it on",
        ),
        (
            "ssh: connect to host 10.0.0.9 port 22: No route to host",
            "it cannot be reached from this network. Try: ssh 'me@$(x)'",
        ),
        ("kex_exchange_identification: read: reset", "reset. What was measured is kept: run the"),
    ],
)
def test_what_ssh_says_where_it_does_not_get_in(
    said: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = BOARD.failure(255, WORDS.format(said))
    assert str(error).startswith("cannot run a worker on device 'me@$(x)': ")
    assert advice in str(error)
    client(tmp_path, monkeypatch, f"echo {said.splitlines()[-1]!r} >&2; exit 255")
    with pytest.raises(DeviceUnreachable) as refused:
        BOARD.ask("true")
    assert advice in str(refused.value)
    assert said.splitlines()[-1].rstrip(".") in str(refused.value)


def test_the_end_of_a_worker_there_is_no_failure_of_ssh() -> None:
    assert BOARD.failure(1, WORDS.format("Connection timed out")) is None


def test_without_ssh_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceUnreachable, match=r"'ssh' cannot be run here: .*Install Open"):
        BOARD.ask("true")


def test_an_ssh_without_an_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(ssh, "SEND_TIMEOUT_S", 0.1)
    with pytest.raises(DeviceUnreachable, match=r"not finish within 0\.1 s: ssh\. Try by itself"):
        BOARD.ask("true")


@pytest.mark.parametrize(
    ("status", "said", "kind", "message"),
    [
        (
            127,
            "x: error while loading shared libraries: libstdc++.so.6: cannot open",
            RuntimeMissing,
            "a library of the native worker cannot be loaded .*: libstdc.*shell rm -rf /data/",
        ),
        (1, "libm.so.6: version `GLIBC_2.38' not found", RuntimeMissing, "version `GLIBC_2.38'"),
        (
            126,
            "sh: /data/local/tmp/nasc/x: can't execute: Permission denied",
            RunnerUnavailable,
            r"cannot be run on device 'pixel6 \(1A \$\(x\)\)': .*Permission denied.*for arm64-v8a.*"
            r"adb -s '1A \$\(x\)' shell rm -rf",
        ),
        (127, "", RunnerUnavailable, "exit status 127"),
    ],
)
def test_what_a_phone_says_where_the_worker_does_not_run(
    status: int, said: str, kind: type[Exception], message: str
) -> None:
    assert PHONE.failure(status, said) is None
    error = PHONE.ended(status, said)
    assert error is not None
    with pytest.raises(kind, match=message):
        raise error


def test_the_end_of_a_worker_on_a_phone_that_says_no_more_is_none() -> None:
    assert PHONE.ended(137, "Killed") is PHONE.ended(1, "") is None


@pytest.mark.parametrize("said", ["error: device '1A' not found", "adb: device offline", ""])
def test_a_phone_that_is_gone_is_lost(said: str) -> None:
    error = PHONE.failure(0 if not said else 1, said)
    assert isinstance(error, DeviceLost)
    assert "is kept: attach it again" in str(error)
