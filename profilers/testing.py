"""A device that is made up: for tests of code that measures, without a clock or a runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from profilers.errors import ModelRejected
from profilers.jobs import ModelJob, RuntimeOptions, WorkerLimits
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step, Visit


@dataclass(slots=True)
class SyntheticMachine:
    """A machine with a clock of its own, on which every model's true latency is known.

    Attributes:
        truth_ms: True latency of each model in milliseconds, by its file's stem; the reference's by
            its name.
        seed: Seed of the noise.
        drift: Factor by which the clock slows at most, and recovers, over `drift_period_s`.
        drift_period_s: Seconds in which the clock goes from fast to slow to fast.
        noise: Relative standard deviation of a run (only ever slower: folded normal).
        process_spread: Relative standard deviation of a model's speed between workers.
        spike_share: Share of runs that are disturbed.
        spike_factor: Factor by which a disturbed run takes longer, at most.
        spike_seen: Share of the disturbed runs that the system reports as preempted.
        quiet_s: Seconds for which nothing else runs, before a neighbour does for `busy_s`.
        busy_s: Seconds for which a neighbour runs, after `quiet_s` without one; 0 is a machine of
            its own.
        slowed: Factor by which the neighbour slows each model, by the names of `truth_ms`.
        now_s: Time of the machine's clock in seconds.
        latency_ms: Gives the true latency in milliseconds of a model's file that `truth_ms` does
            not name.
        precisions: Number formats that its runtime offers, out of `profilers.context.PRECISIONS`.
        random: Generator of the noise.
    """

    truth_ms: Mapping[str, float]
    seed: int = 0
    drift: float = 1.0
    drift_period_s: float = 60.0
    noise: float = 0.005
    process_spread: float = 0.002
    spike_share: float = 0.0
    spike_factor: float = 3.0
    spike_seen: float = 0.7
    quiet_s: float = 1.0
    busy_s: float = 0.0
    slowed: Mapping[str, float] = field(default_factory=dict)
    now_s: float = 0.0
    latency_ms: Callable[[Path], float] | None = None
    precisions: tuple[str, ...] = ("fp32", "int8")
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.now_s = float(self.random.uniform(0.0, self.drift_period_s))

    def open(self) -> SyntheticWorker:
        """Starts a worker on this machine."""
        return SyntheticWorker(self)

    def pause(self, seconds: float) -> None:
        """Lets time pass."""
        self.now_s += seconds

    def run(self, speed_ms: float, name: str = "") -> tuple[float, float, int]:
        """Runs something once, slowed as `slowed` says of its name.

        Returns:
            Its wall time and its own time in milliseconds, and how often it was preempted.
        """
        phase = 2.0 * math.pi * self.now_s / self.drift_period_s
        slow = 1.0 + (self.drift - 1.0) * (1.0 - math.cos(phase)) / 2.0
        if self.now_s % (self.quiet_s + self.busy_s) >= self.quiet_s:
            slow *= self.slowed.get(name, 1.0)
        wall_ms = speed_ms * slow * (1.0 + abs(float(self.random.normal(0.0, self.noise))))
        own_ms, preempted = wall_ms, 0
        if self.random.random() < self.spike_share:
            wall_ms *= float(self.random.uniform(1.0, self.spike_factor))
            preempted = int(self.random.random() < self.spike_seen)
            if not preempted:  # the core was kept, but worked more slowly
                own_ms = wall_ms
        self.now_s += wall_ms * 1e-3
        return wall_ms, own_ms, preempted


class SyntheticWorker:
    """A worker on a synthetic machine, see `profilers.devices.base.Worker`."""

    def __init__(self, machine: SyntheticMachine) -> None:
        """Starts it; see `SyntheticMachine.open`."""
        self._machine = machine
        self._speed_ms: dict[str, float] = {}
        self._key: dict[str, str] = {}
        self.closed = False
        self.base_bytes: int | None = 1_000_000
        self.context: dict[str, Any] = {
            "fingerprint": "synthetic",
            "cpu": {"model": "synthetic"},
            "memory_bytes": 1 << 34,
            "runtime": "synthetic",
            "runtime_version": "1",
            "precisions": list(machine.precisions),
            "time_utc": "2000-01-01T00:00:00Z",
        }

    def load(self, job: ModelJob, seed: int) -> None:
        """See `Worker`."""
        machine = self._machine
        key = REFERENCE_NAME if job.name.startswith(REFERENCE_NAME) else job.path.stem
        truth_ms = machine.truth_ms.get(key)
        if truth_ms is None and machine.latency_ms is not None:
            truth_ms = machine.latency_ms(job.path)
        if truth_ms is None:
            raise ModelRejected(f"the runtime rejected the model {str(job.path)!r}: unknown here.")
        self._key[job.name] = key
        layout = float(machine.random.normal(0.0, machine.process_spread))
        self._speed_ms[job.name] = truth_ms * (1.0 + layout)

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        """See `Worker`."""
        done = [self._step(step) for step in steps]
        return [visit for visit in done if visit is not None]

    def _step(self, step: Step) -> Visit | None:
        speed_ms, key = self._speed_ms[step.name], self._key[step.name]
        for _ in range(step.warmup):
            self._machine.run(speed_ms, key)
        start_s = self._machine.now_s
        taken = [self._machine.run(speed_ms, key) for _ in range(step.runs)]
        if not taken:
            return None
        return Visit(
            name=step.name,
            start_s=start_s,
            end_s=self._machine.now_s,
            runs_ms=tuple(wall_ms for wall_ms, _, _ in taken),
            own_ms=tuple(own_ms for _, own_ms, _ in taken),
            preempted=tuple(preempted for _, _, preempted in taken),
        )

    def unload(self, name: str) -> None:
        """See `Worker`."""
        self._speed_ms.pop(name, None)

    def describe(self, path: str) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `Worker`."""
        return {"input_ids": ("int64", ["batch", "seq_len"])}

    def peak_bytes(self) -> int | None:
        """See `Worker`."""
        return 2_000_000

    def close(self) -> None:
        """See `Worker`."""
        self.closed = True

    def __enter__(self) -> SyntheticWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def synthetic_opener(machine: SyntheticMachine) -> Any:
    """Returns a function for `measure(..., opener=...)` that starts workers on a machine."""

    def opener(
        device: object, options: RuntimeOptions, limits: WorkerLimits | None = None
    ) -> SyntheticWorker:
        return machine.open()

    return opener
