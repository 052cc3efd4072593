"""The pipeline behind `nasc compile`: from limits to a package that was measured.

Precisions that may win -> exact search -> true loss of the best -> contest of those that differ in
kind -> measured on the device -> distilled to the end -> exported -> parity -> measured again ->
package. A network that misses a limit tightens it by as much as the prediction was off, and the
search runs again.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import profilers
from device_profiles.temporary import temporary_folder
from nasc.architecture.heads import is_task_head
from nasc.architecture.space import operation_symbols
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.errors import InfeasibleLimits, LimitsMissed, PackageError, UsageError
from nasc.evaluation.parity import Parity, ReducedPrecisionReport
from nasc.latency.session import PEAK_PROCESSES, PEAK_ROOM, latency_job
from nasc.lowering import Artifact
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.package.build import build_package, check_target
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
    read_manifest,
)
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.pipelines.limit_check import LimitCheck, MeasuredLimit, check_limits
from nasc.pipelines.options import DISTILL_MINUTES, Options
from nasc.pipelines.result import Attempt, CompileResult
from nasc.selection.precisions import promising_precisions
from nasc.selection.successive_halving import SHARE, candidates, run_halving
from nasc.solver.problem import Limits
from nasc.supernet.checkpoint import trained_by
from nasc.tasks.sts import read_sts
from nasc.utils.outputs import check_place, claimed
from nasc.utils.progress import Reporter

if TYPE_CHECKING:
    from nasc.tasks.shipping import PackagedTask

MAX_ATTEMPTS = 12
"""Measurements of networks on the device before giving up; a network may take several."""

BUSY_REPEATS = 3
"""So often a network that is not within its limits is measured again on a machine that was not
quiet: each takes about a minute, another contest longer, and what it chooses then would be smaller
than it need be (docs/benchmarks.md, Promise)."""

KEPT = "Latency tables, the supernet and what was trained are kept in the cache."
"""What a compilation that is interrupted in a measurement need not do again."""


def compile(
    limits: Limits,
    settings: Settings | None = None,
    options: Options | None = None,
    reporter: Reporter | None = None,
    *,
    opener: profilers.Opener = profilers.open_worker,
) -> CompileResult:
    """The best subnet within limits, as a package that was measured on the device.

    Args:
        limits: What must hold; at least one.
        settings: Conditions; None takes the defaults: the host, the default teacher.
        options: Training, checks and output; None takes the defaults.
        reporter: Told of the progress.
        opener: Starts a worker on the device; `profilers.testing` makes one up.

    Returns:
        The package, with everything that was found on the way.

    Raises:
        InfeasibleLimits: If no network can meet the limits; carries a certificate.
        LimitsMissed: If networks that should fit were measured and did not, or the quality
            asked for is not reached.
        OutputBusy: If another run is writing the package.
        UsageError, TeacherError, CorpusError, PackageError, ProfilerError: See there.
    """
    options = options or Options()
    if not limits.given():
        raise UsageError(
            "no limit given; give at least one of --latency-ms, --size-bytes, --params, "
            "--peak-memory-bytes"
        )
    if options.quantile is not None and limits.latency_ms is None:
        raise UsageError("--quantile says what --latency-ms is held to: give --latency-ms too")
    settings = settings or Settings()
    if options.task is not None:
        if settings.head not in ("embed", options.task.head):
            raise UsageError(f"--task {options.task.name} decides the head: leave --head out")
        settings = dataclasses.replace(settings, head=options.task.head)
    elif is_task_head(settings.head):
        raise UsageError(f"the head {settings.head!r} comes with a task: give --task")
    return compile_on(RunContext(settings, reporter, opener=opener), limits, options)


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
    task = None if options.task is None else options.task.name
    output = options.output or Path(default_name(context.device.name, limits, task))
    check_place(output, "--output DIR", PackageError, "the package")
    with claimed(output):
        check_target(output, options.force)
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
        train_share: Part of the training budget that is left for it; None: it is trained.
        steps: Of distillation that it has had.
    """

    network: Network
    train_share: float | None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class _Exported:
    """A file with what was measured on it.

    Attributes:
        candidate: What is in it.
        artifact: The network in the runtime's own form.
        predicted: Latency from the tables.
        measured: Latency on the device.
        peak_bytes: Peak memory on the device; None if it was not told.
        params: Weights.
        repetitions_ms: The bound that a repetition may come to, by each measurement of this
            architecture so far that found one, in order. Weights do not change a latency.
    """

    candidate: _Candidate
    artifact: Artifact
    predicted: PredictedLatency
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


