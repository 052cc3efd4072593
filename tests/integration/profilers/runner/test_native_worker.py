"""The native worker answers as the Python worker does, and is held to the same limits."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endless import write_endless, write_greedy
from onnx import helper
from processes import dies_with_its_parent, ticks
from raw_worker import DTYPES, RawWorker, save, value, write_every_type, write_sum, write_words

import device_profiles
from device_profiles import DeviceProfile
from profilers import (
    DeviceUnreachable,
    InputSpec,
    InvalidSetting,
    MemoryExceeded,
    ModelJob,
    ModelRejected,
    Protocol,
    RuntimeMissing,
    RuntimeOptions,
    WorkerLimits,
    load_or_record_baseline,
    measure,
    measure_peak_memory,
    open_worker,
    reference_job,
)
from profilers.context import fingerprint
from profilers.devices.client import WorkerClient
from profilers.devices.local import LocalWorker
from profilers.devices.native import NativeWorker
from profilers.messages import decode_array, encode_array
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step
from profilers.testing import SyntheticMachine, synthetic_opener

Start = Callable[[], RawWorker]

ONE_TOKEN = {name: np.zeros((1, 1), np.int64) for name in ("input_ids", "attention_mask")}
TOKENS = {name: InputSpec((1, 1)) for name in ONE_TOKEN}
PAIR = {name: encode_array(np.arange(4, dtype=np.float32)) for name in ("left", "right")}
CHANGING = {"start_s", "end_s", "wall_ns", "own_ns", "preempted", "base_bytes", "peak_bytes"}


@pytest.fixture
def both(native: Start, python: Start) -> tuple[RawWorker, RawWorker]:
    """A native and a Python worker that were started."""
    workers = native(), python()
    for worker in workers:
        assert worker.start()["ok"]
    return workers


def alike(answer: Any) -> Any:
    """An answer without what differs between two runs: of that, its types and counts."""
    if isinstance(answer, dict):
        return {
            key: shape(value) if key in CHANGING else alike(value)
            for key, value in answer.items()
            if key != "state"
        }
    return [alike(value) for value in answer] if isinstance(answer, list) else answer


def shape(value: Any) -> Any:
    return [type(one) for one in value] if isinstance(value, list) else type(value)


def drawn() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(0, 2, (2, 3)).astype(name)
        if name == "bool"
        else (rng.random((2, 3)) * 100).astype(name)
        for name in DTYPES
    }


def test_the_same_requests_get_the_same_answers(
    both: tuple[RawWorker, RawWorker], tmp_path: Path
) -> None:
    every, pair = write_every_type(tmp_path / "every.onnx"), write_sum(tmp_path / "sum ü.onnx")
    words = write_words(tmp_path / "words.onnx")
    inputs = {name: encode_array(value) for name, value in drawn().items()}
    requests: list[dict[str, Any]] = [
        {"op": "describe", "path": str(every)},
        {"op": "describe", "path": str(pair)},
        {"op": "open", "name": "every", "path": str(every)},
        {"op": "run", "name": "every", "inputs": inputs},
        {"op": "load", "name": "every", "path": str(every), "inputs": inputs},
        {"op": "load", "name": "näme\n'$(x)'", "path": str(pair), "inputs": PAIR, "more": 1},
        {"op": "visit", "steps": [["every", 1, 3], ["näme\n'$(x)'", 2, 0], ["every", 0, 1]]},
        {"op": "visit", "steps": []},
        {"op": "memory"},
        {"op": "unload", "name": "näme\n'$(x)'"},
        {"op": "unload", "name": "never loaded"},
        {"op": "open", "name": "words", "path": str(words)},
        {"op": "quit"},
    ]
    for request in requests:
        mine, other = (worker.ask(request) for worker in both)
        assert mine["ok"] is True, mine
        assert alike(mine) == alike(other)
    assert [worker.process.wait(60) for worker in both] == [0, 0]


def test_outputs_are_those_of_python_bit_for_bit(
    program: Path, built_cache: Path, tmp_path: Path
) -> None:
    path, pair = write_every_type(tmp_path / "every.onnx"), write_sum(tmp_path / "sum.onnx")
    reference = reference_job(tmp_path)
    rng = np.random.default_rng(1)
    feeds: dict[Path, dict[str, Any]] = {
        path: drawn(),
        pair: {name: rng.standard_normal(1000).astype(np.float32) for name in PAIR},
        reference.path: {
            name: rng.standard_normal(spec.shape).astype(np.float32)
            for name, spec in reference.inputs.items()
        },
    }
    with (
        NativeWorker(RuntimeOptions(), program=program, cache=built_cache) as native,
        LocalWorker(RuntimeOptions()) as python,
    ):
        for model, values in feeds.items():
            assert native.open("m", str(model)) == python.open("m", str(model))
            found, wanted = native.run("m", values), python.run("m", values)
            assert len(found) == len(wanted) > 0
            for one, other in zip(found, wanted, strict=True):
                assert (one.dtype, one.shape) == (other.dtype, other.shape)
                assert one.tobytes() == other.tobytes()


def test_the_device_is_told_as_by_python(native: Start, python: Start) -> None:
    mine, other = native().start(), python().start()
    assert {key: shape(value) for key, value in mine.items()} == {
        key: shape(value) for key, value in other.items()
    }
    assert (mine["protocol"], mine["clock"]) == (1, "thread")
    here, there = mine["context"], other["context"]
    assert here.keys() == there.keys() - {"python"}
    assert (here["worker"], there["worker"]) == ("native", "python")
    assert here["cpu"] == there["cpu"]
    assert here["fingerprint"] == there["fingerprint"] == fingerprint(there["cpu"])
    own = {"worker", "python", "time_utc", "load_average", "frequency_khz"}
    for key in there.keys() - own:
        assert here[key] == there[key], key
    for key in ("time_utc", "frequency_khz"):
        assert type(here[key]) is type(there[key])
        assert len(str(here[key])) == len(str(there[key])) or key != "time_utc"
    assert len(here["load_average"]) == 3


def test_several_threads_have_no_clock_of_their_own(native: Start, tmp_path: Path) -> None:
    worker = native()
    assert worker.start(threads=2)["clock"] == "wall"
    path = str(write_sum(tmp_path / "sum.onnx"))
    assert worker.ask({"op": "load", "name": "m", "path": path, "inputs": PAIR})["ok"]
    (visit,) = worker.ask({"op": "visit", "steps": [["m", 1, 5]]})["visits"]
    assert visit["own_ns"] == visit["wall_ns"]


def test_a_visit_tells_its_times_and_what_the_system_shows(
    both: tuple[RawWorker, RawWorker], tmp_path: Path
) -> None:
    request = {
        "op": "load",
        "name": "m",
        "path": str(write_sum(tmp_path / "sum.onnx")),
        "inputs": PAIR,
    }
    worker = both[0]
    assert worker.ask(request) == {"ok": True}
    begun = time.monotonic()
    (visit,) = worker.ask({"op": "visit", "steps": [["m", 1, 20]]})["visits"]
    assert begun <= visit["start_s"] <= visit["end_s"] <= time.monotonic()
    assert len(visit["wall_ns"]) == len(visit["own_ns"]) == len(visit["preempted"]) == 20
    assert all(0 < own <= wall for own, wall in zip(visit["own_ns"], visit["wall_ns"], strict=True))
    state = visit.get("state", {})
    assert state.keys() <= {"frequency_khz", "temperature_mc", "migrations"}
    assert ("migrations" in state) == ("nr_migrations" in read_or_none("/proc/self/sched"))
    assert state.get("migrations", 0) >= 0


def read_or_none(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""


def changed(array: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"left": {**array, **fields}, "right": PAIR["right"]}


A = PAIR["left"]
WRONG: list[tuple[str, Any, str, str]] = [
    ("no object", [1], "request", "must be an object"),
    ("no op", {}, "request", "op must be text"),
    ("unknown op", {"op": "fly $(x)"}, "request", r"unknown op 'fly \$\(x\)'"),
    ("no path", {"op": "describe"}, "request", "path must be text"),
    ("no model", {"op": "visit", "steps": [["x", 1, 1]]}, "request", "no model 'x' is loaded"),
    ("no step", {"op": "visit", "steps": [["sum", 1]]}, "request", r"a step must be \[name"),
    ("no count", {"op": "visit", "steps": [["sum", "a", 1]]}, "request", r"a step must be \["),
    ("no steps", {"op": "visit"}, "request", "steps must be a list"),
    ("no name", {"op": "unload"}, "request", "name must be text"),
    ("not loaded", {"op": "run", "name": "x", "inputs": {}}, "request", "no model 'x'"),
    ("no inputs", {"op": "run", "name": "sum"}, "request", "inputs must be an object"),
    (
        "another type",
        {"op": "run", "name": "sum", "inputs": changed(A, dtype="complex64")},
        "request",
        "type 'complex64' cannot be sent",
    ),
    (
        "another size",
        {"op": "run", "name": "sum", "inputs": changed(A, shape=[5])},
        "request",
        "must be the base64 of 20 bytes",
    ),
    (
        "no base64",
        {"op": "run", "name": "sum", "inputs": changed(A, data="!" + A["data"][1:])},
        "request",
        "no base64",
    ),
    (
        "no data",
        {"op": "run", "name": "sum", "inputs": {"left": {"dtype": "int8"}}},
        "request",
        "must be an object with dtype, shape and data",
    ),
    (
        "wrong axis",
        {"op": "run", "name": "sum", "inputs": changed(A, shape=["4"])},
        "request",
        "an axis must be a whole number",
    ),
    (
        "an input is missing",
        {"op": "load", "name": "m", "path": "SUM", "inputs": {"left": A}},
        "model",
        r"it has the inputs \['left', 'right'\], but \['left'\] were described",
    ),
    (
        "an input too many",
        {"op": "load", "name": "m", "path": "SUM", "inputs": {**PAIR, "x": A}},
        "model",
        r"but \['left', 'right', 'x'\] were described",
    ),
    (
        "input of another name",
        {"op": "run", "name": "sum", "inputs": {**PAIR, "x": A}},
        "model",
        "Invalid .*x",
    ),
    (
        "input of another type",
        {"op": "run", "name": "sum", "inputs": changed(encode_array(np.arange(4)))},
        "model",
        r"INVALID_ARGUMENT.*expected: \(tensor\(float\)\)",
    ),
    (
        "a run that fails",
        {"op": "run", "name": "sum", "inputs": changed(encode_array(np.zeros(3, np.float32)))},
        "model",
        "running Add node",
    ),
    ("a visit that fails", {"op": "visit", "steps": [["bad", 1, 1]]}, "model", "running Add node"),
    (
        "an output that cannot be sent",
        {"op": "run", "name": "words", "inputs": {"left": A}},
        "model",
        "type '(string|object)' cannot be sent",
    ),
    ("a missing file", {"op": "describe", "path": "/no/such.onnx"}, "model", "NO_SUCHFILE"),
    ("a damaged file", {"op": "open", "name": "m", "path": "DAMAGED"}, "model", "INVALID_PROTOBUF"),
    ("a folder", {"op": "open", "name": "m", "path": "/"}, "model", "."),
    ("an empty path", {"op": "open", "name": "m", "path": ""}, "model", "."),
    ("a NUL in a path", {"op": "open", "name": "m", "path": "a\0b"}, "model", "."),
]
BLAMED = {"a run that fails": "sum", "a visit that fails": "bad", "input of another name": "sum"}
NATIVE_WORDS = {"request"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    path = write_sum(folder / "sum.onnx")
    damaged = folder / "damaged.onnx"
    damaged.write_bytes(path.read_bytes()[:-10])
    words = write_words(folder / "words.onnx")
    return {"SUM": str(path), "DAMAGED": str(damaged), "WORDS": str(words)}


@pytest.mark.slow
def test_what_is_wrong_is_answered_alike(
    both: tuple[RawWorker, RawWorker], models: dict[str, str]
) -> None:
    opened = {"op": "open", "name": "sum", "path": models["SUM"]}
    words = {"op": "open", "name": "words", "path": models["WORDS"]}
    three = {"left": encode_array(np.zeros(3, np.float32)), "right": A}
    bad = {"op": "load", "name": "bad", "path": models["SUM"], "inputs": three}
    for worker in both:
        assert all(worker.ask(request)["ok"] for request in (opened, words, bad))
    for what, request, kind, message in WRONG:
        if isinstance(request, dict) and request.get("path") in models:
            request = {**request, "path": models[request["path"]]}
        mine, other = (worker.ask(request) for worker in both)
        assert mine.keys() == {"ok", "kind", "error", "name"}, what
        for answer in (mine, other):
            assert (answer["ok"], answer["kind"]) == (False, kind), (what, answer)
            if what in BLAMED:
                assert answer["name"] == BLAMED[what], answer
        assert_words(message, mine["error"], what)
        if kind not in NATIVE_WORDS:
            assert_words(message, other["error"], what)
    good = {"op": "run", "name": "sum", "inputs": PAIR}
    assert [worker.ask(good)["ok"] for worker in both] == [True, True]


def assert_words(pattern: str, text: str, what: str) -> None:
    with pytest.raises(ValueError, match=pattern):
        raise ValueError(text)
    assert text, what


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"threads": 0}, {}, "request", "threads must be a whole number from 1 to 1024"),
    ({"threads": 1025}, {}, "request", "threads must be"),
    ({"threads": "2"}, {}, "request", "threads must be"),
    ({"threads": True}, {}, "request", "threads must be"),
    ({"inter_op_threads": 2}, {}, "request", "inter_op_threads must be 1"),
    ({"graph_optimization": "most"}, {}, "request", "one of all, extended, basic, disable"),
    ({"arena": 1}, {}, "request", "arena must be true or false"),
    ({"spinning": None}, {}, "request", "spinning must be true or false"),
    ({"cores": []}, {}, "request", "a list of 1 to 1024 numbers"),
    ({"cores": [-1]}, {}, "request", "a core must be a whole number from 0 to 65535"),
    ({"cores": [60000]}, {}, "request", r"cores \[60000\] cannot be used: .* may run on \["),
    ({"colour": "red"}, {}, "request", "unknown field 'colour'"),
    ({"runtime": "nope"}, {}, "runtime", "no runtime 'nope'; available: onnxruntime"),
    ({}, {"run_s": 0}, "request", "run_s must be a number above 0"),
    ({}, {"load_s": "1"}, "request", "load_s must be a number above 0"),
    ({}, {"memory_bytes": -1}, "request", "memory_bytes must be a whole number above 0"),
    ({}, {"hours": 1}, "request", "unknown field 'hours'"),
]


def test_settings_that_are_wrong_are_refused_alike(native: Start, python: Start) -> None:
    workers = native(), python()
    for worker in workers:
        answer = worker.ask({"op": "describe", "path": "x"})
        assert answer["kind"] == "request"
        assert "the first request must be 'start'" in answer["error"]
    for options, limits, kind, message in REFUSED:
        request = {"op": "start", "options": options, "limits": limits}
        mine, other = (worker.ask(request) for worker in workers)
        assert (mine["ok"], mine["kind"]) == (other["ok"], other["kind"]) == (False, kind), request
        assert_words(message, mine["error"], str(request))
    assert all(worker.start(cores=None, runtime="onnxruntime")["ok"] for worker in workers)


@pytest.mark.parametrize(
    "options",
    [
        {"arena": False, "graph_optimization": "disable"},
        {"graph_optimization": "basic", "spinning": False, "threads": 2},
        {"graph_optimization": "extended"},
    ],
)
def test_every_setting_runs(native: Start, tmp_path: Path, options: dict[str, Any]) -> None:
    worker = native()
    first = min(os.sched_getaffinity(0))
    assert worker.start(**options, cores=[first])["context"]["affinity"] == [first]
    path = str(write_sum(tmp_path / "sum.onnx"))
    assert worker.ask({"op": "open", "name": "m", "path": path})["ok"]
    (output,) = worker.ask({"op": "run", "name": "m", "inputs": PAIR})["outputs"]
    assert decode_array(output).tolist() == [0, 2, 4, 6]


def test_other_runtimes_are_the_python_worker_s(program: Path, built_cache: Path) -> None:
    with pytest.raises(RuntimeMissing, match=r"no runtime 'openvino'.*leave out worker = \"nat"):
        NativeWorker(RuntimeOptions(runtime="openvino"), program=program, cache=built_cache)


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ("/no/such/libonnxruntime.so", "'/no/such/libonnxruntime.so' cannot be loaded: .*No such"),
        ("libm.so.6", "'libm.so.6' cannot be loaded: it has no OrtGetApiBase"),
    ],
)
def test_a_library_that_is_none_is_told(program: Path, library: str, message: str) -> None:
    command = [str(program), library, str(os.getpid())]
    with pytest.raises(RuntimeMissing, match=message):
        WorkerClient(command, RuntimeOptions())


def test_a_run_without_an_end_is_ended_and_named(
    program: Path, built_cache: Path, tmp_path: Path
) -> None:
    path = write_endless(tmp_path / "endless.onnx")
    message = (
        r"the model '\S+endless\.onnx' did not finish one run within 1 s; its process was "
        r"ended\..*--run-timeout SECONDS"
    )
    limits = WorkerLimits(run_s=1.0)
    with NativeWorker(RuntimeOptions(), limits=limits, program=program, cache=built_cache) as one:
        one.load(ModelJob("endless", path, TOKENS), seed=0)
        one.load(reference_job(tmp_path), seed=0)
        steps = [Step(REFERENCE_NAME, 1, 1), Step("endless", 1, 0), Step(REFERENCE_NAME, 0, 1)]
        with pytest.raises(ModelRejected, match=message):
            one.visit(steps)
    with NativeWorker(RuntimeOptions(), limits=limits, program=program, cache=built_cache) as one:
        one.open("endless", str(path))
        with pytest.raises(ModelRejected, match=message):
            one.run("endless", ONE_TOKEN)


@pytest.mark.parametrize("inherited", ["", 'trap "" ALRM; '])
def test_loading_without_an_end_is_ended(
    program: Path, library: Path, tmp_path: Path, inherited: str
) -> None:
    """Also where whoever started it ignores alarms."""
    os.mkfifo(tmp_path / "nobody writes.onnx")
    command = ["sh", "-c", f'{inherited}exec "$@"', "sh"]
    worker = RawWorker([*command, str(program), str(library), str(os.getpid())])
    try:
        assert worker.ask({"op": "start", "options": {}, "limits": {"load_s": 0.2}})["ok"]
        worker.send(
            json.dumps({"op": "describe", "path": str(tmp_path / "nobody writes.onnx")}).encode()
        )
        assert worker.process.wait(60) == -signal.SIGALRM
    finally:
        worker.close()


@pytest.mark.parametrize("values", [np.float32(3.5), np.zeros(0, np.float32), np.ones((2, 0, 3))])
def test_arrays_of_no_axis_and_of_no_value(native: Start, tmp_path: Path, values: Any) -> None:
    array = np.asarray(values)
    axes: list[int | str | None] = [None] * array.ndim
    name = array.dtype.name
    path = save(
        tmp_path / "same.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", name, axes)],
        [value("y", name, axes)],
    )
    worker = native()
    assert worker.start()["ok"]
    assert worker.ask({"op": "open", "name": "m", "path": str(path)})["ok"]
    (found,) = worker.ask({"op": "run", "name": "m", "inputs": {"x": plain(array)}})["outputs"]
    assert found == plain(array)


def plain(array: Any) -> dict[str, Any]:
    data = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def test_memory_beyond_the_limit_is_not_given(
    program: Path, built_cache: Path, tmp_path: Path
) -> None:
    path = write_greedy(tmp_path / "greedy.onnx", 10_000_000_000)
    limits = WorkerLimits(memory_bytes=1 << 30)
    with NativeWorker(RuntimeOptions(), limits=limits, program=program, cache=built_cache) as one:
        one.open("greedy", str(path))
        with pytest.raises(MemoryExceeded, match=r"greedy\.onnx.*[Ff]ailed to allocate memory"):
            one.run("greedy", ONE_TOKEN)
        one.load(ModelJob("again", path, TOKENS), seed=0)  # it lives on


@pytest.mark.slow
def test_outputs_that_would_fill_the_caller_are_refused(
    program: Path, built_cache: Path, tmp_path: Path
) -> None:
    path = write_greedy(tmp_path / "greedy.onnx", 70_000_000)
    with NativeWorker(RuntimeOptions(), program=program, cache=built_cache) as worker:
        worker.open("greedy", str(path))
        with pytest.raises(ModelRejected, match=r"it gives 280,000,000 bytes, at most 268,435,456"):
            worker.run("greedy", ONE_TOKEN)
        worker.open("small", str(write_greedy(tmp_path / "small.onnx", 1_000_000)))
        (output,) = worker.run("small", ONE_TOKEN)
        assert np.array_equal(output, np.ones(1_000_000, np.float32))


def test_what_a_line_holds_must_fit_into_memory(
    program: Path, built_cache: Path, tmp_path: Path
) -> None:
    limits = WorkerLimits(memory_bytes=60 << 20)
    with NativeWorker(RuntimeOptions(), limits=limits, program=program, cache=built_cache) as one:
        path = write_sum(tmp_path / "sum.onnx")
        one.open("sum", str(path))
        with pytest.raises(MemoryExceeded, match="a request needs more memory than"):
            one.run("sum", {"left": np.zeros(16_000_000, np.float32)})
        assert one.run("sum", {name: np.ones(1, np.float32) for name in PAIR})[0] == [2]


@pytest.mark.slow
def test_a_line_without_an_end_is_refused(native: Start) -> None:
    worker = native()
    assert worker.process.stdin is not None
    chunk = b" " * (1 << 24)
    for _ in range(65):
        worker.process.stdin.write(chunk)
    worker.send(b"")
    assert worker.read() == {
        "ok": False,
        "kind": "request",
        "error": "a request must be a line of at most 1 GiB",
        "name": None,
    }
    assert worker.ask({"op": "unload", "name": "x"}) == {"ok": True}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"hello", "lacks a value"),
        (b'{"op": "memory"', "lacks a comma or the end"),
        (b'{"op": "memory"} x', "goes on behind its end"),
        (b'{"op": "\xff"}', "is not UTF-8"),
        (b'{"op": "\\ud800"}', "half a surrogate pair"),
        (b'{"op": "\\u12"}', "unfinished escape"),
        (b'{"op": "\\x"}', "unknown escape"),
        (b'{"op": "a\x00b"}', "control character"),
        (b'{"op": "a', "string without an end"),
        (b'{"op": 1e999}', "number that is too large"),
        (b'{"op": NaN}', "lacks a value"),
        (b'{"op": 01}', "lacks a comma"),
        (b'{"op": 1.}', "unfinished number"),
        (b'{"op": nul}', "none of JSON"),
        (b'{"op" 1}', "lacks a colon"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"0," * 1_100_000 + b"0]", "too many values"),
        (b"\x00", "lacks a value"),
    ],
)
def test_what_is_no_json_is_refused(native: Start, line: bytes, message: str) -> None:
    worker = native()
    worker.send(b" \t")  # a blank line is none
    worker.send(line)
    answer = worker.read()
    assert (answer["ok"], answer["kind"], answer["name"]) == (False, "request", None)
    assert_words(message, answer["error"], str(line[:20]))
    assert worker.ask({"op": "memory"})["peak_bytes"] > 0


def test_half_a_line_is_no_request(program: Path, library: Path) -> None:
    done = subprocess.run(
        [program, library, str(os.getpid())],
        input=b'{"op": "unload", "name": "x"}\n{"op": "memory"}',
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"ok": true}\n', b"")


@pytest.mark.parametrize("words", [[], ["lib", "x"], ["lib", "-1"], ["lib", "1", "2"]])
def test_it_says_how_it_is_called(program: Path, words: list[str]) -> None:
    done = subprocess.run([program, *words], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"usage: nasc-runner LIBRARY [PARENT]" in done.stderr


def test_answers_have_stdout_for_themselves(native: Start) -> None:
    worker = native()
    assert worker.start()["ok"]
    places = {fd: os.readlink(f"/proc/{worker.process.pid}/fd/{fd}") for fd in (1, 2)}
    assert places[1] == places[2]


def test_nothing_is_written_or_sent(program: Path, library: Path, tmp_path: Path) -> None:
    """Official builds of ONNX Runtime write a device id into the user's cache, unless told."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    worker = RawWorker([str(program), str(library), str(os.getpid())], home)
    try:
        assert worker.start()["ok"]
        assert not list(tmp_path.iterdir())
    finally:
        worker.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent_in_the_middle_of_a_run(
    program: Path, tmp_path: Path, how: signal.Signals
) -> None:
    assert dies_with_its_parent(write_endless(tmp_path / "endless.onnx"), how, program)


