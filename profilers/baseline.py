"""The reference baseline of a device: the quiet time of the reference network, and its spread.

The quiet time is what the reference network takes while nothing else slows the device. Tables,
limits and verifications must share it as their scale. Where the clock moves and neighbours come
and go, a time taken anew in each run would move every latency with it, and one that was taken once,
in a few seconds, may be that of a moment. So the first recording is kept in a file, what every
later measurement saw of the reference is added to it, and the spread between stretches of half a
minute says how far another one may lie off: that goes into every bound.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from device_profiles import CPU, PYTHON, DeviceProfile, Noise
from device_profiles.reading import FileRefused, read_json
from device_profiles.temporary import temporary_folder
from profilers.devices import Opener, open_worker
from profilers.devices.transports import is_host
from profilers.errors import ProfilerError, RecordBusy, RecordDamaged
from profilers.heating import Heat, sustained_load
from profilers.jobs import RuntimeOptions
from profilers.measuring import device_options
from profilers.protocol import Protocol
from profilers.reference import reference_hash, reference_job
from profilers.results import Measurement
from profilers.samples import Step, Visit
from profilers.statistic import BUSY_SLOWDOWN, Scale, quiet_level, stretches_reach

_FORMAT = "profilers.quiet/2"
_LOCK_TIMEOUT_S = 120.0  # a recording takes half a minute at most; chosen, 2026
_COPIES = 4
_ROUNDS = 30  # of all copies in a process: 600 runs of about 1 ms

MIN_RECORD_S = 4.0
MAX_RECORD_S = 20.0
"""The first recording ends after so many seconds: the least on a machine that was mostly quiet, the
most on others (chosen, 2026)."""

MOSTLY_QUIET = 0.5
"""Share of visits at the quiet level that makes a machine mostly quiet."""

STRETCH_S = 30.0
"""Stretches of a baseline that are compared with each other: long enough for a shared machine to be
quiet in a tenth of it now and then, about as long as somebody measures a model (chosen, 2026)."""

MOVED = 1.1
MOVED_STRETCHES = 3
"""A device whose last stretches all lie so far on one side of those before has changed: what was
recorded before is dropped."""

_MAX_WINDOWS = 120
_MAX_VISITS = 200  # kept of a window


@dataclass(frozen=True, slots=True)
class Window:
    """What one measurement saw of the reference.

    Attributes:
        time_utc: When the measurement ended (ISO 8601).
        seconds: How long the measurement took.
        visits_ms: Durations of the reference's visits in milliseconds, in their order, thinned out
            evenly where they were many.
    """

    time_utc: str
    seconds: float
    visits_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ReferenceBaseline:
    """How long the reference network takes on a device while that is quiet, as recorded.

    Attributes:
        scale: The reference's quiet time, and how far that of another half minute may lie above it.
        key: What the baseline holds for: device fingerprint, runtime, version, options, reference.
        windows: The measurements that the baseline rests on, in the order of time.
        busy_share: Share of the reference's visits that took over `BUSY_SLOWDOWN` times its quiet
            time.
        busy: Whether the machine was busy in more than half of the reference's visits, so that its
            quiet speed was seen now and then only.
        path: The file that keeps the baseline.
        fresh: Whether the baseline was recorded by the call that returned it.
    """

    scale: Scale
    key: Mapping[str, Any]
    windows: tuple[Window, ...]
    busy_share: float
    busy: bool
    path: Path
    fresh: bool

    @property
    def quiet_ms(self) -> float:
        """The reference's quiet time in milliseconds."""
        return self.scale.quiet_ms

    @property
    def recorded_utc(self) -> str:
        """When the last measurement was added to the baseline (ISO 8601)."""
        return self.windows[-1].time_utc


