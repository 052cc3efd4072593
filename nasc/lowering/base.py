"""What a lowering gives, and what it must offer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nasc.lowering.tuned_kernels import KernelRecords, TunedKernels

if TYPE_CHECKING:
    from nasc.networks.network import Network  # numpy: not needed to say what is possible


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network as a runtime opens it.

    Attributes:
        path: File that the runtime opens.
        companions: Other files that it reads with it.
        runtime: Name of the runtime.
        precision: Number format that it is made for.
        version: Version of the lowering that made it: another one may give other files.
        tuned: By which tuning records its kernels were compiled; None where by none.
    """

    path: Path
    companions: tuple[Path, ...]
    runtime: str
    precision: str
    version: int
    tuned: TunedKernels | None = None

    def remove(self) -> None:
        """Delete its files.

        Raises:
            OSError: If one cannot be deleted.
        """
        for path in (self.path, *self.companions):
            path.unlink(missing_ok=True)

    def sha256(self) -> str:
        """Of all its files.

        Raises:
            OSError: If one cannot be read.
        """
        digest = hashlib.sha256()
        for path in (self.path, *self.companions):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in (self.path, *self.companions))


class Lowering(Protocol):
    """A module of this folder."""

    VERSION: int
    """Raised when the same network would give other files."""

    def lower(
        self,
        network: Network,
        folder: Path,
        name: str = "model",
        *,
        offered: Collection[str] = (),
        shape: tuple[int, int] | None = None,
        lengths: Collection[int] = (),
        processor: Mapping[str, Any] | None = None,
        records: KernelRecords | None = None,
    ) -> Artifact:
        """Write a network, in the precision of its architecture, into a folder.

        Args:
            network: With its weights.
            folder: Exists; files of this name are replaced.
            name: Of the files, without their suffixes.
            offered: Precisions that the device computes in natively; what a file of int8 does
                beside its products may depend on it.
            shape: (batch, seq_len) of every run; None leaves both free.
            lengths: Of texts, which it must run and runs without padding, where a length has code
                of its own.
            processor: That it is for, where it is made for one: "arch" and "flags", as
                `profilers.context.read_context` gives them, and where a GPU computes the
                "accelerator" of a worker's context; None is this machine's.
            records: Tuning records, measured on that processor, by which kernels are compiled in
                the precisions that `LoweringLimits.tuned` names; None where there are none.

        Raises:
            UsageError: If networks are not lowered in that precision.
            ExportError: If the network cannot be written in this form.
            OSError: If the files cannot be written.
        """