class _Compilation:
    """One run of the pipeline."""

    judge: ArtifactEvaluator  # from when the labelled data is read

    def __init__(self, context: RunContext, limits: Limits, options: Options, output: Path) -> None:
        self.context = context
        self.limits = limits
        self.options = options
        self.output = output
        self.tightened = limits
        self.allowed = list(context.space.precisions)
        self.precisions = self.allowed
        self.attempts: list[Attempt] = []
        self.fallback: _Exported | None = None
        self.seen: dict[str, list[tuple[bool, float]]] = {}  # bounds, by architecture

    def run(self) -> CompileResult:
        context = self.context
        labelled = None
        if self.options.sts_data is not None:
            labelled = read_sts(self.options.sts_data, context.reporter.say)
        context.check_inputs()
        self.judge = ArtifactEvaluator(context, labelled, self.shipping())
        self.precisions = promising_precisions(context, self.limits, self.allowed)
        context.check_feasible(self.limits, self.precisions)
        with temporary_folder() as folder:
            waiting: _Candidate | None = None
            while True:
                exported = self.measure(waiting or self.choose(), folder)
                trained, repeats = waiting is not None, 0
                while self.is_unsure(exported, trained, repeats):
                    # Seconds of measuring may save the minutes of its training, or of a contest.
                    found = self.check_limits(exported)
                    self.record(exported, not found.over, f"{found.note}; measured once more")
                    exported = self.measure(exported.candidate, folder)
                    repeats += 1
                accepted, waiting = self.accept(exported), None
                if accepted is None:
                    continue
                candidate = self.finish(accepted.candidate)
                # Also where it was measured before: an earlier network's file was written over.
                artifact = context.session.lowering.lower(candidate.network, folder)
                parity = self.check(candidate.network, artifact)
                if parity is None:
                    continue
                if candidate is accepted.candidate:
                    return self.package(accepted, parity)
                waiting = candidate

    def shipping(self) -> PackagedTask | None:
        """The task that the package is to do, its files read; None of sentence vectors."""
        if self.options.task is None:
            return None
        from nasc.tasks.shipping import PackagedTask  # transformers' Trainer: seconds to import

        context = self.context
        full = teacher_network(context.teacher, context.whole_space.teacher)
        tokenizer = context.teacher.tokenizer
        batch = context.settings.batch
        return PackagedTask(
            self.options.task, full, tokenizer, context.cache, context.reporter, batch
        )

    # Choosing

    def choose(self) -> _Candidate:
        """The next network to try.

        Raises:
            LimitsMissed: If networks were measured, and no other is left to try.
        """
        context = self.context
        if context.settings.supernet is None:
            whole = context.whole_teacher(self.tightened, self.precisions)
            if whole is not None:
                context.reporter.say(
                    f"the full-size network fits in {whole.precision}: nothing to search or train"
                )
                head = context.settings.trained_head
                return _Candidate(teacher_network(context.teacher, whole, head), None)
        try:
            found = self.search()
        except InfeasibleLimits as error:
            if not self.attempts:
                raise
            if self.fallback is not None:
                return self.fallback.candidate
            raise LimitsMissed(f"{self.tried()} No other network is predicted to fit") from error
        context.reporter.say(f"chosen: {found.network.architecture}")
        return found

    def search(self) -> _Candidate:
        """The best network by a contest where time allows, else by its loss before training."""
        context = self.context
        config, seconds = self.budget()
        entered = candidates(context, self.tightened, self.precisions)
        if seconds == 0 or (seconds is None and config.steps * SHARE < 1):
            network = min(entered, key=lambda e: e.ranked.true_loss).network
            candidate = _Candidate(network, 1.0)
        else:
            with context.timed("contest"):
                best = run_halving(context, entered, config, seconds)[0]
            candidate = _Candidate(best.network, 1 - SHARE, best.steps)
        if candidate.network.architecture.is_teacher:
            return dataclasses.replace(candidate, train_share=None)
        return candidate

    # Measuring and deciding

    def measure(self, candidate: _Candidate, folder: Path) -> _Exported:
        """Lower a network and measure it on the device, when no other process measures there.

        Raises:
            CacheBusy: If another process measures for an hour.
            profilers.MemoryUnavailable: If memory is limited and the device does not tell it.
        """
        context, s, session = self.context, self.context.settings, self.context.session
        network = candidate.network.with_head(s.head)
        artifact = session.lowering.lower(network, folder)
        job = latency_job("model", artifact.path, s.seq_len, s.batch, network.geometry.vocab_size)
        baseline = context.baseline
        progress = context.reporter.stage(f"Measuring on device {context.device.name!r}")
        with (
            session.alone(kept=KEPT),
            context.timed("measure"),
        ):
            measurement = session.measure(
                [job],
                baseline.scale,
                protocol=profilers.Protocol(quantile=self.options.quantile),
                progress=progress,
            )
            session.extend(baseline, measurement)
            peak = (
                session.optional_peak_memory(job)
                if self.limits.peak_memory_bytes is None
                else session.peak_memory(job, PEAK_PROCESSES)
            )
        predicted = context.costs_in(network.architecture.precision).predict(network.architecture)
        latency = MeasuredLatency.of(job, measurement)
        repetition_ms = latency.repetition_ms(self.options.quantile)
        seen = self.seen.setdefault(str(network.architecture), [])
        if math.isfinite(repetition_ms):
            seen.append((latency.model.is_quiet, repetition_ms))
        # What the busy machine gave counts only for as long as there is nothing else.
        on_quiet = tuple(ms for is_quiet, ms in seen if is_quiet)
        repetitions_ms = on_quiet or tuple(ms for _, ms in seen)
        return _Exported(
            candidate,
            artifact,
            PredictedLatency(predicted.latency_ms, predicted.low_ms, predicted.high_ms),
            latency,
            None if peak is None else peak.total_bytes,
            network.params,
            repetitions_ms,
        )

    def record(self, exported: _Exported, met: bool, note: str = "") -> None:
        """Keep what was measured for the result."""
        held_ms = exported.measured.held_ms(self.options.quantile)
        self.attempts.append(
            Attempt(
                str(exported.network.architecture),
                exported.predicted,
                exported.measured.model.latency_ms,
                held_ms if math.isfinite(held_ms) else None,
                met,
                note,
            )
        )

    def check_limits(self, exported: _Exported) -> LimitCheck:
        """The limits against a file; what is measured must leave room for a repetition."""
        held_ms = exported.measured.held_ms(self.options.quantile)
        precision = exported.network.architecture.precision
        expected_ms = self.context.costs_in(precision).upper(
            "latency_ms", exported.predicted.latency_ms, precision
        )
        peak = exported.peak_bytes
        held = {
            "latency_ms": MeasuredLimit(held_ms, expected_ms, exported.repetition_ms),
            "size_bytes": MeasuredLimit(float(exported.artifact.size_bytes)),
            "params": MeasuredLimit(float(exported.params)),
            "peak_memory_bytes": MeasuredLimit(
                None if peak is None else float(peak),
                repetition=None if peak is None else PEAK_ROOM * peak,
            ),
        }
        return check_limits(self.limits, self.tightened, held)

    def is_unsure(self, exported: _Exported, trained: bool, repeats: int) -> bool:
        """Whether what does not hold, or leaves no room, is worth measuring once more.

        Args:
            exported: As measured.
            trained: Whether the network has been trained for it.
            repeats: Measurements of it one after the other so far, the first one not counted.
        """
        found = self.check_limits(exported)
        if not found.tighter:
            return False
        if self.options.quantile is None and not exported.measured.model.is_quiet:
            return repeats < BUSY_REPEATS
        near = not found.over and len(exported.repetitions_ms) == 1
        return repeats == 0 and (trained or near)

    def accept(self, exported: _Exported) -> _Exported | None:
        """What to go on with, if all limits hold as measured; else tighten those that do not.

        A latency must leave room for its own repetition, by all measurements of its
        architecture, unless no smaller network is left: then one that is under its limit
        without that room is accepted, be it an earlier one.

        Raises:
            LimitsMissed: After `MAX_ATTEMPTS` measurements, or where no smaller one is left.
        """
        if not math.isfinite(exported.measured.held_ms(self.options.quantile)):
            raise LimitsMissed(
                f"{self.options.quantile} of {exported.network.architecture} has no upper bound "
                "after the time that a measurement may take: it runs too long for so many runs. "
                "Take a lower quantile, or none: the statistic of record needs fewer"
            )
        found, say = self.check_limits(exported), self.context.reporter.say
        self.record(exported, not found.over, found.note)
        if not found.tighter:
            return exported
        say(f"{exported.network.architecture}: {found.note}")
        if not found.over:
            self.fallback = exported
        tightened = dataclasses.replace(self.tightened, **found.tighter)
        if len(self.attempts) < MAX_ATTEMPTS and (precisions := self.reachable(tightened)):
            under = ", ".join(f"{name} {value:.4g}" for name, value in found.tighter.items())
            say(f"searching under {under}")
            self.tightened, self.precisions = tightened, precisions
            return None
        last, self.fallback = self.fallback, None
        if last is None:
            raise LimitsMissed(
                f"{self.tried()} Something may disturb the device: try again when it is quiet, "
                "or raise the limit"
            )
        return last

    def tried(self) -> str:
        """The networks measured so far, for a message."""
        each = "; ".join(f"{a.architecture}: {a.note}" for a in self.attempts)
        return f"{len(self.attempts)} measurements of networks, none met the limits ({each})."

    def reachable(self, limits: Limits) -> list[str]:
        """Precisions to search under some limits; none if no network in any is predicted to fit."""
        found = promising_precisions(self.context, limits, self.allowed)
        try:
            self.context.check_feasible(limits, found)
        except InfeasibleLimits:
            return []
        return found

    # Training and checking

    def budget(self) -> tuple[DistillConfig, float | None]:
        """The training of the chosen network, contest included: by steps or by seconds."""
        steps, minutes = self.options.distill_steps, self.options.distill_minutes
        config = DistillConfig(steps=steps or 0, seed=self.context.settings.seed)
        if steps is not None:
            return config, None
        return config, 60 * (DISTILL_MINUTES if minutes is None else minutes)

    def finish(self, candidate: _Candidate) -> _Candidate:
        """Train and fine-tune what is not yet; the same candidate if nothing is left to do."""
        if candidate.train_share is not None:
            candidate = self.train(candidate)
        task = self.judge.task
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
        return _Candidate(trained, None, candidate.steps + steps)

    def check(self, network: Network, artifact: Artifact) -> Parity | ReducedPrecisionReport | None:
        """Parity of the file; None if int8 was refused and fp32 must be searched instead.

        Raises:
            LimitsMissed: If no other precision is allowed.
        """
        report, refusal = self.judge.parity(network, artifact.path)
        if refusal is None:
            return report
        self.allowed.remove(network.architecture.precision)
        self.precisions = list(self.allowed)
        # What was learnt and kept is of that precision.
        self.tightened, self.fallback = self.limits, None
        refused = str(network.architecture)
        self.attempts = [
            dataclasses.replace(a, met=False, note=f"int8 refused: {refusal}")
            if a.architecture == refused
            else a
            for a in self.attempts
        ]
        if not self.allowed:
            raise LimitsMissed(
                f"int8 was refused ({refusal}) and no other precision is allowed. "
                "Allow fp32: --precision fp32 --precision int8"
            )
        return None

    # Packaging

    def quality(self, path: Path) -> dict[str, Any]:
        """Figures of the file as shipped.

        Raises:
            LimitsMissed: If a quality asked for is not reached.
        """
        record = self.judge.quality(path)
        for name, least in self.options.min_quality.items():
            if record[name] < least:
                raise LimitsMissed(
                    f"{name} is {record[name]:.4f}, --min-quality asks for {least}. Train "
                    "longer (--distill-minutes; the supernet: nasc train, then --supernet FILE), "
                    "give more or closer text (--corpus), or loosen a limit"
                )
        return record

    def package(
        self, exported: _Exported, parity: Parity | ReducedPrecisionReport
    ) -> CompileResult:
        context, options, s = self.context, self.options, self.context.settings
        record, task = self.quality(exported.artifact.path), options.task
        network, architecture = exported.network, exported.network.architecture
        peak = context.costs_in(architecture.precision).peak_memory_bytes(architecture)
        manifest = Manifest(
            architecture=architecture,
            geometry=network.geometry,
            head=s.head,
            task=None if task is None else TaskRecord(task.name, task.labels, task.paired),
            max_length=context.teacher.max_length if task is None else task.max_length,
            limits=self.limits.given(),
            conditions=Conditions(
                context.device.name,
                context.session.options.runtime,
                s.batch,
                s.seq_len,
                context.session.options.threads,
                profilers.STATISTIC,
                options.quantile,
            ),
            teacher=TeacherRecord(
                context.teacher.name, context.teacher.sha256, context.teacher.source
            ),
            text=TextRecord(context.corpus.description, context.corpus.sha256),
            training=self.training(exported.candidate),
            predicted=exported.predicted,
            measured=exported.measured,
            tokenisation_ms=self.judge.tokenisation_ms(),
            peak_memory=PeakMemory(peak, exported.peak_bytes),
            quality=record,
            parity=parity,
            attempts=[dataclasses.asdict(attempt) for attempt in self.attempts],
            seeds={"seed": s.seed},
        )
        context.reporter.stage("Package")(0, 1, str(self.output))
        folder = build_package(
            self.output,
            model=exported.artifact.path,
            tokenizer=context.teacher.tokenizer,
            manifest=manifest,
            force=options.force,
            say=context.reporter.say,
        )
        return CompileResult(
            read_manifest(folder), tuple(self.attempts), folder, dict(context.seconds), network
        )

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
