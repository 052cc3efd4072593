"""What `nasc verify` does: every promise of a package, checked again."""

from __future__ import annotations

from pathlib import Path

import device_profiles
from nasc.package.verify import verify_package
from nasc.package.verify_report import VerifyReport
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
