"""From a network to the files that a runtime opens: one module a runtime.

What is measured for tables, compared with its source and shipped comes from the same lowering.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from nasc.architecture.space import Architecture, Geometry
from nasc.lowering.base import Artifact, Lowering
from nasc.lowering.limits import (
    LIMITS,
    PRECISIONS,
    limits_of,
    supported_precisions,
    why_unsupported,
)
from nasc.lowering.limits.base import LoweringLimits

__all__ = [
    "LIMITS",
    "PRECISIONS",
    "Artifact",
    "Lowering",
    "LoweringLimits",
    "get_lowering",
    "limits_of",
    "lower_random",
    "supported_precisions",
    "why_unsupported",
]


def get_lowering(runtime: str) -> Lowering:
    """The lowering for a runtime.

    Args:
        runtime: Its name, as in `profilers.RuntimeOptions`.

    Raises:
        UsageError: If networks are not lowered for it.
    """
    limits_of(runtime)  # raises where there are none
    name = runtime.replace("-", "_")
    return cast(Lowering, importlib.import_module(f"{__name__}.{name}"))


def lower_random(
    runtime: str,
    architecture: Architecture,
    geometry: Geometry,
    head: str,
    rows: int,
    folder: Path,
    name: str,
    settings: Mapping[str, Any],
) -> Artifact:
    """A network with random weights as files; a call that another process can make.

    Args:
        runtime: See `get_lowering`.
        architecture: See `nasc.networks.network.random_network`, as the two after it.
        geometry: Of the teacher.
        head: Of the network.
        rows: Of its word embedding.
        folder: See `nasc.lowering.base.Lowering`, as the two after it.
        name: Of the files.
        settings: The others that a lowering takes.

    Raises:
        UsageError, ExportError, OSError: See there.
    """
    from nasc.networks.network import random_network  # numpy: not needed to say what is possible

    network = random_network(architecture, geometry, head, vocab_rows=rows)
    return get_lowering(runtime).lower(network, folder, name, **settings)
