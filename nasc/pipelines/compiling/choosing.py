"""Which network is tried next: the exact search, then successive halving."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nasc.architecture.variant import Variant
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import InfeasibleLimits, LimitsMissed
from nasc.networks.from_teacher import teacher_network
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, Rival, State
from nasc.pipelines.compiling.training import budget, has_halving
from nasc.pipelines.formats import variants_in
from nasc.selection.problems import NONE_MISSED, Missed, check_feasible, whole_teacher
from nasc.selection.successive_halving import (
    SHARE,
    TrainedCandidate,
    candidates,
    run_halving,
)
from nasc.selection.variants import promising_variants
from nasc.solver.problem import Limits

LEAST_LEAD = 0.2
"""By which a network trained on nasc's own text has to lead one that comes trained on much more:
the share of what that one's score lacks of 1.

The articles that judge are like those it was trained on. One that comes trained with a score of
0.828, ahead by 0.013 there, is ahead by 0.048 on another text, and in retrieval (docs/quality.md,
What the default text is worth); nearer to the teacher there is less to be ahead by."""


def start(compilation: Compilation) -> State:
    """What is to be searched first.

    Raises:
        InfeasibleLimits: With its certificate, if no network meets the limits.
    """
    context, limits = compilation.context, compilation.limits
    allowed = variants_in(context, compilation.options.formats)
    trains = has_halving(compilation)
    variants = tuple(promising_variants(context, limits, allowed, trains=trains))
    check_feasible(context, limits, variants)
    return State(limits, allowed, variants)


def reachable(
    compilation: Compilation,
    limits: Limits,
    allowed: Sequence[Variant],
    missed: Missed = NONE_MISSED,
) -> tuple[Variant, ...]:
    """Variants to search under some limits; none if no network in any is predicted to fit."""
    context, trains = compilation.context, has_halving(compilation)
    found = promising_variants(context, limits, allowed, trains=trains, missed=missed)
    try:
        check_feasible(context, limits, found)
    except InfeasibleLimits:
        return ()
    return tuple(found)


def choose(compilation: Compilation, state: State) -> ChosenNetwork:
    """The next network to try.

    Raises:
        InfeasibleLimits, LimitsMissed: If there is none, before and after the first attempt.
    """
    context = compilation.context
    if context.settings.supernet is None:
        whole = whole_teacher(context, state.limits, state.variants)
        if whole is not None:
            context.reporter.say(
                f"the full-size network fits by {whole.variant}: nothing to search or train"
            )
            head = context.trained_head
            network = teacher_network(context.teacher, whole.architecture, head)
            return ChosenNetwork(
                network, whole.runtime, None, limits=state.limits, variants=state.variants
            )
    try:
        found = search(compilation, state)
    except InfeasibleLimits as error:
        if not state.attempts:
            raise
        if state.fallback is not None:
            return state.fallback.chosen
        raise LimitsMissed(f"{state.tried()} No other network is predicted to fit") from error
    context.reporter.say(f"chosen: {found}")
    return found


def search(compilation: Compilation, state: State) -> ChosenNetwork:
    """The best network by successive halving; where there is no time for it, all as they are."""
    context = compilation.context
    config, seconds = budget(compilation)
    halving = has_halving(compilation)
    entered = candidates(context, state.limits, state.variants, halving, state.missed)
    all_train = context.settings.trains_shipped
    with context.timed("halving"):
        compared = run_halving(context, entered, config if halving else None, seconds, all_train)
    won = compared[0]
    trained = next((one for one in compared if one.trained is not None), None)
    if halving and trained is not None and not all_train:
        chosen = trained_beside_rival(trained, compared)
    else:
        left = 1 - SHARE if halving else 1.0
        chosen = ChosenNetwork(won.network, won.runtime, left, won.steps)
        if won.trained is not None:
            chosen = with_training_before(chosen, won.trained)
            if not all_train or not (seconds or config.steps):
                chosen = dataclasses.replace(chosen, train_share=None)
    if chosen.network.architecture.is_teacher:
        chosen = dataclasses.replace(chosen, train_share=None)
    return dataclasses.replace(
        chosen,
        limits=state.limits,
        variants=state.variants,
        compared=tuple(one.solution for one in entered),
    )


def with_training_before(chosen: ChosenNetwork, trained: TrainedNetwork) -> ChosenNetwork:
    """A choice that says what the network, which comes trained, was trained for before."""
    return dataclasses.replace(chosen, trained_steps=trained.steps, trained_text=trained.text)


def trained_beside_rival(
    trained: TrainedCandidate, compared: Sequence[TrainedCandidate]
) -> ChosenNetwork:
    """A network that comes trained, with the best other one, which has yet to learn as much.

    The other one is trained once this one holds its limits on the device
    (`nasc.pipelines.compiling.training.finish`).

    Args:
        trained: The best network that comes trained.
        compared: All of the halving, the best first.
    """
    assert trained.trained is not None
    rival = next((one for one in compared if one.trained is None), None)
    chosen = ChosenNetwork(
        trained.network,
        trained.runtime,
        None,
        trained.steps,
        rival=None
        if rival is None
        else Rival(rival, trained.score + LEAST_LEAD * (1 - trained.score)),
    )
    return with_training_before(chosen, trained.trained)
