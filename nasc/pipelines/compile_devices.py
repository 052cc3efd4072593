"""`nasc compile` for several devices: a package for each, and an index that an app picks from.

Teacher, text and supernet are the same for all: what the first one trains, the others find in the
cache. Tables, limits and networks are each device's own.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import profilers
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import InfeasibleLimits, LimitsMissed, NascError, PackageError, UsageError
from nasc.package.index import INDEX, IndexEntry, read_index, write_index
from nasc.package.replacing import NEXT_STEP
from nasc.package.signing import check_private_key
from nasc.pipelines.compile import compile_on, context_for, folders_of
from nasc.pipelines.formats import check_formats
from nasc.pipelines.options import Options
from nasc.pipelines.result import CompileResult
from nasc.solver.problem import Limits
from nasc.utils.outputs import check_place, claimed
from nasc.utils.progress import Reporter

MAX_DEVICES = 64
"""Of one command."""

HEADER = ("device", "limit", "measured", "at most", "size", "quality", "architecture")
"""Of the table of results."""


@dataclass(frozen=True, slots=True)
class MultiDeviceResult:
    """What was found for several devices.

    Attributes:
        folder: Of the index and the packages.
        results: By device, in the order they were named; without those of `missed`.
        missed: By device, why there is no package for it.
    """

    folder: Path
    results: Mapping[str, CompileResult]
    missed: Mapping[str, NascError]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "folder": str(self.folder),
            "devices": {name: result.to_dict() for name, result in self.results.items()},
            "missed": {name: str(error) for name, error in self.missed.items()},
        }

    def table(self) -> list[tuple[str, ...]]:
        """One row for each device, as `HEADER` names its columns."""
        found: list[tuple[str, ...]] = []
        for name, result in self.results.items():
            m = result.manifest
            limit_ms = m.limits.get("latency_ms")
            quality = next(iter(m.quality.items()), None)
            found.append(
                (
                    name,
                    "-" if limit_ms is None else f"{limit_ms:g} ms",
                    "-" if m.measured is None else f"{m.measured.latency_ms:.2f} ms",
                    "-" if m.measured is None else f"{m.measured.upper_ms:.2f} ms",
                    f"{m.size_bytes / 1e6:.1f} MB",
                    "-" if quality is None else f"{quality[0]} {quality[1]:.4f}",
                    f"{m.architecture} by {m.conditions.runtime}",
                )
            )
        return found


def compile_devices(
    devices: Sequence[str],
    limits: Sequence[Limits],
    settings: Settings | None = None,
    options: Options | None = None,
    reporter: Reporter | None = None,
    *,
    opener: profilers.Opener | None = None,
) -> MultiDeviceResult:
    """The best subnet for each of several devices, as a package in one folder with an index.

    All devices are looked at before anything is measured. One whose limits no network meets is
    left out of the index, and said; the packages of the others are kept.

    Args:
        devices: Names of device profiles, or paths, each once.
        limits: Of each device, or one for all.
        settings: Conditions; its device is not looked at.
        options: See `nasc.pipelines.compile.compile`; its output is the folder of all.
        reporter: Told of the progress.
        opener: Starts a worker on a device; None is `profilers.open_worker`.

    Raises:
        UsageError: If devices and limits do not go together.
        PackageError: If the folder cannot take them.
        NascError, ProfilerError: See `nasc.pipelines.compile.compile`; what was written stays.
    """
    settings, options = settings or Settings(), options or Options()
    if not 0 < len(devices) <= MAX_DEVICES:
        raise UsageError(f"{len(devices)} devices: give 1 to {MAX_DEVICES}")
    if len(limits) not in (1, len(devices)):
        raise UsageError(
            f"{len(limits)} latency limits for {len(devices)} devices: give one for each, in their "
            "order, or one for all"
        )
    if settings.estimate:
        raise UsageError("--estimate is of one device: name one, or leave it out")
    each = list(limits) * (len(devices) // len(limits))
    contexts = [
        context_for(limit, dataclasses.replace(settings, device=device), options, reporter, opener)
        for device, limit in zip(devices, each, strict=True)
    ]
    names = [folder_name(device) for device in devices]
    output = options.output or Path("-".join(["nasc", *names]))
    places = [output / name for name in names]
    folders = [folders_of(c, options, place) for c, place in zip(contexts, places, strict=True)]
    check_distinct(contexts, folders)
    if options.sign is not None:
        check_private_key(options.sign)
    for context in contexts:
        check_formats(context, options.formats)
    results: dict[str, CompileResult] = {}
    missed: dict[str, NascError] = {}
    written: list[IndexEntry] = []
    with claimed(output):
        check_index_folder(output, {path.name for some in folders for path in some}, options.force)
        for context, limit, place in zip(contexts, each, places, strict=True):
            name = context.device.name
            context.reporter.say(f"device {name!r}:")
            try:
                own = dataclasses.replace(options, output=place)
                results[name] = result = compile_on(context, limit, own)
            except (InfeasibleLimits, LimitsMissed) as error:
                missed[name] = error
                continue
            # After each: what comes next may be interrupted.
            written += map(IndexEntry.of, (result.package, *result.folders.values()))
            write_index(output, written)
    return MultiDeviceResult(output, results, missed)


def folder_name(device: str) -> str:
    """What a device was named by, as the name of a folder."""
    name = Path(device).stem if Path(device).is_file() else device
    return re.sub(r"[^A-Za-z0-9._@-]", "-", name).lstrip(".") or "device"


def check_distinct(contexts: Sequence[RunContext], folders: Sequence[Sequence[Path]]) -> None:
    """Raise unless every device is another, and every folder.

    Raises:
        UsageError: Naming what comes twice.
    """
    names = [context.device.name for context in contexts]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageError(f"--device names {name!r} twice: give each device once")
    paths = [path for some in folders for path in some]
    for i, path in enumerate(paths):
        if path in paths[:i]:
            raise UsageError(
                f"two devices have packages in a folder {path.name!r}: give one of them another "
                "name, by a device file of its own"
            )


def check_index_folder(output: Path, names: Collection[str], force: bool) -> None:
    """Raise unless packages and their index may be written into a folder.

    Tables, text and supernet of an interrupted run are found in the cache; its packages are
    replaced with `force`, as any others.

    Args:
        output: The folder.
        names: Of the folders that will be in it.
        force: Whether an index that lies there may be replaced.

    Raises:
        PackageError: If something else lies there, or an index that may not be replaced.
    """
    check_place(output, "--output DIR", PackageError, "the packages")
    if not output.exists():
        return
    if not output.is_dir():
        raise PackageError(f"'{output}' is no folder. {NEXT_STEP}")
    if os.path.lexists(output / INDEX):
        read_index(output)  # else it is somebody else's
        if not force:
            raise PackageError(
                f"'{output}' holds packages, of all devices or of an interrupted run. Name another "
                "folder: --output DIR; or replace them, also to go on: the same command and --force"
            )
        return
    others = sorted(
        one.name for one in output.iterdir() if one.name not in names and one.name[0] != "."
    )
    if others:
        raise PackageError(f"'{output}' holds something else, {others[0]!r}. {NEXT_STEP}")
