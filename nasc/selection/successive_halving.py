"""Which network to train to the end: a short training of a few that differ in kind.

The loss of an untrained network says little about what training makes of it: wide and shallow ones
learn the teacher's directions faster, narrow and deep ones rank texts more truly, and an error of
the last block shows most before training, not after it. So there is a search for each kind of
depth and for the best without blocks of the teacher, by the predicted loss and, but for the deep
ones, as if all positions were equally sensitive, and one for each hidden size alone. What these
find and agrees best before training (its rankings are a better sign than its loss), the best pruned
teacher, and the teacher narrowed to one hidden size are trained for a part of the budget, as in
successive halving (Jamieson and Talwalkar, AISTATS 2016), and the one that agrees best goes on.
Networks that come trained with nasc are compared as they are where nasc's own text judges, which is
like theirs. Of another text they know less than a network that was trained on it for seconds
(docs/quality.md): there they are trained as all others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nasc.architecture.space import Architecture, Block
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.data.heldout import scored_sentences
from nasc.data.texts import Text
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import InfeasibleLimits, TrainingDiverged
from nasc.evaluation.agreement import Quality, compare
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.networks.network import Network
from nasc.selection.problems import (
    NONE_MISSED,
    Missed,
    at_equal_quality,
    priced,
    problem_of,
    truest,
)
from nasc.selection.true_loss import by_true_loss, shortlist
from nasc.selection.variant_probes import not_missed, priced_or_probed
from nasc.selection.widest import widest
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem, ScoredBlocks, Solution
from nasc.solver.select import Ranked
from nasc.supernet.teacher_narrowing import narrowed_network
from nasc.supernet.teacher_pruning import prune, pruned_network
from nasc.utils.progress import Silent
from nasc.utils.torch_device import has_bf16

SHARE = 0.1
"""Part of the training budget that each candidate gets. What the winner got counts for it, what
the others got comes on top."""

MOST_TRAINED = 2
"""Networks that come trained and enter: those that would ship with the best score."""

MOST_SEARCHED = 6
"""Networks of the searches that enter: those with the best score before training. Each takes a
tenth of the training's time."""

MOST_LOSS_PRUNED = 1.5
"""A pruned teacher that nobody trains enters with so many times the loss of what comes trained, at
most: what decides between them is another figure, for which the loss stands (chosen, 2026)."""

KIND_CANDIDATES = 32
"""Networks of each kind whose true loss is taken roughly."""

KIND_FINALISTS = 4
"""Of those the ones whose true loss is taken; the best becomes a candidate."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to be trained.

    Attributes:
        solution: Its architecture with what it costs.
        network: With its weights.
        trained: How it was trained before, where it comes trained with nasc.
    """

    solution: Solution
    network: Network
    trained: TrainedNetwork | None = None


@dataclass(frozen=True, slots=True)
class TrainedCandidate:
    """A network that was trained for a part of the budget.

    Attributes:
        network: With its weights after the short training.
        runtime: What runs it.
        steps: Of that training.
        trained: See `Candidate`; its steps are not in `steps`.
        quality: Agreement with the teacher on the sentences that choose networks, in fp32, or in
            bfloat16 where the processor has it.
        variant_loss: What the variant is expected to take off the cosine.
    """

    network: Network
    runtime: str
    steps: int
    trained: TrainedNetwork | None
    quality: Quality
    variant_loss: float

    @property
    def score(self) -> float:
        """What decides (`nasc.evaluation.agreement.Quality.decides`), as it would ship."""
        return self.quality.decides(self.network.head) - self.variant_loss


def restricted(problem: Problem, fits: Callable[[Block], bool]) -> Problem | None:
    """The search restricted to some blocks; None where a position would be left without one."""
    positions = []
    for scored in problem.positions:
        chosen = [i for i, block in enumerate(scored.blocks) if fits(block)]
        if not chosen:
            return None
        blocks = tuple(scored.blocks[i] for i in chosen)
        positions.append(ScoredBlocks(blocks, scored.loss[chosen]))
    return dataclasses.replace(problem, positions=tuple(positions))


