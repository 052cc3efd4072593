"""`nasc compile` for several devices: a package for each, and an index that an app picks from.

Teacher, text and supernet are the same for all: what the first one trains, the others find in the
cache. Tables, limits and networks are each device's own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import profilers
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import InfeasibleLimits, LimitsMissed, NascError, PackageError, UsageError
from nasc.package.index import INDEX, MAX_DEVICES, DeviceVariant, write_index
from nasc.package.replacing import NEXT_STEP
from nasc.pipelines.compile import compile_on, context_for
from nasc.pipelines.options import Options
from nasc.pipelines.result import CompileResult
from nasc.solver.problem import Limits
from nasc.utils.outputs import check_place, claimed
from nasc.utils.progress import Reporter

HEADER = ("device", "limit", "measured", "at most", "size", "quality", "architecture")
"""Of the table of results."""


@dataclass(frozen=True, slots=True)
class DevicesResult:
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
) -> DevicesResult:
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
    if len(limits) not in (1, len(devices)) or not 0 < len(devices) <= MAX_DEVICES:
        raise UsageError(
            f"{len(limits)} latency limits for {len(devices)} devices: give one for each, in their "
            "order, or one for all"
        )
    each = list(limits) * (len(devices) // len(limits))
    contexts = [
        context_for(limit, dataclasses.replace(settings, device=device), options, reporter, opener)
        for device, limit in zip(devices, each, strict=True)
    ]
    names = [folder_name(context.device.name) for context in contexts]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageError(f"--device names {contexts[i].device.name!r} twice: give each once")
    output = options.output or Path("-".join(["nasc", *names]))
    check_folder(output, options.force)
    results: dict[str, CompileResult] = {}
    missed: dict[str, NascError] = {}
    with claimed(output):
        for context, limit, name in zip(contexts, each, names, strict=True):
            context.reporter.say(f"device {context.device.name!r}:")
            own = dataclasses.replace(options, output=output / name)
            try:
                results[context.device.name] = compile_on(context, limit, own)
            except (InfeasibleLimits, LimitsMissed) as error:
                missed[context.device.name] = error
        if results:
            write_index(
                output, [_variant(c, results) for c in contexts if c.device.name in results]
            )
    return DevicesResult(output, results, missed)


def folder_name(device: str) -> str:
    """A device's name as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._@-]", "-", Path(device).stem).lstrip(".") or "device"


def check_folder(output: Path, force: bool) -> None:
    """Raise unless packages and their index may be written into a folder.

    Raises:
        PackageError: If something else lies there, or an index that may not be replaced.
    """
    check_place(output, "--output DIR", PackageError, "the packages")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / INDEX).is_file():
        raise PackageError(f"'{output}' holds no packages of several devices. {NEXT_STEP}")
    if not force:
        raise PackageError(
            f"'{output}' holds packages. Name another folder: --output DIR; or replace them: "
            "--force"
        )


def _variant(context: RunContext, results: Mapping[str, CompileResult]) -> DeviceVariant:
    result = results[context.device.name]
    m = result.manifest
    return DeviceVariant(
        context.device.name,
        context.device.description,
        result.package.name,
        m.conditions.runtime,
        str(m.architecture),
        dict(m.limits),
        None if m.measured is None else m.measured.latency_ms,
        None if m.measured is None else m.measured.upper_ms,
        m.size_bytes,
        result.build_sha256,
        {name: path.name for name, path in result.folders.items()},
    )
