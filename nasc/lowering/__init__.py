"""From a network to the files that a runtime opens: one module a runtime.

What is measured for tables, compared with its source and shipped comes from the same lowering.
"""

from __future__ import annotations

import importlib
from typing import cast

from nasc.errors import UsageError
from nasc.lowering.base import BY_LENGTH, EVERYWHERE, PRECISIONS, Artifact, Lowering, unfit

__all__ = ["BY_LENGTH", "EVERYWHERE", "PRECISIONS", "Artifact", "Lowering", "get_lowering", "unfit"]


def get_lowering(runtime: str) -> Lowering:
    """The lowering for a runtime.

    Args:
        runtime: Its name, as in `profilers.RuntimeOptions`.

    Raises:
        UsageError: If networks are not lowered for it.
    """
    if runtime not in PRECISIONS:
        raise UsageError(
            f"networks cannot be made for the runtime {runtime!r}; known: {', '.join(PRECISIONS)}"
        )
    return cast(Lowering, importlib.import_module(f"{__name__}.{runtime}"))
