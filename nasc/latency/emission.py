"""Networks with random weights as files, which latencies are measured with."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import profilers
from nasc.architecture.space import Architecture
from nasc.latency.key import LatencyKey
from nasc.latency.session import MeasurementSession, latency_job
from nasc.lowering import COMPILED, Artifact, lower_random
from nasc.utils.processes import run_in_processes

VOCAB_ROWS = 256
"""Rows of the word embedding in measured graphs: a run reads as many rows as it has tokens."""

EMIT_THREADS = 2


def emit_jobs(
    architectures: Sequence[Architecture],
    key: LatencyKey,
    session: MeasurementSession,
    folder: Path,
) -> list[profilers.ModelJob]:
    """Write networks with random weights into a folder; jobs are named by the networks' text.

    Compiled code is made in several processes at once, each of which compiles a kernel once.

    Args:
        architectures: The networks.
        key: Of the table that they are measured for: geometry, head, length, batch, precision.
        session: On the device.
        folder: Exists; files are named by the place of the network.

    Raises:
        UsageError, ExportError, OSError: See `nasc.lowering.base.Lowering`.
        NascError: See `nasc.utils.processes.run_in_processes`.
    """
    rows = min(VOCAB_ROWS, key.geometry.vocab_size)
    setting = {**session.lowering_settings(key.precision), "shape": session.measured_shape(key)}
    calls: list[Sequence[Any]] = [
        (session.runtime, one, key.geometry, key.head, rows, folder, f"{index:04d}", setting)
        for index, one in enumerate(architectures)
    ]
    if session.runtime in COMPILED:
        made = run_in_processes(lower_random, calls)
    else:
        with ThreadPoolExecutor(EMIT_THREADS) as pool:  # writing one while building the next
            made = list(pool.map(lambda call: lower_random(*call), calls))
    _say_untuned(made, session)
    return [
        latency_job(str(one), artifact.path, key.seq_len, key.batch, rows)
        for one, artifact in zip(architectures, made, strict=True)
    ]


def _say_untuned(made: Sequence[Artifact], session: MeasurementSession) -> None:
    """Tell how far tuning records went, where there are any."""
    tuned = [artifact.tuned for artifact in made if artifact.tuned is not None]
    lacking = sum(len(one.untuned) for one in tuned)
    if tuned and session.say is not None:
        whole = lacking + sum(one.tuned for one in tuned)
        session.say(
            f"{session.runtime}: {whole - lacking} of {whole} kernels of {len(tuned)} networks by "
            f"tuning records {tuned[0].records_sha256[:8]}"
            + (", the others by general schedules" if lacking else "")
        )
