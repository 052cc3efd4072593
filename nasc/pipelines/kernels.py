"""What `nasc report --kernels` does: a package's kernels against what the core can do at most."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import device_profiles
from device_profiles import CPU, DeviceProfile
from nasc.errors import CodeRefused, UsageError
from nasc.latency.session import MeasurementSession
from nasc.package.formats import code_refused, format_of
from nasc.package.hashes import check_unchanged
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.pipelines.plots import check_plot, plot_roofline
from nasc.utils.files import cache_folder, check_path
from nasc.utils.progress import Reporter, Silent
from profilers.devices.client import WorkerClient
from profilers.kernels import Kernel, KernelRun, run_kernels
from profilers.peaks import NOISY, CorePeaks, core_peaks

TURNS = 20
"""Of five runs each with the profiler and without it."""


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One kernel against its roof.

    Attributes:
        name: Of its node.
        operator: The runtime's name of what it does.
        kind: Product, attention, normalisation and so on.
        computed_in: Number format of its products.
        operations: See `profilers.kernels`.
        bytes_moved: Inputs and outputs, each once.
        time_ms: Mean over the quietest runs.
        share: Of the sum of all kernels.
        ops_per_s: Operations in a second.
        bytes_per_s: Bytes in a second.
        bound: What holds it: "compute" or "bandwidth" of the cache; None where nothing is known of
            its number format, or it moves nothing.
        roof_share: Its rate over what that allows.
    """

    name: str
    operator: str
    kind: str
    computed_in: str
    operations: int
    bytes_moved: int
    time_ms: float
    share: float
    ops_per_s: float
    bytes_per_s: float
    bound: str | None
    roof_share: float | None

    @property
    def intensity(self) -> float | None:
        """Operations for each byte; None where it moves none."""
        return self.operations / self.bytes_moved if self.bytes_moved else None


@dataclass(frozen=True, slots=True)
class KernelReport:
    """All kernels of a package.

    Attributes:
        package: Its folder.
        architecture: Its network in text form.
        runtime: What ran it, with the version.
        processor: The processor's name, as it tells it.
        shapes: Of the inputs, by name.
        peaks: Of a core.
        run: The kernels and whole runs as measured.
        rows: The kernels, the longest first.
    """

    package: Path
    architecture: str
    runtime: str
    processor: str
    shapes: dict[str, tuple[int, ...]]
    peaks: CorePeaks
    run: KernelRun
    rows: tuple[KernelRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "package": str(self.package),
            "architecture": self.architecture,
            "runtime": self.runtime,
            "processor": self.processor,
            "inputs": {name: list(shape) for name, shape in self.shapes.items()},
            "peaks": self.peaks.to_dict(),
            "runs": self.run.runs,
            "plain_ms": self.run.plain_ms,
            "profiled_ms": self.run.profiled_ms,
            "sum_ms": self.run.sum_ms,
            "overhead": self.run.overhead,
            "kernels": [asdict(row) | {"intensity": row.intensity} for row in self.rows],
        }

    def groups(self) -> list[list[KernelRow]]:
        """Kernels that do the same on as much, those that take most together first."""
        found: dict[tuple[Any, ...], list[KernelRow]] = defaultdict(list)
        for row in self.rows:
            key = (row.operator, row.kind, row.computed_in, row.operations, row.bytes_moved)
            found[key].append(row)
        return sorted(found.values(), key=lambda rows: -sum(row.time_ms for row in rows))

    def notes(self) -> list[str]:
        """What is to be known of the figures, a line each."""
        run, peaks = self.run, self.peaks
        stated = [("fp32", peaks.fp32), ("bf16", peaks.bf16), ("int8", peaks.int8)]
        lines = [
            f"peak {name}: {rate.per_s / 1e9:.0f} GOP/s, {rate.by}"
            if rate
            else f"peak {name}: not known here (pip install 'nasc[runner]'; AMX, AVX512)"
            for name, rate in stated
        ]
        lines += [
            f"bandwidth: {rate.per_s / 1e9:.1f} GB/s, {rate.by}"
            for rate in (peaks.cache, peaks.memory)
        ]
        lines.append(
            f"peaks: at most {peaks.spread:.2f} times the median of their repetitions"
            + ("; the machine was busy" if peaks.spread > NOISY else "")
        )
        lines.append(
            f"all kernels {run.sum_ms:.2f} ms; the network {run.plain_ms:.2f} ms without the "
            f"profiler, {run.profiled_ms:.2f} with it ({run.overhead:+.1%}); the quietest quarter "
            f"of {run.runs} runs each"
        )
        return lines


