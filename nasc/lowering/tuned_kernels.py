"""Tuning records as a lowering is given them, and what came of them. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TUNED = ("fp32",)
"""Precisions whose kernels are tuned; those of others are written by hand."""


@dataclass(frozen=True, slots=True)
class KernelRecords:
    """The best tuning record of each kernel that has any, as data that another process can be sent.

    What a run of `nasc tune` adds later changes nothing here; records that are worse than those
    here, or of kernels that have better ones, do not change `sha256`.

    Attributes:
        target: That they were measured on, as TVM writes it.
        kernels: By the hash of a kernel's structure, the lines of MetaSchedule's two files: the
            kernel, and its record without the number of the kernel.
    """

    target: str
    kernels: Mapping[str, tuple[str, str]]

    @property
    def sha256(self) -> str:
        """Of all of it: other records give other code."""
        ordered = [self.target, sorted(self.kernels.items())]
        return hashlib.sha256(json.dumps(ordered).encode()).hexdigest()

    @property
    def threads(self) -> int:
        """That they were measured with."""
        return int(json.loads(self.target).get("num-cores", 1))

    def over(self, others: KernelRecords) -> KernelRecords:
        """These, and others of the same target for the kernels that have none here."""
        return KernelRecords(self.target, {**others.kernels, **self.kernels})


@dataclass(frozen=True, slots=True)
class TunedKernels:
    """By which records the kernels of a file were compiled.

    Attributes:
        records_sha256: Of the records, see `KernelRecords`.
        tuned: Kernels of the file that have a record.
        untuned: Names of those that have none and go by general schedules. What only moves values,
            or gathers them, is neither: nothing is tuned there.
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
        whole = self.tuned + len(self.untuned)
        text = f"{self.tuned} of {whole} by tuning records {self.records_sha256[:8]}"
        return f"{text}, the others by general schedules" if self.untuned else text
