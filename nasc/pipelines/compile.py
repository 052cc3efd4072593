"""The pipeline behind `nasc compile`: from limits to a package that was measured.

Variants that may win -> exact search -> true loss of the best -> successive halving of those that
differ in kind -> measured on the device -> distilled to the end -> lowered -> parity -> measured
again -> package. A network that misses a limit tightens it by as much as the prediction was off,
and the search runs again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import profilers
from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import ANSWERS, SCORES, TOKENS, is_task_head
from nasc.architecture.space import Architecture, operation_symbols
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import AUTO, Settings
from nasc.data.prompts import NO_PROMPTS
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.errors import InfeasibleLimits, LimitsMissed, PackageError, UsageError
from nasc.evaluation.parity_report import ParityReport
from nasc.latency.rows_used import rows_used
from nasc.latency.session import PEAK_PROCESSES, latency_job
from nasc.lowering import Artifact
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.package.beside import build_sha256, folder_beside, left_beside
from nasc.package.build import build_package, check_target
from nasc.package.formats import SHIPPED, format_of
from nasc.package.manifest import (
    Conditions,
    Manifest,
    MeasuredLatency,
    PeakMemory,
    PredictedLatency,
    TaskRecord,
    TeacherRecord,
    TextRecord,
    TrainingRecord,
    VocabularyRecord,
    read_manifest,
)
from nasc.package.signing import check_private_key
from nasc.package.verify_latency import latency_protocol
from nasc.pipelines.app_format import programs_hold
from nasc.pipelines.artifact_quality import ArtifactEvaluator, check_reached
from nasc.pipelines.compile_checks import (
    check_estimate,
    check_mixture,
    check_packable,
    check_query_only,
    check_vocabulary,
)
from nasc.pipelines.formats import FolderWriter, check_formats, variants_in
from nasc.pipelines.limit_check import LimitCheck, MeasuredLimit, check_limits
from nasc.pipelines.options import (
    ANSWER_METRICS,
    CLASS_METRICS,
    DISTILL_MINUTES,
    SCORE_METRICS,
    TOKEN_METRICS,
    VECTOR_METRICS,
    Options,
)
from nasc.pipelines.result import Attempt, CompileResult
from nasc.selection import evidence
from nasc.selection.problems import check_feasible, whole_teacher
from nasc.selection.successive_halving import SHARE, candidates, run_halving
from nasc.selection.variants import promising_variants
from nasc.solver.problem import Limits, Solution
from nasc.supernet.checkpoint import trained_by
from nasc.tasks.sts import read_sts
from nasc.teacher.licence import stated_licence
from nasc.utils.outputs import check_place, claimed
from nasc.utils.progress import Reporter

if TYPE_CHECKING:
    from nasc.tasks.shipping import PackagedTask

MAX_ATTEMPTS = 12
"""Measurements of networks on the device before giving up; a network may take several."""

BUSY_REPEATS = 3
"""So often a network that is not within its limits is measured again on a machine that was not
quiet: each takes about a minute, another halving longer, and what it chooses then would be smaller
than it need be (docs/benchmarks.md, Promise)."""

NO_LATENCY = "the device is emulated: nothing is known of this package's latency"
"""What a package for an emulated device says in place of its latency."""

ESTIMATE = "ESTIMATE"
"""Stands in the name of a package whose latency nobody measured."""

CLASSIFICATION, RERANKING = "classification", "reranking"
OF_TOKENS = {TOKENS: "token-classification", ANSWERS: "question-answering"}
"""The task of a package with the head that its teacher came with."""

KEPT = "Latency tables, the supernet and what was trained are kept in the cache."
"""What a compilation that is interrupted in a measurement need not do again."""


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
        return _Compilation(context, limits, options, output).run()


def default_name(device: str, limits: Limits, task: str | None) -> str:
    """Folder name of a package: the device, the limits, and the task where it does one."""
    units = {"latency_ms": "ms", "size_bytes": "B", "params": "params", "peak_memory_bytes": "Bmem"}
    parts = [f"{value:.12g}{units[name]}" for name, value in limits.given().items()]
    return "-".join(["nasc", Path(device).stem, *parts, *([] if task is None else [task])])


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A network to be measured, and what is left to be done to it.

    Attributes:
        network: With its weights.
        runtime: What runs it.
        train_share: Part of the training budget that is left for it; None: it is trained.
        steps: Of distillation that it has had.
        limits: That it was chosen under.
        variants: Of which its own was chosen.
        compared: Networks that were trained for a while before it was chosen; None where it was
            not searched.
    """

    network: Network
    runtime: str
    train_share: float | None
    steps: int = 0
    limits: Limits = field(default_factory=Limits)
    variants: tuple[Variant, ...] = ()
    compared: tuple[Solution, ...] | None = None

    @property
    def variant(self) -> Variant:
        """Runtime and precision."""
        return Variant(self.runtime, self.network.architecture.precision)

    def __str__(self) -> str:
        return f"{self.network.architecture} by {self.runtime}"


