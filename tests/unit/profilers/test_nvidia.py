"""The GPU of a machine, by a driver that is made up: nothing else is."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import device_profiles
import profilers
from nasc.latency.session import MeasurementSession
from nasc.pipelines.devices import _runtime, report
from profilers import (
    DeviceUnreachable,
    ModelRejected,
    RuntimeOptions,
    reference_hash,
    reference_job,
)
from profilers.context import fingerprint
from profilers.nvidia import SETTLE_S, Gpu, find_gpu, is_settled, settle
from profilers.runtimes import computing_on, get_runtime
from profilers.runtimes.base import AcceleratedSession
from profilers.telemetry import VisitState, disturbances, read_state, summary
from profilers.worker import WorkerProcess


class NVMLError(Exception):
    pass


class Driver(SimpleNamespace):
    """What pynvml has of it, of one GPU."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
    NVMLError = NVMLError

    def __init__(self, **told: Any) -> None:
        super().__init__(driver="580.1", mhz=1980, celsius=41, reasons=0, asked=[], **told)

    def nvmlInit(self) -> None:
        if self.driver is None:
            raise NVMLError("Driver Not Loaded")

    def nvmlSystemGetDriverVersion(self) -> str:
        return str(self.driver)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index:
            raise NVMLError("Invalid Argument")
        self.asked.append(index)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetName(self, handle: object) -> str:
        return "NVIDIA Made Up"

    def nvmlDeviceGetCudaComputeCapability(self, handle: object) -> tuple[int, int]:
        return 9, 0

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Any:
        return SimpleNamespace(total=24 << 30)

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> int:
        return int(self.mhz)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int:
        if self.celsius is None:
            raise NVMLError("Not Supported")
        return int(self.celsius)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:
        return int(self.reasons)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    made_up = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", made_up)  # type: ignore[arg-type]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made_up  # type: ignore[return-value]


def test_a_gpu_is_what_its_driver_says(driver: Driver) -> None:
    assert find_gpu().identity == {
        "kind": "cuda",
        "name": "NVIDIA Made Up",
        "driver": "580.1",
        "capability": "9.0",
        "memory_bytes": 24 << 30,
    }