def report_kernels(
    package: Path,
    *,
    device: str | None = None,
    plot: Path | None = None,
    force: bool = False,
    turns: int = TURNS,
    run_code: bool = False,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> KernelReport:
    """Every kernel of a package: its rate, its share of the time and of its roof.

    Args:
        package: Its folder.
        device: Where it runs, which must be this machine's processor; None is the device of its
            manifest, if the package was measured on this very processor.
        plot: Where the roofline is drawn; None draws none.
        force: Replace a picture that lies there.
        turns: See `profilers.kernels.run_kernels`.
        run_code: Whether code that came with the package may run, with all that the user may do.
        cache: Cache folder, which keeps the peaks; None is the user's.
        reporter: Told of the progress.

    Raises:
        PackageError: If there is no package, or it is damaged.
        CodeRefused: If it holds code and `run_code` does not say that it may run.
        UsageError: If it is for another device, or the picture cannot be drawn.
        CacheBusy: If another process measured on this device for an hour.
        ProfilerError: If its runtime tells nothing of kernels, or the model cannot be run.
    """
    reporter = reporter or Silent()
    if plot is not None:
        check_plot(plot, force)
    check_path(package, "nasc report DIR --kernels")
    folder = Path(os.path.expanduser(package)).absolute()
    manifest = read_manifest(folder)
    runtime = manifest.conditions.runtime
    if refused := code_refused(runtime, run_code):
        raise CodeRefused(f"nothing of '{package}' was run: {refused}")
    if manifest.measured is None:
        raise UsageError(
            f"'{package}' was never measured: its inputs are not known. Make it on a device that "
            "can be reached: nasc compile"
        )
    check_unchanged(folder, manifest.files)
    found = _device(manifest, package, device)
    job = manifest.measured.jobs(folder / format_of(runtime).MODEL)[-1]
    session = MeasurementSession.on(
        found, cache_folder(cache), manifest.conditions.threads, runtime, say=reporter.say
    )
    if session.options.threads != 1:
        raise UsageError(
            f"'{package}' runs by {session.options.threads} threads; the peaks are of one core. "
            "Make it for one: nasc compile --threads 1"
        )
    with session.alone(kept=""):
        reporter.stage("Measuring the peaks of a core")
        peaks = core_peaks(session.cache_dir)
        reporter.stage("Running the kernels")
        with session.opener(found, session.options) as worker:
            if not isinstance(worker, WorkerClient):
                raise UsageError(f"device '{found.name}' tells nothing of kernels: --device host")
            context = worker.context
            if device is None:
                _check_processor(manifest, context, package)
            run = run_kernels(worker, job, turns)
    report = KernelReport(
        package=package,
        architecture=str(manifest.architecture),
        runtime=f"{runtime} {context['runtime_version']}",
        processor=str(context["cpu"].get("model")),
        shapes={name: spec.shape for name, spec in job.inputs.items()},
        peaks=peaks,
        run=run,
        rows=kernel_rows(run.kernels, peaks),
    )
    if plot is not None:
        plot_roofline(report, plot, force)
    return report


def kernel_rows(kernels: Sequence[Kernel], peaks: CorePeaks) -> tuple[KernelRow, ...]:
    """Kernels against the roofline of a core, the longest first.

    The roof is min(peak, intensity x bandwidth) (Williams, Waterman and Patterson, Communications
    of the ACM 52, 2009) with the bandwidth of the cache, in which a network's activations lie; what
    does no operations is held to the bandwidth.

    Args:
        kernels: With their times.
        peaks: Of the core.
    """
    total = sum(kernel.time_ms for kernel in kernels)
    rows = [_row(kernel, total, peaks) for kernel in kernels]
    return tuple(sorted(rows, key=lambda row: -row.time_ms))


def _row(kernel: Kernel, total_ms: float, peaks: CorePeaks) -> KernelRow:
    operations, moved, seconds = kernel.operations, kernel.bytes_moved, kernel.time_ms * 1e-3
    peak = {"fp32": peaks.fp32, "bf16": peaks.bf16, "int8": peaks.int8}.get(kernel.computed_in)
    bound, least_s = None, None
    if moved and (peak is not None or not operations):
        compute_s = operations / peak.per_s if peak is not None else 0.0
        moving_s = moved / peaks.cache.per_s
        bound = "compute" if compute_s > moving_s else "bandwidth"
        least_s = max(compute_s, moving_s)
    return KernelRow(
        name=kernel.name,
        operator=kernel.operator,
        kind=kernel.kind,
        computed_in=kernel.computed_in,
        operations=operations,
        bytes_moved=moved,
        time_ms=kernel.time_ms,
        share=kernel.time_ms / total_ms if total_ms else 0.0,
        ops_per_s=operations / seconds if seconds else 0.0,
        bytes_per_s=moved / seconds if seconds else 0.0,
        bound=bound,
        roof_share=least_s / seconds if least_s is not None and seconds else None,
    )


def _device(manifest: Manifest, package: Path, device: str | None) -> DeviceProfile:
    """Where the package is run: a device that is this machine's processor.

    Raises:
        UsageError: If it is another machine, or something beside the processor computes there.
    """
    name = device or manifest.conditions.device
    found = device_profiles.find(name)
    if found.accelerator.kind != CPU:
        raise UsageError(
            f"device {name!r} computes on {found.accelerator.kind}; kernels are held to what a "
            "core of a processor can do at most. Look at a package for the processor: nasc compile "
            "--device host"
        )
    if found.connection.kind != "local" or found.emulated:
        raise UsageError(
            f"'{package}' is for device {name!r}; kernels are looked at on this machine alone. "
            f"Look at it here: nasc report {package} --kernels --device host"
        )
    return found


def _check_processor(manifest: Manifest, context: Any, package: Path) -> None:
    """Raise unless the package was measured on this processor."""
    assert manifest.measured is not None
    stated = manifest.measured.measurement.context.get("fingerprint")
    if stated != context["fingerprint"]:
        raise UsageError(
            f"'{package}' was measured on another processor (fingerprint {stated}, here "
            f"{context['fingerprint']}). Look at it here all the same: nasc report {package} "
            "--kernels --device host"
        )
