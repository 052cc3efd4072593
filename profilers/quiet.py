"""The reference's quiet time of a device, recorded once.

Tables, limits and verifications must share one scale. Where the clock moves, a quiet time taken
anew in each run would move every latency with it; so the first one taken is kept in a file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from device_profiles import DeviceProfile
from device_profiles.temporary import temporary_folder
from profilers.errors import ProfilerError, RecordBusy, RecordDamaged
from profilers.jobs import RuntimeOptions
from profilers.measuring import device_options
from profilers.protocol import BUSY_LIMIT, busy_share, quiet_reference_ms
from profilers.reference import reference_hash, reference_job
from profilers.samples import Step
from profilers.targets import open_target

_FORMAT = "profilers.quiet/1"
_LOCK_TIMEOUT_S = 120.0  # a recording takes about three seconds; chosen, 2026
_PROCESSES, _COPIES, _VISITS = 4, 4, 40  # 640 visits of about 3 ms


@dataclass(frozen=True, slots=True)
class QuietTime:
    """A recorded quiet time.

    Attributes:
        quiet_ms: the reference's quiet time in milliseconds.
        key: what it holds for: device fingerprint, runtime, version, options, reference.
        recorded_utc: when it was taken (ISO 8601).
        busy_share: share of disturbed runs while it was taken, see `Measurement.busy_share`.
        busy: the machine was busy then: latencies scaled by it may come out some percent too high
            (all alike). Record it anew on a quiet machine, see `load_or_record_quiet`.
        path: the file it is kept in.
        fresh: it was recorded by this call.
    """

    quiet_ms: float
    key: Mapping[str, Any]
    recorded_utc: str
    busy_share: float
    busy: bool
    path: Path
    fresh: bool


def load_quiet(
    cache_dir: Path, device: DeviceProfile, *, options: RuntimeOptions | None = None
) -> QuietTime | None:
    """Returns a device's recorded quiet time; None where none was recorded. Measures nothing.

    Args:
        cache_dir: where records are kept.
        device: the device.
        options: the runtime's settings; None takes the device's defaults.

    Raises:
        RecordDamaged: the record exists but cannot be read.
        ProfilerError: the device cannot be reached.
    """
    key, path, _ = _place(cache_dir, device, device_options(device, options))
    return _read(path, key, fresh=False) if path.exists() else None


def load_or_record_quiet(
    cache_dir: Path,
    device: DeviceProfile,
    *,
    options: RuntimeOptions | None = None,
    renew: bool = False,
) -> QuietTime:
    """Returns a device's recorded quiet time, measuring it (about three seconds) the first time.

    Several processes may call it at once: one measures, the others wait and read.

    Args:
        cache_dir: where records are kept; made when missing.
        device: the device.
        options: the runtime's settings; None takes the device's defaults.
        renew: measure it anew even where it was recorded. Latencies on the old scale can then not
            be compared with new ones.

    Returns:
        The quiet time to be given to `measure` as `reference_quiet_ms`.

    Raises:
        RecordDamaged: the record exists but cannot be read.
        RecordBusy: another process held the record for two minutes.
        ProfilerError: the folder cannot be written, or measuring failed.
    """
    options = device_options(device, options)
    key, path, time_utc = _place(cache_dir, device, options)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=_LOCK_TIMEOUT_S):
            if renew or not path.exists():
                _write(path, _record(cache_dir, device, options, key, time_utc))
                return _read(path, key, fresh=True)
            return _read(path, key, fresh=False)
    except filelock.Timeout as error:
        raise RecordBusy(
            f"the quiet-time record {str(path)!r} has been locked by another process for "
            f"{_LOCK_TIMEOUT_S:g} s. Wait for it to end, or use another cache folder."
        ) from error
    except OSError as error:
        raise ProfilerError(
            f"cannot keep the quiet time in {str(cache_dir)!r}: {error.strerror or error}. "
            "Use a cache folder that can be written."
        ) from error


def _place(
    cache_dir: Path, device: DeviceProfile, options: RuntimeOptions
) -> tuple[dict[str, Any], Path, str]:
    """What a record on this device holds for, its file, and the device's time (ISO 8601)."""
    with open_target(device, options) as target:
        context = target.context
    key = {
        "fingerprint": context["fingerprint"],
        "runtime_version": context["runtime_version"],
        "options": options.to_dict(),
        "reference": reference_hash(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return key, cache_dir / f"quiet-{digest}.json", str(context["time_utc"])


def _record(
    cache_dir: Path,
    device: DeviceProfile,
    options: RuntimeOptions,
    key: Mapping[str, Any],
    time_utc: str,
) -> dict[str, Any]:
    """Measures the reference alone: some copies of it in some processes, see `Protocol`."""
    reference = reference_job(cache_dir)
    visits = []
    for _ in range(_PROCESSES):
        with open_target(device, options) as target:
            for copy in range(_COPIES):
                target.load(dataclasses.replace(reference, name=f"{copy}"), seed=0)
            for _ in range(_VISITS):
                visits += target.visit([Step(f"{copy}", 1, 1) for copy in range(_COPIES)])
    return {
        "format": _FORMAT,
        "key": dict(key),
        "quiet_ms": quiet_reference_ms(visits),
        "recorded_utc": time_utc,
        "busy_share": busy_share(visits),
        "samples": [visit.to_list() for visit in visits],
    }


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a file that appears complete or not at all."""
    with temporary_folder(path.parent, path.name) as folder:
        (folder / path.name).write_text(json.dumps(data), encoding="utf-8")
        (folder / path.name).replace(path)


def _read(path: Path, key: Mapping[str, Any], *, fresh: bool) -> QuietTime:
    """Reads a record and checks it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        quiet_ms = float(data["quiet_ms"])
        if data["format"] != _FORMAT or data["key"] != json.loads(json.dumps(dict(key))):
            raise ValueError("it belongs to another format or device")
        if not (math.isfinite(quiet_ms) and quiet_ms > 0):
            raise ValueError(f"quiet_ms = {quiet_ms}")
        share = float(data["busy_share"])
        return QuietTime(
            quiet_ms=quiet_ms,
            key=data["key"],
            recorded_utc=str(data["recorded_utc"]),
            busy_share=share,
            busy=share > BUSY_LIMIT,
            path=path,
            fresh=fresh,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RecordDamaged(
            f"the quiet-time record {str(path)!r} is damaged: {error}. Remove it, and what was "
            f"measured with it must be measured again: rm '{path}'"
        ) from error
