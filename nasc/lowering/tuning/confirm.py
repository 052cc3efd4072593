"""Which records are worth being given to others: clearly faster, and no file grows by them."""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import s_tir

from device_profiles.temporary import temporary_folder
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.lowering.tuning.loop import LEAST_FASTER
from nasc.lowering.tuning.records import write_database
from nasc.lowering.tuning.trials import ROUNDS, Measure, fastest_in_turn
from nasc.lowering.tvm_module import open_records
from profilers.runtimes.tvm_schedules import schedule


def confirmed(
    records: KernelRecords, target: tvm.target.Target, measure: Measure, rounds: int = ROUNDS
) -> KernelRecords:
    """The records that save `LEAST_FASTER` of the time of the schedule without one.

    Args:
        records: Of the target.
        target: What kernels are compiled for.
        measure: Runs them, see `nasc.lowering.tuning.trials`.
        rounds: Times that a kernel is run each way, in turn; the fastest of each are compared.
    """
    kept = {}
    for digest, lines in records.kernels.items():
        plain, tuned = _both(KernelRecords(records.target, {digest: lines}), target)
        without_s, with_s = fastest_in_turn(measure, [plain, tuned], rounds) or (math.inf,) * 2
        if math.isfinite(with_s) and with_s <= (1 - LEAST_FASTER) * without_s:
            kept[digest] = lines
    return KernelRecords(records.target, kept)


def without_weights(records: KernelRecords) -> KernelRecords:
    """The records of kernels that read no weights.

    A record may want weights in an order of its own. A file of several lengths then holds them
    several times: a product of the full-size network in another order takes 14 MB of 46 more.
    """
    kept = {}
    for digest, lines in records.kernels.items():
        function = _record(KernelRecords(records.target, {digest: lines})).workload.mod["main"]
        if not (function.attrs or {}).get("layout_free_buffers"):
            kept[digest] = lines
    return KernelRecords(records.target, kept)


def _record(one: KernelRecords) -> Any:
    """The only record, as MetaSchedule has it."""
    with temporary_folder() as folder:
        write_database(one, folder)
        (record,) = open_records(folder).get_all_tuning_records()
    return record


def _both(one: KernelRecords, target: tvm.target.Target) -> tuple[Any, Any]:
    """A kernel as it is scheduled without its record, and by it."""
    record = _record(one)
    tuned = s_tir.Schedule(record.workload.mod)
    with target:
        record.trace.apply_to_schedule(tuned, remove_postproc=False)
    return schedule(record.workload.mod, target), tuned.mod
