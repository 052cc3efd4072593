"""What `nasc profile` does: latency tables, measured or found in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import device_profiles
import profilers
from nasc.architecture.space import load_space
from nasc.latency.boards import BoardsSession
from nasc.latency.profile import Profiled
from nasc.latency.profile import profile as measure_tables
from nasc.latency.session import MeasurementSession
from nasc.supernet.space_for import space_for
from nasc.teacher import load_teacher
from nasc.utils.files import cache_folder
from nasc.utils.progress import Reporter, Silent


def profile(
    *,
    device: str = "host",
    teacher: str | None = None,
    space: str | None = None,
    runtime: str | None = None,
    precisions: Sequence[str] = (),
    seq_lens: Sequence[int] = (),
    batches: Sequence[int] = (),
    threads: Sequence[int] = (),
    head: str = "embed",
    fixed_shape: bool = False,
    force: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> list[Profiled]:
    """Latency tables for every combination of settings, measured or found in the cache.

    Args:
        device: Name of a device profile, or the path of one. Several of one kind, with commas
            between, share the measurement; the first one's name is the table's.
        teacher: Its geometry decides the space; not loaded where `space` is given.
        space: Preset or path.
        runtime: What runs the networks; None takes the device's default.
        precisions: Empty takes those of the space that the runtime computes in.
        seq_lens: Tokens; empty takes 128.
        batches: Sentences in a run; empty takes 1.
        threads: Empty takes the device's default.
        head: ``embed`` or ``hidden``.
        fixed_shape: Whether networks take inputs of one batch and length alone.
        force: Measure again what is in the cache.
        seed: Of the plan.
        cache: Cache folder.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        UsageError, CacheBusy, ProfilerError: See `nasc.latency.profile.profile`.
    """
    found_devices = device_profiles.find_all(device)
    for one in found_devices:
        profilers.check_device(one)
    found_device = found_devices[0]
    found_space = (
        load_space(space)
        if space is not None and teacher is None
        else space_for(load_teacher(teacher), space)
    )
    reporter = reporter or Silent()
    folder = cache_folder(cache)
    if len(found_devices) > 1:
        session: MeasurementSession = BoardsSession.of(
            found_devices, folder, runtime, opener=opener, say=reporter.say
        )
    else:
        session = MeasurementSession.on(
            found_device, folder, runtime=runtime, opener=opener, say=reporter.say
        )
    return measure_tables(
        found_space,
        session,
        precisions=tuple(precisions),
        seq_lens=tuple(seq_lens) or (128,),
        batches=tuple(batches) or (1,),
        threads=tuple(threads),
        head=head,
        fixed_shape=fixed_shape,
        seed=seed,
        force=force,
        progress=reporter.stage(f"Latency tables of device {found_device.name!r}"),
    )
