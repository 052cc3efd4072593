"""A measuring tool for models on devices: latency with its bounds, and peak memory.

It knows devices, runtimes and time, and nothing of what a model is for. Everything public is
listed here; names are imported when first used, so that `import profilers` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profilers.baseline import (
        ReferenceBaseline,
        extend_baseline,
        load_baseline,
        load_or_record_baseline,
    )
    from profilers.benching import BenchEntry, BenchRejection, BenchResult, bench
    from profilers.context import precisions_of, read_context
    from profilers.devices import Opener, check_device, open_worker, reachable
    from profilers.devices.base import Worker
    from profilers.errors import (
        DeviceUnreachable,
        InvalidSetting,
        MeasurementInconsistent,
        MeasurementInterrupted,
        MemoryExceeded,
        MemoryUnavailable,
        ModelRejected,
        ProfilerError,
        RecordBusy,
        RecordDamaged,
        RunnerUnavailable,
        RuntimeMissing,
        WorkerDied,
        WorkerUnreliable,
    )
    from profilers.heating import Heat
    from profilers.jobs import InputSpec, ModelJob, RuntimeOptions, WorkerLimits
    from profilers.measuring import measure
    from profilers.memory import PeakMemory, measure_peak_memory
    from profilers.mlperf import SingleStream, single_stream
    from profilers.model_files import runtime_for
    from profilers.protocol import Protocol, Round
    from profilers.reference import reference_hash, reference_job
    from profilers.results import (
        Measurement,
        ModelMeasurement,
        ReferenceMeasurement,
    )
    from profilers.samples import RoundSample, Visit
    from profilers.statistic import STATISTIC, Estimate, Scale, pooled_latencies

_HOMES = {
    "profilers.baseline": (
        "ReferenceBaseline",
        "extend_baseline",
        "load_baseline",
        "load_or_record_baseline",
    ),
    "profilers.benching": ("BenchEntry", "BenchRejection", "BenchResult", "bench"),
    "profilers.context": ("precisions_of", "read_context"),
    "profilers.devices": ("Opener", "check_device", "open_worker", "reachable"),
    "profilers.devices.base": ("Worker",),
    "profilers.errors": (
        "DeviceUnreachable",
        "InvalidSetting",
        "MeasurementInconsistent",
        "MeasurementInterrupted",
        "MemoryExceeded",
        "MemoryUnavailable",
        "ModelRejected",
        "ProfilerError",
        "RecordBusy",
        "RecordDamaged",
        "RunnerUnavailable",
        "RuntimeMissing",
        "WorkerDied",
        "WorkerUnreliable",
    ),
    "profilers.heating": ("Heat",),
    "profilers.jobs": ("InputSpec", "ModelJob", "RuntimeOptions", "WorkerLimits"),
    "profilers.measuring": ("measure",),
    "profilers.memory": ("PeakMemory", "measure_peak_memory"),
    "profilers.mlperf": ("SingleStream", "single_stream"),
    "profilers.model_files": ("runtime_for",),
    "profilers.protocol": ("Protocol", "Round"),
    "profilers.reference": ("reference_hash", "reference_job"),
    "profilers.results": ("Measurement", "ModelMeasurement", "ReferenceMeasurement"),
    "profilers.samples": ("RoundSample", "Visit"),
    "profilers.statistic": ("STATISTIC", "Estimate", "Scale", "pooled_latencies"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "STATISTIC",
    "BenchEntry",
    "BenchRejection",
    "BenchResult",
    "DeviceUnreachable",
    "Estimate",
    "Heat",
    "InputSpec",
    "InvalidSetting",
    "Measurement",
    "MeasurementInconsistent",
    "MeasurementInterrupted",
    "MemoryExceeded",
    "MemoryUnavailable",
    "ModelJob",
    "ModelMeasurement",
    "ModelRejected",
    "Opener",
    "PeakMemory",
    "ProfilerError",
    "Protocol",
    "RecordBusy",
    "RecordDamaged",
    "ReferenceBaseline",
    "ReferenceMeasurement",
    "Round",
    "RoundSample",
    "RunnerUnavailable",
    "RuntimeMissing",
    "RuntimeOptions",
    "Scale",
    "SingleStream",
    "Visit",
    "Worker",
    "WorkerDied",
    "WorkerLimits",
    "WorkerUnreliable",
    "bench",
    "check_device",
    "extend_baseline",
    "load_baseline",
    "load_or_record_baseline",
    "measure",
    "measure_peak_memory",
    "open_worker",
    "pooled_latencies",
    "precisions_of",
    "reachable",
    "read_context",
    "reference_hash",
    "reference_job",
    "runtime_for",
    "single_stream",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'profilers' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
