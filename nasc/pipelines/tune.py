"""What `nasc tune` does: TVM's kernels of a search space, tuned on a device."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import device_profiles
from nasc.architecture.heads import MEAN_HEAD, check_head, graph_head, leaves_own_head
from nasc.architecture.space import Architecture, SearchSpace, load_space
from nasc.errors import UsageError
from nasc.export.onnx import build
from nasc.latency.cover import cover
from nasc.latency.emission import VOCAB_ROWS
from nasc.latency.plan import plan
from nasc.latency.session import check_real
from nasc.latency.table_paths import tables_folder
from nasc.lowering.base import check_precision
from nasc.lowering.tuned_kernels import TUNED
from nasc.networks.network import random_network
from nasc.pipelines.tuning_place import TunedFarm, tuning_place
from nasc.supernet.space_for import space_for
from nasc.teacher import load_teacher
from nasc.utils.files import cache_folder, locked
from nasc.utils.progress import Reporter, Silent
from profilers.context import fingerprint
from profilers.devices.tvm_tracker import BoardKey, TrackerAddress, check_key
from profilers.runtimes import get_runtime

DEFAULT_MINUTES = 30.0
MAX_MINUTES = 7 * 24 * 60.0


@dataclass(frozen=True, slots=True)
class TunedKernel:
    """What became of a kernel; times are of one run of it alone.

    Attributes:
        name: As TVM calls it.
        key: Of its structure.
        shapes: Of its arguments, the results last.
        count: Runs in a pass of the full-size network (of all lengths that were asked for).
        share: Of the time of a mean network's kernels, as they are compiled now.
        flops: Of one run.
        before_ms: As it is scheduled without a record; None where that cannot be run.
        after_ms: By its best record; None where it has none.
        trials: Candidates that this run measured.
        failed: Those of them that failed.
        error: Why the last one did.
    """

    name: str
    key: str
    shapes: tuple[str, ...]
    count: int
    share: float
    flops: float
    before_ms: float | None
    after_ms: float | None
    trials: int
    failed: int
    error: str | None

    @property
    def gflops_before(self) -> float | None:
        """10^9 operations a second without a record."""
        return None if self.before_ms is None else self.flops / self.before_ms / 1e6

    @property
    def gflops_after(self) -> float | None:
        """10^9 operations a second by the best record."""
        return None if self.after_ms is None else self.flops / self.after_ms / 1e6


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a tuning run found.

    Attributes:
        device: Its name.
        target: What kernels are compiled for, as TVM writes it.
        records: Folder of the records.
        cost_model: That chose candidates.
        networks: That kernels were taken from.
        kernels: Every kernel, the one that most time goes to first.
        left_out: Kernels that are never tuned: they compute nothing, or gather.
        farm: Boards that they were tuned on; None where that was this machine.
    """

    device: str
    target: str
    records: Path
    cost_model: str
    networks: int
    kernels: tuple[TunedKernel, ...]
    left_out: tuple[str, ...]
    farm: TunedFarm | None = None

    @property
    def without_record(self) -> tuple[str, ...]:
        """Kernels that are compiled by the schedules that nothing was tuned for."""
        return tuple(k.name for k in self.kernels if k.after_ms is None)

    def pass_ms(self, tuned: bool) -> float | None:
        """Time of all kernels of the full-size network, alone one after the other.

        Args:
            tuned: By records, where there are any.

        Returns:
            Milliseconds; None where a kernel cannot be run.
        """
        total = 0.0
        for k in self.kernels:
            ms = k.after_ms if tuned and k.after_ms is not None else k.before_ms
            if ms is None and k.count:
                return None
            total += (ms or 0.0) * k.count
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "device": self.device,
            "target": self.target,
            "records": str(self.records),
            "cost_model": self.cost_model,
            "networks": self.networks,
            "full_size_ms_before": self.pass_ms(tuned=False),
            "full_size_ms_after": self.pass_ms(tuned=True),
            "kernels": [
                {
                    **asdict(k),
                    "shapes": list(k.shapes),
                    "gflops_before": k.gflops_before,
                    "gflops_after": k.gflops_after,
                }
                for k in self.kernels
            ],
            "without_record": list(self.without_record),
            "left_out": list(self.left_out),
            "farm": None
            if self.farm is None
            else {
                "tracker": self.farm.tracker,
                "key": self.farm.key,
                "boards": [asdict(board) for board in self.farm.boards],
            },
        }


