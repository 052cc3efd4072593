"""What `nasc verify` does: every promise of a package, checked again."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import device_profiles
from nasc.package.index import IndexEntry, read_index
from nasc.package.read_manifest import MANIFEST
from nasc.package.verify import verify_package
from nasc.package.verify_report import MultiDeviceVerifyReport, Outcome, VerifyReport, guarded
from nasc.utils.progress import Reporter, Silent
from profilers import WorkerLimits
from profilers.jobs import check_sustained
from profilers.mlperf import check_duration


def verify(
    package: Path,
    *,
    measure: bool = True,
    device: str | None = None,
    run_timeout_s: float | None = None,
    min_duration_s: float | None = None,
    sustained_minutes: float | None = None,
    run_code: bool = False,
    key: Path | None = None,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> VerifyReport:
    """Check a package: every file, every promise, and the latency on its device.

    Args:
        package: The folder of a package.
        measure: Whether to measure latency and memory, where this is the right device.
        device: Name of a device profile, or the path of one; None is the device that the package
            names.
        run_timeout_s: Seconds that one run of the model may take; None takes the default.
        min_duration_s: Seconds that a run of MLPerf's single-stream scenario lasts, where the
            package states one; None takes its own.
        sustained_minutes: See `nasc.package.verify.verify_package`.
        run_code: See there.
        key: Public key of whoever must have signed the package; None checks no signature.
        cache: Cache folder, whose processes measure one at a time; None is the user's.
        reporter: Told of the progress.

    Returns:
        Every check with its outcome. Nothing that is wrong with a package raises.

    Raises:
        PackageError: If there is no package at all.
        UsageError: If its path is not UTF-8, or the key is none.
        profilers.InvalidSetting: If no run can last so long.
        DeviceProfileError: If there is no such device.
    """
    reporter = reporter or Silent()
    if min_duration_s is not None:
        check_duration(min_duration_s)
    if sustained_minutes is not None:
        check_sustained(sustained_minutes)
    return verify_package(
        package,
        measure=measure,
        device=None if device is None else device_profiles.find(device),
        cache=cache,
        limits=None if run_timeout_s is None else WorkerLimits(run_s=run_timeout_s),
        min_duration_s=min_duration_s,
        sustained_minutes=sustained_minutes,
        run_code=run_code,
        key=key,
        progress=reporter.stage("Verifying"),
        say=reporter.say,
    )


def verify_devices(
    folder: Path, *, reporter: Reporter | None = None, **options: Any
) -> MultiDeviceVerifyReport:
    """Check the packages of a folder with an index, each on its own device.

    Args:
        folder: With an index, see `nasc.package.index`.
        reporter: Told of the progress.
        options: See `verify`.

    Returns:
        A report for each package, by device and runtime; its first check says whether the index
        says of it what it is.

    Raises:
        PackageError: If there is no index, or it is damaged.
        UsageError, profilers.InvalidSetting, DeviceProfileError: See `verify`.
    """
    reporter = reporter or Silent()
    found = {}
    for one in read_index(folder):
        reporter.say(f"device {one.device!r}, {one.runtime}:")
        indexed = guarded("index", partial(_indexed, folder, one))
        name, package = f"{one.device}, {one.runtime}", folder / one.folder
        if not (package / MANIFEST).is_file():
            found[name] = VerifyReport(package, (indexed,))
            continue
        report = verify(package, reporter=reporter, **options)
        found[name] = replace(report, checks=(indexed, *report.checks))
    return MultiDeviceVerifyReport(found)


def _indexed(folder: Path, one: IndexEntry) -> Outcome:
    """Whether a package is the one that the index names."""
    package = folder / one.folder
    if not (package / MANIFEST).is_file():
        return False, f"there is no package in '{package}'. Get the folder anew"
    own = IndexEntry.of(package)
    differs = [f.name for f in fields(own) if getattr(own, f.name) != getattr(one, f.name)]
    if differs:
        return False, f"the index says something else of '{package}': {', '.join(differs)}"
    return True, f"says of '{one.folder}' what that package says"
