"""What a latency table holds for, and how it is asked for."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from nasc.errors import UsageError
from nasc.space import HEADS, PRECISIONS, Geometry


@dataclass(frozen=True, slots=True)
class TableQuery:
    """The setting that a table is wanted for; None where anything will do.

    Attributes:
        device: Name of the device profile.
        precision: Out of `PRECISIONS`.
        geometry: Of the teacher.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        threads: Threads of the runtime.
        runtime: For example ``onnxruntime``.
        head: ``embed`` or ``hidden``.
        fingerprint: Of the device's processor, as the profiler reads it.
        runtime_version: Of the runtime.
        options: Its settings as canonical JSON, threads aside.
        emitter_version: Of the emitter that built the measured graphs.
        statistic: The statistic of record that the latencies are in.
    """

    device: str
    precision: str
    geometry: Geometry
    seq_len: int = 128
    batch: int = 1
    threads: int = 1
    runtime: str = "onnxruntime"
    head: str = "embed"
    fingerprint: str | None = None
    runtime_version: str | None = None
    options: str | None = None
    emitter_version: int | None = None
    statistic: str | None = None

    def __post_init__(self) -> None:
        for name in ("seq_len", "batch", "threads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(
                    f"{name.replace('_', '-')} must be a whole number of 1 or more, got {value!r}"
                )
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}; known: {', '.join(PRECISIONS)}"
            )
        if self.head not in HEADS:
            raise UsageError(f"unknown head {self.head!r}; known: {', '.join(HEADS)}")

    def describe(self) -> str:
        """In words, as in ``device 'host' (onnxruntime, int8, 1 thread, length 128)``.

        Left out where they are the usual ones: batch 1, head embed.
        """
        words = [
            self.runtime,
            self.precision,
            f"{self.threads} thread{'s' if self.threads > 1 else ''}",
            f"length {self.seq_len}",
        ]
        if self.batch != 1:
            words.append(f"batch {self.batch}")
        if self.head != "embed":
            words.append(f"head {self.head}")
        return f"device {self.device!r} ({', '.join(words)})"

    def command(self) -> str:
        """The command that measures such a table."""
        parts = ["nasc profile", f"--device {self.device}", f"--precision {self.precision}"]
        if self.seq_len != 128:
            parts.append(f"--seq-len {self.seq_len}")
        if self.batch != 1:
            parts.append(f"--batch {self.batch}")
        if self.threads != 1:
            parts.append(f"--threads {self.threads}")
        return " ".join(parts)

    def stem(self) -> str:
        """Start of a table's file name: what can be told in words."""
        return (
            f"{device_prefix(self.device)}{self.runtime}-{self.precision}-length{self.seq_len}"
            f"-batch{self.batch}-threads{self.threads}-{self.head}-"
        )

    def differences(self, key: LatencyKey) -> list[str]:
        """Names of the fields in which a table is not what is wanted."""
        return [
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
            and getattr(self, field.name) != getattr(key, field.name)
        ]


@dataclass(frozen=True, slots=True)
class LatencyKey(TableQuery):
    """Everything that a measured latency depends on, the network aside: nothing is left open.

    The attributes are those of `TableQuery`.
    """

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one super() closes over.
        TableQuery.__post_init__(self)
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is None:
                raise UsageError(f"latency table: {field.name} is not known")


def device_prefix(device: str) -> str:
    """What the file names of all tables of a device begin with."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", device) + "-"
