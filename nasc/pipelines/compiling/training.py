"""The training of the chosen network, and what it is fine-tuned for."""

from __future__ import annotations

import dataclasses

from nasc.distillation.train import DistillConfig, distill_cached
from nasc.errors import TrainingDiverged
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, Rival
from nasc.pipelines.options import DISTILL_MINUTES
from nasc.selection.successive_halving import SHARE, judging


def budget(compilation: Compilation) -> tuple[DistillConfig, float | None]:
    """The training of the chosen network, halving included: by steps or by seconds."""
    options, s = compilation.options, compilation.context.settings
    steps, minutes = options.distill_steps, options.distill_minutes
    config = DistillConfig(steps=steps or 0, seed=s.seed, query_only=s.query_only)
    if steps is not None:
        return config, None
    return config, 60 * (DISTILL_MINUTES if minutes is None else minutes)


def has_halving(compilation: Compilation) -> bool:
    """Whether candidates are trained for a while before one is chosen."""
    config, seconds = budget(compilation)
    return config.steps * SHARE >= 1 if seconds is None else seconds > 0


def finish(
    compilation: Compilation, chosen: ChosenNetwork, evaluator: ArtifactEvaluator
) -> ChosenNetwork:
    """Train and fine-tune what is not yet; the same network if nothing is left to do."""
    if chosen.rival is not None:
        chosen = trained_rival(compilation, chosen, chosen.rival) or chosen
    if chosen.train_share is not None:
        chosen = train(compilation, chosen)
    task = evaluator.task
    if task is not None and chosen.network.head != task.options.head:
        with compilation.context.timed("fine-tune"):
            tuned = task.finetune(chosen.network)
            chosen = dataclasses.replace(chosen, network=tuned, rival=None)
    return chosen


def trained_rival(
    compilation: Compilation, chosen: ChosenNetwork, rival: Rival
) -> ChosenNetwork | None:
    """A network's rival with all of its training; None where it is not ahead after it."""
    context, one = compilation.context, rival.candidate
    context.reporter.say(
        f"{chosen.network.architecture} comes trained; {one.network.architecture}, the best of "
        "the others, is trained to the end beside it"
    )
    begun = ChosenNetwork(
        one.network,
        one.runtime,
        1 - SHARE,
        one.steps,
        chosen.limits,
        chosen.variants,
        compared=chosen.compared,
    )
    try:
        trained = train(compilation, begun)
    except TrainingDiverged as error:
        context.reporter.say(f"  {one.network.architecture}: left out: {error}")
        return None
    after = dataclasses.replace(one, quality=judging(context)(trained.network))
    return trained if after.score > rival.score else None


def train(compilation: Compilation, chosen: ChosenNetwork) -> ChosenNetwork:
    """Train a network with what is left of the budget."""
    context, share = compilation.context, chosen.train_share or 0.0
    config, seconds = budget(compilation)
    with context.timed("distill"):
        trained, steps = distill_cached(
            chosen.network,
            context.teacher,
            context.corpus,
            dataclasses.replace(config, steps=round(share * config.steps)),
            seconds=None if seconds is None else share * seconds,
            cache_dir=context.cache,
            reporter=context.reporter,
        )
    return dataclasses.replace(
        chosen, network=trained, train_share=None, steps=chosen.steps + steps
    )