@dataclass(frozen=True, slots=True)
class _Exported:
    """An artifact with what was measured on it.

    Attributes:
        candidate: What is in it.
        artifact: The network in the runtime's own form.
        predicted: Latency from the tables.
        rows: Of the table that it was predicted by, see `rows_used`; tables may change after it.
        measured: Latency on the device.
        peak_bytes: Peak memory on the device; None if it was not told.
        params: Weights.
        repetitions_ms: The bound that a repetition may come to, by each measurement of this
            architecture so far that found one, in order. Weights do not change a latency.
    """

    candidate: _Candidate
    artifact: Artifact
    predicted: PredictedLatency
    rows: Mapping[str, Any]
    measured: MeasuredLatency
    peak_bytes: int | None
    params: int
    repetitions_ms: tuple[float, ...]

    @property
    def network(self) -> Network:
        """The network in the file."""
        return self.candidate.network

    @property
    def repetition_ms(self) -> float:
        """The bound that a repetition may come to: geometric mean of the measurements."""
        if not self.repetitions_ms:
            return math.inf
        return math.prod(self.repetitions_ms) ** (1 / len(self.repetitions_ms))


@dataclass(frozen=True, slots=True)
class _Shipped:
    """What goes into a package.

    Attributes:
        candidate: The network.
        artifact: The network in the runtime's own form.
        predicted: Latency from the tables, or estimated.
        rows: See `_Exported`.
        measured: Latency on the device; None where it was estimated.
        peak_bytes: Peak memory on the device; None if it was not measured.
    """

    candidate: _Candidate
    artifact: Artifact
    predicted: PredictedLatency
    rows: Mapping[str, Any]
    measured: MeasuredLatency | None
    peak_bytes: int | None

    @classmethod
    def of(cls, exported: _Exported) -> _Shipped:
        """What was measured."""
        e = exported
        return cls(e.candidate, e.artifact, e.predicted, e.rows, e.measured, e.peak_bytes)


@dataclass(frozen=True, slots=True)
class _State:
    """What a compilation knows before its next step.

    Attributes:
        limits: Searched under: the limits given, tightened where networks missed them.
        allowed: Variants that were not refused.
        variants: Those of them that may win.
        attempts: What was measured, in order.
        fallback: The last network under its limits without room for a repetition, if any.
        bounds: By network and runtime, of each measurement whether the machine was quiet, and the
            bound that a repetition may come to.
    """

    limits: Limits
    allowed: tuple[Variant, ...]
    variants: tuple[Variant, ...]
    attempts: tuple[Attempt, ...] = ()
    fallback: _Exported | None = None
    bounds: Mapping[tuple[str, str], tuple[tuple[bool, float], ...]] = field(default_factory=dict)