def scale_of(windows: Sequence[Window], noise: Noise) -> Scale:
    """The quiet time that some windows show, and what it lies below in 95 of 100 other stretches.

    The upper end is that of a prediction by Student's t on the logarithms of the stretches' levels,
    see `stretches_reach`.

    Args:
        windows: At least one.
        noise: Of the device.
    """
    level = _level(windows)
    stretches = np.log([_level(part) for part in _stretches(windows)])
    squares = float(((stretches - stretches.mean()) ** 2).sum())
    reach = stretches_reach(noise, len(stretches), squares)
    centre = max(math.log(level), float(stretches.mean()))
    return Scale(level, max(level, math.exp(centre + reach)))


def _level(windows: Sequence[Window]) -> float:
    """The quiet level of some windows, each counting by its time."""
    times = np.concatenate([one.visits_ms for one in windows])
    weights = np.concatenate(
        [np.full(len(one.visits_ms), one.seconds / len(one.visits_ms)) for one in windows]
    )
    return quiet_level(times, weights)


def _stretches(windows: Sequence[Window]) -> list[list[Window]]:
    """Windows cut and joined into stretches of about `STRETCH_S`, in the order of time."""
    found: list[list[Window]] = [[]]
    for window in windows:
        parts = min(len(window.visits_ms), max(1, round(window.seconds / STRETCH_S)))
        for visits in np.array_split(np.asarray(window.visits_ms), parts):
            part = Window(window.time_utc, window.seconds / parts, tuple(visits))
            if found[-1] and sum(one.seconds for one in found[-1]) >= STRETCH_S:
                found.append([])
            found[-1].append(part)
    short = sum(one.seconds for one in found[-1]) < 0.5 * STRETCH_S
    if short and len(found) > 1:
        last = found.pop()
        found[-1] += last
    return found


def without_the_past(windows: Sequence[Window]) -> list[Window]:
    """Windows from when the device was last seen to change its speed, if it did; see `MOVED`."""
    stretches = _stretches(windows)
    if len(stretches) <= MOVED_STRETCHES:
        return list(windows)
    recent = [_level(part) for part in stretches[-MOVED_STRETCHES:]]
    before = _level([one for part in stretches[:-MOVED_STRETCHES] for one in part])
    if min(recent) > MOVED * before or max(recent) * MOVED < before:
        return [one for part in stretches[-MOVED_STRETCHES:] for one in part]
    return list(windows)


def window_of(visits: Sequence[Visit], seconds: float, time_utc: str) -> Window:
    """A window out of the reference's visits in one measurement."""
    kept = np.linspace(0, len(visits) - 1, min(len(visits), _MAX_VISITS)).round().astype(int)
    return Window(
        time_utc, max(seconds, 1e-3), tuple(round(visits[int(i)].median_ms, 5) for i in kept)
    )


def load_baseline(
    cache_dir: Path,
    device: DeviceProfile,
    *,
    options: RuntimeOptions | None = None,
    context: Mapping[str, Any] | None = None,
    opener: Opener = open_worker,
) -> ReferenceBaseline | None:
    """Returns a device's recorded baseline; None where none was recorded. Measures nothing.

    Args:
        cache_dir: Where baselines are kept.
        device: The device.
        options: The runtime's settings; None takes the device's defaults.
        context: What a worker of the runtime told of the device before; None asks it now.
        opener: Starts a worker on the device; see `measure`.

    Raises:
        RecordDamaged: The baseline exists but cannot be read.
        ProfilerError: The device cannot be reached.
    """
    key, path = _place(cache_dir, device, device_options(device, options), context, opener)
    return _read(path, key, device.noise, fresh=False) if path.exists() else None


