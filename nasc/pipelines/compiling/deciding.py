"""What becomes of a network that was measured: accepted, measured again, or limits tightened."""

from __future__ import annotations

import dataclasses
import math

from nasc.errors import LimitsMissed
from nasc.evaluation.parity_report import ParityReport
from nasc.lowering import Artifact
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.pipelines.compiling.choosing import reachable
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, MeasuredNetwork, State
from nasc.pipelines.limit_check import LimitCheck, MeasuredLimit, check_limits
from nasc.pipelines.result import Attempt

MAX_ATTEMPTS = 12
"""Measurements of networks on the device before giving up; a network may take several."""

BUSY_REPEATS = 3
"""So often a network that is not within its limits is measured again on a machine that was not
quiet: each takes about a minute, another halving longer, and what it chooses then would be smaller
than it need be (docs/benchmarks.md, Promise)."""


def recorded(
    compilation: Compilation, state: State, measured: MeasuredNetwork, met: bool, note: str = ""
) -> State:
    """The state with what was measured kept for the result."""
    held_ms = measured.latency.held_ms(compilation.options.quantile)
    attempt = Attempt(
        str(measured.network.architecture),
        measured.chosen.runtime,
        measured.predicted,
        measured.latency.latency_ms,
        held_ms if math.isfinite(held_ms) else None,
        met,
        note,
    )
    return dataclasses.replace(state, attempts=(*state.attempts, attempt))


def check_measured(compilation: Compilation, state: State, measured: MeasuredNetwork) -> LimitCheck:
    """The limits against a file; what is measured must leave room for a repetition."""
    context, variant = compilation.context, measured.chosen.variant
    held_ms = measured.latency.held_ms(compilation.options.quantile)
    expected_ms = context.tables.measure_costs([variant]).upper(
        "latency_ms", measured.predicted.latency_ms, variant
    )
    peak, room = measured.peak_bytes, 1 + context.device.noise.peak_room
    held = {
        "latency_ms": MeasuredLimit(held_ms, expected_ms, measured.repetition_ms),
        "size_bytes": MeasuredLimit(float(measured.artifact.size_bytes)),
        "params": MeasuredLimit(float(measured.params)),
        "peak_memory_bytes": MeasuredLimit(
            None if peak is None else float(peak),
            repetition=None if peak is None else room * peak,
        ),
    }
    return check_limits(compilation.limits, state.limits, held)


def is_unsure(
    compilation: Compilation, state: State, measured: MeasuredNetwork, trained: bool, repeats: int
) -> bool:
    """Whether what does not hold, or leaves no room, is worth measuring once more.

    Args:
        compilation: What was asked for.
        state: The limits.
        measured: The network.
        trained: Whether the network has been trained for it.
        repeats: Measurements of it one after the other so far, the first one not counted.
    """
    found = check_measured(compilation, state, measured)
    if not found.tighter:
        return False
    if compilation.options.quantile is None and not measured.latency.is_quiet:
        return repeats < BUSY_REPEATS
    near = not found.over and len(measured.repetitions_ms) == 1
    return repeats == 0 and (trained or near)


def accept(
    compilation: Compilation, state: State, measured: MeasuredNetwork
) -> tuple[MeasuredNetwork | None, State]:
    """What to go on with, if all limits hold as measured; else tighten those that do not.

    A latency must leave room for its own repetition, by all measurements of its
    architecture, unless no smaller network is left: then one that is under its limit
    without that room is accepted, be it an earlier one.

    Raises:
        LimitsMissed: After `MAX_ATTEMPTS` measurements, or where no smaller one is left.
    """
    context, quantile = compilation.context, compilation.options.quantile
    if not math.isfinite(measured.latency.held_ms(quantile)):
        raise LimitsMissed(
            f"{quantile} of {measured.chosen} has no upper bound "
            "after the time that a measurement may take: it runs too long for so many runs. "
            "Take a lower quantile, or none: the statistic of record needs fewer"
        )
    found, say = check_measured(compilation, state, measured), context.reporter.say
    state = recorded(compilation, state, measured, not found.over, found.note)
    if not found.tighter:
        return measured, state
    say(f"{measured.chosen}: {found.note}")
    own = (str(measured.network.architecture), measured.chosen.runtime)
    state = dataclasses.replace(state, missed={*state.missed, own})
    if not found.over:
        state = dataclasses.replace(state, fallback=measured)
    tightened = dataclasses.replace(state.limits, **found.tighter)
    if len(state.attempts) < MAX_ATTEMPTS and (
        variants := reachable(compilation, tightened, state.allowed, state.missed)
    ):
        under = ", ".join(f"{name} {value:.4g}" for name, value in found.tighter.items())
        say(f"searching under {under}")
        return None, dataclasses.replace(state, limits=tightened, variants=variants)
    if state.fallback is None:
        raise LimitsMissed(
            f"{state.tried()} Something may disturb the device: try again when it is quiet, "
            "or raise the limit"
        )
    return state.fallback, dataclasses.replace(state, fallback=None)


def check_parity(
    compilation: Compilation,
    state: State,
    chosen: ChosenNetwork,
    artifact: Artifact,
    evaluator: ArtifactEvaluator,
) -> tuple[ParityReport | None, State]:
    """Parity of the file; None if its precision was refused and others must be searched.

    Raises:
        LimitsMissed: If no other variant is allowed.
    """
    context, limits = compilation.context, compilation.limits
    network = context.inputs.with_vocabulary(chosen.network)
    report, refusal = evaluator.parity(network, artifact)
    if refusal is None:
        return report, state
    refused = chosen.variant
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
    is_met = {(a.architecture, a.runtime): a.met for a in attempts}  # as it was measured last
    return None, dataclasses.replace(
        state,
        limits=limits,
        allowed=allowed,
        variants=reachable(compilation, limits, allowed) or allowed,
        attempts=attempts,
        fallback=None,
        missed={one for one in state.missed if not is_met.get(one, False)},
    )
