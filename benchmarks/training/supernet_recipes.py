"""What schedules of the supernet's training give for the same steps: departures and ablations.

One supernet each with ``uniform`` sampling (the paper), ``balanced`` (the default), and progressive
shrinking that removes ``architectures`` (the paper), ``operations`` (its ablation) or what is
``dominated``; balanced ones with half of the steps ``chained``, at a ``high`` learning rate (5e-4),
or from ``scratch`` (the paper); and the recipe of the supernet that comes with nasc (``shipped``),
which is chained, high and dominated, and had --batch-size 256 --learning-rate 1e-3. Against that
recipe ``chained-all`` chains all steps, and three changes are tried that nasc does not hold: a
learning rate of each candidate in inverse proportion to its ``width``, as in
`nasc.distillation.train`; errors of ``normalised`` hidden states; and the ``sandwich`` of a random,
a large and a small path in every step (Yu and Huang, ICCV 2019), with as many fewer steps as it
costs more where the teacher is asked once. What decides is what the exact search then finds in each
at equal latency: the least true loss of the k best, and the agreement with the teacher after the
same distillation. Latencies are predicted, by one table; ``--networks`` judges fixed networks
instead and needs none. It trains on the GPU where torch finds one.

    python benchmarks/training/supernet_recipes.py --corpus TEXT --steps 300 > supernet_recipes.json
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from nasc.architecture.space import Architecture, Block
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data.heldout import judging_sentences, scored_sentences
from nasc.data.tokens import Batch
from nasc.distillation.train import MOST_SCALE, DistillConfig, batches_of, distill
from nasc.evaluation.agreement import compare
from nasc.evaluation.torch_vectors import pooled_vectors
from nasc.networks.network import Network
from nasc.selection.problems import problem_of
from nasc.selection.true_loss import by_true_loss
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits
from nasc.supernet.batches import TrainBatches
from nasc.supernet.parallel import Parallel
from nasc.supernet.prepare import prepare, shrink_plan, teacher_initialised_space
from nasc.supernet.sampling import Sample
from nasc.supernet.score_candidates import scorer_for
from nasc.supernet.scorer import Scorer
from nasc.supernet.shrink import ShrinkConfig
from nasc.supernet.train import Objective, TrainConfig
from nasc.tasks.sts import SentencePair, evaluate_sts, read_sts
from nasc.teacher import Teacher
from nasc.utils.torch_device import has_bf16, training_device

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

VARIANT = Variant("onnxruntime", "int8")
HIGH = 5e-4
RECIPES: dict[str, dict[str, Any]] = {
    "uniform": {"sampling": "uniform"},
    "balanced": {},
    "chained": {"chain": 0.5},
    "high": {"learning_rate": HIGH},
    "scratch": {"start": "scratch"},
}
"""Of `TrainConfig`, against the defaults."""

SANDWICH_STEPS = 1 / 2.1
"""The teacher's pass is 45% of a step of one path, so that three paths take 2.1 times as long."""

DRAWN = 8
"""Paths of which the sandwich takes the largest and the smallest."""

SHIPPED = {"chain": 0.5, "learning_rate": HIGH}
DOMINATED = {"unit": "dominated", "bins": 1, "keep": 3}
SHRUNK: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "architectures": ({"unit": "architectures"}, {}),
    "operations": ({"unit": "operations"}, {}),
    "dominated": (DOMINATED, {}),
    "shipped": (DOMINATED, SHIPPED),
    "chained-all": (DOMINATED, SHIPPED | {"chain": 1.0}),
    "width": (DOMINATED, SHIPPED),
    "normalised": (DOMINATED, SHIPPED),
    "sandwich": (DOMINATED, SHIPPED),
}
"""Of `ShrinkConfig` and `TrainConfig`; steps sample uniformly among what is left."""


