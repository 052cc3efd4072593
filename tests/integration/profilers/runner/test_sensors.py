"""What the native worker tells of frequencies, temperatures and governors, on a made-up system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from raw_worker import UNLIMITED_BYTES, RawWorker, write_sum

from profilers.messages import encode_array


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_what_the_system_shows_is_told(
    compile_sanitized: Callable[..., Path], library: Path, tmp_path: Path
) -> None:
    system = tmp_path / "sys"
    core = min(os.sched_getaffinity(0))
    for number in {0, core}:
        write(
            system / f"devices/system/cpu/cpu{number}/cpufreq",
            scaling_cur_freq="1803000\n",
            scaling_governor="schedutil\n",
        )
    zones = system / "class/thermal"
    write(zones / "thermal_zone0", type="BIG\n", temp="45000\n")
    write(zones / "thermal_zone1", type='a "b" \xff\n', temp="-1500\n")
    write(zones / "thermal_zone2", type="BIG\n", temp="46000\n")
    write(zones / "thermal_zone3", type="broken\n", temp="hot\n")
    write(zones / "thermal_zone4", temp="47000\n")
    program = compile_sanitized(f'-DNASC_SYS="{system}"')
    array = encode_array(np.ones(4, np.float32))
    worker = RawWorker([str(program), str(library), str(os.getpid())])
    try:
        limits = {"memory_bytes": UNLIMITED_BYTES}
        context = worker.ask({"op": "start", "options": {"cores": [core]}, "limits": limits})[
            "context"
        ]
        assert (context["governor"], context["frequency_khz"]) == ("schedutil", 1803000)
        path = str(write_sum(tmp_path / "sum.onnx"))
        inputs = {"left": array, "right": array}
        assert worker.ask({"op": "load", "name": "m", "path": path, "inputs": inputs})["ok"]
        (visit,) = worker.ask({"op": "visit", "steps": [["m", 1, 0], ["m", 1, 1]]})["visits"]
        state = visit["state"]
        state.pop("migrations", None)
        assert state == {
            "frequency_khz": {str(core): 1803000},
            "temperature_mc": {
                "BIG": 45000,
                'a "b" \xff': -1500,
                "BIG2": 46000,
                "thermal_zone4": 47000,
            },
        }
    finally:
        worker.close()
