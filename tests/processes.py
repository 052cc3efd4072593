"""Processes of workers: whether they run, and whether they end with what started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import sys
from pathlib import Path
from profilers import InputSpec, ModelJob, RuntimeOptions
from profilers.devices.local import LocalWorker
from profilers.devices.native import NativeWorker
from profilers.samples import Step

options, program = RuntimeOptions(), sys.argv[2:]
worker = NativeWorker(options, program=Path(program[0])) if program else LocalWorker(options)
tokens = {"input_ids": InputSpec((1, 1)), "attention_mask": InputSpec((1, 1))}
worker.load(ModelJob("endless", Path(sys.argv[1]), tokens), seed=0)
print(worker._process.pid, flush=True)
worker.visit([Step("endless", 0, 1)])
"""


def gone(pid: int) -> bool:
    """Whether a process has ended, within a minute; nobody may have waited for it yet."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def ticks(pid: int) -> int:
    """Time of the processor that a process has taken, in ticks of the system's clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def dies_with_its_parent(model: Path, how: signal.Signals, program: Path | None = None) -> bool:
    """Whether a worker ends in the middle of a run when the process that started it does.

    Args:
        model: One that runs without an end.
        how: What ends the parent.
        program: The native worker; None takes the Python worker.
    """
    words = [str(model), *([] if program is None else [str(program)])]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *words], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        try:
            begun = ticks(worker)
            while ticks(worker) < begun + 10:  # until it runs
                time.sleep(0.02)
            parent.send_signal(how)
            assert parent.wait(60) == -how
            return gone(worker)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
