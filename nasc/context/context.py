"""What searches and compilations on one device and teacher share, made once and cached.

Teacher, device, latency tables, text, trained and scored supernet: each is loaded, found
in the cache or made when it is first asked for.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import device_profiles
import profilers
from nasc.architecture.space import (
    Architecture,
    Block,
    SearchSpace,
)
from nasc.context.settings import Settings
from nasc.context.teacher_check import check_teacher
from nasc.data import Corpus, load_corpus
from nasc.errors import InfeasibleLimits, UsageError
from nasc.latency.costs import TableCosts
from nasc.latency.profile import profile
from nasc.latency.session import MeasurementSession
from nasc.latency.table import LatencyTable
from nasc.solver.enumerate import enumerate_best
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem, ScoredBlocks, Solution
from nasc.solver.select import Ranked, select
from nasc.supernet.checkpoint import left_blocks, read_space, read_supernet_header
from nasc.supernet.parallel import Parallel
from nasc.supernet.prepare import Prepared, load_prepared, prepare, teacher_initialised_space
from nasc.supernet.score_candidates import scored_sentences, scorer_for
from nasc.supernet.scorer import Scorer
from nasc.supernet.shipped import shipped_supernet
from nasc.supernet.space_for import space_for
from nasc.supernet.teacher_pruning import PrunedLoss
from nasc.supernet.train import TrainConfig, train_length
from nasc.teacher import Teacher, load_teacher
from nasc.utils.files import cache_folder
from nasc.utils.progress import Reporter, Silent
from nasc.utils.torch_device import has_bf16, training_device

PAPERS_T = 100
"""Networks whose true loss is taken (NAS-BERT, Section 3.3: T)."""

MAX_CORPUS = 200_000
"""Training sentences used at most; minutes of training see fewer."""


ROUGH_SENTENCES = 32
"""Held-out sentences on which the true losses of many networks are taken."""

PRUNING_SENTENCES = 32
PRUNING_BATCH = 8
"""Held-out sentences that decide which operations of the teacher are left out; so many at a time,
of similar length, for little padding."""


class RunContext:
    """Everything of some `Settings`, made when first asked for.

    Attributes:
        settings: As given.
        reporter: Told of the progress.
        seconds: Spent by stage so far.
    """

    def __init__(
        self,
        settings: Settings,
        reporter: Reporter | None = None,
        *,
        opener: profilers.Opener = profilers.open_worker,
    ) -> None:
        """Find the device and the cache; nothing heavy happens yet.

        Args:
            settings: The conditions.
            reporter: Told of the progress; None tells nobody.
            opener: Starts a worker on the device, see `MeasurementSession`.

        Raises:
            DeviceProfileError: If there is no such device.
            NascError: If the cache cannot be written.
        """
        self.settings = settings
        self.reporter: Reporter = reporter or Silent()
        self.seconds: dict[str, float] = {}
        self._said: set[str] = set()
        self._tables: dict[str, LatencyTable] = {}
        self._costs: dict[tuple[str, ...], TableCosts] = {}
        self.cache = cache_folder(settings.cache)
        self.device = device_profiles.find(settings.device)
        self.session = MeasurementSession.on(
            self.device,
            self.cache,
            settings.threads,
            opener=opener,
            say=self.reporter.say,
        )

    def say_once(self, text: str) -> None:
        """Tell the reporter what it was not told before."""
        if text not in self._said:
            self._said.add(text)
            self.reporter.say(text)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher."""
        with self.timed("teacher"):
            return load_teacher(self.settings.teacher)

    @cached_property
    def supernet_path(self) -> Path | None:
        """The trained supernet: the one named, or that which comes with nasc for the teacher.

        None if one is to be trained: there is none, or a space or a training is asked for.
        """
        s = self.settings
        if s.supernet is not None:
            return s.supernet
        if (s.space, s.train_minutes, s.train_steps) != (None, None, None):
            return None
        return shipped_supernet(self.teacher.sha256)

    @cached_property
    def whole_space(self) -> SearchSpace:
        """The search space in all its precisions: the supernet's, or the teacher's.

        Raises:
            UsageError: If a supernet and another space are given.
            CheckpointError: If the supernet is missing, damaged or another teacher's.
        """
        s = self.settings
        if self.supernet_path is None:
            return space_for(self.teacher, s.space)
        found = read_space(self.supernet_path, self.teacher)
        if s.space is not None and space_for(self.teacher, s.space) != found:
            raise UsageError(
                f"supernet '{s.supernet}' was trained for search space {found.name!r}, which is "
                f"not --space {s.space}: leave --space out"
            )
        return found

    @cached_property
    def space(self) -> SearchSpace:
        """The search space in the precisions that are allowed."""
        found, wanted = self.whole_space, self.settings.precisions
        if wanted is None:
            return found
        foreign = [p for p in wanted if p not in found.precisions]
        if foreign:
            raise UsageError(
                f"--precision {foreign[0]} is not in search space {found.name!r}: "
                f"{', '.join(found.precisions)}"
            )
        return found.restrict(precisions=wanted)

    @property
    def costs(self) -> TableCosts:
        """Prices in all precisions of the space: see `costs_in`."""
        return self.costs_in(*self.space.precisions)

    def costs_in(self, *precisions: str) -> TableCosts:
        """Prices in some precisions, from latency tables that are measured where there are none.

        Raises:
            CacheBusy: If another process measures for an hour.
            profilers.ProfilerError: If the device cannot be reached or measured.
        """
        missing = [p for p in precisions if p not in self._tables]
        if missing:
            with self.timed("profile"):
                found = profile(
                    self.space,
                    self.session,
                    precisions=missing,
                    seq_lens=(self.settings.seq_len,),
                    batches=(self.settings.batch,),
                    head=self.settings.head,
                    seed=self.settings.seed,
                    progress=self.reporter.stage(f"Latency tables of device {self.device.name!r}"),
                )
            quiet_ms = self.baseline.quiet_ms
            tables = [one.table.rescaled(quiet_ms) for one in found]
            self._tables |= {table.key.precision: table for table in tables}
            self._costs.clear()
        if precisions not in self._costs:
            self._costs[precisions] = TableCosts.of(
                (self._tables[p] for p in precisions),
                self._tables.values(),
                self.baseline.scale.reach,
            )
        return self._costs[precisions]

    def check_inputs(self, *, searched: bool = True) -> None:
        """Raise for what is missing, damaged or does not belong together before the slow part.

        Args:
            searched: Whether there is a search space; a network of the literature needs none.

        Raises:
            UsageError, CheckpointError: See `whole_space`.
            TeacherError: If its own library makes other vectors: see `check_teacher`.
            CorpusError: From the text that was named.
        """
        teacher = self.teacher
        if searched:
            _ = self.space
        with self.timed("teacher"):
            check_teacher(teacher, self.cache, self.reporter)
        if self.settings.corpus:
            _ = self.corpus

    @cached_property
    def baseline(self) -> profilers.ReferenceBaseline:
        """The reference baseline when it was first asked for: the scale of this whole run."""
        return self.session.baseline()

    @cached_property
    def corpus(self) -> Corpus:
        """The text."""
        with self.timed("text"):
            self.reporter.stage("Text")(0, 1, "reading")
            found = load_corpus(
                self.settings.corpus or None,
                seed=self.settings.seed,
                max_sentences=MAX_CORPUS,
                text_column=self.settings.text_column,
                say=self.reporter.say,
            )
            self.reporter.say(f"text: {found.description} ({len(found.train):,} sentences)")
            return found

    @cached_property
    def prepared(self) -> Prepared:
        """The supernet with its scores."""
        s, path = self.settings, self.supernet_path
        if path is not None:
            # Scores that it has with it will do, unless there is a text that matters more.
            scored = not s.corpus and "scores" in read_supernet_header(path)
            corpus = None if scored else self.corpus
            with self.timed("supernet"):
                return load_prepared(path, self.teacher, corpus, self.cache, self.reporter)
        text, device = self.corpus, training_device()
        with self.timed("supernet"):
            return prepare(
                self.teacher,
                teacher_initialised_space(self.whole_space),
                text,
                TrainConfig(steps=s.train_steps or 0, bf16=has_bf16(device), seed=s.seed),
                seconds=s.train_seconds,
                cache_dir=self.cache,
                reporter=self.reporter,
                parallel=Parallel(device=device),
            )

    @property
    def supernet_header(self) -> Mapping[str, Any] | None:
        """What the supernet's file says of its training; None where none was needed so far."""
        return self.prepared.header if "prepared" in self.__dict__ else None

    def problem(self, limits: Limits, precisions: Sequence[str] | None = None) -> Problem:
        """The search under some limits, among some of the space's precisions."""
        scores, allowed = self.prepared.scores, self._ordered(precisions)
        return Problem(
            self.space.geometry,
            self.settings.head,
            scores.positions(),
            {p: scores.precision_loss[p] for p in allowed},
            self.costs_in(*allowed),
            limits,
        )

    def _ordered(self, precisions: Sequence[str] | None) -> tuple[str, ...]:
        """Some precisions as the space names them; None takes all."""
        return tuple(p for p in self.space.precisions if precisions is None or p in precisions)

    def check_feasible(self, limits: Limits, precisions: Sequence[str] | None = None) -> Solution:
        """Some network that meets the limits, without looking at quality or training.

        Args:
            limits: What must hold.
            precisions: Those still allowed; None takes all of the space.

        Raises:
            InfeasibleLimits: With its certificate, if there is none.
        """
        geometry, head, allowed = self.space.geometry, self.settings.head, self._ordered(precisions)
        terms = dict.fromkeys(allowed, 0.0)
        positions = tuple(ScoredBlocks(b, np.zeros(len(b))) for b in self.choices)
        costs = self.costs_in(*allowed)
        return solve(Problem(geometry, head, positions, terms, costs, limits))[0]

    @cached_property
    def choices(self) -> tuple[tuple[Block, ...], ...]:
        """By position the blocks that may be chosen."""
        if self.supernet_path is not None:
            left = left_blocks(self.whole_space, read_supernet_header(self.supernet_path))
            return left or (tuple(self.space.blocks()),) * self.space.n_blocks
        return (tuple(teacher_initialised_space(self.space).blocks()),) * self.space.n_blocks

    def priced(
        self, architecture: Architecture, limits: Limits, costs: TableCosts | None = None
    ) -> Solution:
        """What one network costs; its predicted loss is left at 0.

        Args:
            architecture: The network.
            limits: What must hold.
            costs: Prices; None takes those of its precision.

        Raises:
            InfeasibleLimits: If it is over a limit.
        """
        alone = tuple(ScoredBlocks((block,), np.zeros(1)) for block in architecture.blocks)
        terms = {architecture.precision: 0.0}
        head, geometry = self.settings.head, self.space.geometry
        costs = costs or self.costs_in(architecture.precision)
        return solve(Problem(geometry, head, alone, terms, costs, limits))[0]

    def whole_teacher(self, limits: Limits, precisions: Sequence[str]) -> Architecture | None:
        """The full-size network in the first precision in which it is predicted to fit, if any."""
        if not self.space.keep:
            return None
        for precision in precisions:
            with suppress(InfeasibleLimits):
                return self.priced(
                    self.space.teacher.with_precision(precision), limits
                ).architecture
        return None

    @cached_property
    def _scorer(self) -> Scorer:
        return scorer_for(self.prepared.supernet, scored_sentences(self.corpus))

    @cached_property
    def _rough_scorer(self) -> Scorer:
        return scorer_for(self.prepared.supernet, scored_sentences(self.corpus)[:ROUGH_SENTENCES])

    @cached_property
    def pruned_loss(self) -> PrunedLoss:
        """Losses of pruned teachers; each is taken once, whatever the limits."""
        sentences = scored_sentences(self.corpus)[:PRUNING_SENTENCES]
        tokens = self.teacher.tokenize(sentences, max_length=train_length(self.teacher))
        batches = [tokens.batch(indices) for indices in tokens.buckets(PRUNING_BATCH)]
        return PrunedLoss(self.teacher, self.space, batches)

    def true_loss(self, architecture: Architecture) -> float:
        """Loss of a complete network of the supernet, with what its precision costs."""
        added = self.prepared.scores.precision_loss[architecture.precision]
        return self._scorer.final_loss(architecture.blocks) + added

    def by_true_loss(self, solutions: Sequence[Solution]) -> list[Ranked]:
        """Networks ranked by their loss as complete networks of the supernet."""
        self._take(self._scorer, solutions)
        return select(solutions, self.true_loss)

    def shortlist(self, solutions: Sequence[Solution], count: int) -> list[Solution]:
        """So many networks of the least true loss on few sentences, the best first."""
        self._take(self._rough_scorer, solutions)
        added = self.prepared.scores.precision_loss

        def loss(one: Solution) -> float:
            a = one.architecture
            return self._rough_scorer.final_loss(a.blocks) + added[a.precision]

        return sorted(solutions, key=loss)[:count]

    def _take(self, scorer: Scorer, solutions: Sequence[Solution]) -> None:
        """Have a scorer take the losses of some networks together."""
        progress = self.reporter.stage("True loss of the best candidates")
        with self.timed("true loss"):
            scorer.final_losses([s.architecture.blocks for s in solutions], progress)

    def by_enumeration(self, limits: Limits, k: int = PAPERS_T) -> list[Ranked]:
        """The paper's selection (NAS-BERT, Section 3.3): the top k, ranked by their true loss.

        Those are the k networks within limits with the least plain sum of block losses, among
        all combinations. The paper has one precision; here each has k of its own, since what
        a precision costs is no loss of a block.

        Raises:
            InfeasibleLimits: If no network meets the limits.
            UsageError: See `nasc.solver.enumerate.enumerate_best`.
        """
        positions = self.prepared.scores.unweighted_positions()
        found: list[Solution] = []
        for last, precision in enumerate(self.space.precisions, 1):
            problem = dataclasses.replace(
                self.problem(limits), positions=positions, precisions={precision: 0.0}
            )
            try:
                with self.timed("search"):
                    found += enumerate_best(problem, k)
            except InfeasibleLimits:
                if last == len(self.space.precisions) and not found:
                    raise
        return self.by_true_loss(found)
