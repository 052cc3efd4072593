"""What a latency table holds for, and how it is asked for."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from device_profiles import ACCELERATORS, CPU, MAX_CORES
from device_profiles.sustained import MAX_SUSTAINED, MIN_SUSTAINED, load_words
from nasc.architecture.heads import check_head
from nasc.architecture.space import MINILM_L6, Geometry
from nasc.architecture.variant import Variant
from nasc.errors import UsageError

DEFAULT_RUNTIME = "onnxruntime"
"""Of device profiles that name none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyKey:
    """Everything that a measured latency depends on, the network aside.

    Attributes:
        device: Name of the device profile.
        precision: Out of `nasc.architecture.space.PRECISIONS`.
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
        reference: Content hash of the reference network, whose quiet time is their scale.
        quiet_ms: That quiet time as recorded. It moves a little with every measurement: a table
            on a scale near the one asked for is brought to it, see `LatencyTable.rescaled`.
        fixed_shape: Whether the measured graphs take inputs of this batch and length alone.
        accelerator: What computes on the device, out of `device_profiles.ACCELERATORS`.
        records: Hash of the tuning records that the measured networks were compiled by; empty where
            by none.
    """

    device: str
    precision: str
    geometry: Geometry
    seq_len: int = 128
    batch: int = 1
    threads: int = 1
    runtime: str = DEFAULT_RUNTIME
    head: str = "embed"
    fingerprint: str
    runtime_version: str
    options: str
    emitter_version: int
    statistic: str
    reference: str
    quiet_ms: float
    fixed_shape: bool = False
    accelerator: str = CPU
    records: str = ""

    def __post_init__(self) -> None:
        for name in ("seq_len", "batch", "threads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(
                    f"{name.replace('_', '-')} must be a whole number of 1 or more, got {value!r}"
                )
        Variant(self.runtime, self.precision)  # raises
        check_head(self.head)
        if self.accelerator not in ACCELERATORS:
            raise UsageError(
                f"accelerator {self.accelerator!r} is unknown; known: {', '.join(ACCELERATORS)}"
            )
        if not (math.isfinite(self.quiet_ms) and self.quiet_ms > 0):
            raise UsageError(f"quiet-ms must be a number above 0, got {self.quiet_ms!r}")

    @property
    def variant(self) -> Variant:
        """Runtime and precision."""
        return Variant(self.runtime, self.precision)

    @property
    def shape(self) -> tuple[int, int] | None:
        """(batch, seq_len) of the only input that the measured graphs take; None if any."""
        return (self.batch, self.seq_len) if self.fixed_shape else None

    @property
    def shape_text(self) -> str:
        """What inputs the measured graphs take, in words."""
        return "fixed shape" if self.fixed_shape else "any shape"

    @property
    def cores(self) -> tuple[int, ...]:
        """The cores that the runtime was held to; empty where it was not."""
        try:
            found = json.loads(self.options)["cores"] or ()
            return tuple(sorted(int(core) for core in found if 0 <= int(core) < MAX_CORES))
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            return ()  # it is somebody's file

    @property
    def sustained_minutes(self) -> float | None:
        """Minutes that the device was kept under load before it was measured; None: none."""
        try:
            found = float(json.loads(self.options)["sustained_minutes"])
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            return None  # it is somebody's file
        return found if MIN_SUSTAINED <= found <= MAX_SUSTAINED else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; some are left out at their defaults: hashes of existing tables stay."""
        values = dataclasses.asdict(self) | {"geometry": self.geometry.to_dict()}
        if not self.fixed_shape:
            del values["fixed_shape"]
        if self.accelerator == CPU:
            del values["accelerator"]
        if not self.records:
            del values["records"]
        return values

    def describe(self) -> str:
        """In words, as in ``device 'host' (onnxruntime, int8, 1 thread, length 128)``.

        Left out where they are the usual ones: batch 1, any shape, on the CPU, head embed.
        """
        words = [
            self.runtime,
            self.precision,
            f"{self.threads} thread{'s' if self.threads > 1 else ''}",
            f"length {self.seq_len}",
        ]
        if self.batch != 1:
            words.append(f"batch {self.batch}")
        if self.fixed_shape:
            words.append("fixed shape")
        if self.accelerator != CPU:
            words.append(f"on {self.accelerator}")
        if self.records:
            words.append(f"tuned by {self.records[:8]}")
        if self.cores:
            words.append(f"cores {core_ranges(self.cores)}")
        if self.head != "embed":
            words.append(f"head {self.head}")
        if (load := load_words(self.sustained_minutes)) is not None:
            words.append(load)
        return f"device {self.device!r} ({', '.join(words)})"

    def command(self) -> str:
        """The command that measures such a table.

        The number of threads is always named, since its default is the device's.
        """
        parts = ["nasc profile", f"--device {self.device}", f"--precision {self.precision}"]
        if self.runtime != DEFAULT_RUNTIME:
            parts.append(f"--runtime {self.runtime}")
        if self.geometry != MINILM_L6:  # the default teacher's; the name of another is not known
            parts.append("--teacher NAME")
        if self.seq_len != 128:
            parts.append(f"--seq-len {self.seq_len}")
        if self.batch != 1:
            parts.append(f"--batch {self.batch}")
        parts.append(f"--threads {self.threads}")
        if self.cores:
            parts.append(f"--cluster {sum(1 << core for core in self.cores):#x}")
        if self.fixed_shape:
            parts.append("--fixed-shape")
        if self.head != "embed":
            parts.append(f"--head {self.head}")
        if self.sustained_minutes is not None:
            parts.append(f"--sustained {self.sustained_minutes:g}")
        return " ".join(parts)

    def stem(self) -> str:
        """Start of a table's file name: what can be told in words."""
        fixed = "-fixed" if self.fixed_shape else ""
        on = "" if self.accelerator == CPU else f"-{self.accelerator}"
        return (
            f"{device_prefix(self.device)}{self.runtime}-{self.precision}-length{self.seq_len}"
            f"-batch{self.batch}{fixed}{on}-threads{self.threads}-{self.head}-"
        )

    def differences(self, key: LatencyKey) -> list[str]:
        """Names of the fields in which a table is not what is wanted."""
        return [
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(key, field.name)
        ]


def core_ranges(cores: Sequence[int]) -> str:
    """Numbers of cores in words, neighbours as a range: ``0-3 6``."""
    runs: list[list[int]] = []
    for core in sorted(set(cores)):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def options_text(options: Mapping[str, Any]) -> str:
    """Settings of a runtime as the `options` of a key, which names threads and runtime itself."""
    named = {k: v for k, v in options.items() if k not in ("threads", "runtime")}
    return json.dumps(named, sort_keys=True)


def device_prefix(device: str) -> str:
    """What the file names of all tables of a device begin with."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", device) + "-"
