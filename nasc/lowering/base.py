"""What a lowering gives, and what it must offer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nasc.networks.network import Network  # numpy: not needed to say what is possible


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network as a runtime opens it.

    Attributes:
        path: File that the runtime opens.
        companions: Other files that it reads with it.
        runtime: Name of the runtime.
        precision: Number format of the weights.
        version: Version of the lowering that made it: another one may give other files.
    """

    path: Path
    companions: tuple[Path, ...]
    runtime: str
    precision: str
    version: int

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in (self.path, *self.companions))


class Lowering(Protocol):
    """A module of this folder."""

    VERSION: int
    """Raised when the same network would give other files."""

    def lower(self, network: Network, folder: Path, name: str = "model") -> Artifact:
        """Write a network, in the precision of its architecture, into a folder.

        Args:
            network: With its weights.
            folder: Exists; files of this name are replaced.
            name: Of the files, without their suffixes.

        Raises:
            ExportError: If the network cannot be written in this form.
            OSError: If the files cannot be written.
        """
