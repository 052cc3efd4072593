"""What `nasc bench` does: latency and peak memory of anybody's model files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import device_profiles
import profilers
from nasc.errors import CodeRefused
from nasc.latency.session import MeasurementSession, check_real
from nasc.pipelines.options import Options
from nasc.utils.files import cache_folder, check_path
from nasc.utils.progress import Reporter, Silent
from profilers.runtimes import is_code, runtime_for


def bench(
    models: Sequence[Path],
    sizes: dict[str, int] | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    device: str = "host",
    runtime: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    run_timeout_s: float | None = None,
    protocol: str | None = None,
    min_duration_s: float | None = None,
    sustained_minutes: float | None = None,
    run_code: bool = False,
    cache: Path | None = None,
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> profilers.BenchResult:
    """Latency and peak memory of anybody's model files.

    Args:
        models: The files.
        sizes: Of symbolic axes, by name.
        shapes: Whole shapes of inputs, by name.
        device: Name of a device profile, or the path of one.
        runtime: What runs them; None goes by the files, and takes the device's default where
            several runtimes run them.
        threads: Of the runtime; None takes the device's default.
        seed: Of the order of the models in a round.
        run_timeout_s: Seconds that one run of a model may take; None takes the default.
        protocol: ``mlperf-single-stream`` runs that scenario of each file, too.
        min_duration_s: Seconds that it lasts at least; None takes MLPerf's own.
        sustained_minutes: See `nasc.context.settings.Settings`.
        run_code: Whether files that are code (TVM's .so, torch's .pt2) may run, with all that the
            user may do.
        cache: Cache folder; keeps the reference baseline: figures are comparable with tables by it.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        DeviceEmulated: If the device's latencies mean nothing.
        UsageError: If a duration is given and no protocol.
        CodeRefused: If a file is code and `run_code` does not say that it may run.
        CacheBusy: If another process measured on this device for an hour.
        ProfilerError: If the device cannot be reached or a model cannot be run.
    """
    reporter = reporter or Silent()
    options = Options(protocol=protocol, min_duration_s=min_duration_s)
    for model in models:
        check_path(model, "nasc bench FILE")
        if is_code(model) and not run_code:
            raise CodeRefused(
                f"nothing was measured: '{model}' is code, and to open it is to run it with all "
                "that you may do here: if you trust who made it, give --run-code"
            )
    found = device_profiles.find(device)
    check_real(found)
    profilers.check_device(found)
    limits = None if run_timeout_s is None else profilers.WorkerLimits(run_s=run_timeout_s)
    session = MeasurementSession.on(
        found,
        cache_folder(cache),
        threads,
        runtime or runtime_for(models, found.default_runtime),
        sustained_minutes=sustained_minutes,
        opener=opener or partial(profilers.open_worker, limits=limits, cache=cache_folder(cache)),
        say=reporter.say,
    )
    progress = reporter.stage(f"Measuring on device {found.name!r}")
    with session.alone(kept=""):
        baseline = session.baseline(progress=progress)
        result = profilers.bench(
            models,
            found,
            dims=sizes,
            shapes=shapes,
            options=session.options,
            protocol=profilers.Protocol(seed=seed),
            stream_s=None if protocol is None else options.duration_s,
            scale=baseline.scale,
            progress=progress,
            heat=session.heat,
            opener=session.opener,
        )
        session.extend(baseline, result.measurement)
        return result
