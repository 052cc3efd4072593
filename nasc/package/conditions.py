"""What a latency limit is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_profiles.sustained import load_words
from nasc.errors import PackageError
from nasc.latency.lengths import LengthMixture
from profilers.mlperf import NAME, QUANTILE


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a latency limit is about. Tokenisation is never part of it.

    Attributes:
        device: Name of the device profile.
        runtime: What runs the model, ``onnxruntime`` for example.
        batch: Sentences in a run.
        seq_len: Tokens of each.
        threads: Threads that share one operator.
        statistic: The statistic of record.
        quantile: None holds the statistic of record to the limit; p50, p90 or p99 that one.
        fixed_shape: Whether the model takes inputs of this batch and length alone.
        lengths: Of the texts, where a latency is the mean over a mixture of them; `seq_len` is the
            longest then. None: all are of `seq_len`.
        protocol: By whose rules the quantile is taken; None: as `profilers` takes it.
        sustained_minutes: Minutes that the device was kept under load before it was measured; None:
            none.

    Raises:
        PackageError: If these contradict each other.
    """

    device: str
    runtime: str
    batch: int
    seq_len: int
    threads: int
    statistic: str
    quantile: str | None = None
    fixed_shape: bool = False
    lengths: LengthMixture | None = None
    protocol: str | None = None
    sustained_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.protocol is not None and (self.protocol, self.quantile) != (NAME, QUANTILE):
            raise PackageError(f"conditions: {self.quantile} by protocol {self.protocol!r}")
        if self.lengths is None:
            return
        if (self.batch, self.seq_len, self.fixed_shape) != (1, self.lengths.longest, False):
            raise PackageError(
                f"conditions: a mixture of lengths up to {self.lengths.longest} with batch "
                f"{self.batch}, length {self.seq_len}, fixed shape {self.fixed_shape}"
            )
        if self.quantile is not None:
            raise PackageError(f"conditions: the mean over a mixture has no {self.quantile}")

    @property
    def shape(self) -> tuple[int, int] | None:
        """(batch, seq_len) of the only inputs that the model takes; None if any."""
        return (self.batch, self.seq_len) if self.fixed_shape else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a shape is spoken of where it is fixed."""
        values = dataclasses.asdict(self) | {"tokenisation_included": False}
        if not self.fixed_shape:
            del values["fixed_shape"]
        del values["lengths"]
        if self.lengths is not None:
            values["lengths"] = self.lengths.to_dict()
        for name in ("protocol", "sustained_minutes"):
            if values[name] is None:
                del values[name]
        return values

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Conditions:
        """Read what `to_dict` gave.

        Raises:
            NascError: If it contradicts itself.
        """
        values = dict(raw)
        del values["tokenisation_included"]
        if "lengths" in values:
            values["lengths"] = LengthMixture.from_dict(values["lengths"])
        return cls(**values)

    def __str__(self) -> str:
        held = self.quantile or self.statistic
        if self.protocol is not None:
            held += f" by protocol {self.protocol}"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        shape = f"batch {self.batch}, {self.seq_len} tokens"
        if self.lengths is not None:
            shape = f"batch {self.batch}, {self.lengths.words()}"
        if self.fixed_shape:
            shape += " and no other shape"
        load = "" if self.sustained_minutes is None else f"{load_words(self.sustained_minutes)}, "
        return (
            f"device {self.device}, {self.runtime}, {shape}, {threads}, {load}"
            f"tokenisation not included, statistic: {held}"
        )