def tune(
    *,
    device: str = "host",
    minutes: float = DEFAULT_MINUTES,
    teacher: str | None = None,
    space: str | None = None,
    precision: str = "fp32",
    seq_lens: Sequence[int] = (),
    batch: int = 1,
    threads: int | None = None,
    head: str | None = None,
    full_size: bool = False,
    trials: int | None = None,
    tracker: str | None = None,
    key: str | None = None,
    seed: int = 0,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> TuneResult:
    """Tune TVM's kernels of a search space on a device; goes on where an earlier run ended.

    Args:
        device: Name of a device profile, or the path of one: this machine. With `tracker`, whose
            records they are; where none is named, the key is its name.
        minutes: Budget.
        teacher: Its geometry decides the space; not loaded where `space` is given.
        space: Preset or path.
        precision: Of the networks.
        seq_lens: Tokens; empty takes 128.
        batch: Sentences in a run.
        threads: That kernels run on; None takes the device's default.
        head: See `nasc.architecture.heads`; None is the teacher's own, ``embed`` without one.
        full_size: Take the kernels of the full-size network alone, not those of the whole space.
        trials: Candidates of a kernel at most; None is as many as there is time for.
        tracker: HOST:PORT of a tracker of TVM's RPC; kernels run on all its boards of `key`.
        key: That their servers were started with.
        seed: Of the search.
        cache: Cache folder.
        reporter: Told of the progress.

    Raises:
        UsageError: If a setting makes no sense, or the device is not this machine and there is no
            tracker.
        InvalidSetting: If the tracker or the key is none.
        DeviceUnreachable, DeviceLost: If the tracker or all boards cannot be reached, or are gone.
        BoardsRefused: If boards differ, or run another release of TVM.
        RuntimeMissing: If TVM is not installed, or in another release.
        ExportError: If TVM cannot read a network.
        RecordsDamaged, RecordsRefused: If what an earlier run left cannot be used.
        CacheBusy: If another run tunes the same for an hour.
        OSError: If records cannot be written.
    """
    if not 0 < minutes <= MAX_MINUTES:
        raise UsageError(f"--minutes must be above 0, at most {MAX_MINUTES:g}, got {minutes}")
    check_precision("tvm", precision)
    if precision not in TUNED:
        raise UsageError(
            f"--precision {precision}: tvm's kernels of it are written by hand, there is nothing "
            f"to tune. Take another: --precision {', '.join(TUNED)}"
        )
    if head is not None:
        check_head(head)
    if (tracker is None) != (key is None):
        given, lacking = ("--tracker", "--key") if key is None else ("--key", "--tracker")
        raise UsageError(
            f"{given} needs {lacking}: boards are those of a key at a tracker, as in --tracker "
            "192.168.1.10:9190 --key rpi5"
        )
    farm = (
        None
        if tracker is None or key is None
        else BoardKey(TrackerAddress.parse(tracker), check_key(key))
    )
    name, default_threads = _device(device, farm)
    get_runtime("tvm")  # says what is missing
    # Late: they import TVM, which takes seconds.
    from nasc.lowering.tuning.kernels import find_kernels
    from nasc.lowering.tuning.loop import LoopOptions, best_cost_model, tune_kernels
    from nasc.lowering.tuning.records import RecordsKey, open_for_tuning
    from nasc.lowering.tvm_module import fused_module, target_of

    reporter = reporter or Silent()
    if space is not None and teacher is None:
        found_space = load_space(space)
    else:
        own = load_teacher(teacher, bare=leaves_own_head(head))
        found_space, head = space_for(own, space), own.own_head(head)
    given = graph_head(head or MEAN_HEAD)
    threads = threads or default_threads
    lengths = tuple(dict.fromkeys(seq_lens)) or (128,)
    with tuning_place(farm, threads, reporter) as place:
        target = target_of(place.cpu["flags"], place.cpu["arch"], threads)
        architectures = _networks(found_space, precision, lengths, batch, given, full_size, seed)
        progress = reporter.stage("Kernels")

        def modules() -> Iterator[Any]:
            for index, architecture in enumerate(architectures):
                progress(index, len(architectures), str(architecture))
                network = random_network(
                    architecture, found_space.geometry, given, vocab_rows=VOCAB_ROWS
                )
                graphs = {f"length_{n}": build(network, shape=(batch, n)) for n in lengths}
                yield fused_module(graphs, target)
            progress(len(architectures), len(architectures), "")

        kernels = find_kernels(modules(), target)
        records_key = RecordsKey.of(name, fingerprint(dict(place.cpu)), target)
        folder = records_key.folder(tables_folder(cache_folder(cache)))
        options = LoopOptions(
            seconds=60 * minutes,
            max_trials=trials,
            cost_model=best_cost_model(),
            search_threads=_cores(),
            seed=seed,
            at_once=place.at_once,
        )
        with (
            locked(folder, "tuning records", reporter.say),
            open_for_tuning(folder, records_key) as records,
            place.measure(target) as measure,
        ):
            tuned = tune_kernels(
                kernels.tasks,
                records,
                target,
                measure,
                options,
                reporter.stage(f"Tuning on device {name!r}"),
            )
        boards = place.boards()
    whole_s = sum(kernel.time_s for kernel in tuned)
    reports = tuple(
        TunedKernel(
            name=kernel.task.name,
            key=kernel.task.key,
            shapes=kernel.task.shapes,
            count=kernel.task.count,
            share=kernel.time_s / whole_s if whole_s else 0.0,
            flops=kernel.task.flops,
            before_ms=_ms(kernel.before_s),
            after_ms=_ms(kernel.best_s),
            trials=kernel.trials,
            failed=kernel.failed,
            error=kernel.error,
        )
        for kernel in tuned
    )
    return TuneResult(
        name,
        str(target),
        folder,
        options.cost_model,
        len(architectures),
        reports,
        kernels.left_out,
        boards,
    )


def _device(device: str, farm: BoardKey | None) -> tuple[str, int]:
    """Name of the device that records are kept for, and the threads that it runs by default."""
    if farm is not None and device == "host":
        device = farm.key
        if device not in device_profiles.names():
            return device, 1
    found = device_profiles.find(device)
    check_real(found)
    if found.connection.kind == "adb":
        raise UsageError(
            f"device {found.name!r} is a phone, and TVM has neither a wheel nor a server for "
            "phones. Take another runtime there: --runtime onnxruntime"
        )
    if farm is None and found.connection.kind != "local":
        raise UsageError(
            f"device {found.name!r} is reached by {found.connection.kind}, and kernels are tuned "
            "on this machine or on boards that serve TVM's RPC. Run nasc tune on the device "
            "itself; or start a server there (python -m tvm.exec.rpc_server --tracker HOST:PORT "
            f"--key {found.name}), and: nasc tune --device {found.name} --tracker HOST:PORT --key "
            f"{found.name}"
        )
    return found.name, found.default_threads


def _networks(
    space: SearchSpace,
    precision: str,
    lengths: Sequence[int],
    batch: int,
    head: str,
    full_size: bool,
    seed: int,
) -> list[Architecture]:
    """Whose kernels are tuned: those of a table's plan, the full-size one first."""
    if full_size:
        return [space.teacher.with_precision(precision)]
    planned = plan(space, seed, precision=precision, seq_len=max(lengths), batch=batch, head=head)
    return cover(planned.architectures, space.geometry, head)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else 1e3 * seconds
