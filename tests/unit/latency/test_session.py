"""Whatever measures on a device does so alone: `compile`, `verify` and `bench` wait in turn."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest
from click.testing import CliRunner

import device_profiles
import profilers
from nasc import api
from nasc.architecture.space import MINILM_L6, Architecture, Block
from nasc.cli import main
from nasc.errors import CacheBusy, UsageError
from nasc.latency.predict import Prediction
from nasc.latency.profile import make_key
from nasc.latency.session import MeasurementSession
from nasc.networks.network import random_network
from nasc.pipelines.compiling.deciding import check_measured
from nasc.pipelines.compiling.measuring import lower, measure
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, State
from nasc.pipelines.options import Options
from nasc.solver.problem import Limits
from nasc.utils.progress import Silent
from profilers.baseline import Window
from profilers.testing import SyntheticMachine

ARCHITECTURE = Architecture((Block(32, ("ffn",)),))


class Listener(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Host:
    """A made-up host; of every session opened on it, whether nobody else could measure then."""

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir
        self.alone: list[bool] = []

    def __call__(self, *_: object) -> Any:
        self.alone.append(is_held(self.cache_dir))
        return machine().open()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    found = Host(tmp_path)
    yield found
    assert not is_held(tmp_path)


def held(cache_dir: Path) -> Any:
    """Somebody else who measures on the host."""
    return MeasurementSession.on(device_profiles.find("host"), cache_dir).alone()


def machine(reference_ms: float = 4.0) -> SyntheticMachine:
    """A machine on which model.onnx takes 5 ms."""
    return SyntheticMachine({"model": 5.0, "reference": reference_ms})


def is_held(cache_dir: Path) -> bool:
    try:
        with filelock.FileLock(cache_dir / "profiling" / "host" / "lock", timeout=0):
            return False
    except filelock.Timeout:
        return True


def compilation(opener: Any, cache: Path, limits: Limits, reporter: Listener | None = None) -> Any:
    device, reporter = device_profiles.find("host"), reporter or Listener()
    session, baseline = (
        MeasurementSession.on(device, cache, opener=opener, say=reporter.say),
        baseline_of(cache),
    )
    context: Any = SimpleNamespace(
        settings=SimpleNamespace(seq_len=16, batch=1, shape=None),
        inputs=SimpleNamespace(as_shipped=lambda network: network.with_head("embed")),
        mixture=None,
        lengths={16: 1.0},
        max_length=16,
        device=device,
        session=lambda runtime: session,
        sessions=SimpleNamespace(record_baseline=lambda runtime: baseline),
        reporter=reporter,
        timed=lambda stage: contextlib.nullcontext(),
        tables=SimpleNamespace(
            measure_costs=lambda variants: SimpleNamespace(
                predict=lambda architecture, runtime: Prediction(5.0, 4.9, 5.1),
                upper=lambda metric, value, variant: 1.02 * value,
                tables=collections.defaultdict(lambda: None),
            )
        ),
    )
    return Measuring(Compilation(context, limits, Options(), cache / "out"), cache)


@pytest.fixture(autouse=True)
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "nasc.pipelines.compiling.measuring.rows_used", lambda table, architecture: {}
    )


@dataclass
class Measuring:
    """A compilation that measures one network, as often as it is told."""

    compilation: Compilation
    folder: Path
    state: State = field(default_factory=lambda: State(Limits(latency_ms=9), (), ()))

    def measure(self) -> Any:
        network = random_network(ARCHITECTURE, MINILM_L6, vocab_rows=8)
        one = ChosenNetwork(network, "onnxruntime", None)
        artifact = lower(self.compilation, one, self.folder)
        found, self.state = measure(self.compilation, self.state, one, artifact)
        return found


def baseline_of(cache: Path) -> profilers.ReferenceBaseline:
    """The baseline of a machine that is not on disk yet."""
    windows = (Window("2026-11-28T00:00:00Z", 60.0, (4.0,) * 9),)
    path = cache / "quiet" / "quiet.json"
    return profilers.ReferenceBaseline(
        profilers.Scale(4.0, 4.1), {}, windows, 0.0, False, path, False
    )


def test_compile_measures_alone(host: Host, tmp_path: Path) -> None:
    found = compilation(host, tmp_path, Limits(latency_ms=9)).measure()
    assert found.latency.model.latency_ms == pytest.approx(5.0, rel=0.05)
    assert found.peak_bytes == 2_000_000
    assert len(host.alone) > 2
    assert all(host.alone)


def test_measurements_of_an_architecture_are_remembered_but_for_those_without_a_bound(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compilation(host, tmp_path, Limits(latency_ms=9))
    first = one.measure()
    model = first.latency.model
    assert first.repetitions_ms == (model.repetition_ms,)
    assert model.repetition_ms == pytest.approx(model.upper_ms * model.ratio_upper / model.ratio)
    again = one.measure()
    assert again.repetitions_ms[:1] == first.repetitions_ms
    assert len(again.repetitions_ms) == 2
    with monkeypatch.context() as patch:
        for name in ("held_ms", "repetition_ms"):
            patch.setattr(type(first.latency), name, lambda self, quantile: float("inf"))
        unbounded = one.measure()
        assert unbounded.repetitions_ms == again.repetitions_ms
        assert check_measured(one.compilation, one.state, unbounded).over
    assert len(one.measure().repetitions_ms) == 3


def test_compile_waits_and_says_so(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.utils.files.LOCK_TIMEOUT_S", 0.0)
    listener = Listener()
    one = compilation(host, tmp_path, Limits(latency_ms=9), listener)
    with held(tmp_path), pytest.raises(CacheBusy, match="on device 'host'"):
        one.measure()
    assert listener.said == [
        "waiting for another nasc that is making measurements on device 'host'"
    ]
    assert not host.alone


def test_a_device_that_tells_no_memory_stops_a_compile_only_where_memory_is_limited(
    tmp_path: Path,
) -> None:
    def silent(*_: object) -> Any:
        worker = machine().open()
        worker.base_bytes = None
        return worker

    found = compilation(silent, tmp_path, Limits(latency_ms=9)).measure()
    assert found.peak_bytes is None
    with pytest.raises(profilers.MemoryUnavailable, match="'host' does not tell"):
        compilation(silent, tmp_path, Limits(peak_memory_bytes=1e9)).measure()


def test_bench_measures_alone(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    found = api.bench([path], {"batch": 1, "seq_len": 8}, cache=tmp_path, opener=host)
    assert found.entries[0].latency.latency_ms == pytest.approx(5.0, rel=0.05)
    assert all(host.alone)
    monkeypatch.setattr("nasc.utils.files.LOCK_TIMEOUT_S", 0.0)
    listener = Listener()
    with held(tmp_path), pytest.raises(CacheBusy, match="on device 'host'"):
        api.bench([path], cache=tmp_path, reporter=listener, opener=host)
    assert len(listener.said) == 1


def test_bench_runs_single_stream_where_asked(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    asked: Any = {"protocol": "mlperf-single-stream", "min_duration_s": 2.0}
    sizes = {"batch": 1, "seq_len": 8}
    found = api.bench([path], sizes, cache=tmp_path, opener=host, **asked)
    stream = found.entries[0].stream
    assert stream is not None
    assert stream.duration_s >= 2.0
    assert stream.estimate_ms == pytest.approx(5.0, rel=0.1)
    assert found.to_dict()["entries"][0]["single_stream"] == stream.to_dict()
    assert all(host.alone)
    without = api.bench([path], sizes, cache=tmp_path, opener=host)
    assert "single_stream" not in without.to_dict()["entries"][0]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is measured is stopped by Ctrl-C in its second round."""
    real = profilers.measure

    def stop(one: Any) -> None:
        if one.index == 1:
            raise KeyboardInterrupt

    def measure(*about: Any, **options: Any) -> Any:
        return real(*about, **options, on_round=stop)

    monkeypatch.setattr("profilers.measure", measure)
    monkeypatch.setattr("profilers.benching.measure", measure)


