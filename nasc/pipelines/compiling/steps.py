"""The steps of a compilation, one after the other, until a network holds what was asked for.

Variants that may win -> exact search -> true loss of the best -> successive halving of those that
differ in kind -> measured on the device -> distilled to the end -> lowered -> parity -> measured
again -> package. A network that misses a limit tightens it by as much as the prediction was off,
and the search runs again.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles.temporary import temporary_folder
from nasc.latency.rows_used import rows_used
from nasc.networks.from_teacher import teacher_network
from nasc.package.measured_latency import PredictedLatency
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.pipelines.compile_checks import check_quality_asked
from nasc.pipelines.compiling.choosing import choose, start
from nasc.pipelines.compiling.deciding import (
    accept,
    check_measured,
    check_parity,
    is_unsure,
    recorded,
)
from nasc.pipelines.compiling.measuring import lower, measure
from nasc.pipelines.compiling.packaging import package
from nasc.pipelines.compiling.state import (
    ChosenNetwork,
    Compilation,
    MeasuredNetwork,
    ShippedNetwork,
    State,
)
from nasc.pipelines.compiling.training import finish
from nasc.pipelines.result import CompileResult
from nasc.tasks.retrieval import QUERIES, read_retrieval
from nasc.tasks.sts import read_sts

if TYPE_CHECKING:
    from nasc.evaluation.parity_report import ParityReport
    from nasc.lowering import Artifact
    from nasc.tasks.shipping import PackagedTask


def run(compilation: Compilation) -> CompileResult:
    """The package of the best network, with everything that was found on the way.

    Raises:
        InfeasibleLimits, LimitsMissed, UsageError, TeacherError, CorpusError, PackageError,
            ProfilerError: See `nasc.pipelines.compile.compile`.
    """
    context, options = compilation.context, compilation.options
    check_quality_asked(context, options)
    labelled = None
    if options.sts_data is not None:
        labelled = read_sts(options.sts_data, context.reporter.say)
    asked = None
    if options.retrieval_data is not None:
        asked = read_retrieval(options.retrieval_data, QUERIES, seed=context.settings.seed)
    context.check_inputs()
    evaluator = ArtifactEvaluator(context, labelled, packaged_task(compilation), asked=asked)
    state = start(compilation)
    with temporary_folder() as folder:
        if context.settings.estimate:
            return _estimated(compilation, state, folder, evaluator)
        return _measured(compilation, state, folder, evaluator)


@dataclass(frozen=True, slots=True)
class _ToMeasure:
    """A network that has learned since it was chosen, and is to be measured with what it learned.

    Attributes:
        chosen: The network.
        artifact: Its file.
        instead_of: What ships where this one misses a limit: a network of another architecture that
            was accepted before. None where it was this one.
    """

    chosen: ChosenNetwork
    artifact: Artifact
    instead_of: MeasuredNetwork | None


def _measured(
    compilation: Compilation, state: State, folder: Path, evaluator: ArtifactEvaluator
) -> CompileResult:
    """The best network that holds its limits as measured on the device."""
    waiting: _ToMeasure | None = None
    parities: dict[Path, ParityReport] = {}
    while True:
        held = None
        if waiting is None:
            chosen = choose(compilation, state)
            artifact = lower(compilation, chosen, folder)
        else:
            chosen, artifact, held = waiting.chosen, waiting.artifact, waiting.instead_of
        trained, waiting = waiting is not None, None
        measured, state = _measured_until_sure(compilation, state, chosen, artifact, trained)
        found = check_measured(compilation, state, measured)
        accepted: MeasuredNetwork | None
        if held is not None and found.tighter:
            state = recorded(compilation, state, measured, not found.over, found.note)
            compilation.context.reporter.say(f"{measured.chosen}: {found.note}; left out")
            accepted = held
        else:
            accepted, state = accept(compilation, state, measured)
        if accepted is None:
            if state.fallback is not measured:  # its files may be large
                measured.artifact.remove()
            continue
        finished = finish(compilation, accepted.chosen, evaluator)
        ships = finished is accepted.chosen
        artifact = accepted.artifact if ships else lower(compilation, finished, folder)
        parity = parities.get(artifact.path)
        if parity is None:
            parity, state = check_parity(compilation, state, finished, artifact, evaluator)
            if parity is None:
                continue
            parities[artifact.path] = parity
        if ships:
            return package(compilation, state, ShippedNetwork.of(accepted), parity, evaluator)
        instead_of = None
        if finished.network.architecture != accepted.network.architecture:
            before = dataclasses.replace(accepted.chosen, rival=None)
            instead_of = dataclasses.replace(accepted, chosen=before)
        waiting = _ToMeasure(finished, artifact, instead_of)


def _measured_until_sure(
    compilation: Compilation,
    state: State,
    chosen: ChosenNetwork,
    artifact: Artifact,
    trained: bool,
) -> tuple[MeasuredNetwork, State]:
    """Measure a network, and again where it is unsure whether its limits hold.

    Seconds of measuring may save the minutes of its training, or of a halving.
    """
    measured, state = measure(compilation, state, chosen, artifact)
    repeats = 0
    while is_unsure(compilation, state, measured, trained, repeats):
        found = check_measured(compilation, state, measured)
        note = f"{found.note}; measured once more"
        state = recorded(compilation, state, measured, not found.over, note)
        measured, state = measure(compilation, state, chosen, measured.artifact)
        repeats += 1
    return measured, state


def _estimated(
    compilation: Compilation, state: State, folder: Path, evaluator: ArtifactEvaluator
) -> CompileResult:
    """The best network by estimated latencies; nothing is measured on the device."""
    while True:
        chosen = finish(compilation, choose(compilation, state), evaluator)
        artifact = lower(compilation, chosen, folder)
        parity, state = check_parity(compilation, state, chosen, artifact, evaluator)
        if parity is not None:
            costs = compilation.context.tables.measure_costs([chosen.variant])
            architecture = chosen.network.architecture
            found = costs.predict(architecture, chosen.runtime)
            rows = rows_used(costs.tables[chosen.variant], architecture)
            predicted = PredictedLatency(found.latency_ms, found.low_ms, found.high_ms)
            shipped = ShippedNetwork(chosen, artifact, predicted, rows, None, None)
            return package(compilation, state, shipped, parity, evaluator)


def packaged_task(compilation: Compilation) -> PackagedTask | None:
    """The task that the package is to do, its files read; None of sentence vectors.

    Raises:
        UsageError: If the teacher's networks are not fine-tuned.
    """
    context, task = compilation.context, compilation.options.task
    if task is None:
        return None
    from nasc.hf.configuration import check_geometry
    from nasc.tasks.shipping import PackagedTask  # transformers' Trainer: seconds to import

    check_geometry(context.teacher.geometry.for_space())
    full = teacher_network(context.teacher, context.whole_space.teacher)
    return PackagedTask(
        task,
        full,
        context.teacher.tokenizer,
        context.cache,
        context.reporter,
        context.settings.batch,
        context.open_encoder,
    )
