"""How fast another variant can be, by a few whole networks, where its table would be too much.

They are the emptiest and the fullest of each operation, at both ends of the hidden sizes. How many
times as long as in the first variant they take, and what lies between them, with a margin, makes
prices that no network of that variant is expected to be below. The networks that come trained with
nasc are measured beside them, also in a variant whose table leaves open whether one is within a
limit: hours of training are in it, and on a busy machine a table's interval is wide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasc.architecture.space import Architecture, Block
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.errors import InfeasibleLimits
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Interval
from nasc.latency.spot_check import probe
from nasc.latency.table import LatencyTable
from nasc.selection.problems import Missed, priced
from nasc.solver.problem import LATENCY, Limits, Solution

MARGIN = 0.9
"""Of the ratios that are measured so much counts: what lies between the ends of a space is not
quite a mixture of them, and probes are short (chosen, 2026)."""

REST = "rest"
"""Ratio of all layers that are no operations."""

Ratios = Mapping[str, float]
"""How many times as long as in the first variant layers take, by operation and `REST`."""

FREE: Ratios = {REST: 0.0}
"""Everything takes no time."""


def probed(context: RunContext, variant: Variant) -> dict[Architecture, float]:
    """Latencies of a few whole networks in ms, measured now or found in the cache.

    What comes trained is among them.
    """
    pairs = emptiest_and_fullest(context, variant.precision)
    networks = [n for own in pairs.values() for pair in own for n in pair]
    networks += [
        one.network.architecture.with_precision(variant.precision)
        for one in context.inputs.trained_networks
    ]
    if context.space.keep:
        networks.append(context.space.teacher.with_precision(variant.precision))
    with context.timed("profile"):
        networks = list(dict.fromkeys(networks))
        found = dict.fromkeys(networks, 0.0)
        for key, share in zip(context.tables.keys(variant), context.lengths.values(), strict=True):
            took = probe(
                networks,
                key,
                context.session(variant.runtime),
                context.reporter.stage(f"How fast {variant} can be"),
            )
            found = {n: ms + share * took[n].latency_ms for n, ms in found.items()}
        context.tables.probed_ms[variant] = found
    return found


def priced_or_probed(
    context: RunContext, architecture: Architecture, variant: Variant, limits: Limits
) -> Solution:
    """What a network that comes trained costs: as the table says, or as it was measured itself.

    It is measured where the limit lies between the ends of what the table predicts; as of every
    measurement, room for a repetition counts.

    Args:
        context: Geometry, head, tables; measures now or finds it in the cache.
        architecture: The network, in any precision.
        variant: How it runs.
        limits: What must hold.

    Raises:
        InfeasibleLimits: If it is over a limit.
        CacheBusy, NascError, profilers.ProfilerError: See `nasc.latency.spot_check.probe`.
    """
    try:
        return priced(context, architecture, variant, limits)
    except InfeasibleLimits:
        most_ms, own = limits.latency_ms, architecture.with_precision(variant.precision)
        if most_ms is None or not context.tables.can_measure(variant):
            raise
        found = priced(context, own, variant, dataclasses.replace(limits, latency_ms=None))
        costs = context.tables.measure_costs([variant])
        if costs.predict(own, variant.runtime).low_ms > most_ms:
            raise
        took_ms = probed(context, variant)[own]
        upper_ms = costs.measured_upper_ms(took_ms, variant)
        if upper_ms > most_ms:
            raise
    context.say_once(
        f"{own} takes {took_ms:.3g} ms by {variant.runtime} as measured itself, {upper_ms:.3g} at "
        f"most, where its table says up to {found.upper_latency_ms:.3g}"
    )
    return dataclasses.replace(
        found,
        costs={**found.costs, LATENCY: took_ms},
        upper={**found.upper, LATENCY: upper_ms},
    )


def not_missed(
    architecture: Architecture, variants: Sequence[Variant], missed: Missed
) -> list[Variant]:
    """The variants in which a network was not measured in vain."""
    return [
        variant
        for variant in variants
        if (str(architecture.with_precision(variant.precision)), variant.runtime) not in missed
    ]


@dataclass(frozen=True, slots=True)
class Slowdowns:
    """How many times as long another variant takes.

    Attributes:
        whole: The full-size network; None where the space does not hold it.
        layers: Layers, with the margin.
    """

    whole: float | None
    layers: Ratios


def slowdowns(context: RunContext, table: LatencyTable, variant: Variant) -> Slowdowns:
    """How many times as long another variant takes, measured now or found in the cache.

    Args:
        context: Device, space and cache.
        table: The first variant's.
        variant: The other one.
    """
    by_operation = emptiest_and_fullest(context, variant.precision)
    took_ms, first = probed(context, variant), table.key.precision
    held_ms = {n: table.latency_ms(n.with_precision(first)) for n in took_ms}

    def between(empty: Architecture, full: Architecture) -> float:
        took, held = took_ms[full] - took_ms[empty], held_ms[full] - held_ms[empty]
        if empty == full:
            took, held = took_ms[full], held_ms[full]
        return max(0.0, took / held) if held > 0 else 0.0  # free here: it may win there

    layers = {
        operation: MARGIN * min(between(*pair) for pair in pairs)
        for operation, pairs in by_operation.items()
    }
    empties = {empty for pairs in by_operation.values() for empty, _ in pairs}
    layers[REST] = MARGIN * min(took_ms[n] / held_ms[n] for n in empties)
    if not context.space.keep:
        return Slowdowns(None, layers)
    whole = context.space.teacher.with_precision(variant.precision)
    return Slowdowns(took_ms[whole] / held_ms[whole], layers)


def emptiest_and_fullest(
    context: RunContext, precision: str
) -> dict[str, list[tuple[Architecture, Architecture]]]:
    """By operation that may be chosen, at the least and the largest hidden size."""
    space, blocks = (
        context.space,
        [b for own in context.inputs.choices for b in own if b.operations],
    )
    found: dict[str, list[tuple[Architecture, Architecture]]] = {}
    for operation in sorted({o for block in blocks for o in block.operations}):
        sizes = {block.hidden for block in blocks if operation in block.operations}
        for hidden in (min(sizes), max(sizes)):
            one, full = (Block(hidden, (operation,) * count) for count in (1, space.slots))
            empty = space.skipped_block if space.skip else one
            pair = [Architecture((block,) * space.n_blocks, precision) for block in (empty, full)]
            found.setdefault(operation, []).append((pair[0], pair[1]))
    return found


def slowed(table: LatencyTable, key: LatencyKey, ratios: Ratios) -> LatencyTable:
    """A table of another variant in which layers take so many times as long, for certain.

    Of another runtime the memory of its process is not known: it counts as none.
    """
    by_layer = [ratios.get(kind, ratios[REST]) for kind in table.entries["kind"]]
    streaming, base = table.streaming, table.runtime_base_bytes
    if base is not None and key.runtime != table.key.runtime:
        base = 0
    return dataclasses.replace(
        table,
        key=key,
        runtime_base_bytes=base,
        entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * by_layer),
        streaming=dataclasses.replace(
            streaming, ms_per_param=min(ratios.values()) * streaming.ms_per_param
        ),
        interval=Interval(0.0, 1),
        measured=table.measured.assign(upper_ms=table.measured["latency_ms"]),
    )
