"""Which network to train to the end: a short training of a few that differ in kind.

The loss of an untrained network says little about what training makes of it: narrow and
deep networks start closer to the teacher, wide and shallow ones learn faster. So the best
of each kind of depth are trained for a part of the budget, as in successive halving
(Jamieson and Talwalkar, AISTATS 2016), and the one that agrees best goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nasc.distill import DistillConfig, distill_cached
from nasc.errors import InfeasibleLimits
from nasc.export.network import Network
from nasc.quality import Quality, compare
from nasc.reporting import Silent
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem, ScoredBlocks
from nasc.solver.select import Ranked
from nasc.supernet.modules import TorchNetwork
from nasc.supernet.scoring import scored_sentences
from nasc.teacher import Teacher
from nasc.workbench import Workbench

SHARE = 0.1
"""Part of the training budget that each contestant gets."""

KIND_CANDIDATES = 8
"""Networks of each kind whose true loss is taken; the best becomes a contestant."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network that was trained for a part of the budget.

    Attributes:
        ranked: As the search found it.
        network: With its weights after the short training.
        quality: Agreement with the teacher on the sentences that choose networks, in fp32.
        precision_loss: What the network's precision is expected to take off the cosine.
    """

    ranked: Ranked
    network: Network
    quality: Quality
    precision_loss: float

    @property
    def score(self) -> float:
        """What decides: the mean of both figures that a package reports, as it would ship."""
        mean = (self.quality.pooled_cosine + self.quality.similarity_spearman) / 2
        return mean - self.precision_loss


def kinds(problem: Problem, slots: int) -> list[Problem]:
    """The search restricted to blocks of at most n operations, for n from `slots` to 1.

    Kept and skipped blocks are in all of them.
    """
    found = []
    for most in range(slots, 0, -1):
        positions = []
        for scored in problem.positions:
            chosen = [i for i, b in enumerate(scored.blocks) if b.kept or len(b.operations) <= most]
            blocks = tuple(scored.blocks[i] for i in chosen)
            positions.append(ScoredBlocks(blocks, scored.loss[chosen]))
        found.append(dataclasses.replace(problem, positions=tuple(positions)))
    return found


def contestants(bench: Workbench, limits: Limits, precisions: Sequence[str]) -> list[Ranked]:
    """The best network of each kind by true loss, without repetition.

    Raises:
        InfeasibleLimits: If no network of any kind meets the limits.
    """
    problem = bench.problem(limits, precisions)
    found: list[Ranked] = []
    for restricted in kinds(problem, bench.space.slots):
        try:
            with bench.timed("search"):
                solutions = solve(restricted, KIND_CANDIDATES)
        except InfeasibleLimits:
            if not found:
                raise
            continue
        best = bench.by_true_loss(solutions)[0]
        if all(best.solution.architecture != r.solution.architecture for r in found):
            found.append(best)
    return found


def hold(
    bench: Workbench, ranked: Sequence[Ranked], config: DistillConfig, seconds: float | None
) -> list[Contestant]:
    """Train each for a part of the budget; the best comes first.

    The untouched teacher enters as it is: it has nothing to learn from itself.

    Args:
        bench: Teacher, text, supernet and cache.
        ranked: At least one.
        config: Of the whole training.
        seconds: Of the whole training; None counts the steps of `config`.
    """
    sentences = scored_sentences(bench.corpus)
    wanted = bench.teacher.vectors(sentences)
    progress = bench.reporter.stage(f"Contest of {len(ranked)} networks")
    entered = []
    for place, one in enumerate(ranked):
        architecture = one.solution.architecture
        progress(place, len(ranked), str(architecture))
        network = bench.prepared.supernet.extract(architecture, bench.settings.head)
        if not architecture.is_teacher:
            network, _ = distill_cached(
                network,
                bench.teacher,
                bench.corpus,
                dataclasses.replace(config, steps=round(SHARE * config.steps)),
                seconds=None if seconds is None else SHARE * seconds,
                cache_dir=bench.cache,
                reporter=Silent(),
            )
        found = compare(wanted, vectors(bench.teacher, network, sentences))
        lost = bench.prepared.scores.precision_loss[architecture.precision]
        entered.append(Contestant(one, network, found, lost))
        bench.reporter.say(
            f"  {architecture}: pooled cosine {found.pooled_cosine:.4f}, "
            f"similarity {found.similarity_spearman:.4f}"
        )
    progress(len(ranked), len(ranked), "")
    return sorted(entered, key=lambda c: -c.score)


@torch.no_grad()
def vectors(
    teacher: Teacher, network: Network, sentences: Sequence[str]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Pooled vectors (sentences, hidden) of a network in torch."""
    model = TorchNetwork(dataclasses.replace(network, head="embed"))
    tokens = teacher.tokenize(sentences)
    found = np.empty((len(sentences), network.geometry.hidden), np.float32)
    for indices in tokens.buckets(64):
        batch = tokens.batch(indices)
        found[indices.numpy()] = model(batch.input_ids, batch.attention_mask).numpy()
    return found
