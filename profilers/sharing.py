"""One measurement on several devices of one kind: its models are divided, its scale is one.

Every model is measured on one device, beside the reference network of that device. Boards of one
kind are not equally fast, so times of each are brought to the scale of the first by the quiet times
of the reference, which is what latencies are in units of.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from profilers.errors import DeviceUnreachable, MeasurementInterrupted, WorkerDied
from profilers.jobs import ModelJob
from profilers.protocol import BUSY_LIMIT, DRIFT_LIMIT, busy_share, drift_ratio, quiet_reference_ms
from profilers.results import Measurement, ModelMeasurement
from profilers.samples import RoundSample, Visit
from profilers.statistic import Scale

Progress = Callable[[int, int, str], None]

Measure = Callable[[Sequence[ModelJob], Progress], Measurement]
"""Measures models on one device, under its own scale."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one device measured.

    Attributes:
        device: Its name.
        measurement: Under the device's own scale.
    """

    device: str
    measurement: Measurement


def measure_parts(
    jobs: Sequence[ModelJob],
    devices: Mapping[str, Measure],
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Part]:
    """Measures models on several devices at once.

    The models of a device that gives out are measured by the others.

    Args:
        jobs: The models.
        devices: By name, what measures on a device; each is called in a thread of its own.
        progress: Called with (units done, units in all, message), of all devices together.
        say: Told of a device that gives out.

    Returns:
        What was measured; every model is in one part.

    Raises:
        DeviceUnreachable, WorkerDied: The last device gave out too.
        MeasurementInterrupted: Ctrl-C.
        ProfilerError: What measuring on one of them raises, once the others have stopped.
    """
    sharing = _Sharing(progress)
    alive = list(devices)
    left = list(jobs)
    parts: list[Part] = []
    with ThreadPoolExecutor(len(devices)) as pool:
        while left:
            shares = {name: left[i :: len(alive)] for i, name in enumerate(alive)}
            running = {
                name: pool.submit(devices[name], share, sharing.reporter(name))
                for name, share in shares.items()
                if share
            }
            sharing.finish(running)
            left = []
            for name, future in running.items():
                error = future.exception()
                if error is None:
                    parts.append(Part(name, future.result()))
                elif isinstance(error, DeviceUnreachable | WorkerDied):
                    alive.remove(name)
                    left += shares[name]
                    if not alive:
                        raise error
                    if say is not None:
                        say(
                            f"device {name!r} gave out: {error}\n{len(shares[name])} networks of "
                            f"it go to: {', '.join(alive)}"
                        )
                else:
                    raise error
    return parts


class _Sharing:
    """Progress of several threads as one, and how they are stopped."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._units: dict[str, tuple[int, int]] = {}

    def reporter(self, name: str) -> Progress:
        """What a device reports to; it ends the measuring there where another one failed."""

        def report(done: int, total: int, message: str) -> None:
            if self._stop.is_set():
                raise KeyboardInterrupt  # as Ctrl-C, which reaches the main thread alone
            with self._lock:
                self._units[name] = (done, total)
                if self._progress is not None:
                    sums = [sum(counts) for counts in zip(*self._units.values(), strict=True)]
                    self._progress(sums[0], sums[1], f"{name}: {message}")

        return report

    def finish(self, running: Mapping[str, Future[Measurement]]) -> None:
        """Waits for all; a failure that no other device can mend stops them."""
        for future in running.values():
            future.add_done_callback(self._look)
        try:
            wait(running.values())
        except KeyboardInterrupt:
            self._stop.set()
            wait(running.values())
            for future in running.values():
                if isinstance(error := future.exception(), MeasurementInterrupted):
                    raise error from None
            raise
        # What stopped the others is told, not that they were stopped.
        errors = [future.exception() for future in running.values()]
        told = [e for e in errors if e is not None and not isinstance(e, MeasurementInterrupted)]
        hopeless = [e for e in told if not isinstance(e, DeviceUnreachable | WorkerDied)]
        if hopeless:
            raise hopeless[0]

    def _look(self, future: Future[Measurement]) -> None:
        error = future.exception()
        if error is not None and not isinstance(error, DeviceUnreachable | WorkerDied):
            self._stop.set()


def merged(jobs: Sequence[ModelJob], parts: Sequence[Part], scale: Scale) -> Measurement:
    """Parts of a measurement as if one device had taken them all.

    Args:
        jobs: Whose order the result has.
        parts: Not empty; each under its own scale.
        scale: Of the result, that of the device it is told for.

    Returns:
        The measurement; `context["boards"]` tells which device measured how many models, and its
        reference's quiet time in milliseconds.
    """
    samples: dict[str, tuple[RoundSample, ...]] = {}
    found: dict[str, ModelMeasurement] = {}
    references: list[Visit] = []
    rounds = instances = 0
    for part in parts:
        one = part.measurement
        factor = scale.quiet_ms / one.reference.quiet_ms
        for model in one.models:
            found[model.name] = model
            samples[model.name] = tuple(
                _scaled_sample(sample, factor, rounds, instances) for sample in model.samples
            )
        references += [_scaled_visit(visit, factor) for visit in one.reference.samples]
        every = [sample for model in one.models for sample in model.samples]
        rounds += 1 + max(sample.round for sample in every)
        instances += 1 + max(sample.instance for sample in every)
    first = parts[0].measurement
    models = tuple(
        ModelMeasurement.of(
            job.name,
            found[job.name].content_hash,
            samples[job.name],
            scale,
            noise=first.noise,
            converged=found[job.name].converged,
        )
        for job in jobs
    )
    visits = tuple(references)
    drift = max(drift_ratio(part.measurement.reference.samples) for part in parts)
    busy = busy_share(visits)
    boards = [
        {
            "name": part.device,
            "models": len(part.measurement.models),
            "quiet_ms": part.measurement.reference.quiet_ms,
        }
        for part in parts
    ]
    return dataclasses.replace(
        first,
        models=models,
        reference=dataclasses.replace(
            first.reference,
            scale=scale,
            given=True,
            observed_ms=quiet_reference_ms(visits),
            seconds=sum(part.measurement.reference.seconds for part in parts),
            samples=visits,
        ),
        context={**first.context, "boards": boards},
        rounds=sum(part.measurement.rounds for part in parts),
        drift_ratio=drift,
        drift=drift > DRIFT_LIMIT,
        busy_share=busy,
        busy=busy > BUSY_LIMIT,
        converged=all(model.converged for model in models),
        duration_s=max(part.measurement.duration_s for part in parts),
    )


def _scaled_sample(sample: RoundSample, factor: float, rounds: int, instances: int) -> RoundSample:
    return dataclasses.replace(
        sample,
        round=sample.round + rounds,
        instance=sample.instance + instances,
        runs_ms=_scaled(sample.runs_ms, factor),
        own_ms=_scaled(sample.own_ms, factor),
        reference_before_ms=sample.reference_before_ms * factor,
        reference_after_ms=sample.reference_after_ms * factor,
    )


def _scaled_visit(visit: Visit, factor: float) -> Visit:
    return dataclasses.replace(
        visit,
        start_s=visit.start_s * factor,
        end_s=visit.end_s * factor,
        runs_ms=_scaled(visit.runs_ms, factor),
        own_ms=_scaled(visit.own_ms, factor),
    )


def _scaled(times: Sequence[float], factor: float) -> tuple[float, ...]:
    return tuple(time * factor for time in times)
