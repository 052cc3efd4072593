"""The tree of errors that NASC raises on purpose.

Every error here means that something outside the program was wrong: an argument, a file,
a device, a limit. Such an error ends a command with one message, no traceback and the
error's `exit_code`. Anything else that escapes is a bug and keeps its traceback.

A message says what failed and the offending value, what is allowed, and the next step as
a command.

    NascError
    |-- UsageError
    |-- TableError
    |   |-- TableMissing
    |   |-- TableDamaged
    |   |-- TableRefused
    |   `-- LookupMiss
    |-- InfeasibleLimits
    |-- LimitsMissed
    |-- TrainingDiverged
    |-- TeacherError
    |   |-- UnsupportedFamily
    |   |-- TeacherMissing
    |   `-- TeacherDamaged
    |-- CorpusError
    |-- TaskDataError
    |-- CheckpointError
    |-- RecordsError
    |   |-- RecordsDamaged
    |   `-- RecordsRefused
    |-- BoardsRefused
    |-- ExportError
    |   `-- ParityError
    |-- PackageError
    |-- CodeRefused
    |-- OutputBusy
    |-- CacheBusy
    `-- DeviceEmulated
"""

from typing import ClassVar, Protocol


class NascError(Exception):
    """Anything that NASC refuses or fails to do for a reason it can name.

    Attributes:
        exit_code: Exit status of a command that ends with this error.
        message: The message, as shown to the user.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(NascError):
    """What was asked for makes no sense: a bad option, value or combination of options."""

    exit_code: ClassVar[int] = 2


class TableError(NascError):
    """A latency table cannot answer."""


class TableMissing(TableError):
    """No latency table was measured for this device, runtime and setting."""


class TableDamaged(TableError):
    """A latency table is there but cannot be read, or contradicts itself.

    Attributes:
        reason: What is wrong with it, without the file and the next step.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class TableRefused(TableError):
    """A latency table is sound, and not one to be used here."""


class LookupMiss(TableError, KeyError):
    """A latency table holds no cost for what was looked up.

    Never answered with zero or with the nearest entry. It is a KeyError too, so that code
    that treats a table as a mapping handles it.
    """

    def __str__(self) -> str:
        """Return the message itself; KeyError would show it quoted."""
        return self.message


class Certificate(Protocol):
    """Why limits cannot be met: the reachable minimum and what it consists of."""

    def __str__(self) -> str:
        """Return the certificate as text for the user, commands to try included."""
        ...


class InfeasibleLimits(NascError):
    """No network in the search space meets all limits at once.

    Attributes:
        certificate: The proof: the reachable minimum, what it consists of, the nearest
            feasible limits.
    """

    def __init__(self, message: str, certificate: Certificate) -> None:
        super().__init__(message)
        self.certificate = certificate

    def __reduce__(self) -> tuple[type["InfeasibleLimits"], tuple[str, Certificate]]:
        """Pickle with both arguments, so that the error crosses process borders whole."""
        return type(self), (self.message, self.certificate)


class LimitsMissed(NascError):
    """Networks that should fit were built and measured, and did not keep what was asked."""


class TrainingDiverged(NascError):
    """A loss, or its gradient, was not finite."""


class TeacherError(NascError):
    """A teacher cannot be used."""


class UnsupportedFamily(TeacherError):
    """The teacher is of no family that is supported, or a variant of one that differs."""


class TeacherMissing(TeacherError):
    """The teacher, or one of its files, is not there."""


class TeacherDamaged(TeacherError):
    """A file of the teacher cannot be read, or is not the one that was promised."""


class CorpusError(NascError):
    """A text corpus is missing, unreadable, binary, empty or too small."""


class TaskDataError(NascError):
    """The data file of a task is missing, unreadable or lacks what the task needs."""


class CheckpointError(NascError):
    """A checkpoint is damaged, or belongs to another teacher, search space or version."""


class RecordsError(NascError):
    """Tuning records cannot be used."""


class RecordsDamaged(RecordsError):
    """Tuning records cannot be read, or contradict themselves."""


class RecordsRefused(RecordsError):
    """There are no tuning records, or they are of another device, target or version."""


class BoardsRefused(NascError):
    """Boards of a farm differ, or run what kernels are not tuned with."""


class ExportError(NascError):
    """A network cannot be turned into a graph for the runtime."""


class ParityError(ExportError):
    """An exported graph does not agree numerically with the network it was made from."""


class PackageError(NascError):
    """A package cannot be written, or is not what its manifest says."""


class CodeRefused(NascError):
    """A file is code that somebody else may have made, and nobody said that it may run."""

    exit_code: ClassVar[int] = 3


class OutputBusy(NascError):
    """Another run is writing what this one was asked to write."""


class CacheBusy(NascError):
    """Another run holds the lock of a cache entry for longer than is reasonable to wait."""


class DeviceEmulated(NascError):
    """Latencies are asked for of a device, or from a table, that is emulated: it has none."""
