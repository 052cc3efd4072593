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
from profilers import ModelJob, ModelRejected, Visit, WorkerDied, WorkerUnreliable
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step
from profilers.testing import SyntheticMachine, SyntheticWorker

TRUTH_MS = {REFERENCE_NAME: 4.0, "good": 2.0, "other": 3.0, "crash": 1.0, "rows": 1.0}


class Worker(SyntheticWorker):
    """One that a model ends, and that knows no model of another name than those of `TRUTH_MS`."""

    def load(self, job: ModelJob, seed: int) -> None:
        super().load(job, seed)
        self.ends = job.path.stem in ("crash", "rows")

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        assert not self.closed
        if self.ends:
            self.close()
            raise WorkerDied("the worker process ended (signal SIGSEGV)")
        return super().visit(steps)

    def describe(self, path: str) -> dict[str, tuple[str, list[int | str | None]]]:
        stem = Path(path).stem
        if stem == "damaged":
            raise ModelRejected(f"the runtime rejected the model {path!r}: no protobuf")
        if stem == "hangs":
            raise WorkerUnreliable("the worker did not answer within 600 s")
        axes: dict[str, list[int | str | None]] = {
            "good": ["batch", 128],
            "images": ["batch", "height"],
            "rows": ["batch", "rows"],
        }
        return {"input_ids": ("int64", axes.get(stem, ["batch", "seq_len"]))}


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
    for name in names:
        assert f"rejected the model '{name}'" in done.stderr


def test_a_size_that_a_file_takes_which_cannot_be_run_is_no_mistake(
    run: Callable[..., Result],
) -> None:
    done = run("good.onnx", "rows.onnx", "--dim", "rows=3")
    assert done.stderr.count("Error: ") == 1
    assert "'rows.onnx' was not measured: the worker process ended" in done.stderr
    assert "good.onnx" in done.stdout
    done = run("good.onnx", "damaged.onnx", "--dim", "rows=3")  # may be that one's
    assert "'damaged.onnx' was not measured: the runtime rejected" in done.stderr
    assert "good.onnx" in done.stdout
    done = run("good.onnx", "rows.onnx", "--dim", "rows=3", "--dim", "lines=3")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no model has an axis that takes lines = 3; named axes: batch, rows;" in done.stderr


def test_an_axis_without_a_size_is_the_fault_of_its_file_alone(run: Callable[..., Result]) -> None:
    done = run("images.onnx", "good.onnx")
    assert done.stderr.count("Error: ") == 1
    assert "'images.onnx' was not measured: axis 1 of the input 'input_ids'" in done.stderr
    assert "'height', which has no size" in done.stderr
    assert "good.onnx" in done.stdout
    done = run("images.onnx", "bad.onnx")
    assert "none of the 2 files can be measured" in done.stderr
    assert "'height', which has no size" in done.stderr
    assert "rejected the model 'bad.onnx'" in done.stderr


def test_a_worker_that_hangs_is_the_fault_of_no_file(run: Callable[..., Result]) -> None:
    done = run("hangs.onnx", "good.onnx")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "Error: the worker did not answer within 600 s" in done.stderr
    assert "hangs.onnx" not in done.stderr


def test_a_name_that_is_no_file_stops_before_anything_is_measured(
    run: Callable[..., Result],
) -> None:
    done = run("good.onnx", "absent")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no file 'absent'" in done.stderr
