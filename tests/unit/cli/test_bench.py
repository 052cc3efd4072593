"""`nasc bench` of several files, of which one cannot be run: the others are measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from nasc import api
from profilers import ModelJob, Visit, WorkerDied
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step
from profilers.testing import SyntheticMachine, SyntheticWorker

TRUTH_MS = {REFERENCE_NAME: 4.0, "good": 2.0, "other": 3.0, "crash": 1.0}


class Worker(SyntheticWorker):
    """One that a model ends, and that knows no model of another name than those of `TRUTH_MS`."""

    def load(self, job: ModelJob, seed: int) -> None:
        super().load(job, seed)
        self.ends = job.path.stem == "crash"

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        assert not self.closed
        if self.ends:
            self.close()
            raise WorkerDied("the worker process ended (signal SIGSEGV)")
        return super().visit(steps)


@pytest.fixture
def run(nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    machine = SyntheticMachine(TRUTH_MS)

    def opener(*_: object) -> Worker:
        return Worker(machine)

    monkeypatch.setattr(api, "bench", partial(api.bench, opener=opener))

    def call(*names: str) -> Result:
        for name in names:
            if name.endswith(".onnx"):
                Path(name).write_bytes(name.encode())
        return nasc("bench", *names)

    return call


def test_one_that_cannot_be_run_is_named_and_the_others_are_measured(
    run: Callable[..., Result],
) -> None:
    done = run("good.onnx", "bad.onnx", "crash.onnx", "other.onnx")
    assert done.exit_code == 1
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:]] == [
        "good.onnx",
        "other.onnx",
    ]
    said = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(said) == 2
    assert said[0].startswith("Error: 'bad.onnx' was not measured: the runtime rejected the model")
    assert said[1].endswith(
        "'crash.onnx' was not measured: the worker process ended (signal SIGSEGV)"
    )


def test_as_data_it_says_so_too(run: Callable[..., Result]) -> None:
    done = run("bad.onnx", "good.onnx", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.exit_code, len(told["entries"])) == (1, 1)
    [rejected] = told["rejected"]
    assert rejected["path"] == "bad.onnx"
    assert "rejected the model" in rejected["reason"]
    done = run("good.onnx", "--json")
    assert (done.exit_code, json.loads(done.stdout)["rejected"]) == (0, [])


@pytest.mark.parametrize("names", [["bad.onnx"], ["bad.onnx", "worse.onnx"]])
def test_where_none_can_be_run_it_is_one_message(
    run: Callable[..., Result], names: list[str]
) -> None:
    done = run(*names)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("Error: ") == 1
    assert f"rejected the model '{names[-1]}'" in done.stderr


def test_a_name_that_is_no_file_stops_before_anything_is_measured(
    run: Callable[..., Result],
) -> None:
    done = run("good.onnx", "absent")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no file 'absent'" in done.stderr
