"""A command that is told to end leaves nothing behind: no process, no folder."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endless import write_endless

COMMAND = """
import sys, tempfile
from pathlib import Path
from nasc.cli.group import main
from profilers import InputSpec, ModelJob, RuntimeOptions, open_worker
from profilers.samples import Step
import device_profiles

@main.command()
def spin():
    tokens = {"input_ids": InputSpec((1, 1)), "attention_mask": InputSpec((1, 1))}
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as folder:
        with open_worker(device_profiles.find("host"), RuntimeOptions()) as worker:
            worker.load(ModelJob("endless", Path(sys.argv[1]), tokens), seed=0)
            print(worker._process.pid, flush=True)
            worker.visit([Step("endless", 0, 1)])

main(["spin"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_order(tmp_path: Path, how: signal.Signals) -> None:
    path, temporary = write_endless(tmp_path / "endless.onnx"), tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(path), str(temporary)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL),  # nohup's children ignore SIGHUP
    ) as command:
        assert command.stdout is not None
        worker = int(command.stdout.readline())
        assert list(temporary.iterdir())
        command.send_signal(how)
        assert command.wait(60) == 128 + how
    assert not list(temporary.iterdir())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists()
