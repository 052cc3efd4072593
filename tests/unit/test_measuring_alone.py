"""Whatever measures on a device does so alone: `compile`, `verify` and `bench` wait in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import pytest
from click.testing import CliRunner

import device_profiles
import profilers
from nasc import api
from nasc.cli import main
from nasc.compiler import Options
from nasc.compiler.pipeline import _Candidate, _Compilation
from nasc.errors import CacheBusy
from nasc.export.network import random_network
from nasc.latency.predict import Prediction
from nasc.measuring import measuring, runtime_options
from nasc.reporting import Silent
from nasc.solver.problem import Limits
from nasc.space import MINILM_L6, Architecture, Block
from profilers.measuring import measure
from profilers.quiet import Window
from profilers.testing import SyntheticMachine

ARCHITECTURE = Architecture((Block(32, ("ffn",)),))


class Listener(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """A made-up host; for every session opened on it, whether nobody else could measure then."""
    alone: list[bool] = []

    def opener(*_: object, **__: object) -> Any:
        alone.append(is_held(tmp_path))
        return machine().open()

    for function in (measure, profilers.load_quiet, profilers.load_or_record_quiet):
        monkeypatch.setitem(function.__kwdefaults__, "opener", opener)
    for module in ("memory", "benching"):
        monkeypatch.setattr(f"profilers.{module}.open_target", opener)
    yield alone
    assert not is_held(tmp_path)


def machine(reference_ms: float = 4.0) -> SyntheticMachine:
    """A machine on which model.onnx takes 5 ms."""
    return SyntheticMachine({"model": 5.0, "reference": reference_ms})


def is_held(cache_dir: Path) -> bool:
    try:
        with filelock.FileLock(cache_dir / "profiling" / "host" / "lock", timeout=0):
            return False
    except filelock.Timeout:
        return True


def compilation(cache: Path, limits: Limits, reporter: Listener | None = None) -> Any:
    device = device_profiles.find("host")
    bench: Any = SimpleNamespace(
        settings=SimpleNamespace(seq_len=16, batch=1, head="embed"),
        space=SimpleNamespace(precisions=("fp32",)),
        cache=cache,
        device=device,
        options=runtime_options(device, 1),
        quiet=quiet_time(cache),
        reporter=reporter or Listener(),
        timed=lambda stage: contextlib.nullcontext(),
        costs_in=lambda precision: SimpleNamespace(
            predict=lambda architecture: Prediction(5.0, 4.9, 5.1),
            upper=lambda metric, value, precision: 1.02 * value,
        ),
    )
    return _Compilation(bench, limits, Options(), cache / "out")


def quiet_time(cache: Path) -> profilers.QuietTime:
    """A record of the machine that is not on disk yet."""
    windows = (Window("2026-11-28T00:00:00Z", 60.0, (4.0,) * 9),)
    path = cache / "quiet" / "quiet.json"
    return profilers.QuietTime(profilers.Scale(4.0, 4.1), {}, windows, 0.0, False, path, False)


def candidate() -> _Candidate:
    return _Candidate(random_network(ARCHITECTURE, MINILM_L6, vocab_rows=8), None)


def test_compile_measures_alone(sessions: list[bool], tmp_path: Path) -> None:
    found = compilation(tmp_path, Limits(latency_ms=9)).measure(
        candidate(), tmp_path / "model.onnx"
    )
    assert found.measured.model.latency_ms == pytest.approx(5.0, rel=0.05)
    assert found.peak_bytes == 2_000_000
    assert len(sessions) > 2
    assert all(sessions)


def test_measurements_of_an_architecture_are_remembered_but_for_those_without_a_bound(
    sessions: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, path = compilation(tmp_path, Limits(latency_ms=9)), tmp_path / "model.onnx"
    first = one.measure(candidate(), path)
    model = first.measured.model
    assert first.repetitions_ms == (model.repetition_ms,)
    assert model.repetition_ms == pytest.approx(model.upper_ms * model.ratio_upper / model.ratio)
    again = one.measure(candidate(), path)
    assert again.repetitions_ms[:1] == first.repetitions_ms
    assert len(again.repetitions_ms) == 2
    with monkeypatch.context() as patch:
        for name in ("held_ms", "repetition_ms"):
            patch.setattr(type(first.measured), name, lambda self, quantile: float("inf"))
        unbounded = one.measure(candidate(), path)
        assert unbounded.repetitions_ms == again.repetitions_ms
        assert one.verdict(unbounded).over
    assert len(one.measure(candidate(), path).repetitions_ms) == 3


def test_compile_waits_and_says_so(
    sessions: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.files.LOCK_TIMEOUT_S", 0.0)
    listener = Listener()
    one = compilation(tmp_path, Limits(latency_ms=9), listener)
    with measuring(tmp_path, "host"), pytest.raises(CacheBusy, match="on device 'host'"):
        one.measure(candidate(), tmp_path / "model.onnx")
    assert listener.said == [
        "waiting for another nasc that is making measurements on device 'host'"
    ]
    assert not sessions


def test_a_device_that_tells_no_memory_stops_a_compile_only_where_memory_is_limited(
    sessions: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> Any:
        target = machine().open()
        target.base_bytes = None
        return target

    monkeypatch.setattr("profilers.memory.open_target", silent)
    path = tmp_path / "model.onnx"
    found = compilation(tmp_path, Limits(latency_ms=9)).measure(candidate(), path)
    assert found.peak_bytes is None
    with pytest.raises(profilers.MemoryUntold, match="'host' does not tell"):
        compilation(tmp_path, Limits(peak_memory_bytes=1e9)).measure(candidate(), path)


def test_bench_measures_alone(
    sessions: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    found = api.bench([path], {"batch": 1, "seq_len": 8}, cache=tmp_path)
    assert found.entries[0].latency.latency_ms == pytest.approx(5.0, rel=0.05)
    assert all(sessions)
    monkeypatch.setattr("nasc.files.LOCK_TIMEOUT_S", 0.0)
    listener = Listener()
    with measuring(tmp_path, "host"), pytest.raises(CacheBusy, match="on device 'host'"):
        api.bench([path], cache=tmp_path, reporter=listener)
    assert len(listener.said) == 1


@pytest.fixture
def interrupted(sessions: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
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
    interrupted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compilation(tmp_path, Limits(latency_ms=9))
    with pytest.raises(
        profilers.MeasurementInterrupted,
        match=r"'host' is not kept, the same command takes it anew\. Latency tables, the supernet",
    ):
        one.measure(candidate(), tmp_path / "model.onnx")
    path = tmp_path / "model.onnx"
    monkeypatch.setenv("NASC_CACHE", str(tmp_path))
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


def test_a_renewed_quiet_time_replaces_the_recorded_one(
    sessions: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = device_profiles.find("host")
    assert profilers.load_quiet(tmp_path, host) is None
    first = profilers.load_or_record_quiet(tmp_path, host)
    assert first.fresh
    again = profilers.load_or_record_quiet(tmp_path, host)
    assert (again.fresh, again.quiet_ms) == (False, first.quiet_ms)

    slower = machine(8.0)
    renewed = profilers.load_or_record_quiet(
        tmp_path, host, renew=True, opener=lambda *_: slower.open()
    )
    assert renewed.fresh
    assert renewed.quiet_ms == pytest.approx(2 * first.quiet_ms, rel=0.05)
    known = profilers.load_quiet(tmp_path, host)
    assert known is not None
    assert known.quiet_ms == renewed.quiet_ms