def test_ctrl_c_in_a_measurement_says_what_is_kept(
    interrupted: None, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compilation(host, tmp_path, Limits(latency_ms=9))
    with pytest.raises(
        profilers.MeasurementInterrupted,
        match=r"'host' is not kept, the same command takes it anew\. Latency tables, the supernet",
    ):
        one.measure()
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    monkeypatch.setenv("NASC_CACHE", str(tmp_path))
    monkeypatch.setattr(api, "bench", partial(api.bench, opener=host))
    result = CliRunner().invoke(main, ["bench", str(path)])
    assert result.exit_code == 130
    assert result.stdout == ""
    assert result.stderr.endswith(
        "Interrupted: the measurement on device 'host' is not kept, the same command takes it "
        "anew.\n"
    )


def test_ctrl_c_is_no_failure_that_a_command_goes_on_after() -> None:
    """As verify does after a failure of the device, with exit status 0."""
    assert not issubclass(profilers.MeasurementInterrupted, Exception)
    assert issubclass(profilers.MeasurementInterrupted, KeyboardInterrupt)


def test_what_an_accelerator_gave_is_kept_apart(host: Host, tmp_path: Path) -> None:
    device = device_profiles.find("host")
    cuda = dataclasses.replace(device, accelerator=device_profiles.Accelerator("cuda", "made up"))
    sessions = [MeasurementSession.on(one, tmp_path, opener=host) for one in (device, cuda)]
    first, second = (session.baseline() for session in sessions)
    assert first.path != second.path
    keys = [
        make_key(baseline, session, MINILM_L6, precision="fp32")
        for baseline, session in zip((first, second), sessions, strict=True)
    ]
    assert [key.accelerator for key in keys] == ["cpu", "cuda"]
    assert not sessions[1].evaluates_here("fp32")


def test_a_renewed_baseline_replaces_the_recorded_one(host: Host, tmp_path: Path) -> None:
    session = MeasurementSession.on(device_profiles.find("host"), tmp_path, opener=host)
    assert session.known_baseline() is None
    first = session.baseline()
    assert first.fresh
    again = session.baseline()
    assert (again.fresh, again.quiet_ms) == (False, first.quiet_ms)

    slower = machine(8.0)
    renewed = dataclasses.replace(session, opener=lambda *_: slower.open()).baseline(renew=True)
    assert renewed.fresh
    assert renewed.quiet_ms == pytest.approx(2 * first.quiet_ms, rel=0.05)
    known = session.known_baseline()
    assert known is not None
    assert known.quiet_ms == renewed.quiet_ms


def test_a_device_is_asked_once_what_it_is(tmp_path: Path) -> None:
    """By each command a worker less, which takes seconds to start on a board or a phone."""
    asked = 0

    def opener(*_: object) -> Any:
        nonlocal asked
        asked += 1
        return machine(4.0).open()

    first = MeasurementSession.on(device_profiles.find("host"), tmp_path, opener=opener)
    recorded = first.baseline()
    assert asked > 1  # and then to record it
    asked = 0
    second = MeasurementSession.on(device_profiles.find("host"), tmp_path, opener=opener)
    for session in (second, second.with_threads(second.options.threads)):
        for known in (session.known_baseline(), session.baseline()):
            assert known is not None
            assert known.quiet_ms == recorded.quiet_ms
        make_key(recorded, session, MINILM_L6, precision="fp32")
    assert asked == 1


def test_devices_that_share_a_measurement_use_the_same_cores(tmp_path: Path) -> None:
    host = device_profiles.find("host")
    first, second, other = (
        MeasurementSession.on(
            dataclasses.replace(host, default_cores=cores), tmp_path, opener=Host(tmp_path)
        )
        for cores in ((0,), (0,), None)
    )
    first.check_alike(second)
    with pytest.raises(UsageError, match=r"their cores are \(0,\) and None"):
        first.check_alike(other)


def test_code_is_made_for_the_processor_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    lowering = SimpleNamespace(lower=lambda *_, **options: given.append(options))
    monkeypatch.setattr("nasc.latency.session.get_lowering", lambda runtime: lowering)
    network = random_network(ARCHITECTURE, MINILM_L6, vocab_rows=8)
    cpu = {"arch": "aarch64", "flags": ["asimd"]}
    for name, runtime, expected in (
        ("raspberrypi5", "tvm", cpu),
        ("raspberrypi5", "onnxruntime", None),
        ("host", "tvm", None),
    ):
        session = MeasurementSession.on(
            device_profiles.find(name), tmp_path, runtime=runtime, tuned=False
        )
        session._told[runtime] = {"cpu": cpu, "precisions": ["fp32"]}
        session.lower(network, tmp_path, lengths=(7,))
        assert (given[-1]["processor"], given[-1]["lengths"]) == (expected, (7,))
    session = MeasurementSession.on(device_profiles.find("raspberrypi5"), tmp_path, runtime="tvm")
    session._told["tvm"] = {"cpu": {"model": "made up"}, "precisions": ["fp32"]}
    with pytest.raises(UsageError, match="does not tell which instructions its processor has"):
        session.lower(network, tmp_path)
