"""Checking a package again: everything that its manifest says, without a network.

A package is somebody else's word. What is judged here is judged by the program: its own texts,
tolerances, statistic and rules. A file whose hash fails is opened by nothing, and the others are
opened and run in another process, with limits of time and memory. On the device that the package
was made for, the latency is measured again too, on the scale of the verifier's own record of that
device.

docs/packages.md says what that cannot know.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import device_profiles
from device_profiles import DeviceProfile, DeviceProfileError
from nasc.errors import NascError, PackageError
from nasc.latency.session import MeasurementSession
from nasc.package.formats import code_refused, format_of
from nasc.package.hashes import SIGNATURE
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import MANIFEST, read_plain_manifest
from nasc.package.signing import check_public_key, signature_outcome
from nasc.package.verify_files import FileChecks
from nasc.package.verify_latency import measure_again
from nasc.package.verify_report import Check, VerifyReport, blames, guarded, reason_of
from nasc.utils.files import cache_folder, check_path
from nasc.utils.progress import Progress, Say
from profilers import (
    Opener,
    Protocol,
    WorkerLimits,
    open_worker,
)

NONE_STATED = "none is stated, so that there is none to measure again"
"""Of a folder that was written beside the package that was measured."""

RUN_ONCE_CHECKED = ("files", "model", "golden vectors")
"""Checks that must have passed before a model is measured."""


def verify_package(
    folder: str | Path,
    *,
    measure: bool = True,
    device: DeviceProfile | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    cache: Path | None = None,
    limits: WorkerLimits | None = None,
    min_duration_s: float | None = None,
    sustained_minutes: float | None = None,
    run_code: bool = False,
    key: Path | None = None,
    opener: Opener | None = None,
) -> VerifyReport:
    """Check a package again.

    Args:
        folder: The package.
        measure: Whether to measure latency and memory, where this is the right device.
        device: Where to measure; None is the device that the manifest names.
        protocol: How to measure; None is the default.
        progress: Called with (units done, units in all, message) while measuring.
        say: Told when another process that measures on the device has to be waited for.
        cache: Cache folder, whose processes measure one at a time; None is the user's.
        limits: What a process that opens or runs the model may take; None takes the defaults.
        min_duration_s: Seconds that a run of MLPerf's single-stream scenario lasts, where the
            package states one; None takes its own.
        sustained_minutes: Minutes that the device is kept under load before; None is as long as the
            package states, at most `nasc.package.verify_latency.LOAD_MINUTES`.
        run_code: Whether code that came with the package may run, with all that the user may do:
            without it, what would run such code is not checked.
        key: Public key of whoever must have signed it; None checks no signature.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Returns:
        Every check with its outcome. Nothing that is wrong with a package raises.

    Raises:
        PackageError: If there is no package at all.
        UsageError: If its path is not UTF-8, or the key is none.
    """
    folder = Path(os.path.expanduser(folder)).absolute()
    check_path(folder, "nasc verify DIR")
    if key is not None:
        check_public_key(key)
    try:
        plain = read_plain_manifest(folder)
        manifest = Manifest.from_dict(plain)
        format_of(manifest.conditions.runtime)  # raises where there is none
    except PackageError as error:
        if not (folder / MANIFEST).exists():
            raise
        checks = [
            Check("manifest", blames(error), reason_of(error)),
            Check("everything else", None, "the manifest cannot be read"),
        ]
        return VerifyReport(folder, tuple(checks))
    unknown = ""
    if device is None:
        try:
            device = _device_of(manifest)
        except DeviceProfileError as error:
            unknown = reason_of(error)
    with FileChecks(folder, manifest, plain, limits, device, run_code) as checker:
        checks = checker.all()
    whole = all(check.ok for check in checks if check.name == "files")
    checks += _signature(folder, key, whole)
    found = None
    if any(check.ok is False for check in checks):
        checks.append(Check("latency", None, "a package that fails is not measured"))
    elif manifest.estimate is not None:
        checks.append(Check("latency", None, manifest.estimate))
    elif not manifest.states_measurable:
        checks.append(Check("latency", True, NONE_STATED))
    elif not measure:
        checks.append(Check("latency", None, "as asked for", declined=True))
    elif refused := code_refused(manifest.conditions.runtime, run_code):
        checks.append(Check("latency", None, refused))
    elif any(check.name in RUN_ONCE_CHECKED and not check.ok for check in checks):
        checks.append(Check("latency", None, "only a model that passes its checks is measured"))
    elif device is None:
        checks.append(Check("latency", None, unknown))
    else:
        try:
            kept_in = cache_folder(cache)
            opener = opener or functools.partial(open_worker, limits=limits, cache=kept_in)
            session = MeasurementSession.on(
                device,
                kept_in,
                runtime=manifest.conditions.runtime,
                opener=opener,
                say=say,
            )
            with session.alone(kept=""):
                more, found = measure_again(
                    folder,
                    manifest,
                    session,
                    protocol,
                    progress,
                    min_duration_s,
                    sustained_minutes,
                )
        except NascError as error:
            more = [Check("latency", None, reason_of(error))]
        checks += more
    return VerifyReport(folder, tuple(checks), manifest, found)


def _signature(folder: Path, key: Path | None, whole: bool) -> list[Check]:
    """The check of a package's signature; none where there is nothing to check.

    Args:
        folder: The package.
        key: See `verify_package`.
        whole: Whether all files are as hashed: others may be pipes, or without end.
    """
    if key is not None and not whole:
        why = "no signature is looked at of a package whose files are not as hashed"
        return [Check("signature", None, why)]
    if key is not None:
        return [guarded("signature", lambda: signature_outcome(folder, key))]
    if not (folder / SIGNATURE).exists():
        return []
    why = "whose it is was not asked: --key PUB, of whoever should have signed it"
    return [Check("signature", None, why, declined=True)]


def _device_of(manifest: Manifest) -> DeviceProfile:
    """The device that a manifest names, of those that are known here: never a file it names.

    Raises:
        DeviceProfileError: If none has the name.
    """
    name = manifest.conditions.device
    if name.endswith(".toml") or "/" in name or "\\" in name:  # what `find` takes for a path
        raise DeviceProfileError(f"the device {name!r} is no name: a manifest never names a file")
    return device_profiles.find(name)