def at_most_strata(problem: Problem, slots: int) -> list[Problem]:
    """The search restricted to some blocks: of at most n operations, n from `slots` to 1; unkept.

    Kept and skipped blocks are in all but the last: a kept block adds no loss to the sum, but
    passes that of the blocks before it on, where a trained one makes up for some of it. Where
    shrinking left a position without such a block there is no such search.
    """
    found = [
        restricted(problem, lambda b, n=most: b.kept or len(b.operations) <= n)  # type: ignore[misc]
        for most in range(slots, 0, -1)
    ]
    if any(block.kept for scored in problem.positions for block in scored.blocks):
        found.append(restricted(problem, lambda block: not block.kept))
    return [one for one in found if one is not None]


def at_least_strata(problem: Problem, slots: int) -> list[Problem]:
    """The search restricted to blocks of at least n operations, n from 2 to `slots`; unkept.

    Such networks are narrower than the others, and behind them by the sum of block losses: what a
    block of few wide operations gains there, the ranking of texts loses (docs/quality.md).
    """
    found = [
        restricted(problem, lambda b, n=least: not b.kept and len(b.operations) >= n)  # type: ignore[misc]
        for least in range(2, slots + 1)
    ]
    return [one for one in found if one is not None]


def one_size_strata(problem: Problem) -> list[Problem]:
    """The search restricted to blocks of one hidden size, for each of several; unkept, unskipped.

    The sum of block losses prefers the teacher's size at the end, whose states are compared with
    the teacher's own; texts are ranked more truly by one size all through (docs/quality.md).
    """
    blocks = {block for scored in problem.positions for block in scored.blocks}
    sizes = sorted({block.hidden for block in blocks if block.operations and not block.kept})
    if len(sizes) == 1:
        return []
    found = [
        restricted(problem, lambda b, s=size: bool(b.operations) and not b.kept and b.hidden == s)  # type: ignore[misc]
        for size in sizes
    ]
    return [one for one in found if one is not None]


def searches(context: RunContext, limits: Limits, variants: Sequence[Variant]) -> list[Problem]:
    """The searches whose best networks compete: kinds by depth, and by hidden size."""
    sizes = one_size_strata(problem_of(context, limits, variants))
    return depth_searches(context, limits, variants) + sizes


def depth_searches(
    context: RunContext, limits: Limits, variants: Sequence[Variant]
) -> list[Problem]:
    """Kinds by depth, some as if all positions were as sensitive.

    Sensitivities are those of the network before its own training, and rank truer then; after it
    the plain sum ranks as truly (docs/quality.md).
    """
    own, slots = problem_of(context, limits, variants), context.space.slots
    uniform = context.supernet.prepare().scores.uniform_positions()
    even = dataclasses.replace(own, positions=uniform)
    return at_most_strata(own, slots) + at_most_strata(even, slots) + at_least_strata(own, slots)


def best_of(context: RunContext, kind: Problem) -> Ranked:
    """The network of a kind with the least true loss among those with the least predicted.

    Raises:
        InfeasibleLimits: If none meets the limits.
    """
    with context.timed("search"):
        solutions = solve(kind, KIND_CANDIDATES)
    return by_true_loss(context, shortlist(context, solutions, KIND_FINALISTS))[0]


