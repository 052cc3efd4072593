"""Where the networks of a run are measured and run: one device, by each of its runtimes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import profilers
from device_profiles import DeviceProfile
from nasc.context.inputs import RunInputs
from nasc.evaluation.encoder import BATCH_SIZE, Encoder
from nasc.latency.estimate import peak_of
from nasc.latency.find import tables_of
from nasc.latency.missing_device import without_device
from nasc.latency.offline import offline_session, unreachable
from nasc.latency.session import MeasurementSession
from nasc.latency.table_paths import tables_folder
from nasc.lowering import Artifact
from nasc.package.formats import format_of
from profilers.devices.base import Worker

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class Sessions:
    """Sessions on a device, one for each runtime, with the scale of this run by each.

    Attributes:
        device: Where.
        why_offline: Why the device cannot be reached, as far as it was found; None where it is.
    """

    def __init__(
        self,
        inputs: RunInputs,
        device: DeviceProfile,
        *,
        opener: profilers.Opener | None = None,
        predicts_alone: bool = False,
    ) -> None:
        """Look whether the device is there; nothing is measured yet.

        Args:
            inputs: Of the run.
            device: Where.
            opener: Starts a worker on the device, see `MeasurementSession`.
            predicts_alone: Whether a device that cannot be reached may be known by its latency
                tables: what is made then says so, and measures nothing.

        Raises:
            TableMissing: If it is not attached; says what can be done.
            UsageError: If its file states too little for an estimate that is asked for.
        """
        self.device = device
        self.why_offline: profilers.DeviceUnreachable | None = None
        self._inputs = inputs
        self._opener = opener
        self._predicts_alone = predicts_alone
        self._sessions: dict[str, MeasurementSession] = {}
        self._baselines: dict[str, profilers.ReferenceBaseline] = {}
        if inputs.settings.estimate:
            peak_of(device, self.estimate_threads)  # raises
            self._opener = _open_nothing
            return
        try:
            profilers.check_device(device)
        except profilers.DeviceUnreachable as error:
            if not predicts_alone or not tables_of([tables_folder(inputs.cache)], device.name):
                raise without_device(device, error) from error
            self.why_offline = error

    @property
    def is_offline(self) -> bool:
        """Whether the device was found not to be there, so that nothing can be measured."""
        return self.why_offline is not None

    @property
    def estimate_threads(self) -> int:
        """Threads that an estimate is for."""
        return self._inputs.settings.threads or self.device.default_threads

    def on(self, runtime: str) -> MeasurementSession:
        """Where latencies are measured by a runtime.

        Raises:
            TableMissing: If the device cannot be reached, and there is no table of it.
        """
        if runtime not in self._sessions:
            s = self._inputs.settings
            session = MeasurementSession.on(
                self.device,
                self._inputs.cache,
                s.threads,
                runtime,
                sustained_minutes=s.sustained_minutes,
                opener=self._opener,
                say=self._inputs.reporter.say,
                tuned=s.tuned,
            )
            if self._predicts_alone and not s.estimate:
                session = self._or_offline(session)
            self._sessions[runtime] = session
        return self._sessions[runtime]

    def _or_offline(self, session: MeasurementSession) -> MeasurementSession:
        """A session, or what stands for it where its device cannot be reached.

        Raises:
            TableMissing: If it cannot be reached, and there is no table of it.
        """
        if self.why_offline is None and self.device.connection.kind != "local":
            self.why_offline = unreachable(session)
        if self.why_offline is None:
            return session
        found = offline_session(session, self.why_offline)
        if found is None:
            raise without_device(self.device, self.why_offline) from self.why_offline
        self._inputs.say_once(found.note)
        return found

    def opened(self, runtime: str) -> MeasurementSession | None:
        """The session of a runtime, if there was need of it so far."""
        return self._sessions.get(runtime)

    def record_baseline(self, runtime: str) -> profilers.ReferenceBaseline:
        """The reference baseline: the scale of this run, taken anew where a table was measured."""
        if runtime not in self._baselines:
            with self.saying_ways_on():
                self._baselines[runtime] = self.on(runtime).baseline(
                    progress=self._inputs.reporter.stage(
                        f"Reference of device {self.device.name!r}"
                    )
                )
        return self._baselines[runtime]

    def renew_baseline(self, runtime: str) -> profilers.ReferenceBaseline:
        """The baseline with what was measured since it was taken."""
        self._baselines[runtime] = self.on(runtime).baseline()
        return self._baselines[runtime]

    def open_encoder(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> AbstractContextManager[Encoder]:
        """An artifact as the device runs it, see `MeasurementSession.open_encoder`."""
        return self.on(artifact.runtime).open_encoder(
            artifact, tokenizer, max_length=max_length, batch_size=batch_size
        )

    def why_not_packed(self, runtime: str) -> str:
        """Why no package can be written here for a runtime on the device; empty if one can.

        Args:
            runtime: One of `SHIPPED`.

        Raises:
            TableMissing, profilers.ProfilerError: If the device cannot be asked.
        """
        form = format_of(runtime)
        if not form.CODE:  # for any processor: the device need not be asked
            return ""
        with self.saying_ways_on():
            processor = self.on(runtime).processor or {}
        return form.refusal(str(processor.get("arch", platform.machine())))

    @contextmanager
    def saying_ways_on(self) -> Iterator[None]:
        """Adds to a device that cannot be reached what can be done.

        Raises:
            TableMissing: In place of `profilers.DeviceUnreachable`.
        """
        try:
            yield
        except profilers.DeviceUnreachable as error:
            raise without_device(self.device, error) from error


def _open_nothing(device: object, options: object, limits: object = None) -> Worker:
    """What an estimate opens on its device.

    Raises:
        profilers.DeviceUnreachable: Always.
    """
    raise profilers.DeviceUnreachable(
        "with --estimate no device is asked, and what is wanted is not computed on this machine. "
        "Allow fp32 alone: --precision fp32; or measure on the device: leave --estimate out"
    )
