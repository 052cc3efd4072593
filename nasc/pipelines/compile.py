"""The pipeline behind `nasc compile`: from limits to a package that was measured.

What was asked for is looked at here; the steps that follow are in `nasc.pipelines.compiling`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import profilers
from nasc.architecture.heads import is_task_head
from nasc.context.context import RunContext
from nasc.context.settings import AUTO, Settings
from nasc.errors import PackageError, UsageError
from nasc.package.build import check_target
from nasc.package.formats import SHIPPED
from nasc.package.sibling_folders import folder_beside
from nasc.package.signing import check_private_key
from nasc.pipelines.compile_checks import (
    check_estimate,
    check_mixture,
    check_packable,
    check_query_only,
    check_vocabulary,
)
from nasc.pipelines.compiling.state import Compilation
from nasc.pipelines.compiling.steps import run
from nasc.pipelines.formats import check_formats
from nasc.pipelines.options import Options
from nasc.pipelines.result import CompileResult
from nasc.solver.problem import Limits
from nasc.utils.outputs import check_place, claimed
from nasc.utils.progress import Reporter

ESTIMATE = "ESTIMATE"
"""Stands in the name of a package whose latency nobody measured."""


def compile(
    limits: Limits,
    settings: Settings | None = None,
    options: Options | None = None,
    reporter: Reporter | None = None,
    *,
    opener: profilers.Opener | None = None,
) -> CompileResult:
    """The best subnet within limits, as a package that was measured on the device.

    Args:
        limits: What must hold; at least one.
        settings: Conditions; None takes the defaults: the host, the default teacher.
        options: Training, checks and output; None takes the defaults.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Returns:
        The package, with everything that was found on the way.

    Raises:
        InfeasibleLimits: If no network can meet the limits; carries a certificate.
        LimitsMissed: If networks that should fit were measured and did not, or the quality
            asked for is not reached.
        OutputBusy: If another run is writing the package.
        DeviceEmulated: If the device is, and its latency is limited. Where that is not, a package
            comes about that says nothing of latency.
        UsageError, TeacherError, CorpusError, PackageError, ProfilerError: See there.
    """
    options = options or Options()
    context = context_for(limits, settings or Settings(), options, reporter, opener)
    return compile_on(context, limits, options)


def context_for(
    limits: Limits,
    settings: Settings,
    options: Options,
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> RunContext:
    """What a compilation shares, after everything that was asked for was found to go together.

    Nothing is measured or trained yet.

    Args:
        limits: What must hold.
        settings: Conditions.
        options: Training, checks and output.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        UsageError: If something does not go together.
        DeviceEmulated, PackageError, ProfilerError: See `compile`.
    """
    if not limits.given():
        raise UsageError(
            "no limit given; give at least one of --latency-ms, --size-bytes, --params, "
            "--peak-memory-bytes"
        )
    if options.quantile is not None and limits.latency_ms is None:
        given = "--quantile" if options.protocol is None else "--protocol"
        raise UsageError(f"{given} says what --latency-ms is held to: give --latency-ms too")
    if settings.runtime not in (None, AUTO, *SHIPPED):
        raise UsageError(
            f"there are no packages for the runtime {settings.runtime} yet: nasc profile, search "
            f"and bench take it. Compile for another: --runtime {SHIPPED[0]}"
        )
    if settings.estimate:
        check_estimate(limits, options)
    if options.task is not None:
        if settings.head not in (None, "embed", options.task.head):
            raise UsageError(f"--task {options.task.name} decides the head: leave --head out")
        settings = dataclasses.replace(settings, head=options.task.head)
        if settings.fixed_shape and options.task.max_length > settings.seq_len:
            raise UsageError(
                f"--fixed-shape with --seq-len {settings.seq_len} cuts the examples of "
                f"{options.task.name}, which are of up to {options.task.max_length} tokens: "
                f"--seq-len {options.task.max_length}, or --finetune-length {settings.seq_len}"
            )
    elif settings.head is not None and is_task_head(settings.head):
        raise UsageError(f"the head {settings.head!r} comes with a task: give --task")
    if settings.lengths is not None:
        check_mixture(settings, options)
    if settings.vocab_from is not None:
        check_vocabulary(settings, options)
    if settings.query_only:
        check_query_only(options)
    context = RunContext(
        settings,
        reporter,
        opener=opener,
        promises_latency=limits.latency_ms is not None,
        limits_bytes=limits.limits_bytes,
    )
    if settings.runtime not in (None, AUTO):
        check_packable(context, settings.runtime)
    return context


def folders_of(context: RunContext, options: Options, output: Path) -> tuple[Path, ...]:
    """The folders that a compilation may write: of its package, and of other formats beside it."""
    runtime = context.settings.runtime or context.device.default_runtime
    return (output, *(folder_beside(output, name) for name in options.folders(runtime)))


def compile_on(context: RunContext, limits: Limits, options: Options) -> CompileResult:
    """`compile` with a context at hand.

    Args:
        context: Its settings go with the options: that is not looked at here.
        limits: At least one.
        options: See `compile`.

    Raises:
        InfeasibleLimits, LimitsMissed, TeacherError, CorpusError, PackageError, OutputBusy,
            ProfilerError: See `compile`.
    """
    if options.sign is not None:
        check_private_key(options.sign)
    task = None if options.task is None else options.task.name
    estimate = context.settings.estimate
    name = default_name(context.device.name, limits, task)
    output = options.output or Path(f"{name}-{ESTIMATE}" if estimate else name)
    if estimate and ESTIMATE not in output.name:
        raise UsageError(
            f"--output {output}: the name of a package whose latency is estimated says so, as in "
            f"--output {output.name}-{ESTIMATE}"
        )
    check_place(output, "--output DIR", PackageError, "the package")
    with contextlib.ExitStack() as claims:
        for place in folders_of(context, options, output):
            claims.enter_context(claimed(place))
            check_target(place, options.force)
        check_formats(context, options.formats)
        return run(Compilation(context, limits, options, output))


def default_name(device: str, limits: Limits, task: str | None) -> str:
    """Folder name of a package: the device, the limits, and the task where it does one."""
    units = {"latency_ms": "ms", "size_bytes": "B", "params": "params", "peak_memory_bytes": "Bmem"}
    parts = [f"{value:.12g}{units[name]}" for name, value in limits.given().items()]
    return "-".join(["nasc", Path(device).stem, *parts, *([] if task is None else [task])])