def test_the_first_that_cuda_may_use_is_taken(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-12ab,1")
    find_gpu()
    assert driver.asked == ["GPU-12ab"]
    for other in ("3", "none"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", other)
        with pytest.raises(DeviceUnreachable, match=f"no NVIDIA GPU '{other}' here.*nvidia-smi -L"):
            find_gpu()


def test_without_a_driver_or_its_library_it_is_one_message(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = device_profiles.find("cuda")
    driver.driver = None
    assert profilers.reachable(cuda) == (False, "no NVIDIA driver answers here")
    with pytest.raises(DeviceUnreachable, match=r"Driver Not Loaded.*or take the processor"):
        profilers.open_worker(cuda, RuntimeOptions())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert profilers.reachable(cuda) == (False, "nvidia-ml-py is not installed")
    with pytest.raises(DeviceUnreachable, match="python -m pip install nvidia-ml-py"):
        profilers.open_worker(cuda, RuntimeOptions())


def test_a_list_of_devices_says_what_the_gpu_is(driver: Driver) -> None:
    found = report(device_profiles.find("cuda"))
    assert found.reachable
    assert [runtime.name for runtime in found.runtimes] == [*computing_on("cuda")]
    assert "NVIDIA Made Up, 26 GB, compute capability 9.0, driver 580.1" in found.lines()[-1]
    if not _computes_on_gpu():
        assert found.precisions == ()
        for runtime in found.runtimes:
            said = [line for line in found.lines() if f" {runtime.name} " in line]
            assert runtime.reason
            assert f": does not compute here: {runtime.reason}" in said[0]
    driver.driver = None
    assert report(device_profiles.find("cuda")).gpu is None


def test_what_torch_computes_in_on_the_processor_is_told_without_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nasc.pipelines.devices.open_worker", None)
    cpu = {"cpu": {"flags": ["avx512_bf16"]}}
    monkeypatch.setattr("nasc.pipelines.devices.read_context", lambda: cpu)
    host = device_profiles.find("host")
    assert _runtime("torch", host, here=True).precisions == ("fp32", "bf16")
    cpu["cpu"]["flags"] = ["avx2"]
    assert _runtime("torch", host, here=True).precisions == ("fp32",)


def test_onnxruntime_that_took_the_processor_in_place_of_the_gpu_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = get_runtime("onnxruntime")
    taken = ["CPUExecutionProvider"]
    session = SimpleNamespace(get_providers=lambda: taken)
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: session)
    on_gpu = RuntimeOptions(accelerator="cuda")
    with pytest.raises(ModelRejected, match="would run it by CPUExecutionProvider, not by CUDA"):
        runtime.open_session(Path("m.onnx"), on_gpu)
    found = runtime.open_session(Path("m.onnx"), RuntimeOptions())
    assert isinstance(found, AcceleratedSession)
    assert found.accelerator == "cpu"
    taken.insert(0, "CUDAExecutionProvider")
    found = runtime.open_session(Path("m.onnx"), on_gpu)
    assert isinstance(found, AcceleratedSession)
    assert found.accelerator == "cuda"


@pytest.mark.parametrize("kind", ["adb", "local"])
def test_the_native_worker_computes_on_no_gpu(tmp_path: Path, kind: str, driver: Driver) -> None:
    held = '\nconnection.worker = "native"' if kind == "local" else ""
    path = tmp_path / "board.toml"
    path.write_text(
        f'name = "board"\ndescription = "a board"\ndetect = true\n'
        f'connection.kind = "{kind}"{held}\n'
        'accelerator.kind = "cuda"\n[defaults]\nthreads = 1\nruntime = "onnxruntime"\n',
        encoding="utf-8",
    )
    with pytest.raises(DeviceUnreachable, match="native worker does not compute on accelerator"):
        profilers.open_worker(device_profiles.find(path), RuntimeOptions())


def start(runtime: str, accelerator: str = "cuda") -> tuple[WorkerProcess, dict[str, Any]]:
    worker = WorkerProcess()
    options = RuntimeOptions(runtime, accelerator=accelerator).for_worker()
    request = {"op": "start", "options": options, "limits": {"memory_bytes": 64 << 30}}
    return worker, worker.answer(json.dumps(request))


@pytest.fixture
def limits_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process keeps its own limits of memory."""
    monkeypatch.setattr("profilers.worker._allow_memory", lambda most: most)


@pytest.mark.usefixtures("driver", "limits_kept")
def test_a_runtime_that_has_no_gpu_is_refused_with_what_to_do() -> None:
    if _computes_on_gpu():
        pytest.skip("what is installed here computes on a GPU")
    for runtime, message in (
        ("onnxruntime", "has no CUDAExecutionProvider, only .*pip uninstall"),
        ("torch", r"torch \S+ does not compute on the GPU NVIDIA Made Up: its build is for proc"),
    ):
        _, answer = start(runtime)
        assert (answer["ok"], answer["kind"]) == (False, "runtime")
        assert re.search(message, answer["error"]), answer["error"]


def _computes_on_gpu() -> bool:
    import onnxruntime
    import torch

    providers = onnxruntime.get_available_providers()
    return torch.cuda.is_available() or "CUDAExecutionProvider" in providers


class OnGpu:
    """A runtime whose sessions tell what an accelerator's clock does."""

    SETTINGS = ()

    def __init__(self) -> None:
        self.runs = 0
        self.accelerator = "cuda"

    def version(self) -> str:
        return "1"

    def precisions(self, flags: object) -> tuple[str, ...]:
        return ("fp32", "int8")

    def precisions_on(self, accelerator: Any) -> tuple[str, ...]:
        return ("fp32", "tf32") if accelerator["capability"] == "9.0" else ("fp32",)

    def has_device_clock(self) -> bool:
        return True

    def is_out_of_memory(self, error: Exception) -> bool:
        return False

    def open_session(self, path: Path, options: RuntimeOptions) -> OnGpu:
        return self

    def describe_inputs(self) -> dict[str, Any]:
        return {}

    def run(self, feeds: object) -> None:
        self.runs += 1

    def device_ns(self) -> int:
        return 3


@pytest.mark.usefixtures("limits_kept")
def test_a_worker_times_by_the_gpu_s_clock_and_tells_its_state(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = OnGpu()
    monkeypatch.setattr("profilers.worker.get_runtime", lambda name: runtime)
    worker, answer = start("torch")
    assert answer["clock"] == "cuda-event"
    context = answer["context"]
    assert context["precisions"] == ["fp32", "tf32"]
    assert context["accelerator"]["driver"] == "580.1"
    assert context["fingerprint"] != fingerprint(context["cpu"])
    load = {"op": "load", "name": "m", "path": "m.onnx", "inputs": {}}
    assert worker.answer(json.dumps(load))["ok"]
    driver.reasons = 0x4 | 0x1
    visit = {"op": "visit", "steps": [["m", 0, 2]]}
    answer = worker.answer(json.dumps(visit))
    assert answer["ok"], answer
    [told] = answer["visits"]
    assert told["own_ns"] == [3, 3]
    assert runtime.runs > 10  # until the clock had settled
    assert told["state"] == {
        "frequency_khz": {"gpu": 1980000},
        "temperature_mc": {"gpu": 41000},
        "throttled": ["power cap"],
    }
    runs = runtime.runs
    worker.answer(json.dumps(visit))
    assert runtime.runs == runs + 2  # it settles once
    driver.driver = "590.2"
    assert start("torch")[1]["context"]["fingerprint"] != context["fingerprint"]


@pytest.mark.usefixtures("driver", "limits_kept")
def test_what_the_processor_computes_is_not_taken_for_a_gpu_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = OnGpu()
    runtime.accelerator = "cpu"
    monkeypatch.setattr("profilers.worker.get_runtime", lambda name: runtime)
    worker, _ = start("torch")
    for op in ("load", "describe", "open", "kernels"):
        request = {"op": op, "name": "m", "path": "m.onnx", "inputs": {}, "turns": 1}
        answer = worker.answer(json.dumps(request))
        assert answer["error"] == "it is computed on cpu, and the device on cuda"


@pytest.mark.usefixtures("driver", "limits_kept")
def test_a_runtime_without_gpus_is_refused_by_those_that_have() -> None:
    if not profilers.runtimes.installed("openvino")[0]:
        pytest.skip("needs openvino")
    _, answer = start("openvino")
    assert (
        "'openvino' does not compute on cuda. Those that do: torch, onnxruntime" in answer["error"]
    )


def test_a_clock_settles_or_is_waited_for_no_longer() -> None:
    assert not is_settled([1980, 1980, 1980, 1980])
    assert is_settled([345, 1970, 1980, 1975, 1980, 1980])
    assert not is_settled([345, 900, 1980, 1980, 1980])
    assert is_settled([None] * 5)
    seconds = iter(range(1000))
    clocks = iter([345, 345, 1980, 1980, 1980, 1980, 1980])
    gpu = SimpleNamespace(clock_khz=lambda: next(clocks))
    runs: list[int] = []
    assert settle(gpu, lambda: runs.append(1), lambda: 0.01 * next(seconds)) == 6  # type: ignore[arg-type]
    assert len(runs) >= 6
    restless = iter(range(345, 10000, 100))
    gpu = SimpleNamespace(clock_khz=lambda: next(restless))
    assert settle(gpu, lambda: None, lambda: 0.1 * next(seconds)) < SETTLE_S / 0.1  # type: ignore[arg-type]


def test_what_is_not_told_is_left_out(driver: Driver) -> None:
    driver.celsius = None
    gpu: Gpu = find_gpu()
    assert gpu.state() == {"frequency_khz": {"gpu": 1980000}, "throttled": []}


def test_throttling_is_kept_and_said() -> None:
    data = {"frequency_khz": {"gpu": 1980000}, "throttled": ["power cap", "made up", 3]}
    state = read_state(data)
    assert state == VisitState(clock_khz=1980000, throttled=("power cap",))
    assert state is not None
    assert VisitState.from_list(state.to_list()) == state
    assert VisitState.from_list([1, None, None]) == VisitState(1)
    told = summary([state, state, dataclasses.replace(state, throttled=())])
    assert told is not None
    assert told["throttled_share"] == {"power cap": 2 / 3}
    assert disturbances(told) == ["the GPU was held back (power cap) in 67% of visits"]
    assert disturbances({"throttled_share": {"power cap": "x"}}) == []


def test_a_gpu_has_a_reference_of_its_size(tmp_path: Path) -> None:
    jobs = [reference_job(tmp_path, kind) for kind in ("cpu", "cuda")]
    assert [job.inputs["hidden_in"].shape for job in jobs] == [(128, 128), (1024, 768)]
    assert reference_hash() == reference_hash("cpu") != reference_hash("cuda")
    assert {path.name for path in tmp_path.iterdir()} == {job.path.name for job in jobs}


def test_what_a_gpu_computes_is_not_computed_here(driver: Driver, tmp_path: Path) -> None:
    session = MeasurementSession.on(device_profiles.find("cuda"), tmp_path)
    assert session.runtime == "torch"
    assert not session.evaluates_here("fp32")
    session._told["torch"] = {"cpu": {"arch": "x", "flags": []}, "accelerator": {"kind": "cuda"}}
    assert session.processor == {"arch": "x", "flags": [], "accelerator": {"kind": "cuda"}}
    assert session.fixed_fields()["reference"] == reference_hash("cuda")


def opened_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[], RuntimeOptions]:
    given: list[RuntimeOptions] = []

    def local_worker(options: RuntimeOptions, **_: object) -> Any:
        given.append(options)
        return SimpleNamespace(context={})

    monkeypatch.setattr("profilers.devices.local.LocalWorker", local_worker)
    return lambda: given[-1]


@pytest.mark.usefixtures("driver")
def test_the_device_says_what_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    last = opened_with(monkeypatch)
    for name, kind in (("host", "cpu"), ("cuda", "cuda")):
        profilers.open_worker(device_profiles.find(name), RuntimeOptions("torch"))
        assert last().accelerator == kind
        assert last().for_worker().get("accelerator", "cpu") == kind
    assert get_runtime("onnxruntime") is not None
