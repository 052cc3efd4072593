"""What a folder says of itself that lies beside the package that was measured."""

from __future__ import annotations

import dataclasses

from nasc.package.conditions import Conditions
from nasc.package.manifest import Manifest
from nasc.package.records import PeakMemory

NOT_MEASURED = "not measured"
"""Of a latency that could be, in another compilation."""


def without_latency(manifest: Manifest, runtime: str, why: str = NOT_MEASURED) -> Manifest:
    """The manifest of such a folder: nothing of a latency, of limits or of how it was chosen.

    Nor of tuning records: its kernels are others.

    Args:
        manifest: Of the package that was measured; what else it says is true of the folder, too.
        runtime: What the folder is for, as its conditions name it.
        why: Why no latency is stated; what was measured is added.
    """
    said = manifest.conditions
    measured = f"measured was this network by {said.runtime}, in the package beside"
    return dataclasses.replace(
        manifest,
        limits={},
        conditions=Conditions(
            said.device,
            runtime,
            said.batch,
            said.seq_len,
            said.threads,
            said.statistic,
            fixed_shape=said.fixed_shape,
        ),
        predicted=None,
        latency_table=None,
        latency_not_stated=(
            f"{why}: {'nothing was measured' if manifest.measured is None else measured}"
        ),
        estimate=None,
        tuned=None,
        measured=None,
        tokenisation_ms=None,
        peak_memory=PeakMemory(),
        attempts=(),
        evidence={},
    )
