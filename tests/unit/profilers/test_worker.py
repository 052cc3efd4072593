"""The worker process: its limits, its end with its parent, and runs on inputs of one's own."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from endless import write_endless, write_greedy
from processes import dies_with_its_parent, gone

import device_profiles
from device_profiles import DeviceProfile
from profilers import (
    InputSpec,
    InvalidSetting,
    MemoryExceeded,
    ModelJob,
    ModelRejected,
    Protocol,
    RuntimeOptions,
    WorkerDied,
    WorkerLimits,
    bench,
    load_or_record_baseline,
    measure,
    measure_peak_memory,
    open_worker,
    reference_job,
)
from profilers.devices.client import WorkerClient
from profilers.devices.local import LocalWorker
from profilers.messages import decode_array, encode_array
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step
from profilers.testing import SyntheticMachine, synthetic_opener
from profilers.worker import WorkerProcess

TOKENS = {"input_ids": InputSpec((1, 1)), "attention_mask": InputSpec((1, 1))}
BRIEF = Protocol(min_rounds=3, max_rounds=6, max_seconds=5.0)
ONE_TOKEN = {name: np.zeros((1, 1), np.int64) for name in TOKENS}


@pytest.mark.clock
def test_a_run_without_an_end_is_ended_and_named(tmp_path: Path) -> None:
    path = write_endless(tmp_path / "endless.onnx")
    jobs = [ModelJob("endless", path, TOKENS), reference_job(tmp_path)]
    message = (
        r"the model '\S+endless\.onnx' did not finish one run within 0\.3 s; its process was "
        r"ended\..*--run-timeout SECONDS"
    )
    with LocalWorker(RuntimeOptions(), limits=WorkerLimits(run_s=0.3)) as worker:
        for job in jobs:
            worker.load(job, seed=0)
        steps = [Step(REFERENCE_NAME, 1, 1), Step("endless", 1, 0), Step(REFERENCE_NAME, 0, 1)]
        with pytest.raises(ModelRejected, match=message):
            worker.visit(steps)
    with LocalWorker(RuntimeOptions(), limits=WorkerLimits(run_s=0.3)) as worker:
        worker.open("endless", str(path))
        with pytest.raises(ModelRejected, match=message):
            worker.run("endless", ONE_TOKEN)


@pytest.mark.clock
def test_bench_and_memory_take_the_limits(tmp_path: Path) -> None:
    path, limits = write_endless(tmp_path / "endless.onnx"), WorkerLimits(run_s=0.3)
    message = r"endless\.onnx' did not finish one run within 0\.3 s"
    device = device_profiles.find("host")
    with pytest.raises(ModelRejected, match=message):
        bench([path], device, limits=limits)
    with pytest.raises(ModelRejected, match=message):
        measure_peak_memory(ModelJob("m", path, TOKENS), device=device, limits=limits)


@pytest.mark.clock
def test_many_short_runs_are_not_one_long_run(tmp_path: Path) -> None:
    limit_s = 0.5
    with LocalWorker(RuntimeOptions(), limits=WorkerLimits(run_s=limit_s)) as worker:
        worker.load(reference_job(tmp_path), seed=0)
        (few,) = worker.visit([Step(REFERENCE_NAME, 1, 20)])
        count = math.ceil(2 * 1e3 * limit_s / min(few.runs_ms))  # twice the limit on any machine
        (visit,) = worker.visit([Step(REFERENCE_NAME, 0, count)])
        assert len(visit.runs_ms) == count
        assert visit.end_s - visit.start_s > limit_s


def test_memory_beyond_the_limit_is_not_given(tmp_path: Path) -> None:
    path = write_greedy(tmp_path / "greedy.onnx", 10_000_000_000)
    with LocalWorker(RuntimeOptions(), limits=WorkerLimits(memory_bytes=2 << 30)) as worker:
        worker.open("greedy", str(path))
        with pytest.raises(MemoryExceeded, match=r"greedy\.onnx.*[Ff]ailed to allocate memory"):
            worker.run("greedy", ONE_TOKEN)
        worker.load(ModelJob("again", path, TOKENS), seed=0)  # it lives on


def test_outputs_that_would_fill_the_caller_are_refused(tmp_path: Path) -> None:
    path = write_greedy(tmp_path / "greedy.onnx", 70_000_000)
    with LocalWorker(RuntimeOptions()) as worker:
        about = worker.open("greedy", str(path))
        assert about["outputs"] == {"out": ["float32", ["values"]]}
        assert about["inputs"]["input_ids"] == ["int64", ["batch", "seq_len"]]
        with pytest.raises(ModelRejected, match=r"it gives 280,000,000 bytes, at most 268,435,456"):
            worker.run("greedy", ONE_TOKEN)
        small = write_greedy(tmp_path / "small.onnx", 1_000_000)
        worker.open("small", str(small))
        (output,) = worker.run("small", ONE_TOKEN)
        assert output.dtype == np.float32
        assert np.array_equal(output, np.ones(1_000_000, np.float32))


@pytest.mark.parametrize("dtype", ["int64", "float32", "float16", "bool", "uint8"])
def test_arrays_cross_the_pipe_unchanged(dtype: str) -> None:
    value = np.arange(6).reshape(2, 3).astype(dtype)
    again = decode_array(encode_array(value))
    assert again.dtype == value.dtype
    assert np.array_equal(again, value)
    with pytest.raises(ValueError, match="type 'complex64' cannot be sent"):
        encode_array(np.zeros(1, np.complex64))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_dies_with_its_parent_in_the_middle_of_a_run(
    tmp_path: Path, how: signal.Signals
) -> None:
    assert dies_with_its_parent(write_endless(tmp_path / "endless.onnx"), how)


def test_where_the_system_does_not_tell_the_end_of_stdin_does() -> None:
    """What ends a worker on systems other than Linux, while Python is busy elsewhere."""
    code = (
        "import threading, time; from profilers.worker import leave_with_stdin;"
        "threading.Thread(target=leave_with_stdin, daemon=True).start();"
        "print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.stdin.write(b"a request that nobody reads\n")
        worker.stdin.flush()
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait(60) == 0


@pytest.mark.parametrize("changed", [{"run_s": 0}, {"load_s": float("nan")}, {"memory_bytes": -1}])
def test_limits_are_checked(changed: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting, match="must be a number above 0"):
        WorkerLimits(**changed)  # type: ignore[arg-type]


@pytest.mark.clock
def test_waiting_is_no_time_of_the_run_s_own() -> None:
    """What a run waits for others is wall time; only with several threads it is all there is."""

    class Waiting:
        def run(self, feeds: object) -> None:
            time.sleep(0.02)

    worker = WorkerProcess()
    worker._models["m"] = (cast(Any, Waiting()), {})
    worker._clock = "thread"  # as the start of one thread sets it
    found = worker._step("m", warmup=0, runs=3)
    assert min(found["wall_ns"]) >= 20e6
    assert max(found["own_ns"]) < 10e6
    worker._clock = "wall"
    assert min(worker._step("m", warmup=0, runs=3)["own_ns"]) >= 20e6


def by_command(tmp_path: Path, *words: str) -> DeviceProfile:
    """A device that a command reaches."""
    path = tmp_path / "board.toml"
    path.write_text(
        'name = "board"\ndescription = "a board"\ndetect = true\n'
        f'connection.kind = "command"\nconnection.command = {json.dumps(words)}\n'
        'defaults.threads = 1\ndefaults.runtime = "onnxruntime"\n',
        encoding="utf-8",
    )
    return device_profiles.find(path)


@pytest.mark.clock
def test_a_worker_is_reached_through_a_shell(tmp_path: Path) -> None:
    """As adb and ssh will be: nothing but the two pipes is this process's own."""
    device = through_shell(tmp_path)
    reference = reference_job(tmp_path)
    found = measure([dataclasses.replace(reference, name="m")], device, protocol=BRIEF)
    assert found.context["device"] == "board"
    assert found["m"].latency_ms > 0
    assert measure_peak_memory(reference, device=device).model_bytes > 0
    with open_worker(device, RuntimeOptions()) as worker:
        assert isinstance(worker, WorkerClient)
        shell = worker._process.pid
        started = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        assert started
        worker._kill()
        assert all(gone(int(pid)) for pid in [shell, *started])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("no-such-program", "x y"), r"'no-such-program'.*cannot be run.*no-such-program 'x y'"),
        (("sh", "-c", "echo welcome; cat"), "no worker: it wrote 'welcome'"),
        (("sh", "-c", "echo '[1]'; cat"), "no worker"),
        (("sh", "-c", "echo '{\"ok\": true}'; cat"), "no worker"),
        (("sh", "-c", "echo '{\"ok\": false}'; cat"), "no worker"),
        (
            ("sh", "-c", 'echo \'{"ok": true, "context": {}, "base_bytes": 1}\'; cat'),
            r"another protocol \(none that it tells\) than this nasc \(version 1\)\. Install the",
        ),
        (
            ("sh", "-c", "echo no route to board >&2; exit 255"),
            r"exit status 255.*no route to boar",
        ),
    ],
)
def test_a_command_that_starts_no_worker_says_so(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(WorkerDied, match=message):
        open_worker(by_command(tmp_path, *words), RuntimeOptions())


def through_shell(tmp_path: Path) -> DeviceProfile:
    """This machine, by a shell that waits for the worker."""
    root = Path(device_profiles.__file__).parents[1]
    line = f'echo hello >&2; cd "{root}"; "{sys.executable}" -m profilers.worker; exit $?'
    return by_command(tmp_path, "sh", "-c", line)


@pytest.mark.clock
def test_a_limit_of_time_is_told_apart_through_a_shell(tmp_path: Path) -> None:
    path = write_endless(tmp_path / "endless.onnx")
    limits = WorkerLimits(run_s=0.3)
    with open_worker(through_shell(tmp_path), RuntimeOptions(), limits) as worker:
        worker.load(ModelJob("endless", path, TOKENS), seed=0)
        with pytest.raises(ModelRejected, match=r"did not finish one run within 0\.3 s"):
            worker.visit([Step("endless", 0, 1)])


def test_a_worker_behind_a_command_leaves_with_its_stdin(tmp_path: Path) -> None:
    """In the middle of a run, too: its caller may have been killed."""
    path = write_endless(tmp_path / "endless.onnx")
    with open_worker(through_shell(tmp_path), RuntimeOptions()) as worker:
        assert isinstance(worker, WorkerClient)
        worker.load(ModelJob("endless", path, TOKENS), seed=0)
        shell = worker._process.pid
        (started,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        stdin = worker._process.stdin
        assert stdin is not None
        stdin.write(b'{"op": "visit", "steps": [["endless", 0, 1]]}\n')
        stdin.flush()
        time.sleep(0.2)
        stdin.close()
        assert gone(int(started))


def test_a_command_has_a_baseline_of_its_own(tmp_path: Path) -> None:
    """It may hold the worker to a slower part of the same processor."""
    opener = synthetic_opener(SyntheticMachine({REFERENCE_NAME: 4.0}))
    here, there = device_profiles.find("host"), by_command(tmp_path, "sh", "-c", "x")
    first = load_or_record_baseline(tmp_path, here, opener=opener)
    slow = synthetic_opener(SyntheticMachine({REFERENCE_NAME: 5.0}))
    second = load_or_record_baseline(tmp_path, there, opener=slow)
    assert (first.path != second.path, second.fresh) == (True, True)
    again = load_or_record_baseline(tmp_path, there, opener=slow)
    assert (again.quiet_ms, again.fresh) == (second.quiet_ms, False)