def candidates(
    context: RunContext,
    limits: Limits,
    variants: Sequence[Variant],
    trains: bool = True,
    missed: Missed = NONE_MISSED,
) -> list[Candidate]:
    """The best network of each search by true loss, without repetition, and those beside it.

    Of the networks of the searches the few with the best score before training enter. Beside them
    are a pruned teacher, one narrowed to one hidden size, and networks that come trained with nasc,
    whose architectures do not enter untrained, too. Those of the searches are in the variant
    that is fastest at the same quality.

    Args:
        context: Teacher, text, supernet and tables.
        limits: What must hold.
        variants: Those that may be chosen.
        trains: Whether they are trained before one is chosen. Else no narrowed teacher enters: it
            is far behind as it is, and takes long to make (docs/method.md); nor a pruned one that
            is far behind what comes trained, where that is not trained on another text.
        missed: Of what comes trained, which does not enter again.

    Raises:
        InfeasibleLimits: If no network of any kind meets the limits.
    """
    trained = trained_networks(context, limits, variants, missed)
    known = {one.network.architecture.blocks for one in trained}
    found: dict[Architecture, Solution] = {}
    for kind in searches(context, limits, variants):
        try:
            best = best_of(context, kind).solution
        except InfeasibleLimits:
            if not found:
                raise
            continue
        solution = at_equal_quality(context, best, limits, variants)
        found.setdefault(solution.architecture, solution)
    cut = context.supernet.prepare().supernet.extract
    entered = [
        Candidate(solution, cut(architecture, context.trained_head))
        for architecture, solution in found.items()
        if architecture.blocks not in known
    ]
    as_they_are = not (trains or context.settings.trains_shipped)
    losses = [one.trained.loss for one in trained if one.trained is not None and as_they_are]
    most_loss = MOST_LOSS_PRUNED * min(losses, default=math.inf)
    made = [pruned_teacher(context, limits, variants, most_loss)]
    if trains:
        made.append(narrowed_teacher(context, limits, variants))
    return [
        *best_before_training(context, entered, MOST_SEARCHED),
        *(one for one in made if one is not None),
        *trained,
    ]


def trained_networks(
    context: RunContext,
    limits: Limits,
    variants: Sequence[Variant],
    missed: Missed = NONE_MISSED,
) -> list[Candidate]:
    """The best that come trained with nasc and fit, each in the truest variant in which it does."""
    found: list[Candidate] = []
    lost = context.supernet.measure_variant_loss
    for one in context.inputs.trained_networks:
        architecture = one.network.architecture
        open_to = not_missed(architecture, variants, missed)
        solution = truest(context, architecture, limits, open_to, lost, priced_or_probed)
        if solution is None:
            continue
        network = one.network.with_precision(solution.architecture.precision)
        found.append(Candidate(solution, network, one))
    return best_before_training(context, found, MOST_TRAINED)


def best_before_training(
    context: RunContext, entered: Sequence[Candidate], count: int
) -> list[Candidate]:
    """So many candidates at most, those with the best score as they are."""
    if len(entered) <= count:
        return list(entered)
    progress = context.reporter.stage(f"Agreement of {len(entered)} networks before training")
    with context.timed("before training"):
        agrees = agreement(context)
        scores = []
        for place, one in enumerate(entered):
            progress(place, len(entered), str(one.network.architecture))
            lost = context.supernet.measure_variant_loss(one.solution.variant)
            scores.append(agrees(one.network).decides(one.network.head) - lost)
        progress(len(entered), len(entered), "")
    best = sorted(range(len(entered)), key=lambda place: -scores[place])[:count]
    return [entered[place] for place in best]


def pruned_teacher(
    context: RunContext,
    limits: Limits,
    variants: Sequence[Variant],
    most_loss: float = math.inf,
) -> Candidate | None:
    """The best pruned teacher within limits, if the space holds one.

    It is pruned in the variant in which the whole teacher is fastest.

    Args:
        context: Teacher, text, supernet and tables.
        limits: What must hold.
        variants: Those that may be chosen.
        most_loss: With which one is wanted.
    """
    space, head = context.space, context.trained_head
    if not space.keep or not space.skip:
        return None

    costs = context.tables.measure_costs(variants)

    def latency_ms(architecture: Architecture, variant: Variant) -> float:
        architecture = architecture.with_precision(variant.precision)
        return costs.predict(architecture, variant.runtime).latency_ms

    variant = min(variants, key=lambda v: latency_ms(space.teacher, v))
    with context.timed("pruning"):
        best = prune(
            space,
            variant.precision,
            context.supernet.pruned_loss,
            context.supernet.rough_pruned_loss,
            lambda architecture: latency_ms(architecture, variant),
            lambda architecture: priced(context, architecture, variant, limits),
            context.reporter.stage("Pruning the teacher"),
            most_loss,
        )
        if best is None:
            return None
        network = pruned_network(context.teacher, space, best.kept, variant.precision, head)
        return Candidate(best.solution, network)


