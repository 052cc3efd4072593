"""NASC: a hardware-aware deployment compiler for BERT-like text encoders.

Importing this package loads none of the heavy libraries (torch, onnxruntime,
transformers): they are imported by the modules that use them, when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasc import api
from nasc.version import __version__

if TYPE_CHECKING:
    from nasc.api import (
        AddedDevice,
        Audit,
        BenchResult,
        CompileResult,
        DeviceListing,
        DistillResult,
        EvaluateResult,
        ExportedTable,
        FinetuneConfig,
        FinetuneResult,
        ImportedTable,
        KernelReport,
        Limits,
        ListedTable,
        MultiDeviceResult,
        MultiDeviceVerifyReport,
        Options,
        PackageReport,
        Profiled,
        Queries,
        Regret,
        SearchSpace,
        Settings,
        ShrinkConfig,
        Solution,
        SupernetReport,
        TableDiff,
        TableReport,
        TaskOptions,
        TrainResult,
        TuneResult,
        Variant,
        VerifyReport,
        add_device,
        audit,
        bench,
        compile,
        compile_devices,
        devices,
        diff_tables,
        distill,
        evaluate,
        export_table,
        finetune,
        import_table,
        profile,
        regret,
        report,
        report_kernels,
        report_package,
        search,
        show_table,
        spaces,
        tables,
        train,
        tune,
        verify,
        verify_devices,
    )

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
    "__version__",
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
        if name in __all__:
            return getattr(api, name)
        raise AttributeError(f"module 'nasc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "api"])
