"""Where the time of a tuning run goes: rounds of candidates, for the kernel that promises most.

What a round promises is the kernel's share of the time times what its last rounds gained, as the
task scheduler of Ansor does it (Zheng et al., OSDI 2020, section 6), without its similarity term.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import tvm

from nasc.lowering.tuning.kernels import Task
from nasc.lowering.tuning.records import Records
from nasc.lowering.tuning.trials import Measure, fastest_in_turn
from nasc.utils.interrupts import ENDING, interrupts_held
from nasc.utils.progress import Progress
from profilers.runtimes.tvm_schedules import schedule

ROUND_TRIALS = 16
"""Candidates of a round: what a killed run loses at most."""

POPULATION = 512
MOST_UNMEASURED = 50
"""MetaSchedule's own sizes of a population, and of its part that was never measured."""

FIRST_GAIN = 0.5
"""Part of a kernel's time that its first round is expected to save at most: as much as it computes
slower than all kernels together."""

LEAST_FIRST_GAIN = 0.02
"""The same of a kernel that is as fast as the others."""

LEAST_FASTER = 0.05
"""Part of its time that a record must save: less is in the noise, and another order of weights,
which a record may bring, makes files larger."""

LATER_GAIN = 0.1
"""The same of a kernel that has records, in a run that goes on."""

MEMORY = 0.5
"""Weight of what was expected, beside the round that was just seen."""

LEAST_GAIN = 1e-4
"""A kernel whose rounds gain nothing is never forgotten entirely."""

KNOWN_RECORDS = 256
"""Records from which a cost model learns when a run goes on."""

FUTILE_TRIALS = 64
"""A kernel that does not run, nor do so many candidates of it, is left: it would take all time."""

EMPTY_ROUNDS = 3
"""A kernel is exhausted after so many rounds without a candidate that is new."""

STACK_FRAMES = 8
"""Of those that TVM asks for it looks at the first three."""