def narrowed_teacher(
    context: RunContext, limits: Limits, variants: Sequence[Variant]
) -> Candidate | None:
    """All of the teacher's layers at the largest smaller hidden size within limits, if any is."""
    solution = widest(context, limits, variants)
    if solution is None:
        return None
    [block], precision = solution.architecture.blocks, solution.architecture.precision
    with context.timed("narrowing"):
        context.reporter.stage("Narrowing the teacher")(0, 1, str(solution.architecture))
        texts, head = context.corpus.train, context.trained_head
        network = narrowed_network(context.teacher, block.hidden, texts, precision, head)
        return Candidate(solution, network)


def _vectors(
    context: RunContext, network: Network, sentences: Sequence[Text]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """To compare networks by, in bfloat16 where the processor has it: a few times faster."""
    return pooled_vectors(context.teacher, network, sentences, bf16=has_bf16())


def agreement(context: RunContext) -> Callable[[Network], Quality]:
    """Agreement of networks with the teacher on the sentences that choose networks."""
    sentences = scored_sentences(context.corpus)
    wanted, documents = context.inputs.scored_vectors
    return lambda network: compare(wanted, _vectors(context, network, sentences), documents)


def judging(context: RunContext) -> Callable[[Network], Quality]:
    """`agreement`, which tells the reporter what it found."""
    agrees = agreement(context)

    def judge(network: Network) -> Quality:
        found = agrees(network)
        context.reporter.say(
            f"  {network.architecture}: pooled cosine {found.pooled_cosine:.4f}, "
            f"similarity {found.similarity_spearman:.4f}, ranking {found.ranking_ndcg:.4f}"
        )
        return found

    return judge


def run_halving(
    context: RunContext,
    entered: Sequence[Candidate],
    config: DistillConfig | None,
    seconds: float | None,
    all_train: bool = True,
) -> list[TrainedCandidate]:
    """Train each for a part of the budget; the best comes first.

    The untouched teacher enters as it is: it has nothing to learn from itself.

    Args:
        context: Teacher, text, supernet and cache.
        entered: At least one.
        config: Of the whole training; None trains none.
        seconds: Of the whole training; None counts the steps of `config`.
        all_train: Whether networks that come trained are trained, too.

    Raises:
        TrainingDiverged: If no network could be trained.
    """
    judge = judging(context)
    what = "Comparison" if config is None else "Successive halving"
    progress = context.reporter.stage(f"{what} of {len(entered)} networks")
    compared, diverged = [], None
    for place, one in enumerate(entered):
        architecture, network = one.network.architecture, one.network
        progress(place, len(entered), str(architecture))
        steps = 0
        learns = not architecture.is_teacher and (all_train or one.trained is None)
        if config is not None and learns:
            try:
                network, steps = distill_cached(
                    network,
                    context.teacher,
                    context.corpus,
                    dataclasses.replace(config, steps=round(SHARE * config.steps)),
                    seconds=None if seconds is None else SHARE * seconds,
                    cache_dir=context.cache,
                    reporter=Silent(),
                )
            except TrainingDiverged as error:
                diverged = error
                context.reporter.say(f"  {architecture}: left out: {error}")
                continue
        found = judge(network)
        lost = context.supernet.measure_variant_loss(one.solution.variant)
        runtime = one.solution.runtime
        compared.append(TrainedCandidate(network, runtime, steps, one.trained, found, lost))
    progress(len(entered), len(entered), "")
    if diverged is not None and not compared:
        raise diverged
    return sorted(compared, key=lambda c: -c.score)
