"""A tracker and servers of TVM's RPC, each in a process of its own: a program, and what starts it.

It takes the part of `tvm.exec.rpc_tracker` and `rpc_server`, and imports TVM once for all of them.
A line of its input starts one, ``tracker`` or ``server TRACKER_PORT KEY [PERSONALITY]``; it answers
with the process and the port. It needs nothing but TVM. A personality is that of Linux's
personality(2): with 8, PER_LINUX32, a processor says that it is an older one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
START_S = 240.0
PER_LINUX32 = 8


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def serve(words: Sequence[str], out: int) -> None:
    """Be a tracker or a server, and write the port to a pipe once it listens."""
    from tvm.rpc import server, tracker

    port = free_port()
    if words[0] == "tracker":
        state = tracker.PopenTrackerServerState(HOST, port, port + 1, silent=True)
    else:
        if words[3:]:
            ctypes.CDLL(None).personality(int(words[3]))
        state = server.PopenRPCServerState(
            *(HOST, port, port + 1),
            tracker_addr=(HOST, int(words[1])),
            key=words[2],
            custom_addr=HOST,
            silent=True,
        )
    os.write(out, f"{os.getpid()} {state.port}\n".encode())
    os.close(out)
    state.thread.join()


def main() -> None:
    sys.modules["torch"] = None  # type: ignore[assignment]  # TVM imports it where it finds it
    import tvm.rpc.server
    import tvm.rpc.tracker  # noqa: F401  # before processes part

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            os.close(reading)
            serve(line.split(), writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            print(told.readline() or "\n", end="", flush=True)


@dataclass(frozen=True)
class Running:
    """A process that leads its group, and the port that it listens on."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def kill(self) -> None:
        """End it and all that it started, as when the power goes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def kill_at_work(self) -> None:
        """As `kill`, with a candidate running: it is looked for while all of the group stands."""
        while True:
            os.killpg(self.pid, signal.SIGSTOP)
            # TVM forks for each who comes, and what it runs forks once more.
            if any(map(_children, _children(self.pid))):
                break
            os.killpg(self.pid, signal.SIGCONT)
            time.sleep(0.002)
        self.kill()


def _children(pid: int) -> list[int]:
    """Processes that one has started; none of a process that is over."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in path.read_text().split()]
    return found


@dataclass
class Farm:
    """A tracker with its servers."""

    program: subprocess.Popen[str]
    running: list[Running] = field(default_factory=list)

    def start(self, *words: str) -> Running:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        print(*words, file=self.program.stdin, flush=True)
        too_late = threading.Timer(START_S, self.program.kill)
        too_late.start()
        told = self.program.stdout.readline().split()
        too_late.cancel()
        assert len(told) == 2, f"{words} did not start: exit code {self.program.poll()}"
        self.running.append(Running(*map(int, told)))
        return self.running[-1]

    @property
    def address(self) -> str:
        """The tracker's."""
        return self.running[0].address

    def add(self, *keys: str, personality: int | None = None) -> list[Running]:
        """Servers, once the tracker knows them."""
        from profilers.devices.tvm_tracker import TrackerAddress, servers

        port, more = str(self.running[0].port), () if personality is None else (str(personality),)
        new = [self.start("server", port, key, *more) for key in keys]
        where, deadline = TrackerAddress.parse(self.address), time.monotonic() + START_S
        while not {one.address for one in new} <= {a for s in servers(where).values() for a in s}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return new


@contextlib.contextmanager
def farm(
    program: Sequence[str] = (sys.executable, __file__), more: Mapping[str, str] | None = None
) -> Iterator[Farm]:
    """A tracker that ends with the block, and its servers with it.

    Args:
        program: This one, as it is started.
        more: Of the environment.
    """
    process = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(more or {})},
    )
    made = Farm(process)
    try:
        made.start("tracker")
        yield made
    finally:
        for one in made.running:
            one.kill()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


if __name__ == "__main__":
    main()