@dataclass(slots=True)
class Tuned:
    """A kernel, and how its tuning goes.

    Attributes:
        task: The kernel.
        before_s: Seconds of a run as it is scheduled without a record; None where that failed.
        best_s: Seconds of its best record; None where it has none.
        trials: Candidates measured by this run.
        failed: Those of them that ended in an error.
        error: The last of these.
        expected: Part of its time that the next round is expected to save.
        exhausted: Nothing new is found.
    """

    task: Task
    before_s: float | None
    best_s: float | None
    trials: int = 0
    failed: int = 0
    error: str | None = None
    expected: float = FIRST_GAIN
    exhausted: bool = False
    _search: _Search | None = field(default=None, repr=False)

    @property
    def now_s(self) -> float | None:
        """Seconds of a run as it is compiled now: by its record, else without; None: unknown."""
        return self.before_s if self.best_s is None else self.best_s

    @property
    def time_s(self) -> float:
        """Seconds of its runs in a pass of the networks, as it is compiled now; 0 if unknown."""
        return (self.now_s or 0.0) * self.task.weight

    @property
    def projected_s(self) -> float:
        """Seconds of a pass that its next round is expected to save."""
        if self.exhausted:
            return 0.0
        # Where not even the schedule without a record runs, a record is needed most.
        return (math.inf if self.now_s is None else self.time_s) * self.expected

    def beats(self, seconds: float) -> bool:
        """Whether a candidate is so much faster than no record that it becomes one."""
        return self.before_s is None or seconds <= (1 - LEAST_FASTER) * self.before_s

    def learn(self, before_s: float | None) -> None:
        """Take in what a round gained.

        Args:
            before_s: `now_s` before it.
        """
        gained = 0.0
        if before_s and self.now_s:
            gained = max(0.0, 1 - self.now_s / before_s)
        self.expected = max(LEAST_GAIN, MEMORY * self.expected + (1 - MEMORY) * gained)


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How a run searches.

    Attributes:
        seconds: It lasts, up to the end of the candidate at hand; each kernel is run as it is even
            where that takes longer.
        round_trials: Candidates of a round.
        max_trials: Candidates of a kernel; None is as many as there is time for.
        cost_model: Which picks candidates: "xgb" or "random", see `best_cost_model`.
        search_threads: Threads that look for candidates; none while one runs.
        population: Schedules that the search breeds candidates from.
        seed: Of the search.
        at_once: Candidates that `Measure` runs side by side.
    """

    seconds: float
    round_trials: int = ROUND_TRIALS
    max_trials: int | None = None
    cost_model: str = "random"
    search_threads: int = 1
    population: int = POPULATION
    seed: int = 0
    at_once: int = 1


def best_cost_model() -> str:
    """Boosted trees where xgboost is installed, else candidates as they come."""
    return "xgb" if importlib.util.find_spec("xgboost") else "random"


def tune_kernels(
    tasks: Sequence[Task],
    records: Records,
    target: tvm.target.Target,
    measure: Measure,
    options: LoopOptions,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> list[Tuned]:
    """Tune kernels until the time is over; records are published after every round.

    Args:
        tasks: The kernels.
        records: Gain what is found.
        target: What they are tuned for.
        measure: Runs candidates, see `nasc.lowering.tuning.trials`.
        options: Time and search.
        progress: Told the seconds gone, of those there are, and how it goes.
        clock: Seconds.

    Returns:
        Every kernel, the one that most of a pass goes to first.

    Raises:
        OSError: If records cannot be written; those of earlier rounds are kept.
    """
    end = clock() + options.seconds
    total = max(1, round(options.seconds))
    kernels: list[Tuned] = []

    def tell(message: str) -> None:
        progress(min(total, max(0, round(total - (end - clock())))), total, message)

    for first in range(0, len(tasks), options.at_once):
        some = tasks[first : first + options.at_once]
        tell(f"{some[0].name} as it is")
        kernels.extend(_known(some, records, target, measure))
    _expect(kernels)
    model = _cost_model(options)
    start_s = _network_s(kernels)
    while clock() < end:
        kernel = max(kernels, key=lambda k: k.projected_s, default=None)
        if kernel is None or kernel.projected_s == 0:
            break
        tell(_message(kernel, kernels, start_s))
        before_s = kernel.now_s
        _round(kernel, records, target, measure, options, model, lambda: clock() >= end)
        kernel.learn(before_s)
        records.publish()
    tell(_message(None, kernels, start_s))
    return sorted(kernels, key=lambda k: -k.time_s)


def _known(
    tasks: Sequence[Task], records: Records, target: tvm.target.Target, measure: Measure
) -> list[Tuned]:
    """Kernels as a run finds them."""
    trials = measure([schedule(task.module, target) for task in tasks])
    found = []
    for task, trial in zip(tasks, trials, strict=True):
        best_s = records.best_s(task.module)
        found.append(Tuned(task, trial.seconds, best_s, error=trial.error))
    return found


def _expect(kernels: Sequence[Tuned]) -> None:
    """Say what the first rounds of kernels are expected to gain."""
    known = [kernel for kernel in kernels if kernel.now_s is not None]
    whole_s = _network_s(known)
    rate = sum(k.task.flops * k.task.weight for k in known) / whole_s if whole_s else 0.0
    for kernel in kernels:
        if kernel.best_s is not None:
            kernel.expected = LATER_GAIN
        elif kernel.now_s and rate:
            slower = 1 - kernel.task.flops / kernel.now_s / rate
            kernel.expected = min(FIRST_GAIN, max(LEAST_FIRST_GAIN, slower))


def _network_s(kernels: Sequence[Tuned]) -> float:
    return sum(kernel.time_s for kernel in kernels)


def _message(kernel: Tuned | None, kernels: Sequence[Tuned], start_s: float) -> str:
    now_s = _network_s(kernels)
    text = f"{1e3 * start_s:.2f} to {1e3 * now_s:.2f} ms" if start_s else "no kernel runs yet"
    if kernel is None or not now_s:
        return text
    share, gain = kernel.time_s / now_s, kernel.projected_s / now_s
    if not math.isfinite(gain):
        return f"{text}; next {kernel.task.name}, which does not run yet"
    return f"{text}; next {kernel.task.name}, {share:.0%} of it, perhaps {gain:.1%} to gain"


class _Search:
    """MetaSchedule's evolutionary search for one kernel."""

    def __init__(
        self,
        task: Task,
        records: Records,
        target: tvm.target.Target,
        options: LoopOptions,
        model: Any,
    ) -> None:
        with _short_stacks():
            from tvm.s_tir import meta_schedule

            self.context = meta_schedule.TuneContext(
                mod=task.module,
                target=target,
                space_generator="post-order-apply",
                search_strategy=meta_schedule.search_strategy.EvolutionarySearch(
                    population_size=options.population,
                    init_min_unmeasured=min(MOST_UNMEASURED, options.population),
                ),
                task_name=task.name,
                rand_state=1 + (options.seed + int(task.key, 16)) % (2**31 - 2),
                num_threads=options.search_threads,
            ).clone()
        self.workload = records.workload(task.module)
        self.model = model
        self.empty = 0
        known = records.database.get_top_k(self.workload, KNOWN_RECORDS)
        if known:
            results = [meta_schedule.runner.RunnerResult(r.run_secs, None) for r in known]
            model.update(self.context, [r.as_measure_candidate() for r in known], results)
        self.context.pre_tuning(
            10**6, options.round_trials, database=records.database, cost_model=model
        )


