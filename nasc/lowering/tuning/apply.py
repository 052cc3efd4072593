"""Kernels of a network, scheduled by tuning records."""

from __future__ import annotations

import json

import tvm
from tvm import tirx
from tvm.relax import transform

from device_profiles.temporary import temporary_folder
from nasc.errors import ExportError, RecordsRefused
from nasc.lowering.tuned_kernels import KernelRecords, TunedKernels
from nasc.lowering.tuning.kernels import is_tunable
from nasc.lowering.tuning.records import write_database
from nasc.lowering.tvm_module import open_records


def apply_records(
    module: tvm.ir.IRModule, target: tvm.target.Target, records: KernelRecords
) -> tuple[tvm.ir.IRModule, TunedKernels]:
    """A module whose kernels are scheduled as far as they have records, and how far that is.

    Args:
        module: Of `nasc.lowering.tvm_module.fused_module`, for the same target.
        target: What it is for. TVM itself would apply records of another without a word.
        records: Measured on that target.

    Raises:
        RecordsRefused: If they are of another target.
        ExportError: If TVM cannot apply one.
    """
    if json.loads(records.target) != json.loads(str(target)):
        raise RecordsRefused(
            f"the tuning records are of another target, {records.target}, and not of {target}. "
            "Take those of this one, or make some: nasc tune"
        )
    try:
        with temporary_folder() as own:
            write_database(records, own)
            with target, open_records(own):
                module = transform.MetaScheduleApplyDatabase()(module)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(
            f"tvm cannot apply the tuning records: {error}. Leave them out: --no-tuned"
        ) from error
    tuned, untuned = 0, []
    for variable, function in module.functions_items():
        if not isinstance(function, tirx.PrimFunc):
            continue
        if function.attrs.get("tirx.is_scheduled"):
            tuned += 1
        elif is_tunable(function):
            untuned.append(str(variable.name_hint))
    return module, TunedKernels(records.sha256, tuned, tuple(sorted(untuned)))
