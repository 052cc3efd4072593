"""What `nasc profile` does: latency tables, measured or found in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import device_profiles
import profilers
from nasc.architecture.space import load_space
from nasc.context.read_lengths import read_lengths
from nasc.errors import UsageError
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
    lengths: Path | None = None,
    batches: Sequence[int] = (),
    threads: Sequence[int] = (),
    head: str = "embed",
    fixed_shape: bool = False,
    force: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    reporter: Reporter | None = None,
    opener: profilers.Opener = profilers.open_worker,
) -> list[Profiled]:
    """Latency tables for every combination of settings, measured or found in the cache.

    Args:
        device: Name of a device profile, or the path of one.
        teacher: Its geometry decides the space; not loaded where `space` is given.
        space: Preset or path.
        runtime: What runs the networks; None takes the device's default.
        precisions: Empty takes those of the space that the runtime computes in.
        seq_lens: Tokens; empty takes 128.
        lengths: A file of lengths or texts: see `nasc.context.settings.Settings`. A table is
            measured at each of the lengths that stand for them.
        batches: Sentences in a run; empty takes 1.
        threads: Empty takes the device's default.
        head: ``embed`` or ``hidden``.
        fixed_shape: Whether networks take inputs of one batch and length alone.
        force: Measure again what is in the cache.
        seed: Of the plan.
        cache: Cache folder.
        reporter: Told of the progress.
        opener: Starts a worker on the device; `profilers.testing` makes one up.

    Raises:
        UsageError, CacheBusy, ProfilerError: See `nasc.latency.profile.profile`.
        CorpusError: If there is no length in `lengths`, or it cannot be read.
    """
    if lengths is not None and (seq_lens or fixed_shape or tuple(batches) not in ((), (1,))):
        raise UsageError(
            f"--lengths {lengths} gives a mixture of lengths of single texts: leave --seq-len, "
            "--fixed-shape and --batch out"
        )
    found_device = device_profiles.find(device)
    found_space = (
        load_space(space)
        if space is not None and teacher is None
        else space_for(load_teacher(teacher), space)
    )
    reporter = reporter or Silent()
    if lengths is not None:
        seq_lens = read_lengths(lengths, load_teacher(teacher), reporter.say).lengths
    return measure_tables(
        found_space,
        MeasurementSession.on(
            found_device, cache_folder(cache), runtime=runtime, opener=opener, say=reporter.say
        ),
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