def load_or_record_baseline(
    cache_dir: Path,
    device: DeviceProfile,
    *,
    options: RuntimeOptions | None = None,
    renew: bool = False,
    heat: Heat | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    context: Mapping[str, Any] | None = None,
    opener: Opener = open_worker,
) -> ReferenceBaseline:
    """Returns a device's recorded baseline, measuring it (4 to 20 seconds) the first time.

    Several processes may call it at once: one measures, the others wait and read.

    Args:
        cache_dir: Where baselines are kept; made when missing.
        device: The device.
        options: The runtime's settings; None takes the device's defaults.
        renew: Measure it anew even where it was recorded, and drop what was.
        heat: See `measure`.
        progress: Called with (seconds done, seconds in all, message) while the device is kept
            under load, where the options ask for that.
        context: What a worker of the runtime told of the device before; None asks it now.
        opener: Starts a worker on the device; see `measure`.

    Returns:
        The baseline, whose `scale` is to be given to `measure`.

    Raises:
        RecordDamaged: The baseline exists but cannot be read.
        RecordBusy: Another process held its file for two minutes.
        ProfilerError: The folder cannot be written, or measuring failed.
    """
    options = device_options(device, options)
    key, path = _place(cache_dir, device, options, context, opener)
    with _held(path, 60.0 * (options.sustained_minutes or 0.0)):
        if renew or not path.exists():
            new = _record(cache_dir, device, options, opener, heat, progress)
            _write(path, key, [new])
            return _read(path, key, device.noise, fresh=True)
        return _read(path, key, device.noise, fresh=False)


def extend_baseline(baseline: ReferenceBaseline, measurement: Measurement) -> ReferenceBaseline:
    """Adds what a measurement saw of the reference to a baseline.

    Args:
        baseline: The one that the measurement was scaled by.
        measurement: Taken on the same device under the same settings.

    Returns:
        The baseline as it is now; other processes may have added to it too.

    Raises:
        RecordDamaged: The baseline cannot be read any more.
        RecordBusy, ProfilerError: See `load_or_record_baseline`.
    """
    visits = measurement.reference.samples
    window = window_of(
        visits, measurement.reference.seconds, str(measurement.context.get("time_utc"))
    )
    noise = measurement.noise
    with _held(baseline.path):
        if baseline.path.exists():
            baseline = _read(baseline.path, baseline.key, noise, fresh=False)
        _write(baseline.path, baseline.key, without_the_past([*baseline.windows, window]))
        return _read(baseline.path, baseline.key, noise, fresh=False)


