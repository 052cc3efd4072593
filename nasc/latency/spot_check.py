"""A few whole networks measured roughly, where a latency table would be too much.

What was measured is kept beside the tables. As tables are, it is found by everything that a latency
depends on, and one process at a time measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import profilers
from device_profiles.reading import FileRefused, read_json
from device_profiles.temporary import temporary_folder
from nasc.architecture.space import Architecture
from nasc.errors import NascError
from nasc.latency.emission import emit_jobs
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Observation
from nasc.latency.session import MeasurementSession
from nasc.latency.table_paths import tables_folder
from nasc.utils.files import content_key, write_atomically
from nasc.utils.progress import Progress

SECONDS = 20.0
HALF_WIDTH = 0.02
"""When a measurement ends: after so long, or with all latencies known to so much."""

_RATIO = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e7}
_DEVIATION = {"type": "number", "minimum": 0, "maximum": 1e7}
_SCHEMA = {
    "type": "object",
    "required": ["ratio", "deviation"],
    "properties": {
        "ratio": {"type": "object", "additionalProperties": _RATIO},
        "deviation": {"type": "object", "additionalProperties": _DEVIATION},
    },
}

_Found = Mapping[str, tuple[float, float]]
"""By name of a network its latency in units of the reference, and the relative standard error."""


def probe(
    networks: Sequence[Architecture],
    key: LatencyKey,
    session: MeasurementSession,
    progress: Progress | None = None,
) -> dict[Architecture, Observation]:
    """Latencies of networks, measured now or found in the cache.

    Args:
        networks: Of the key's geometry and precision; their weights are random.
        key: What the latencies are to hold for: those of the session.
        session: Where they run; its cache keeps what was measured.
        progress: Told of the measurement.

    Raises:
        CacheBusy: If another process measured on this device for an hour.
        NascError: If the graphs or what was measured cannot be written.
        profilers.ProfilerError: If the device cannot be reached or measured.
    """
    setting = key.to_dict()
    del setting["quiet_ms"]  # ratios are on no scale
    about = {"key": setting, "networks": [str(n) for n in networks]}
    path = tables_folder(session.cache_dir) / f"{key.stem()}{content_key(about)}.probes.json"
    found = _read(path)
    if found is None:
        with session.alone():
            found = _read(path)  # by another process, while this one waited
            if found is None:
                found = _measured(networks, key, session, path, progress)
    return {
        network: Observation(network, ratio * key.quiet_ms, deviation)
        for network in networks
        for ratio, deviation in [found[str(network)]]
    }


def _measured(
    networks: Sequence[Architecture],
    key: LatencyKey,
    session: MeasurementSession,
    path: Path,
    progress: Progress | None,
) -> _Found:
    """Measure and write with all raw samples."""
    protocol = profilers.Protocol(max_seconds=SECONDS, target_half_width=HALF_WIDTH)
    try:
        with temporary_folder() as folder:
            jobs = emit_jobs(networks, key, session, folder)
            measurement = session.measure(
                jobs,
                profilers.Scale(key.quiet_ms, key.quiet_ms),
                protocol=protocol,
                progress=progress,
                strict=False,
            )
        # Of one speed: on a busy machine each network has met another.
        samples = {job.name: measurement[job.name].samples for job in jobs}
        pooled = profilers.pooled_latencies(samples, key.quiet_ms, noise=session.device.noise)
        content = {
            "ratio": {name: one.latency_ms / key.quiet_ms for name, one in pooled.items()},
            "deviation": {name: one.deviation for name, one in pooled.items()},
            "measurement": measurement.to_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, allow_nan=False).encode())
    except OSError as error:
        raise NascError(
            f"cannot write what was measured on device {session.device.name!r}: "
            f"{error.strerror or error}. "
            "Free some space or choose another cache folder: --cache DIR"
        ) from error
    return _paired(content)


def _read(path: Path) -> _Found | None:
    """What was measured; None where there is nothing or the file is damaged."""
    try:
        return _paired(read_json(path, schema=_SCHEMA))
    except (OSError, FileRefused, KeyError):
        return None


def _paired(content: Mapping[str, Any]) -> _Found:
    ratio, deviation = content["ratio"], content["deviation"]
    return {name: (ratio[name], deviation[name]) for name in ratio}
