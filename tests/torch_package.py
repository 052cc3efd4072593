"""A package of AOTInductor with every kind of layer: compiled once for all processes of a run."""

from __future__ import annotations

import os
from pathlib import Path

import filelock
from torch._inductor.runtime.cache_dir_utils import cache_dir

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.lowering import Artifact, get_lowering
from nasc.lowering.torch import VERSION
from nasc.networks.network import random_network

GEOMETRY = Geometry(
    layers=2, hidden=32, head_size=16, intermediate=64, vocab_size=100, max_positions=48
)
ARCHITECTURE = Architecture((Block(32, ("mha", "ffn", "sep3")),))


def compiled(root: Path) -> Artifact:
    """The package of free axes; tests must not change it.

    Args:
        root: Folder that all processes of a run share.
    """
    folder = root / "torch-package"
    with filelock.FileLock(root / "torch-package.lock"):
        if not folder.exists():
            made = root / "torch-made"
            made.mkdir(exist_ok=True)  # of an attempt that failed
            before = _wrappers()
            get_lowering("torch").lower(random_network(ARCHITECTURE, GEOMETRY), made)
            assert _wrappers() <= before  # with weights: none is left in Inductor's cache
            made.rename(folder)
    return Artifact(folder / "model.pt2", (folder / "model.json",), "torch", "fp32", VERSION)


def _wrappers() -> set[Path]:
    """Libraries in Inductor's cache, but for those that another process is making now."""
    return {
        Path(folder) / file
        for folder, _, files in os.walk(cache_dir())
        for file in files
        if ".wrapper." in file and not Path(f"{folder}.lock").exists()
    }
