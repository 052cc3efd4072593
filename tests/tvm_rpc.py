"""A tracker or a server of TVM's RPC, in a process of its own: a program, and what starts it.

It takes the part of `tvm.exec.rpc_tracker` and `rpc_server`, which start a further process each; it
needs nothing but TVM. Prints the port that it listens on.

    python tests/tvm_rpc.py tracker
    python tests/tvm_rpc.py server TRACKER_PORT KEY
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
START_S = 240.0


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def tracker() -> None:
    from tvm.rpc import tracker

    port = free_port()
    state = tracker.PopenTrackerServerState(HOST, port, port + 1, silent=True)
    print(state.port, flush=True)
    state.thread.join()


def server(tracker_port: int, key: str) -> None:
    from tvm.rpc import server

    port = free_port()
    state = server.PopenRPCServerState(
        HOST, port, port + 1, tracker_addr=(HOST, tracker_port), key=key, custom_addr=HOST
    )
    print(state.port, flush=True)
    state.thread.join()


@dataclass
class Running:
    """A process of its group, and the port that it listens on."""

    process: subprocess.Popen[str]
    port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def kill(self) -> None:
        """End it and all that it started, as when the power goes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def started(
    *words: str, program: Sequence[str] = (sys.executable,), more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, __file__, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, **(more or {})},
    )


def listening(process: subprocess.Popen[str]) -> Running:
    """Once it says its port."""
    assert process.stdout is not None
    too_late = threading.Timer(START_S, process.kill)
    too_late.start()
    line = process.stdout.readline()
    too_late.cancel()
    assert line.strip().isdigit(), f"it did not start: exit code {process.poll()}"
    return Running(process, int(line))


@dataclass
class TestFarm:
    """A tracker with its servers."""

    __test__ = False

    tracker: Running
    servers: list[Running] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.tracker.address

    def add(self, *keys: str, **options: object) -> list[Running]:
        """Servers, once the tracker knows them."""
        from profilers.devices.tvm_tracker import TrackerAddress, servers

        begun = [started("server", str(self.tracker.port), key, **options) for key in keys]
        new = []
        for process in begun:
            new.append(listening(process))
            self.servers.append(new[-1])
        where, deadline = TrackerAddress.parse(self.address), time.monotonic() + START_S
        wanted = {one.address for one in new}
        while not wanted <= {a for found in servers(where).values() for a in found}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return new


@contextlib.contextmanager
def farm() -> Iterator[TestFarm]:
    """A tracker that ends with the block, and its servers with it."""
    made = TestFarm(listening(started("tracker")))
    try:
        yield made
    finally:
        for one in (*made.servers, made.tracker):
            one.kill()


if __name__ == "__main__":
    if sys.argv[1] == "tracker":
        tracker()
    else:
        server(int(sys.argv[2]), sys.argv[3])