class _Compilation:
    """The steps of the pipeline. What changes between them is in a `_State`."""

    def __init__(self, context: RunContext, limits: Limits, options: Options, output: Path) -> None:
        self.context = context
        self.limits = limits
        self.options = options
        self.output = output

    def run(self) -> CompileResult:
        context = self.context
        self.check_quality_asked()
        labelled = None
        if self.options.sts_data is not None:
            labelled = read_sts(self.options.sts_data, context.reporter.say)
        context.check_inputs()
        evaluator = ArtifactEvaluator(context, labelled, self.packaged_task())
        state = self.start()
        if context.settings.estimate:
            with temporary_folder() as folder:
                return self.run_estimated(state, folder, evaluator)
        with temporary_folder() as folder:
            waiting: _Candidate | None = None
            while True:
                candidate = waiting or self.choose(state)
                exported, state = self.measure(state, candidate, self.lower(candidate, folder))
                trained, repeats = waiting is not None, 0
                while self.is_unsure(state, exported, trained, repeats):
                    # Seconds of measuring may save the minutes of its training, or of a halving.
                    found = self.check_limits(state, exported)
                    note = f"{found.note}; measured once more"
                    state = self.recorded(state, exported, not found.over, note)
                    exported, state = self.measure(state, candidate, exported.artifact)
                    repeats += 1
                accepted, state = self.accept(state, exported)
                waiting = None
                if accepted is None:
                    if state.fallback is not exported:  # its files may be large
                        exported.artifact.remove()
                    continue
                finished = self.finish(accepted.candidate, evaluator)
                if finished is accepted.candidate:
                    parity, state = self.check(state, finished, accepted.artifact, evaluator)
                    if parity is not None:
                        return self.package(state, _Shipped.of(accepted), parity, evaluator)
                    continue
                parity, state = self.check(state, finished, self.lower(finished, folder), evaluator)
                waiting = None if parity is None else finished

    def run_estimated(
        self, state: _State, folder: Path, evaluator: ArtifactEvaluator
    ) -> CompileResult:
        """The best network by estimated latencies; nothing is measured on the device."""
        while True:
            candidate = self.finish(self.choose(state), evaluator)
            artifact = self.lower(candidate, folder)
            parity, state = self.check(state, candidate, artifact, evaluator)
            if parity is not None:
                costs = self.context.measure_costs([candidate.variant])
                architecture = candidate.network.architecture
                found = costs.predict(architecture, candidate.runtime)
                rows = rows_used(costs.tables[candidate.variant], architecture)
                predicted = PredictedLatency(found.latency_ms, found.low_ms, found.high_ms)
                shipped = _Shipped(candidate, artifact, predicted, rows, None, None)
                return self.package(state, shipped, parity, evaluator)

    def start(self) -> _State:
        """What is to be searched first.

        Raises:
            InfeasibleLimits: With its certificate, if no network meets the limits.
        """
        allowed = variants_in(self.context, self.options.formats)
        variants = tuple(promising_variants(self.context, self.limits, allowed))
        check_feasible(self.context, self.limits, variants)
        return _State(self.limits, allowed, variants)

    def packaged_task(self) -> PackagedTask | None:
        """The task that the package is to do, its files read; None of sentence vectors.

        Raises:
            UsageError: If the teacher's networks are not fine-tuned.
        """
        if self.options.task is None:
            return None
        from nasc.hf.configuration import check_geometry
        from nasc.tasks.shipping import PackagedTask  # transformers' Trainer: seconds to import

        context = self.context
        check_geometry(context.teacher.geometry.for_space())
        full = teacher_network(context.teacher, context.whole_space.teacher)
        tokenizer = context.teacher.tokenizer
        return PackagedTask(
            self.options.task,
            full,
            tokenizer,
            context.cache,
            context.reporter,
            context.settings.batch,
            context.open_encoder,
        )

    # Choosing

    def choose(self, state: _State) -> _Candidate:
        """The next network to try.

        Raises:
            InfeasibleLimits, LimitsMissed: If there is none, before and after the first attempt.
        """
        context = self.context
        if context.settings.supernet is None:
            whole = whole_teacher(context, state.limits, state.variants)
            if whole is not None:
                context.reporter.say(
                    f"the full-size network fits by {whole.variant}: nothing to search or train"
                )
                head = context.trained_head
                network = teacher_network(context.teacher, whole.architecture, head)
                return _Candidate(
                    network, whole.runtime, None, limits=state.limits, variants=state.variants
                )
        try:
            found = self.search(state)
        except InfeasibleLimits as error:
            if not state.attempts:
                raise
            if state.fallback is not None:
                return state.fallback.candidate
            raise LimitsMissed(f"{tried(state)} No other network is predicted to fit") from error
        context.reporter.say(f"chosen: {found}")
        return found

    def search(self, state: _State) -> _Candidate:
        """The best network by successive halving where time allows, else by its untrained loss."""
        context = self.context
        config, seconds = self.budget()
        entered = candidates(context, state.limits, state.variants)
        if not self.has_halving():
            best = min(entered, key=lambda e: e.ranked.true_loss)
            candidate = _Candidate(best.network, best.ranked.solution.runtime, 1.0)
        else:
            with context.timed("halving"):
                trained = run_halving(context, entered, config, seconds)[0]
            candidate = _Candidate(trained.network, trained.runtime, 1 - SHARE, trained.steps)
        if candidate.network.architecture.is_teacher:
            candidate = dataclasses.replace(candidate, train_share=None)
        return dataclasses.replace(
            candidate,
            limits=state.limits,
            variants=state.variants,
            compared=tuple(one.ranked.solution for one in entered),
        )

    # Measuring and deciding

    @property
    def max_length(self) -> int:
        """Tokens that the package cuts texts to."""
        task = self.options.task
        return self.context.max_length if task is None else task.max_length

    @property
    def keeps_own_head(self) -> bool:
        """Whether the package gives scores by the head that the teacher came with."""
        return self.options.task is None and self.context.teacher.output != "embed"

    def task_record(self) -> TaskRecord | None:
        """What the package says of its head; None of vectors and states."""
        task, teacher = self.options.task, self.context.teacher
        if task is not None:
            return TaskRecord(task.name, task.labels, task.paired)
        if not self.keeps_own_head:
            return None
        if teacher.output in OF_TOKENS:
            return TaskRecord(OF_TOKENS[teacher.output], teacher.labels, teacher.paired)
        if len(teacher.labels) == 1:
            return TaskRecord(RERANKING, (), True, teacher.activation)
        return TaskRecord(CLASSIFICATION, teacher.labels, teacher.paired, teacher.activation)

    def lower(self, candidate: _Candidate, folder: Path) -> Artifact:
        """What the runtime opens of a network, in a folder of its own."""
        s = self.context.settings
        network = self.context.as_shipped(candidate.network)
        own = Path(tempfile.mkdtemp(dir=folder))
        lengths = {*self.context.lengths, self.max_length}
        session = self.context.session(candidate.runtime)
        return session.lower(network, own, shape=s.shape, lengths=lengths)

    def jobs(self, artifact: Artifact, network: Network) -> list[profilers.ModelJob]:
        """What is measured of an artifact: itself, at each length, the shortest first."""
        context, rows = self.context, network.geometry.vocab_size
        lengths, batch = context.lengths, context.settings.batch
        if context.mixture is None:
            return [latency_job("model", artifact.path, n, batch, rows) for n in lengths]
        return [latency_job(f"model-{n}", artifact.path, n, batch, rows) for n in lengths]

    def measure(
        self, state: _State, candidate: _Candidate, artifact: Artifact
    ) -> tuple[_Exported, _State]:
        """Measure an artifact on the device, when no other process measures there.

        Raises:
            CacheBusy: If another process measures for an hour.
            profilers.MemoryUnavailable: If memory is limited and the device does not tell it.
        """
        context, variant = self.context, candidate.variant
        network = context.as_shipped(candidate.network)
        session = context.session(variant.runtime)
        jobs = self.jobs(artifact, network)
        baseline = context.record_baseline(variant.runtime)
        progress = context.reporter.stage(f"Measuring on device {context.device.name!r}")
        with (
            session.alone(kept=KEPT),
            context.timed("measure"),
        ):
            measurement = session.measure(
                jobs,
                baseline.scale,
                protocol=latency_protocol(len(jobs), self.options.waits_for),
                progress=progress,
            )
            session.extend(baseline, measurement)
            stream = (
                None
                if self.options.protocol is None
                else session.single_stream(
                    jobs[-1],
                    self.options.duration_s,
                    limit_ms=self.limits.latency_ms,
                    progress=progress,
                )
            )
            peak = (
                session.optional_peak_memory(jobs[-1])
                if self.limits.peak_memory_bytes is None
                else session.peak_memory(jobs[-1], PEAK_PROCESSES)
            )
        costs = context.measure_costs([variant])
        predicted = costs.predict(network.architecture, variant.runtime)
        latency = (
            MeasuredLatency.of(jobs[0], measurement)
            if context.mixture is None
            else MeasuredLatency.of_mixture(jobs, measurement, context.mixture)
        )
        latency = dataclasses.replace(latency, stream=stream)
        repetition_ms = latency.repetition_ms(self.options.quantile)
        key = (str(network.architecture), variant.runtime)
        seen = state.bounds.get(key, ())
        if math.isfinite(repetition_ms):
            seen = (*seen, (latency.is_quiet, repetition_ms))
        # What the busy machine gave counts only for as long as there is nothing else.
        on_quiet = tuple(ms for is_quiet, ms in seen if is_quiet)
        exported = _Exported(
            candidate,
            artifact,
            PredictedLatency(predicted.latency_ms, predicted.low_ms, predicted.high_ms),
            rows_used(costs.tables[variant], network.architecture),
            latency,
            None if peak is None else peak.total_bytes,
            network.params,
            on_quiet or tuple(ms for _, ms in seen),
        )
        return exported, dataclasses.replace(state, bounds={**state.bounds, key: seen})

    def recorded(self, state: _State, exported: _Exported, met: bool, note: str = "") -> _State:
        """The state with what was measured kept for the result."""
        held_ms = exported.measured.held_ms(self.options.quantile)
        attempt = Attempt(
            str(exported.network.architecture),
            exported.candidate.runtime,
            exported.predicted,
            exported.measured.latency_ms,
            held_ms if math.isfinite(held_ms) else None,
            met,
            note,
        )
        return dataclasses.replace(state, attempts=(*state.attempts, attempt))

    def check_limits(self, state: _State, exported: _Exported) -> LimitCheck:
        """The limits against a file; what is measured must leave room for a repetition."""
        held_ms = exported.measured.held_ms(self.options.quantile)
        variant = exported.candidate.variant
        expected_ms = self.context.measure_costs([variant]).upper(
            "latency_ms", exported.predicted.latency_ms, variant
        )
        peak, room = exported.peak_bytes, 1 + self.context.device.noise.peak_room
        held = {
            "latency_ms": MeasuredLimit(held_ms, expected_ms, exported.repetition_ms),
            "size_bytes": MeasuredLimit(float(exported.artifact.size_bytes)),
            "params": MeasuredLimit(float(exported.params)),
            "peak_memory_bytes": MeasuredLimit(
                None if peak is None else float(peak),
                repetition=None if peak is None else room * peak,
            ),
        }
        return check_limits(self.limits, state.limits, held)

    def is_unsure(self, state: _State, exported: _Exported, trained: bool, repeats: int) -> bool:
        """Whether what does not hold, or leaves no room, is worth measuring once more.

        Args:
            state: The limits.
            exported: As measured.
            trained: Whether the network has been trained for it.
            repeats: Measurements of it one after the other so far, the first one not counted.
        """
        found = self.check_limits(state, exported)
        if not found.tighter:
            return False
        if self.options.quantile is None and not exported.measured.is_quiet:
            return repeats < BUSY_REPEATS
        near = not found.over and len(exported.repetitions_ms) == 1
        return repeats == 0 and (trained or near)

    def accept(self, state: _State, exported: _Exported) -> tuple[_Exported | None, _State]:
        """What to go on with, if all limits hold as measured; else tighten those that do not.

        A latency must leave room for its own repetition, by all measurements of its
        architecture, unless no smaller network is left: then one that is under its limit
        without that room is accepted, be it an earlier one.

        Raises:
            LimitsMissed: After `MAX_ATTEMPTS` measurements, or where no smaller one is left.
        """
        if not math.isfinite(exported.measured.held_ms(self.options.quantile)):
            raise LimitsMissed(
                f"{self.options.quantile} of {exported.candidate} has no upper bound "
                "after the time that a measurement may take: it runs too long for so many runs. "
                "Take a lower quantile, or none: the statistic of record needs fewer"
            )
        found, say = self.check_limits(state, exported), self.context.reporter.say
        state = self.recorded(state, exported, not found.over, found.note)
        if not found.tighter:
            return exported, state
        say(f"{exported.candidate}: {found.note}")
        if not found.over:
            state = dataclasses.replace(state, fallback=exported)
        tightened = dataclasses.replace(state.limits, **found.tighter)
        if len(state.attempts) < MAX_ATTEMPTS and (
            variants := self.reachable(tightened, state.allowed)
        ):
            under = ", ".join(f"{name} {value:.4g}" for name, value in found.tighter.items())
            say(f"searching under {under}")
            return None, dataclasses.replace(state, limits=tightened, variants=variants)
        if state.fallback is None:
            raise LimitsMissed(
                f"{tried(state)} Something may disturb the device: try again when it is quiet, "
                "or raise the limit"
            )
        return state.fallback, dataclasses.replace(state, fallback=None)

    def reachable(self, limits: Limits, allowed: Sequence[Variant]) -> tuple[Variant, ...]:
        """Variants to search under some limits; none if no network in any is predicted to fit."""
        found = promising_variants(self.context, limits, allowed)
        try:
            check_feasible(self.context, limits, found)
        except InfeasibleLimits:
            return ()
        return tuple(found)

    # Training and checking

    def budget(self) -> tuple[DistillConfig, float | None]:
        """The training of the chosen network, halving included: by steps or by seconds."""
        steps, minutes = self.options.distill_steps, self.options.distill_minutes
        s = self.context.settings
        config = DistillConfig(steps=steps or 0, seed=s.seed, query_only=s.query_only)
        if steps is not None:
            return config, None
        return config, 60 * (DISTILL_MINUTES if minutes is None else minutes)

    def has_halving(self) -> bool:
        """Whether candidates are trained for a while before one is chosen."""
        config, seconds = self.budget()
        return config.steps * SHARE >= 1 if seconds is None else seconds > 0

    def finish(self, candidate: _Candidate, evaluator: ArtifactEvaluator) -> _Candidate:
        """Train and fine-tune what is not yet; the same candidate if nothing is left to do."""
        if candidate.train_share is not None:
            candidate = self.train(candidate)
        task = evaluator.task
        if task is not None and candidate.network.head != task.options.head:
            with self.context.timed("fine-tune"):
                tuned = task.finetune(candidate.network)
                candidate = dataclasses.replace(candidate, network=tuned)
        return candidate

    def train(self, candidate: _Candidate) -> _Candidate:
        """Train a network with what is left of the budget."""
        context, share = self.context, candidate.train_share or 0.0
        config, seconds = self.budget()
        with context.timed("distill"):
            trained, steps = distill_cached(
                candidate.network,
                context.teacher,
                context.corpus,
                dataclasses.replace(config, steps=round(share * config.steps)),
                seconds=None if seconds is None else share * seconds,
                cache_dir=context.cache,
                reporter=context.reporter,
            )
        return dataclasses.replace(
            candidate, network=trained, train_share=None, steps=candidate.steps + steps
        )

    def check(
        self,
        state: _State,
        candidate: _Candidate,
        artifact: Artifact,
        evaluator: ArtifactEvaluator,
    ) -> tuple[ParityReport | None, _State]:
        """Parity of the file; None if its precision was refused and others must be searched.

        Raises:
            LimitsMissed: If no other variant is allowed.
        """
        network = self.context.with_vocabulary(candidate.network)
        report, refusal = evaluator.parity(network, artifact)
        if refusal is None:
            return report, state
        refused = candidate.variant
        precision = refused.precision
        allowed = tuple(v for v in state.allowed if v != refused)
        if not allowed:
            raise LimitsMissed(
                f"{precision} was refused ({refusal}) and no other precision is allowed. "
                f"Allow fp32: --precision fp32 --precision {precision}"
            )
        # What was learnt and kept is of that variant.
        attempts = tuple(
            dataclasses.replace(a, met=False, note=f"{precision} refused: {refusal}")
            if (a.architecture, a.runtime) == (str(network.architecture), refused.runtime)
            else a
            for a in state.attempts
        )
        return None, dataclasses.replace(
            state,
            limits=self.limits,
            allowed=allowed,
            variants=self.reachable(self.limits, allowed) or allowed,
            attempts=attempts,
            fallback=None,
        )

    # Packaging

    def check_quality_asked(self) -> None:
        """Raise before the slow part for figures that the teacher's outputs do not have.

        Raises:
            UsageError: With those that they have.
        """
        asked = self.options.min_quality or self.options.sts_data
        if self.options.task is not None or not asked:
            return
        teacher, gives = self.context.teacher, "vectors"
        known: tuple[str, ...] = VECTOR_METRICS
        if self.keeps_own_head:
            one = len(teacher.labels) == 1
            gives, known = {
                SCORES: (
                    ("scores of pairs", SCORE_METRICS)
                    if one
                    else ("scores of classes", CLASS_METRICS)
                ),
                TOKENS: ("scores of tokens", TOKEN_METRICS),
                ANSWERS: ("answers to questions", ANSWER_METRICS),
            }[teacher.output]
        for name in self.options.min_quality:
            if name not in known:
                raise UsageError(
                    f"--min-quality {name}: the teacher {teacher.name!r} gives {gives}, whose "
                    f"figures are {', '.join(known)}"
                )
        if gives != "vectors" and self.options.sts_data is not None:
            raise UsageError(
                f"--sts-data is of vectors, the teacher {teacher.name!r} gives {gives}: leave it "
                "out"
            )

    def quality(self, artifact: Artifact, evaluator: ArtifactEvaluator) -> dict[str, Any]:
        """Figures of the file as shipped.

        Raises:
            LimitsMissed: If a quality asked for is not reached.
        """
        record = evaluator.quality(artifact)
        check_reached(record, self.options.min_quality)
        return record

    def package(
        self,
        state: _State,
        exported: _Shipped,
        parity: ParityReport,
        evaluator: ArtifactEvaluator,
    ) -> CompileResult:
        """Write the package."""
        context, options, s = self.context, self.options, self.context.settings
        record, task = self.quality(exported.artifact, evaluator), options.task
        network = context.with_vocabulary(exported.candidate.network)
        architecture = network.architecture
        variant = exported.candidate.variant
        session = context.session(variant.runtime)
        costs = context.measure_costs([variant])
        peak = costs.peak_memory_bytes(architecture, variant.runtime)
        timed = not context.device.emulated
        notes = context.table_notes if timed else [NO_LATENCY]
        attempts = state.attempts if timed else ()
        manifest = Manifest(
            architecture=architecture,
            geometry=network.geometry,
            head=context.head,
            task=self.task_record(),
            max_length=self.max_length,
            prompts=NO_PROMPTS if task is not None else context.teacher.prompts,
            query_only=s.query_only,
            limits=self.limits.given(),
            conditions=Conditions(
                context.device.name,
                variant.runtime,
                s.batch,
                context.seq_len,
                session.options.threads,
                profilers.STATISTIC,
                options.quantile,
                s.fixed_shape,
                context.mixture,
                options.protocol,
                s.sustained_minutes,
            ),
            teacher=TeacherRecord(
                context.teacher.name, context.teacher.sha256, context.teacher.source
            ),
            text=TextRecord(context.corpus.description, context.corpus.sha256),
            training=self.training(exported.candidate),
            predicted=exported.predicted if timed else None,
            latency_table="; ".join(notes) or None,
            estimate=costs.tables[variant].estimated if timed else None,
            tuned=exported.artifact.tuned,
            measured=exported.measured if timed else None,
            tokenisation_ms=evaluator.tokenisation_ms(),
            peak_memory=PeakMemory(peak, exported.peak_bytes),
            quality=record,
            parity=parity,
            attempts=[dataclasses.asdict(attempt) for attempt in attempts],
            evidence=self.evidence(exported.candidate, architecture, exported.rows)
            if timed
            else {},
            conformance=evaluator.conformance(network, exported.artifact),
            licences=self.licences(),
            seeds={"seed": s.seed},
            vocabulary=self.vocabulary(),
        )
        context.reporter.stage("Package")(0, 1, str(self.output))
        folder = build_package(
            self.output,
            model=exported.artifact,
            tokenizer=context.tokenizer,
            manifest=manifest,
            force=options.force,
            say=context.reporter.say,
            open_encoder=context.open_encoder,
            check=programs_hold(variant.runtime, format_of(variant.runtime), manifest, context),
            sign=options.sign,
        )
        with FolderWriter(context, options, evaluator, folder, manifest, network) as writer:
            folders = {name: writer.write(name) for name in options.folders(variant.runtime)}
        for name, left in left_beside(folder, folders).items():
            context.reporter.say(
                f"'{left}' is of another package than '{folder}' and was not written anew: remove "
                f"it, or give --format {name}"
            )
        known_ms = context.known_ms(architecture) if timed else {}
        return CompileResult(
            read_manifest(folder),
            tuple(attempts),
            folder,
            dict(context.seconds),
            network,
            {v: ms for v, ms in known_ms.items() if v != variant},
            folders,
            {name: str(read_manifest(path).latency_not_stated) for name, path in folders.items()},
            build_sha256(folder),
        )

    def evidence(
        self, candidate: _Candidate, architecture: Architecture, rows: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Where the choice came from: the search, and the rows of the table that predict it."""
        context, variant = self.context, candidate.variant
        limits, variants = candidate.limits, candidate.variants
        if candidate.compared is None:
            search = evidence.whole(context, limits, variants, architecture, variant.runtime)
        else:
            search = evidence.searched(
                context,
                limits,
                variants,
                candidate.compared,
                architecture,
                variant.runtime,
                self.has_halving(),
            )
        return {"table": dict(rows), "search": search}

    def licences(self) -> list[dict[str, str]]:
        """Of what a package has from its teacher."""
        teacher = self.context.teacher
        licence = stated_licence(teacher.folder)
        whats = ("weights, taken or trained from the teacher's", "tokenizer")
        return [{"what": w, "licence": licence, "source": teacher.name} for w in whats]

    def vocabulary(self) -> VocabularyRecord | None:
        """What was cut of the vocabulary."""
        cut = self.context.vocabulary
        if cut is None:
            return None
        counts = (cut.tokens, cut.of_tokens, cut.heldout_tokens, cut.changed_tokens)
        return VocabularyRecord(cut.text, cut.sha256, *counts)

    def training(self, candidate: _Candidate) -> TrainingRecord:
        """What was trained for it."""
        header = self.context.supernet_header
        if header is None:
            return TrainingRecord(candidate.steps)
        return TrainingRecord(
            candidate.steps,
            *trained_by(header),
            operation_symbols(header["space"]["operations"]),
        )


def tried(state: _State) -> str:
    """The networks measured so far, for a message."""
    each = "; ".join(f"{a.architecture} by {a.runtime}: {a.note}" for a in state.attempts)
    return f"{len(state.attempts)} measurements of networks, none met the limits ({each})."
