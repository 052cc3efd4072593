"""The public surface: what the command line does, from Python.

A function a command, typed all through; `nasc` has the same names. Each is imported when it is
first asked for, since the libraries behind some take seconds to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasc.architecture.space import SearchSpace
    from nasc.architecture.variant import Variant
    from nasc.context.settings import Settings
    from nasc.latency.comparing import TableDiff
    from nasc.latency.listing import ListedTable
    from nasc.latency.profile import Profiled
    from nasc.latency.table_report import TableReport
    from nasc.package.verify_report import MultiDeviceVerifyReport, VerifyReport
    from nasc.pipelines.add_device import AddedDevice, add_device
    from nasc.pipelines.audit import audit
    from nasc.pipelines.bench import bench
    from nasc.pipelines.compile import compile
    from nasc.pipelines.compile_devices import MultiDeviceResult, compile_devices
    from nasc.pipelines.devices import DeviceListing, devices
    from nasc.pipelines.distill import DistillResult, distill
    from nasc.pipelines.evaluate import EvaluateResult, evaluate
    from nasc.pipelines.finetune import FinetuneResult, finetune
    from nasc.pipelines.kernels import KernelReport, report_kernels
    from nasc.pipelines.options import Options
    from nasc.pipelines.package_report import PackageReport, report_package
    from nasc.pipelines.profile import profile
    from nasc.pipelines.regret import regret
    from nasc.pipelines.report import SupernetReport, report
    from nasc.pipelines.result import CompileResult
    from nasc.pipelines.score_vectors import Queries
    from nasc.pipelines.search import search
    from nasc.pipelines.spaces import spaces
    from nasc.pipelines.tables import (
        ExportedTable,
        ImportedTable,
        diff_tables,
        export_table,
        import_table,
        show_table,
        tables,
    )
    from nasc.pipelines.train import TrainResult, train
    from nasc.pipelines.tune import TuneResult, tune
    from nasc.pipelines.verify import verify, verify_devices
    from nasc.selection.audit import Audit
    from nasc.selection.regret import Regret
    from nasc.solver.problem import Limits, Solution
    from nasc.supernet.shrink import ShrinkConfig
    from nasc.tasks.finetune import FinetuneConfig
    from nasc.tasks.shipping import TaskOptions
    from profilers import BenchResult

_HOMES = {
    "nasc.architecture.space": ("SearchSpace",),
    "nasc.architecture.variant": ("Variant",),
    "nasc.context.settings": ("Settings",),
    "nasc.latency.comparing": ("TableDiff",),
    "nasc.latency.listing": ("ListedTable",),
    "nasc.latency.profile": ("Profiled",),
    "nasc.latency.table_report": ("TableReport",),
    "nasc.package.verify_report": ("MultiDeviceVerifyReport", "VerifyReport"),
    "nasc.pipelines.add_device": ("AddedDevice", "add_device"),
    "nasc.pipelines.audit": ("audit",),
    "nasc.pipelines.bench": ("bench",),
    "nasc.pipelines.compile": ("compile",),
    "nasc.pipelines.compile_devices": ("MultiDeviceResult", "compile_devices"),
    "nasc.pipelines.devices": ("DeviceListing", "devices"),
    "nasc.pipelines.distill": ("DistillResult", "distill"),
    "nasc.pipelines.evaluate": ("EvaluateResult", "evaluate"),
    "nasc.pipelines.finetune": ("FinetuneResult", "finetune"),
    "nasc.pipelines.kernels": ("KernelReport", "report_kernels"),
    "nasc.pipelines.options": ("Options",),
    "nasc.pipelines.package_report": ("PackageReport", "report_package"),
    "nasc.pipelines.profile": ("profile",),
    "nasc.pipelines.regret": ("regret",),
    "nasc.pipelines.report": ("SupernetReport", "report"),
    "nasc.pipelines.result": ("CompileResult",),
    "nasc.pipelines.score_vectors": ("Queries",),
    "nasc.pipelines.search": ("search",),
    "nasc.pipelines.spaces": ("spaces",),
    "nasc.pipelines.tables": (
        "ExportedTable",
        "ImportedTable",
        "diff_tables",
        "export_table",
        "import_table",
        "show_table",
        "tables",
    ),
    "nasc.pipelines.train": ("TrainResult", "train"),
    "nasc.pipelines.tune": ("TuneResult", "tune"),
    "nasc.pipelines.verify": ("verify", "verify_devices"),
    "nasc.selection.audit": ("Audit",),
    "nasc.selection.regret": ("Regret",),
    "nasc.solver.problem": ("Limits", "Solution"),
    "nasc.supernet.shrink": ("ShrinkConfig",),
    "nasc.tasks.finetune": ("FinetuneConfig",),
    "nasc.tasks.shipping": ("TaskOptions",),
    "profilers": ("BenchResult",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AddedDevice",
    "Audit",
    "BenchResult",
    "CompileResult",
    "DeviceListing",
    "DistillResult",
    "EvaluateResult",
    "ExportedTable",
    "FinetuneConfig",
    "FinetuneResult",
    "ImportedTable",
    "KernelReport",
    "Limits",
    "ListedTable",
    "MultiDeviceResult",
    "MultiDeviceVerifyReport",
    "Options",
    "PackageReport",
    "Profiled",
    "Queries",
    "Regret",
    "SearchSpace",
    "Settings",
    "ShrinkConfig",
    "Solution",
    "SupernetReport",
    "TableDiff",
    "TableReport",
    "TaskOptions",
    "TrainResult",
    "TuneResult",
    "Variant",
    "VerifyReport",
    "add_device",
    "audit",
    "bench",
    "compile",
    "compile_devices",
    "devices",
    "diff_tables",
    "distill",
    "evaluate",
    "export_table",
    "finetune",
    "import_table",
    "profile",
    "regret",
    "report",
    "report_kernels",
    "report_package",
    "search",
    "show_table",
    "spaces",
    "tables",
    "train",
    "tune",
    "verify",
    "verify_devices",
]

if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'nasc.api' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
