"""The errors of the measuring tool.

Every message says what failed with the offending value, what is allowed, and what to do next.
They are expected errors: a program shows the message alone and exits with status 1.
"""

from __future__ import annotations


class ProfilerError(Exception):
    """Base of every expected failure while measuring."""


class InvalidSetting(ProfilerError, ValueError):
    """A setting, a job or an input description is outside of what is allowed."""


class ModelRejected(ProfilerError):
    """A model file is missing, damaged, or holds something the runtime cannot run."""


class MemoryExceeded(ModelRejected):
    """A model needs more memory than the process that runs it may have."""


class RuntimeMissing(ProfilerError):
    """The runtime asked for is unknown, or not installed where the model should run."""


class DeviceUnreachable(ProfilerError):
    """A device cannot be reached or gives out, or nothing runs models on its accelerator.

    Attributes:
        reason: Why, in a few words; the whole message where there are none.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        """With its message, and the reason in a few words, as for a list of devices."""
        super().__init__(message)
        self.reason = reason or message


class DeviceLost(DeviceUnreachable):
    """A device that was reached is gone in the middle of its work; it may come back."""


class RunnerUnavailable(ProfilerError):
    """The native worker, or the library that it runs, cannot be made ready for a device."""


class WorkerDied(ProfilerError):
    """The process that runs the models ended, or stopped answering, in the middle of its work."""


class WorkerUnreliable(WorkerDied):
    """A worker hangs, or what it answers cannot be: whatever model it was asked about."""


class MemoryUnavailable(ProfilerError):
    """The device does not tell how much memory a process held."""


class MeasurementInconsistent(ProfilerError):
    """A latency that was derived contradicts the raw runs that it was derived from."""


class MeasurementInterrupted(KeyboardInterrupt):
    """The user stopped the measurement (Ctrl-C); the message says what is kept.

    It is no `ProfilerError`: code that goes on after a failure must not go on after Ctrl-C.
    """


class RecordDamaged(ProfilerError):
    """A saved measurement, journal or reference baseline cannot be read."""


class RecordBusy(ProfilerError):
    """Another process is using the same journal or reference baseline."""
