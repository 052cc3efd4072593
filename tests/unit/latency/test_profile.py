"""`nasc.latency.profile` on a synthetic device: plan, real graphs, known costs, cache."""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from synthetic_device import make_table

import profilers
from device_profiles import DeviceProfile, Noise, find
from nasc.architecture.space import Geometry, SearchSpace
from nasc.errors import CacheBusy, DeviceEmulated, NascError, TableDamaged, UsageError
from nasc.latency.basis import Basis
from nasc.latency.costs import TableCosts
from nasc.latency.plan import random_architecture
from nasc.latency.profile import Profiled, TransferFrom
from nasc.latency.profile import profile as profile_on
from nasc.latency.session import MeasurementSession, baseline_folder
from nasc.latency.table import Imported, LatencyTable, load_table, read_table
from nasc.latency.table_paths import samples_path, tables_folder
from nasc.lowering.base import MULTIPLES
from nasc.networks.network import random_network
from profilers.baseline import Window

SPACE = SearchSpace(
    "tiny",
    Geometry(layers=2, hidden=32, head_size=8, intermediate=64, vocab_size=100, max_positions=64),
    n_blocks=2,
    slots=2,
    hidden_sizes=(16, 32),
    operations=("mha", "ffn"),
)
QUIET_MS = 4.0
LONG_S = 300.0  # what another thread may take on a busy machine
profile_module = sys.modules[profile_on.__module__]
pytestmark = pytest.mark.usefixtures("networks_drawn_once")


class SyntheticMachine:
    """Runs nothing: a network takes the sum of known costs, its file has to be there.

    What is told and counted of all sessions on it.
    """

    def __init__(
        self,
        noise: float = 0.005,
        before: Callable[[], None] | None = None,
        *,
        on_recording: Callable[[], None] | None = None,
        renewed_ms: float = QUIET_MS,
        busy: bool = False,
    ) -> None:
        self.noise = noise
        self.before = before
        self.on_recording = on_recording
        self.renewed_ms = renewed_ms
        self.busy = busy
        self.recorded: dict[int, profilers.ReferenceBaseline] = {}
        self.measured: list[int] = []
        self.journals: list[Path] = []
        self.protocols: list[profilers.Protocol] = []
        self.baseline_calls = 0

    def baseline(
        self, options: profilers.RuntimeOptions, renew: bool
    ) -> profilers.ReferenceBaseline:
        self.baseline_calls += 1
        if self.on_recording is not None:
            self.on_recording()
        if renew or options.threads not in self.recorded:
            quiet_ms = self.renewed_ms if renew else QUIET_MS
            self.recorded[options.threads] = profilers.ReferenceBaseline(
                scale=profilers.Scale(quiet_ms, 1.02 * quiet_ms),
                windows=(Window("2026-11-03T10:00:00Z", 5.0, (quiet_ms,)),),
                key={
                    "fingerprint": "0123",
                    "runtime_version": "1.32.0",
                    "options": options.to_dict(),
                    "reference": "4567",
                },
                busy_share=0.02,
                busy=self.busy,
                path=Path("quiet.json"),
                fresh=True,
            )
        return self.recorded[options.threads]

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        options: profilers.RuntimeOptions,
        protocol: profilers.Protocol,
        scale: profilers.Scale,
        journal: Path,
    ) -> profilers.Measurement:
        self.journals.append(journal)
        self.protocols.append(protocol)
        journal.write_text("rounds")
        if self.before is not None:
            self.before()
        seq_len = jobs[0].inputs["input_ids"].shape[1]
        assert all(job.path.stat().st_size > 1000 for job in jobs)
        rng = np.random.default_rng(len(self.measured))
        models = [self._model(job, seq_len, options.threads, rng) for job in jobs]
        self.measured.append(len(jobs))
        visit = profilers.Visit(
            name="reference",
            start_s=0.0,
            end_s=0.004,
            runs_ms=(QUIET_MS,),
            own_ms=(QUIET_MS,),
            preempted=(0,),
        )
        return profilers.Measurement(
            models=tuple(models),
            reference=profilers.ReferenceMeasurement(
                scale=scale,
                given=True,
                observed_ms=QUIET_MS,
                seconds=1.0,
                content_hash="reference",
                samples=(visit,),
            ),
            context={"fingerprint": "0123", "runtime_version": "1.32.0"},
            options=options,
            protocol=protocol.to_dict(),
            rounds=4,
            drift_ratio=1.0,
            drift=False,
            busy_share=0.0,
            busy=False,
            converged=True,
            duration_s=1.0,
        )

    def _model(
        self, job: profilers.ModelJob, seq_len: int, threads: int, rng: np.random.Generator
    ) -> profilers.ModelMeasurement:
        exact_ms = true_ms(job.name, seq_len) / threads
        samples = []
        for i in range(4):
            run_ms = float(exact_ms * (1 + rng.normal(0, self.noise)))
            samples.append(
                profilers.RoundSample(
                    round=i,
                    instance=i // 2,
                    runs_ms=(run_ms,),
                    own_ms=(run_ms,),
                    preempted=(0,),
                    undisturbed=True,
                    reference_before_ms=QUIET_MS,
                    reference_after_ms=QUIET_MS,
                )
            )
        return profilers.ModelMeasurement.of(
            job.name,
            job.content_hash(),
            samples,
            profilers.Scale(QUIET_MS, QUIET_MS),
            noise=Noise(),
            converged=True,
        )