@contextlib.contextmanager
def _held(path: Path, load_s: float = 0.0) -> Iterator[None]:
    """Holds a baseline's file, so that no other process changes it meanwhile; makes its folder.

    Args:
        path: The file.
        load_s: Seconds that another process may keep the device under load while it holds the file.

    Raises:
        RecordBusy, ProfilerError: See `load_or_record_baseline`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=_LOCK_TIMEOUT_S + load_s):
            yield
    except filelock.Timeout as error:
        raise RecordBusy(
            f"the reference baseline {str(path)!r} has been locked by another process for "
            f"{_LOCK_TIMEOUT_S + load_s:g} s. Wait for it to end, or use another cache folder."
        ) from error
    except OSError as error:
        raise ProfilerError(
            f"cannot keep the reference baseline in {str(path.parent)!r}: "
            f"{error.strerror or error}. Use a cache folder that can be written."
        ) from error


def _place(
    cache_dir: Path,
    device: DeviceProfile,
    options: RuntimeOptions,
    context: Mapping[str, Any] | None,
    opener: Opener,
) -> tuple[dict[str, Any], Path]:
    """What a baseline on this device holds for, and its file."""
    if context is None:
        with opener(device, options) as worker:
            context = worker.context
    key = {
        "fingerprint": context["fingerprint"],
        "runtime_version": context["runtime_version"],
        "options": options.to_dict(),
        "reference": reference_hash(device.accelerator.kind),
    }
    if not is_host(device):  # the same processor, but perhaps not all of it
        key["connection"] = {
            "kind": device.connection.kind,
            "command": device.connection.command,
        }
    if device.connection.host is not None:  # boards of one kind are not equally fast
        key["host"] = [device.connection.host, device.connection.port]
    if "phone_id" in context:  # nor are phones
        key["phone_id"] = context["phone_id"]
    program = context.get("worker") or device.connection.worker or PYTHON
    if program != PYTHON:
        key["worker"] = program
    if device.accelerator.kind != CPU:
        key["accelerator"] = device.accelerator.kind
    key = json.loads(json.dumps(key))  # as it is read again
    named = {"format": _FORMAT, **key}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]
    return key, cache_dir / f"quiet-{digest}.json"


def _record(
    cache_dir: Path,
    device: DeviceProfile,
    options: RuntimeOptions,
    opener: Opener,
    heat: Heat | None,
    progress: Callable[[int, int, str], None] | None,
) -> Window:
    """Measures the reference: copies of it in process after process, run as in `Protocol`."""
    reference = reference_job(cache_dir, device.accelerator.kind)
    warmup = Protocol().reference_warmup_runs
    names = [f"{reference.name}-{copy}" for copy in range(_COPIES)]
    visits: list[Visit] = []
    seconds = 0.0
    load = sustained_load(options, heat)
    while seconds < MAX_RECORD_S:
        with opener(device, options) as worker:
            time_utc = str(worker.context["time_utc"])
            for name in names:
                worker.load(dataclasses.replace(reference, name=name), seed=0)
            if load is not None:
                load.heat_up(worker, names[0], time.monotonic, progress)
            new: list[Visit] = []
            for _ in range(_ROUNDS):
                new += worker.visit([Step(name, warmup, 1) for name in names])
            if load is not None:
                load.measured(worker, new[-1], time.monotonic())
        seconds += new[-1].end_s - new[0].start_s
        visits += new
        times = [visit.median_ms for visit in visits]
        quiet_share = np.mean(np.asarray(times) <= BUSY_SLOWDOWN * quiet_level(times))
        if seconds >= MIN_RECORD_S and quiet_share >= MOSTLY_QUIET:
            break
    return window_of(visits, seconds, time_utc)


def _write(path: Path, key: Mapping[str, Any], windows: Sequence[Window]) -> None:
    """Writes a file that appears complete or not at all."""
    data = {
        "format": _FORMAT,
        "key": dict(key),
        "windows": [
            {"time_utc": w.time_utc, "seconds": w.seconds, "visits_ms": list(w.visits_ms)}
            for w in windows[-_MAX_WINDOWS:]
        ],
    }
    text = json.dumps(data, allow_nan=False)
    with temporary_folder(path.parent, path.name) as folder:
        (folder / path.name).write_text(text, encoding="utf-8")
        (folder / path.name).replace(path)


_SCHEMA = {
    "type": "object",
    "required": ["format", "key", "windows"],
    "properties": {
        "format": {"const": _FORMAT},
        "key": {"type": "object"},
        "windows": {
            "type": "array",
            "minItems": 1,
            "maxItems": _MAX_WINDOWS,
            "items": {
                "type": "object",
                "required": ["time_utc", "seconds", "visits_ms"],
                "properties": {
                    "time_utc": {"type": "string"},
                    "seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6},
                    "visits_ms": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": _MAX_VISITS,
                        "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6},
                    },
                },
            },
        },
    },
}


def _read(path: Path, key: Mapping[str, Any], noise: Noise, *, fresh: bool) -> ReferenceBaseline:
    """Reads a baseline and checks it."""
    try:
        data = read_json(path, 64 << 20, _SCHEMA)
        if data["key"] != json.loads(json.dumps(dict(key))):
            raise FileRefused(path, "belongs to another device or other settings")
    except (FileRefused, OSError) as error:
        reason = error.reason if isinstance(error, FileRefused) else error.strerror
        raise RecordDamaged(
            f"the reference baseline {str(path)!r} is damaged: it {reason}. Remove it; it is "
            f"recorded anew by the next measurement: rm '{path}'"
        ) from error
    windows = tuple(
        Window(one["time_utc"], float(one["seconds"]), tuple(map(float, one["visits_ms"])))
        for one in data["windows"]
    )
    scale = scale_of(windows, noise)
    times = np.concatenate([one.visits_ms for one in windows])
    share = float(np.mean(times > BUSY_SLOWDOWN * scale.quiet_ms))
    busy = share > 1 - MOSTLY_QUIET
    return ReferenceBaseline(scale, data["key"], windows, share, busy, path, fresh)