def width_rates(blocks: Sequence[nn.Module], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW whose rate is in inverse proportion to a candidate's width: 1 at half the teacher's."""
    named = [pair for block in blocks for pair in block.named_parameters()]
    half = max(int(name.split(".")[1].split("/")[-2]) for name, _ in named if "/" in name) / 2
    groups = []
    for name, parameter in named:
        kind, key = name.split(".")[:2]
        width = int(key.split("/")[1]) if kind == "operations" else 2 * half
        groups.append({"params": [parameter], "scale": min(MOST_SCALE, half / width)})
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, foreach=True)
    optimizer.register_step_pre_hook(scale_rates)
    return optimizer


def scale_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Make the step's rate, which all groups were given, each group's own."""
    for group in optimizer.param_groups:
        group["lr"] *= group["scale"]


def normalised_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error of each token, both normalised to mean 0 and variance 1."""
    size = target.shape[-1:]
    return (layer_norm(prediction, size) - layer_norm(target, size)).square().mean(-1)


def sandwiched(objective: Objective, batch: Batch, step: int) -> Tensor:
    """The gradients of a sampled path, of the largest and of the smallest of some, averaged."""
    sample = objective.sample

    def size(block: Block) -> int:
        return len(block.operations) * block.hidden**2

    def drawn(pick: Callable[..., Block]) -> Sample:
        return lambda index, rng: pick([sample(index, rng) for _ in range(DRAWN)], key=size)

    found = [
        PLAIN_BACKWARD(dataclasses.replace(objective, sample=one), batch, step)
        for one in (sample, drawn(max), drawn(min))
    ]
    for parameter in objective.supernet.blocks.parameters():
        if parameter.grad is not None:
            parameter.grad /= len(found)
    return torch.stack(found).mean(0)


PLAIN_BACKWARD = Objective.backward
PATCHES: dict[str, tuple[str, Any]] = {
    "width": ("nasc.supernet.train.optimizer_of", width_rates),
    "normalised": ("nasc.supernet.train.block_errors", normalised_errors),
    "sandwich": ("nasc.supernet.train.Objective.backward", sandwiched),
}


def trained(context: RunContext, recipe: str, arguments: argparse.Namespace) -> float:
    """Give the context the supernet of a recipe; the seconds that it took, scores included."""
    space = context.whole_space
    if not arguments.all_operations:
        space = teacher_initialised_space(space)
    shrinking = None
    changes = RECIPES.get(recipe, {})
    if recipe in SHRUNK:
        shrunk, changes = SHRUNK[recipe]
        if shrunk is not DOMINATED:  # which compares all with all
            shrunk = shrunk | {"sample": arguments.sample}
        config = ShrinkConfig(**shrunk)
        costs = None if shrunk is DOMINATED else context.tables.measure_costs([VARIANT])
        shrinking = shrink_plan(space, costs, config)
        changes = changes | {"sampling": "uniform"}
    if arguments.learning_rate is not None:
        changes = changes | {"learning_rate": arguments.learning_rate}
    process, steps = Parallel.from_environment(), arguments.steps
    if recipe == "sandwich":
        steps = round(steps * SANDWICH_STEPS)
    changed = recipe in PATCHES
    begin = time.monotonic()
    with mock.patch(*PATCHES[recipe]) if changed else contextlib.nullcontext():
        context.supernet.prepared = prepare(
            context.teacher,
            space,
            context.corpus,
            TrainConfig(
                steps=steps,
                batch_size=arguments.batch_size,
                bf16=has_bf16(process.device),
                seed=context.settings.seed,
                **changes,
            ),
            seconds=None,
            cache_dir=context.cache / recipe if changed else context.cache,
            reporter=context.reporter,
            shrinking=shrinking,
            parallel=process,
        )
    return time.monotonic() - begin


def searched(
    context: RunContext, fraction: float, count: int
) -> tuple[Architecture, dict[str, Any]]:
    """What the search finds at a share of the full-size network's latency, and about it."""
    teacher = context.space.teacher.with_precision(VARIANT.precision)
    whole = context.tables.measure_costs([VARIANT]).predict(teacher, VARIANT.runtime).latency_ms
    limits = Limits(latency_ms=fraction * whole)
    best = by_true_loss(context, solve(problem_of(context, limits, [VARIANT]), count))[0]
    return best.solution.architecture, {
        "fraction": fraction,
        "limit_ms": round(fraction * whole, 3),
        "rank_in_search": best.predicted_rank,
    }


def left(context: RunContext, architecture: Architecture) -> bool:
    """Whether shrinking left all blocks of a network, so that it was trained to the end."""
    places = zip(architecture.blocks, context.supernet.prepare().scores.blocks, strict=True)
    return all(block in blocks for block, blocks in places)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What networks are held against, the same for all recipes."""

    teacher: Teacher
    batches: TrainBatches
    config: DistillConfig
    sentences: tuple[str, ...]
    wanted: NDArray[np.floating]
    pairs: list[SentencePair] | None

    @classmethod
    def of(cls, context: RunContext, arguments: argparse.Namespace) -> Judge:
        """On the text of a context."""
        config = DistillConfig(steps=arguments.distill_steps, seed=context.settings.seed)
        count = config.steps * config.batch_size
        sentences = judging_sentences(context.corpus, arguments.sentences)
        return cls(
            context.teacher,
            batches_of(context.teacher, context.corpus, config, count),
            config,
            sentences,
            context.teacher.vectors(sentences),
            None if arguments.sts is None else read_sts(arguments.sts),
        )

    def agreement(self, network: Network) -> dict[str, float]:
        """With the teacher and, on STS-B, with people."""
        found = dataclasses.asdict(
            compare(self.wanted, pooled_vectors(self.teacher, network, self.sentences))
        )
        if self.pairs is not None:
            encode = functools.partial(pooled_vectors, self.teacher, network)
            found["sts_spearman"] = evaluate_sts(encode, self.pairs)
        return found

    def __call__(self, context: RunContext, scorer: Scorer, one: Architecture) -> dict[str, Any]:
        """What a network of the supernet is, before and after its distillation."""
        network = context.supernet.prepare().supernet.extract(one, context.trained_head)
        trained, _ = distill(network, self.teacher, self.batches, self.config)
        return {
            "architecture": str(one),
            "left": left(context, one),
            "true_loss": round(scorer.final_loss(one.blocks), 4),
            "before": self.agreement(network),
            "distilled": self.agreement(trained),
        }


def main() -> int:
    """Train, search, judge, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", action="append", help="default: the text that comes with nasc")
    names = [*RECIPES, *SHRUNK]
    parser.add_argument("--recipes", nargs="+", choices=names, default=names)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, help="of all recipes, instead of theirs")
    parser.add_argument("--networks", nargs="+", help="judge these instead of what a search finds")
    parser.add_argument("--sts", type=Path, help="dev.tsv of GLUE's STS-B (or .gz)")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.5, 0.25])
    parser.add_argument("--best", type=int, default=30, help="networks whose true loss is taken")
    parser.add_argument("--sample", type=int, default=60, help="evaluated in a bin each round")
    parser.add_argument("--distill-steps", type=int, default=100)
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--all-operations", action="store_true", help="separable convolutions too")
    parser.add_argument("--cache", type=Path, help="keeps tables and supernets")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        settings = Settings(
            corpus=tuple(arguments.corpus or ()),
            runtime=VARIANT.runtime,
            precisions=(VARIANT.precision,),
            train_steps=arguments.steps,  # so that the one that comes with nasc is not taken
            seed=seed,
            cache=arguments.cache,
        )
        first = RunContext(settings, Lines())
        judge = Judge.of(first, arguments)
        for recipe in arguments.recipes:
            context = RunContext(settings, Lines())  # which keeps true losses of its supernet
            context.inputs.teacher, context.inputs.corpus = first.teacher, first.corpus
            row: dict[str, Any] = {"recipe": recipe, "seed": seed}
            row["seconds"] = round(trained(context, recipe, arguments), 1)
            row["candidates"] = [len(b) for b in context.supernet.prepare().scores.blocks]
            if arguments.networks is None:
                chosen = [searched(context, f, arguments.best) for f in arguments.fractions]
            else:
                chosen = [(context.whole_space.parse(text), {}) for text in arguments.networks]
            supernet = context.supernet.prepare().supernet
            scorer = scorer_for(supernet, scored_sentences(context.corpus))
            row["found"] = [about | judge(context, scorer, one) for one, about in chosen]
            print(json.dumps(row), file=sys.stderr)
            rows.append(row)
    named = {n: v for n, v in vars(arguments).items() if n not in ("corpus", "cache", "sts")}
    about = {"benchmark": "supernet_recipes", "text": first.corpus.description, "settings": named}
    about |= {"trained_on": training_device().type, "rows": rows}
    print(json.dumps(about, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
