"""What `nasc profile` does: latency tables, measured or found in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import device_profiles
import profilers
from nasc.architecture.heads import MEAN_HEAD, graph_head, leaves_own_head
from nasc.architecture.space import SearchSpace, load_space
from nasc.context.read_lengths import read_lengths
from nasc.errors import TableMissing, TableRefused, UsageError
from nasc.latency.boards import BoardsSession
from nasc.latency.find import find_source
from nasc.latency.key import LatencyKey
from nasc.latency.listing import devices_of
from nasc.latency.profile import Profiled, TransferFrom
from nasc.latency.profile import profile as measure_tables
from nasc.latency.session import MeasurementSession
from nasc.latency.table import LatencyTable
from nasc.latency.table_paths import tables_folder
from nasc.latency.transfer import DEFAULT_BUDGET, MAX_BUDGET, MIN_BUDGET
from nasc.pipelines.tables import read_named
from nasc.supernet.space_for import space_for
from nasc.teacher import load_teacher
from nasc.utils.files import cache_folder
from nasc.utils.progress import Reporter, Silent
from profilers.jobs import check_sustained


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
    head: str | None = None,
    fixed_shape: bool = False,
    sustained_minutes: float | None = None,
    tuned: bool = True,
    force: bool = False,
    from_table: str | Path | None = None,
    budget: int | None = None,
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
        lengths: A file of lengths or texts: see `nasc.context.settings.Settings`. A table is
            measured at each of the lengths that stand for them.
        batches: Sentences in a run; empty takes 1.
        threads: Empty takes the device's default.
        head: See `nasc.architecture.heads`; where a teacher is loaded, its pooling is put in. None
            is the teacher's own, ``embed`` without one.
        fixed_shape: Whether networks take inputs of one batch and length alone.
        sustained_minutes: See `nasc.context.settings.Settings`.
        tuned: See there.
        force: Measure again what is in the cache.
        from_table: A table of a similar device, from which and a few measured networks that of this
            one is made: a device with tables in the cache, a name of `nasc tables list`, or a file.
        budget: Networks that are measured then; None takes `DEFAULT_BUDGET`.
        seed: Of the plan.
        cache: Cache folder.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        UsageError, CacheBusy, ProfilerError: See `nasc.latency.profile.profile`.
        TableMissing, TableDamaged, TableRefused: If there is no table to transfer from, or it was
            transferred itself.
        CorpusError: If there is no length in `lengths`, or it cannot be read.
    """
    check_budget(from_table, budget)
    if sustained_minutes is not None:
        check_sustained(sustained_minutes)
    if lengths is not None and (seq_lens or fixed_shape or tuple(batches) not in ((), (1,))):
        raise UsageError(
            f"--lengths {lengths} gives a mixture of lengths of single texts: leave --seq-len, "
            "--fixed-shape and --batch out"
        )
    found_devices = device_profiles.find_all(device)
    for one in found_devices:
        profilers.check_device(one)
    found_device = found_devices[0]
    if space is not None and teacher is None:
        found_space = load_space(space)
    else:
        own = load_teacher(teacher, bare=leaves_own_head(head))
        found_space, head = space_for(own, space), own.own_head(head)
    reporter = reporter or Silent()
    folder = cache_folder(cache)
    if len(found_devices) > 1:
        session: MeasurementSession = BoardsSession.of(
            found_devices,
            folder,
            runtime,
            sustained_minutes=sustained_minutes,
            opener=opener,
            say=reporter.say,
            tuned=tuned,
        )
    else:
        session = MeasurementSession.on(
            found_device,
            folder,
            runtime=runtime,
            sustained_minutes=sustained_minutes,
            opener=opener,
            say=reporter.say,
            tuned=tuned,
        )
    transfer = None
    if from_table is not None:
        source = _source(str(from_table), folder, found_space)
        transfer = TransferFrom(source, DEFAULT_BUDGET if budget is None else budget)
    if lengths is not None:
        seq_lens = read_lengths(lengths, load_teacher(teacher), reporter.say).lengths
    return measure_tables(
        found_space,
        session,
        precisions=tuple(precisions),
        seq_lens=tuple(seq_lens) or (128,),
        batches=tuple(batches) or (1,),
        threads=tuple(threads),
        head=graph_head(head or MEAN_HEAD),
        fixed_shape=fixed_shape,
        seed=seed,
        force=force,
        transfer=transfer,
        progress=reporter.stage(f"Latency tables of device {found_device.name!r}"),
    )


def check_budget(from_table: str | Path | None, budget: int | None) -> None:
    """Raise unless so many networks may be measured.

    Raises:
        UsageError: Saying how many may.
    """
    if budget is None:
        return
    if from_table is None:
        raise UsageError(
            f"--budget {budget} is for a table that is made from another one: give --from-table "
            "too, or leave --budget out to measure a whole table"
        )
    if not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise UsageError(
            f"--budget must be from {MIN_BUDGET} to {MAX_BUDGET} networks, got {budget}. A whole "
            "table is measured without --from-table"
        )


def _source(text: str, cache: Path, space: SearchSpace) -> Callable[[LatencyKey], LatencyTable]:
    """The tables that a device has in the cache, or the one that is named; read now."""
    folder = tables_folder(cache)
    devices = devices_of(folder)
    if text in devices:
        return partial(_most_alike, text, folder, space)
    if text in device_profiles.names():
        known = f" Devices with tables there: {', '.join(devices)}." if devices else ""
        raise TableMissing(
            f"--from-table {text}: device {text!r} has no latency table in the cache ('{folder}')."
            f"{known} Measure one: nasc profile --device {text}; or take one from elsewhere: nasc "
            "tables import FILE"
        )
    _, table = read_named(cache, text)
    if table.transferred is not None:
        raise TableRefused(
            f"--from-table {text}: that table was itself transferred, from one of "
            f"{table.transferred.source}. Errors would add up: name that one"
        )
    return lambda key: table


def _most_alike(device: str, folder: Path, space: SearchSpace, key: LatencyKey) -> LatencyTable:
    """The table of a device that is most like one that is wanted.

    Raises:
        TableMissing: If none is of this space.
    """
    found = find_source(folder, device, key, space)
    if found is None:
        raise TableMissing(
            f"--from-table {device}: none of the tables of device {device!r} in the cache "
            f"('{folder}') was measured whole for search space {space.name!r}. See which there "
            "are: nasc tables list; measure one of this space there"
        )
    return found.table