def test_without_a_parent_it_ends_with_its_stdin(
    program: Path, library: Path, tmp_path: Path
) -> None:
    path = write_endless(tmp_path / "endless.onnx")
    inputs = {name: encode_array(value) for name, value in ONE_TOKEN.items()}
    worker = RawWorker([str(program), str(library)])
    try:
        assert worker.start()["ok"]
        assert worker.ask({"op": "load", "name": "m", "path": str(path), "inputs": inputs})["ok"]
        begun = ticks(worker.process.pid)
        worker.send(b'{"op": "visit", "steps": [["m", 0, 1]]}')
        while ticks(worker.process.pid) < begun + 5:
            time.sleep(0.02)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(60) == 0
    finally:
        worker.close()


def native_device(tmp_path: Path) -> DeviceProfile:
    path = tmp_path / "board.toml"
    path.write_text(
        'name = "board"\ndescription = "a board"\ndetect = true\n'
        'connection.kind = "local"\nconnection.worker = "native"\n'
        'defaults.threads = 1\ndefaults.runtime = "onnxruntime"\n'
    )
    return device_profiles.find(path)


def test_a_device_file_asks_for_it(
    built_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASC_CACHE", str(built_cache))
    device = native_device(tmp_path)
    with open_worker(device, RuntimeOptions()) as worker:
        assert isinstance(worker, NativeWorker)
    found = measure(
        [ModelJob("m", reference_job(tmp_path).path, reference_job(tmp_path).inputs)],
        device,
        protocol=Protocol(min_rounds=3, max_rounds=6, max_seconds=5.0),
    )
    assert found.context["worker"] == "native"
    assert found["m"].latency_ms > 0
    assert measure_peak_memory(reference_job(tmp_path), device=device).model_bytes > 0


def test_it_has_a_baseline_of_its_own(tmp_path: Path) -> None:
    opener = synthetic_opener(SyntheticMachine({REFERENCE_NAME: 4.0}))
    first = load_or_record_baseline(tmp_path, device_profiles.find("host"), opener=opener)
    second = load_or_record_baseline(tmp_path, native_device(tmp_path), opener=opener)
    assert first.path != second.path


def test_an_accelerator_is_refused_before_it_starts(tmp_path: Path) -> None:
    device = native_device(tmp_path)
    text = device.path.read_text() + 'accelerator.kind = "cuda"\n'
    device.path.write_text(text)
    with pytest.raises(DeviceUnreachable, match="native worker does not compute on accelerator"):
        open_worker(device_profiles.find(device.path), RuntimeOptions())


def test_a_setting_of_the_client_is_refused_in_its_words(program: Path, built_cache: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"refused 'start': cores \[60000\] cannot be used"):
        NativeWorker(RuntimeOptions(cores=(60000,)), program=program, cache=built_cache)
