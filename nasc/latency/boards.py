"""Several boards of one kind that share a measurement: the first speaks for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import profilers
from device_profiles import DeviceProfile
from nasc.errors import UsageError
from nasc.latency.key import device_prefix
from nasc.latency.session import MeasurementSession
from nasc.utils.progress import Progress, Say
from profilers.sharing import Part, measure_parts, merged


@dataclass(frozen=True, slots=True)
class BoardsSession(MeasurementSession):
    """A session on the first of several boards, whose networks are measured on all of them.

    Attributes:
        others: Sessions on the others.
    """

    others: tuple[MeasurementSession, ...] = ()
    _baselines: dict[str, profilers.ReferenceBaseline] = field(
        default_factory=dict, compare=False, repr=False
    )
    _parts: list[Part] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        devices: Sequence[DeviceProfile],
        cache_dir: Path,
        runtime: str | None = None,
        *,
        sustained_minutes: float | None = None,
        opener: profilers.Opener | None = None,
        say: Say | None = None,
        tuned: bool = True,
    ) -> BoardsSession:
        """A session on boards, the first of which gives its name and defaults.

        Raises:
            UsageError: If one is named twice, or they are not alike.
            profilers.ProfilerError: If one cannot be reached.
        """
        names = [device.name for device in devices]
        places = [(d.connection.host, d.connection.port, d.connection.serial) for d in devices]
        for i, name in enumerate(names):
            same = places.index(places[i])
            if names.index(name) < i or (same < i and any(places[i])):
                raise UsageError(f"--device names the board {name!r} twice: give each board once")
        sessions = [
            MeasurementSession.on(
                device,
                cache_dir,
                devices[0].default_threads,
                runtime or devices[0].default_runtime,
                sustained_minutes=sustained_minutes,
                opener=opener,
                say=say,
                tuned=tuned,
            )
            for device in devices
        ]
        first, *others = sessions
        for other in others:
            first.check_alike(other)
        own = {one.name: getattr(first, one.name) for one in fields(MeasurementSession)}
        return cls(**own, others=tuple(others))

    def with_threads(self, threads: int) -> BoardsSession:
        """The same with so many threads of the runtime, on all boards."""
        return replace(
            self,
            options=replace(self.options, threads=threads),
            others=tuple(other.with_threads(threads) for other in self.others),
            _baselines={},
            _parts=[],
        )

    @contextmanager
    def alone(self, kept: str | None = None) -> Iterator[Path]:
        """See `MeasurementSession.alone`; for all boards, in one order whoever asks."""
        with ExitStack() as stack:
            folders = {
                one.device.name: stack.enter_context(MeasurementSession.alone(one, kept))
                for one in sorted((self, *self.others), key=lambda one: one.device.name)
            }
            yield folders[self.device.name]

    def baseline(
        self, *, renew: bool = False, progress: Progress | None = None
    ) -> profilers.ReferenceBaseline:
        """The first board's; those of the others are recorded too where they are not yet."""
        for other in self.others:
            self._baselines[other.device.name] = other.baseline(renew=renew, progress=progress)
        return MeasurementSession.baseline(self, renew=renew, progress=progress)

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        scale: profilers.Scale,
        *,
        protocol: profilers.Protocol | None = None,
        progress: Progress | None = None,
        journal: Path | None = None,
        strict: bool = True,
    ) -> profilers.Measurement:
        """Latencies of models, divided over the boards, on the scale of the first.

        Raises:
            profilers.ProfilerError: See `profilers.sharing.measure_parts`.
        """

        def on(
            session: MeasurementSession,
            own: profilers.Scale,
            some: Sequence[profilers.ModelJob],
            report: Progress,
        ) -> profilers.Measurement:
            return MeasurementSession.measure(
                session,
                some,
                own,
                protocol=protocol,
                progress=report,
                journal=None if journal is None else _journal_of(session, journal),
                strict=strict,
            )

        scales = {name: one.scale for name, one in self._baselines.items()}
        devices = {self.device.name: partial(on, self, scale)}
        devices |= {o.device.name: partial(on, o, scales[o.device.name]) for o in self.others}
        parts = measure_parts(jobs, devices, progress=progress, say=self.say)
        self._parts[:] = parts
        found = merged(jobs, parts, scale)
        return replace(found, context=dict(found.context, device=self.device.name))

    def forget(self, journal: Path) -> None:
        """Removes the journals that all boards keep of a measurement whose result is kept."""
        for one in (self, *self.others):
            _journal_of(one, journal).unlink(missing_ok=True)

    def peak_memory(self, job: profilers.ModelJob, processes: int = 1) -> profilers.PeakMemory:
        """See `MeasurementSession.peak_memory`; of the first board that is still there."""
        for one in (self, *self.others[:-1]):
            try:
                return MeasurementSession.peak_memory(one, job, processes)
            except (profilers.DeviceUnreachable, profilers.WorkerDied):
                continue
        return MeasurementSession.peak_memory(self.others[-1], job, processes)

    def extend(
        self, baseline: profilers.ReferenceBaseline, measurement: profilers.Measurement
    ) -> profilers.ReferenceBaseline:
        """Each board's baseline with what its own part saw of the reference; the first's."""
        known: Mapping[str, profilers.ReferenceBaseline] = {
            **self._baselines,
            self.device.name: baseline,
        }
        found = dict(known)
        for part in self._parts:
            found[part.device] = profilers.extend_baseline(found[part.device], part.measurement)
        self._baselines.update(found)
        return found[self.device.name]


def _journal_of(session: MeasurementSession, journal: Path) -> Path:
    """Where a board keeps its part of a measurement."""
    return journal.with_name(f"{device_prefix(session.device.name)}{journal.name}")