def _round(
    kernel: Tuned,
    records: Records,
    target: tvm.target.Target,
    measure: Measure,
    options: LoopOptions,
    model: Any,
    is_over: Callable[[], bool],
) -> None:
    """Find candidates of a kernel, measure them, and keep what came out."""
    from tvm.s_tir import meta_schedule

    with interrupts_held(ENDING):  # an exception within its threads takes the process down
        if kernel._search is None:
            kernel._search = _Search(kernel.task, records, target, options, model)
        search = kernel._search
        candidates = search.context.generate_measure_candidates()
    if not candidates:
        search.empty += 1
        kernel.exhausted = candidates is None or search.empty >= EMPTY_ROUNDS
        return
    search.empty = 0
    todo = list(candidates)
    if options.max_trials is not None:
        todo = todo[: options.max_trials - kernel.trials]
    results: list[Any] = []
    faster: list[tuple[Any, float]] = []
    for candidate, trial in zip(todo, measure([c.sch.mod for c in todo], is_over), strict=False):
        kernel.trials += 1
        seconds = None if trial.seconds is None else [trial.seconds]
        results.append(meta_schedule.runner.RunnerResult(seconds, trial.error))
        if trial.seconds is None:
            kernel.failed, kernel.error = kernel.failed + 1, trial.error
        elif kernel.beats(trial.seconds) and trial.seconds < (kernel.best_s or math.inf):
            faster.append((candidate, trial.seconds))
    if faster:
        candidate, found_s = min(faster, key=lambda one: one[1])
        if kernel.before_s is not None:  # both may have been timed in a better or worse moment
            plain = schedule(kernel.task.module, target)
            in_turn = fastest_in_turn(measure, [plain, candidate.sch.mod], is_over=is_over)
            before_s, found_s = in_turn or (math.inf, math.inf)
            kernel.before_s = min(kernel.before_s, before_s)
        if kernel.beats(found_s):  # else the schedule without a record is as good
            records.database.commit_tuning_record(
                meta_schedule.database.TuningRecord(
                    candidate.sch.trace, search.workload, [found_s], target, candidate.args_info
                )
            )
            kernel.best_s = min(kernel.best_s or math.inf, found_s)
    if options.max_trials is not None and kernel.trials >= options.max_trials:
        kernel.exhausted = True
    if kernel.now_s is None and kernel.trials >= FUTILE_TRIALS:
        kernel.exhausted = True
    measured = todo[: len(results)]
    if measured:
        with interrupts_held(ENDING):
            search.context.notify_runner_results(measured, results)
            search.model.update(search.context, measured, results)


def _cost_model(options: LoopOptions) -> Any:
    from tvm.s_tir import meta_schedule

    return meta_schedule.cost_model.CostModel.create(
        options.cost_model, num_tuning_cores=options.search_threads, tree_method="auto"
    )


@contextmanager
def _short_stacks() -> Iterator[None]:
    """Stacks of few frames, without their text.

    While TVM registers its instructions it asks for the whole stack hundreds of times, with the
    text around each frame, to look at the innermost: most of a minute (November 2026). Of frames
    without a file, as those of an import, Python would ask every module that is loaded.
    """

    def innermost(context: int = 1) -> list[inspect.FrameInfo]:
        found: list[inspect.FrameInfo] = []
        frame = sys._getframe(1)
        while frame is not None and len(found) < STACK_FRAMES:
            code = frame.f_code
            where = (code.co_filename, frame.f_lineno, code.co_name)
            found.append(inspect.FrameInfo(frame, *where, code_context=None, index=None))
            frame = frame.f_back  # type: ignore[assignment]
        return found

    whole = inspect.stack
    inspect.stack = innermost
    try:
        yield
    finally:
        inspect.stack = whole