@dataclass(frozen=True, slots=True)
class SyntheticSession(MeasurementSession):
    """A session on a synthetic device."""

    machine: SyntheticMachine = field(default_factory=SyntheticMachine)

    def known_baseline(self) -> profilers.ReferenceBaseline | None:
        return self.machine.recorded.get(self.options.threads)

    def baseline(
        self,
        *,
        renew: bool = False,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> profilers.ReferenceBaseline:
        return self.machine.baseline(self.options, renew)

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        scale: profilers.Scale,
        *,
        protocol: profilers.Protocol | None = None,
        progress: Callable[[int, int, str], None] | None = None,
        journal: Path | None = None,
        strict: bool = True,
    ) -> profilers.Measurement:
        assert protocol is not None
        assert journal is not None
        assert not strict
        return self.machine.measure(jobs, self.options, protocol, scale, journal)

    def extend(
        self, baseline: profilers.ReferenceBaseline, measurement: profilers.Measurement
    ) -> profilers.ReferenceBaseline:
        return baseline

    def peak_memory(self, job: profilers.ModelJob, processes: int = 1) -> profilers.PeakMemory:
        return profilers.PeakMemory(total_bytes=60_000_000, base_bytes=50_000_000)


def profile(
    space: SearchSpace,
    device: DeviceProfile,
    *,
    cache_dir: Path,
    machine: SyntheticMachine,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> list[Profiled]:
    """Profile on a synthetic device."""
    session = SyntheticSession(
        device, profilers.RuntimeOptions(), cache_dir, say=say, machine=machine
    )
    return profile_on(space, session, **options)


def true_ms(name: str, seq_len: int) -> float:
    """The latency of a network, by its text; plans hold networks of any number of blocks."""
    basis = Basis(dataclasses.replace(SPACE, hidden_sizes=(8, 16, 32)), seq_len)
    n_blocks = name.count("|") + 1
    longer = dataclasses.replace(
        SPACE,
        geometry=dataclasses.replace(SPACE.geometry, layers=n_blocks),
        hidden_sizes=(8, 16, 32),
        n_blocks=n_blocks,
        slots=8,
    )
    network = longer.parse(name)
    costs = basis.nominal() * (1.0 if network.precision == "fp32" else 0.5)
    return float(basis.row(network) @ costs)


@pytest.fixture
def device() -> DeviceProfile:
    return find("host")


def test_a_table_predicts_the_device_it_was_measured_on(
    device: DeviceProfile, tmp_path: Path
) -> None:
    machine = SyntheticMachine()
    seen: list[str] = []
    [found] = profile(
        SPACE,
        device,
        cache_dir=tmp_path,
        precisions=["int8"],
        seq_lens=[32],
        machine=machine,
        progress=lambda done, total, message: seen.append(message),
    )
    assert found.fresh
    table = found.table
    rng = np.random.default_rng(0)
    for _ in range(30):
        network = random_architecture(SPACE, rng, "int8")
        predicted = table.predict(network)
        assert predicted.latency_ms == pytest.approx(true_ms(str(network), 32), rel=0.02)
    assert np.abs(table.held_out).max() < 0.05
    assert set(table.times) == {"plan_s", "emit_s", "measure_s", "fit_s"}
    assert table.quiet_ms == QUIET_MS
    assert table.key.precision == "int8"
    assert table.key.fingerprint == "0123"
    assert table.runtime_base_bytes == 50_000_000
    assert len(table.measured) == machine.measured[0]
    assert table.context["converged"] is True
    assert table.context["reference"]["recorded_utc"] == "2026-11-03T10:00:00Z"
    assert any("emitting" in message for message in seen)
    assert load_table(found.path).to_text() == table.to_text()


@pytest.mark.slow
def test_raw_samples_lie_beside_the_table(device: DeviceProfile, tmp_path: Path) -> None:
    [found] = profile(
        SPACE, device, cache_dir=tmp_path, precisions=["fp32"], machine=SyntheticMachine(),
        seq_lens=[32],
    )  # fmt: skip
    raw = json.loads(gzip.decompress(samples_path(found.path).read_bytes()))
    measurement = profilers.Measurement.from_dict(raw)
    by_name = found.table.measured.set_index("network")["latency_ms"].to_dict()
    assert {model.name: model.latency_ms for model in measurement.models} == by_name
    assert not list((tmp_path / "profiling").rglob("*.journal"))
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.slow
def test_every_combination_has_a_table_of_its_own(device: DeviceProfile, tmp_path: Path) -> None:
    machine = SyntheticMachine()
    settings = []
    for lists in ({"seq_lens": [16, 32, 16]}, {"seq_lens": [16], "threads": [1, 2]}):
        found = profile(
            SPACE, device, cache_dir=tmp_path, precisions=["fp32"], machine=machine, **lists
        )
        settings += [(f.table.key.threads, f.table.key.seq_len, f.fresh) for f in found]
    assert settings == [(1, 16, True), (1, 32, True), (1, 16, False), (2, 16, True)]
    assert len(machine.measured) == 3
    assert machine.baseline_calls == 3  # once for each number of threads in each call


@pytest.mark.slow
def test_what_is_in_the_cache_is_not_measured_again(device: DeviceProfile, tmp_path: Path) -> None:
    machine = SyntheticMachine()

    def run(space: SearchSpace = SPACE, force: bool = False) -> bool:
        found = profile(
            space, device, cache_dir=tmp_path, seq_lens=[32], machine=machine, force=force
        )
        return [f.fresh for f in found]

    assert run() == [True, True]
    assert run() == [False, False]
    assert run(SPACE.restrict(hidden_sizes=(16,))) == [False, False]  # a part of the space
    assert run(SPACE.restrict(hidden_sizes=(8, 16, 32))) == [True, True]
    assert run(force=True) == [True, True]
    assert len(list(tables_folder(tmp_path).glob("*.latency.csv"))) == 4


def test_intervals_are_those_of_the_device_s_noise(device: DeviceProfile, tmp_path: Path) -> None:
    """As it is known now, also of a table that was measured before it was."""
    machine, intervals = SyntheticMachine(), []
    for noise in (Noise(shift=0.03), Noise(shift=0.05, jitter_ms=0.1)):
        [found] = profile(
            SPACE,
            dataclasses.replace(device, noise=noise),
            cache_dir=tmp_path,
            precisions=["int8"],
            seq_lens=[16],
            machine=machine,
        )
        intervals.append((found.table.interval.shift, found.table.interval.jitter_ms))
    assert intervals == [(0.03, 0.012), (0.05, 0.1)]
    assert len(machine.measured) == 1


@pytest.mark.slow
def test_forcing_renews_the_scale_and_scales_never_mix(
    device: DeviceProfile, tmp_path: Path
) -> None:
    machine = SyntheticMachine(renewed_ms=4.2)

    def run(*precisions: str, force: bool = False) -> list[tuple[bool, float]]:
        found = profile(
            SPACE, device, cache_dir=tmp_path, precisions=precisions, seq_lens=[32],
            machine=machine, force=force,
        )  # fmt: skip
        TableCosts.of(one.table for one in found)
        return [(one.fresh, one.table.quiet_ms) for one in found]

    assert run("fp32", "int8") == [(True, QUIET_MS)] * 2
    assert run("int8", force=True) == [(True, 4.2)]
    assert run("fp32", "int8") == [(False, 4.2)] * 2  # brought to the scale of now
    machine.renewed_ms = 10.0
    assert run("int8", force=True) == [(True, 10.0)]
    assert run("fp32", "int8") == [(True, 10.0), (False, 10.0)]  # too far to be brought there
    assert run("fp32", "int8") == [(False, 10.0)] * 2


@pytest.mark.slow
def test_the_baseline_is_recorded_while_nobody_else_measures(
    device: DeviceProfile, tmp_path: Path
) -> None:
    held = []
    machine = SyntheticMachine(on_recording=lambda: held.append(is_held(tmp_path)))
    profile(SPACE, device, cache_dir=tmp_path, seq_lens=[32], threads=[1, 2], machine=machine)
    assert held == [True, True]
    assert not is_held(tmp_path)


def test_what_is_in_the_cache_is_found_while_another_process_measures(
    device: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.utils.files.LOCK_TIMEOUT_S", 0.0)
    machine = SyntheticMachine()

    def run() -> bool:
        [found] = profile(
            SPACE, device, cache_dir=tmp_path, precisions=["fp32"], seq_lens=[32], machine=machine
        )
        return found.fresh

    assert run()
    with MeasurementSession.on(device, tmp_path).alone():
        assert not run()


def is_held(cache_dir: Path) -> bool:
    """Whether somebody measures on the host from a cache."""
    try:
        with filelock.FileLock(cache_dir / "profiling" / "host" / "lock", timeout=0):
            return False
    except filelock.Timeout:
        return True


def test_what_is_told_of_a_table(device: DeviceProfile, tmp_path: Path) -> None:
    def run(**arguments: bool) -> Profiled:
        machine = SyntheticMachine(**arguments)
        [found] = profile(
            SPACE, device, cache_dir=tmp_path / str(arguments), precisions=["fp32"],
            seq_lens=[32], machine=machine,
        )  # fmt: skip
        return found

    quiet, busy = run(), run(busy=True)
    assert quiet.summary()["machine"] == "quiet enough"
    assert busy.summary()["machine"].startswith("busy in most of the time in which the")
    table = dataclasses.replace(busy.table, context={**busy.table.context, "busy": True})
    both = dataclasses.replace(busy, table=table).summary()["machine"]
    assert "busy while the networks were measured; busy in most" in both
    assert "--force" in both

    told = json.loads(json.dumps(busy.to_dict(), allow_nan=False))
    assert (told["busy"], told["quiet_time_busy"], told["fresh"]) == (False, True, True)
    assert told["mean_error"] == pytest.approx(np.abs(busy.table.held_out).mean())
    assert told["largest_error"] == pytest.approx(np.abs(busy.table.held_out).max())
    assert told["interval_half_width"] == busy.table.interval.half_width
    assert told["quiet_ms"] == QUIET_MS
    assert set(told["seconds"]) == {"plan", "emit", "measure", "fit"}
    assert all(isinstance(value, float) for value in told["seconds"].values())
    assert Path(told["path"]) == busy.path
    assert busy.summary()["largest error"] == f"{told['largest_error']:.2%}"


def test_a_damaged_table_in_the_cache_is_an_error_until_it_is_forced(
    device: DeviceProfile, tmp_path: Path
) -> None:
    def run(force: bool = False) -> Path:
        [found] = profile(
            SPACE, device, cache_dir=tmp_path, precisions=["fp32"], seq_lens=[32],
            machine=SyntheticMachine(), force=force,
        )  # fmt: skip
        return found.path

    path = run()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TableDamaged, match="is damaged"):
        run()
    assert run(force=True) == path
    assert run() == path


@pytest.mark.slow
def test_an_interrupted_measurement_goes_on_from_its_journal(
    device: DeviceProfile, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise profilers.MeasurementInterrupted("interrupted")

    machine = SyntheticMachine(before=interrupt)
    arguments = {"cache_dir": tmp_path, "precisions": ["fp32"], "seq_lens": [32]}
    with pytest.raises(KeyboardInterrupt):
        profile(SPACE, device, machine=machine, **arguments)
    assert machine.journals[0].read_text() == "rounds"
    assert not list(tables_folder(tmp_path).glob("*"))
    assert not list(tmp_path.rglob("*.onnx"))
    stale = machine.journals[0].parent / "graphs"  # what kill -9 leaves behind
    stale.mkdir()
    (stale / "0000.onnx").write_bytes(b"half a graph")
    again = SyntheticMachine(renewed_ms=4.2)  # raw runs are on no scale
    profile(SPACE, device, machine=again, force=True, **arguments)
    assert again.journals == machine.journals
    other = SyntheticMachine()
    profile(SPACE, device, machine=other, seed=1, force=True, **arguments)
    assert other.journals != machine.journals


def transferring(source: LatencyTable, budget: int = 8) -> TransferFrom:
    return TransferFrom(lambda key: source, budget)


@pytest.fixture
def elsewhere() -> LatencyTable:
    """The table of another device, of the same space."""
    return make_table(SPACE, device="board", created="2026-11-01T10:00:00+00:00", seed=3)


def test_a_few_networks_make_a_table_from_that_of_another_device(
    device: DeviceProfile, tmp_path: Path, elsewhere: LatencyTable
) -> None:
    arguments = {"cache_dir": tmp_path, "precisions": ["int8"], "seq_lens": [32]}
    machine = SyntheticMachine()
    [found] = profile(SPACE, device, machine=machine, transfer=transferring(elsewhere), **arguments)
    table = found.table
    assert (found.fresh, machine.measured, len(table.measured)) == (True, [8], 8)
    assert table.transferred is not None
    assert table.transferred.source == elsewhere.key.describe()
    assert (table.transferred.budget, table.transferred.created) == (8, elsewhere.created)
    assert len(table.held_out) == table.interval.dof == 6
    assert "-transferred-" in found.path.name
    assert found.summary()["note"] == table.note
    assert found.to_dict()["transferred"]["source"] == elsewhere.key.describe()
    loaded = read_table(found.path)
    assert loaded.table.to_text() == table.to_text()
    rng = np.random.default_rng(0)
    for _ in range(20):
        network = random_architecture(SPACE, rng, "int8")
        assert table.latency_ms(network) == pytest.approx(true_ms(str(network), 32), rel=0.2)

    def again(transfer: TransferFrom | None, **options: Any) -> bool:
        [one] = profile(SPACE, device, machine=machine, transfer=transfer, **(arguments | options))
        assert (one.table.transferred is None) == (transfer is None or (not one.fresh and whole))
        return one.fresh

    whole = False
    assert not again(transferring(elsewhere))
    [one] = profile(SPACE, device, machine=machine, accept_transferred=True, **arguments)
    assert (one.fresh, one.path) == (False, found.path)
    assert again(transferring(elsewhere, 9))
    other = dataclasses.replace(elsewhere, created="2026-11-02T10:00:00+00:00")
    assert again(transferring(other))
    assert again(None)  # what is to be measured whole is not there
    whole = True
    [here] = profile(SPACE, device, machine=machine, **arguments)
    origin = Imported("board", "another", "1", "2026-11-01")
    foreign = dataclasses.replace(here.table, imported=origin)
    foreign.save(here.path.parent)
    [one] = profile(SPACE, device, machine=machine, **arguments)
    assert (one.fresh, one.table.foreign) == (False, foreign.foreign)
    found.path.unlink(missing_ok=True)
    [one] = profile(SPACE, device, machine=machine, transfer=transferring(elsewhere), **arguments)
    assert one.fresh  # nothing was measured on this machine
    one.path.unlink()
    here.table.save(here.path.parent)
    assert not again(transferring(elsewhere))  # and is better than a transferred one


def test_a_transfer_from_a_setting_of_many_words_can_be_read_again(
    device: DeviceProfile, tmp_path: Path, elsewhere: LatencyTable
) -> None:
    options = json.dumps({"cores": list(range(0, 256, 2))})
    key = dataclasses.replace(elsewhere.key, options=options)
    source = transferring(dataclasses.replace(elsewhere, key=key), 5)
    arguments = {"cache_dir": tmp_path, "precisions": ["int8"], "seq_lens": [32]}
    [found] = profile(SPACE, device, machine=SyntheticMachine(), transfer=source, **arguments)
    loaded = read_table(found.path).table
    assert loaded.transferred is not None
    assert loaded.transferred.source.startswith("device 'board' (onnxruntime, ")
    assert loaded.transferred.source.endswith(" ...")


def test_a_transfer_that_was_interrupted_goes_on_from_its_journal(
    device: DeviceProfile, tmp_path: Path, elsewhere: LatencyTable
) -> None:
    def interrupt() -> None:
        raise profilers.MeasurementInterrupted("interrupted")

    machine, again = SyntheticMachine(before=interrupt), SyntheticMachine()
    arguments = {"cache_dir": tmp_path, "precisions": ["fp32"], "seq_lens": [32]}
    with pytest.raises(KeyboardInterrupt):
        profile(SPACE, device, machine=machine, transfer=transferring(elsewhere, 5), **arguments)
    assert machine.journals[0].read_text() == "rounds"
    profile(SPACE, device, machine=again, transfer=transferring(elsewhere, 5), **arguments)
    assert again.journals == machine.journals
    assert not machine.journals[0].exists()
    profile(SPACE, device, machine=again, transfer=transferring(elsewhere, 6), **arguments)
    assert again.journals[1] != again.journals[0]


def test_a_table_that_does_not_fit_is_refused_before_anything_is_measured(
    device: DeviceProfile, tmp_path: Path, elsewhere: LatencyTable
) -> None:
    machine = SyntheticMachine()
    larger = dataclasses.replace(SPACE, hidden_sizes=(8, 16, 32))
    with pytest.raises(UsageError, match="Take one of the same space"):
        profile(
            larger,
            device,
            cache_dir=tmp_path,
            machine=machine,
            seq_lens=[32],
            transfer=transferring(elsewhere),
        )
    emulated = dataclasses.replace(elsewhere, context={"emulated": True})
    with pytest.raises(DeviceEmulated, match=r"of device 'board' .* is emulated"):
        profile(
            SPACE,
            device,
            cache_dir=tmp_path,
            machine=machine,
            seq_lens=[32],
            transfer=transferring(emulated),
        )
    assert machine.measured == []


@pytest.mark.slow
def test_graphs_of_the_same_plan_are_the_same_bytes(
    device: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds in a journal are named by content: a run that goes on must emit the same."""
    monkeypatch.setattr("nasc.networks.network.random_network", random_network)  # drawn both times
    hashes = []
    for folder in ("a", "b"):
        [found] = profile(
            SPACE, device, cache_dir=tmp_path / folder, precisions=["int8"], seq_lens=[32],
            machine=SyntheticMachine(),
        )  # fmt: skip
        raw = json.loads(gzip.decompress(samples_path(found.path).read_bytes()))
        hashes.append([model["content_hash"] for model in raw["models"]])
    assert hashes[0] == hashes[1]


def test_two_runs_at_once_measure_once(device: DeviceProfile, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go_on.wait(LONG_S)

    machines = [SyntheticMachine(before=wait), SyntheticMachine()]
    results: list[bool] = []
    waiting = threading.Event()

    def tell(message: str) -> None:
        assert message == "waiting for another nasc that is making measurements on device 'host'"
        waiting.set()

    def run(machine: SyntheticMachine) -> None:
        [found] = profile(
            SPACE, device, cache_dir=tmp_path, precisions=["fp32"], seq_lens=[32],
            machine=machine, say=tell,
        )  # fmt: skip
        results.append(found.fresh)

    threads = [threading.Thread(target=run, args=(machine,)) for machine in machines]
    threads[0].start()
    assert inside.wait(LONG_S)
    threads[1].start()
    assert waiting.wait(LONG_S)
    go_on.set()
    for thread in threads:
        thread.join(LONG_S)
    assert sorted(results) == [False, True]
    assert [len(machine.measured) for machine in machines] == [1, 0]


def test_a_cache_that_stays_locked_says_so(
    device: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.utils.files.LOCK_TIMEOUT_S", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go_on.wait(LONG_S)

    arguments = {"cache_dir": tmp_path, "precisions": ["fp32"], "seq_lens": [32]}
    first = threading.Thread(
        target=profile,
        args=(SPACE, device),
        kwargs=arguments | {"machine": SyntheticMachine(0.005, wait)},
    )
    first.start()
    assert inside.wait(LONG_S)
    try:
        with pytest.raises(CacheBusy, match="has been making measurements on device 'host' in"):
            profile(SPACE, device, machine=SyntheticMachine(), **arguments)
    finally:
        go_on.set()
        first.join(LONG_S)


def test_a_cache_that_cannot_be_written_is_one_message(
    device: DeviceProfile, tmp_path: Path
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(NascError, match=r"cannot write to '.*cache/profiling/host'.*: Not a dir"):
        profile(SPACE, device, cache_dir=blocked, machine=SyntheticMachine(), seq_lens=[32])
    tables_folder(tmp_path).write_text("a file where a folder should be")
    with pytest.raises(
        NascError, match=r"cannot write the latency table for .*'host'.*: .*nasc profile --device"
    ):
        profile(SPACE, device, cache_dir=tmp_path, machine=SyntheticMachine(), seq_lens=[32])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seq_lens": []}, "--seq-len: at least one value"),
        ({"precisions": ["int4"]}, "does not compute in int4; it does in: fp32, int8"),
        ({"seq_lens": [65]}, "length 65 is over the 64 tokens"),
        ({"seq_lens": [0]}, "must be >= 1"),
        ({"threads": [0]}, "--threads: must be 1 or more, got 0"),
    ],
)
def test_impossible_settings_are_refused_before_anything_runs(
    device: DeviceProfile, tmp_path: Path, wrong: dict[str, list[object]], message: str
) -> None:
    machine = SyntheticMachine()
    arguments: dict[str, object] = {"seq_lens": [32]} | wrong
    with pytest.raises(UsageError, match=message):
        profile(SPACE, device, cache_dir=tmp_path, machine=machine, **arguments)
    assert machine.baseline_calls == 0


def test_sizes_that_a_precision_is_not_made_in_are_refused_or_left_out(
    device: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MULTIPLES, ("onnxruntime", "int8"), 32)
    machine = SyntheticMachine()
    arguments: dict[str, Any] = {"cache_dir": tmp_path, "machine": machine, "seq_lens": [32]}
    with pytest.raises(UsageError, match=r"--precision int8: .* of 32; .* 'tiny' has 8. Take .*fp"):
        profile(SPACE, device, precisions=["int8"], **arguments)
    assert machine.baseline_calls == 0
    [made] = profile(SPACE, device, **arguments)
    assert made.table.key.precision == "fp32"


def test_larger_spaces_get_more_time(device: DeviceProfile, tmp_path: Path) -> None:
    machine = SyntheticMachine()
    profile(SPACE, device, cache_dir=tmp_path, precisions=["fp32"], seq_lens=[32], machine=machine)
    assert machine.protocols[0].max_seconds == profile_module.MEASURE_S
    assert baseline_folder(tmp_path) != tables_folder(tmp_path)
