"""Which network is tried next: the exact search, then successive halving."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import InfeasibleLimits, LimitsMissed
from nasc.networks.from_teacher import teacher_network
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, State
from nasc.pipelines.compiling.training import budget, has_halving
from nasc.pipelines.formats import variants_in
from nasc.selection.problems import check_feasible, whole_teacher
from nasc.selection.successive_halving import SHARE, candidates, run_halving
from nasc.selection.variants import promising_variants
from nasc.solver.problem import Limits


def start(compilation: Compilation) -> State:
    """What is to be searched first.

    Raises:
        InfeasibleLimits: With its certificate, if no network meets the limits.
    """
    context, limits = compilation.context, compilation.limits
    allowed = variants_in(context, compilation.options.formats)
    variants = tuple(promising_variants(context, limits, allowed))
    check_feasible(context, limits, variants)
    return State(limits, allowed, variants)


def reachable(
    context: RunContext, limits: Limits, allowed: Sequence[Variant]
) -> tuple[Variant, ...]:
    """Variants to search under some limits; none if no network in any is predicted to fit."""
    found = promising_variants(context, limits, allowed)
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
    """The best network by successive halving where time allows, else by its untrained loss."""
    context = compilation.context
    config, seconds = budget(compilation)
    entered = candidates(context, state.limits, state.variants)
    if not has_halving(compilation):
        best = min(entered, key=lambda e: e.ranked.true_loss)
        chosen = ChosenNetwork(best.network, best.ranked.solution.runtime, 1.0)
        trained, goes_on = best.trained, False
    else:
        with context.timed("halving"):
            won = run_halving(context, entered, config, seconds)[0]
        chosen = ChosenNetwork(won.network, won.runtime, 1 - SHARE, won.steps)
        trained = won.trained
        goes_on = context.settings.has_own_text or context.settings.query_only
    if trained is not None:
        chosen = before(chosen, trained) if goes_on else as_it_came(chosen, trained)
    if chosen.network.architecture.is_teacher:
        chosen = dataclasses.replace(chosen, train_share=None)
    return dataclasses.replace(
        chosen,
        limits=state.limits,
        variants=state.variants,
        compared=tuple(one.ranked.solution for one in entered),
    )


def before(chosen: ChosenNetwork, trained: TrainedNetwork) -> ChosenNetwork:
    """What is trained on the user's own text, with what it was trained for before."""
    return dataclasses.replace(chosen, trained_steps=trained.steps, trained_text=trained.text)


def as_it_came(chosen: ChosenNetwork, trained: TrainedNetwork) -> ChosenNetwork:
    """A network that came trained, to ship so: text that nobody asked for makes it no better.

    Measured: trained on with the default text, it loses on every other (docs/quality.md). It was
    compared as it was after a short training on that text: on a text that is new to it it would
    seem worse than what was trained on that for seconds.
    """
    network = trained.network.with_precision(chosen.network.architecture.precision)
    return dataclasses.replace(
        chosen,
        network=network,
        train_share=None,
        steps=0,
        trained_steps=trained.steps,
        trained_text=trained.text,
    )
