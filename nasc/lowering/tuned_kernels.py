"""Tuning records as a lowering is given them, and what came of them. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TUNED = ("fp32",)
"""Precisions whose kernels are tuned; those of others are written by hand."""

RECORDS_SUFFIX = ".tuning"
"""Of a folder of tuning records."""


@dataclass(frozen=True, slots=True)
class KernelRecords:
    """Tuning records as they were at one moment: a run of `nasc tune` beside changes nothing.

    Attributes:
        folder: Where they lie, for messages.
        sha256: Of their files: other records give other code.
        kernels: That have any.
        threads: That they were measured with.
        database: MetaSchedule's, in memory.
    """

    folder: Path
    sha256: str
    kernels: int
    threads: int
    database: Any = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TunedKernels:
    """By which records the kernels of a file were compiled.

    Attributes:
        records_sha256: Of the records' files.
        tuned: Kernels of the file that have a record.
        untuned: Names of those that have none, and go by general schedules; what only moves
            values is among them, and never has one.
    """

    records_sha256: str
    tuned: int
    untuned: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"untuned": list(self.untuned)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TunedKernels:
        """Read what `to_dict` gave."""
        return cls(raw["records_sha256"], raw["tuned"], tuple(raw["untuned"]))

    def __str__(self) -> str:
        """In words, for people."""
        return (
            f"{self.tuned} of {self.tuned + len(self.untuned)} by tuning records "
            f"{self.records_sha256[:8]}"
        )
