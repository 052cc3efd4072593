"""In which precisions the best network may be, so that no latency table is measured in vain.

int8 is measured first. Of another precision a few whole networks are: the emptiest and the fullest
of each operation, at both ends of the hidden sizes. How many times as long as in int8 they take,
and what lies between them, with a margin, makes prices that no network of that precision is
expected to be below. If even at those none comes near enough to the best in int8 to be looked at
more closely, the table is not needed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasc.architecture.space import Architecture, Block
from nasc.context.context import RunContext
from nasc.errors import InfeasibleLimits, TableMissing
from nasc.latency.costs import TableCosts
from nasc.latency.find import find_table
from nasc.latency.predict import Interval
from nasc.latency.profile import tables_folder
from nasc.latency.spot_check import probe
from nasc.latency.table import LatencyTable
from nasc.selection.successive_halving import searches
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem

FIRST = "int8"
"""The precision that is measured first: where a processor has instructions for it, the fastest."""

NEAR = 4
"""A precision may win whose best network of a kind comes among so many of the first one's best."""

MARGIN = 0.9
"""Of the ratios that are measured so much counts: what lies between the ends of a space is not
quite a mixture of them, and probes are short (chosen, 2026)."""

REST = "rest"
"""Ratio of all layers that are no operations."""

Ratios = Mapping[str, float]
"""How many times as long as in the first precision layers take, by operation and `REST`."""

FREE: Ratios = {REST: 0.0}
"""Everything takes no time."""


def promising_precisions(context: RunContext, limits: Limits, allowed: Sequence[str]) -> list[str]:
    """Precisions in which the best network within limits may be, in the space's order.

    Measures the tables of none but these, and int8's.

    Args:
        context: Device, space, cache; the supernet is trained if there is none and it is needed.
        limits: What must hold.
        allowed: Out of the space's.

    Raises:
        CacheBusy: If another process measures for an hour.
        profilers.ProfilerError: If the device cannot be reached or measured.
    """
    precisions = [p for p in context.space.precisions if p in allowed]
    if FIRST not in precisions or len(precisions) == 1:
        return precisions
    table = context.costs_in(FIRST).tables[FIRST]
    try:
        context.check_feasible(limits, [FIRST])
    except InfeasibleLimits:
        return precisions  # a certificate speaks of all of them
    return [
        p
        for p in precisions
        if p == FIRST or _PrecisionProbe(context, limits, table, p).can_improve()
    ]


@dataclass(frozen=True, slots=True)
class Slowdowns:
    """How many times as long another precision takes.

    Attributes:
        whole: The full-size network; None where the space does not hold it.
        layers: Layers, with the margin.
    """

    whole: float | None
    layers: Ratios


@dataclass(frozen=True, slots=True)
class _PrecisionProbe:
    """Another precision against the first one, under some limits."""

    context: RunContext
    limits: Limits
    table: LatencyTable
    precision: str

    def can_improve(self) -> bool:
        """Whether its table could change what is chosen; yes where it is there."""
        key = dataclasses.replace(self.table.key, precision=self.precision)
        try:
            find_table([tables_folder(self.context.cache)], key, self.context.space)
        except TableMissing:
            return self._in_question()
        return True

    def _in_question(self) -> bool:
        context, limits = self.context, self.limits
        nothing_searched = (
            context.settings.supernet is None and context.whole_teacher(limits, [FIRST]) is not None
        )
        wins = self._whole_fits if nothing_searched else self._comes_near
        if not wins(FREE):
            return False
        if limits.latency_ms is None:
            return True
        slower = self._slowdowns()
        if nothing_searched:
            assert slower.whole is not None
            ratios: Ratios = {REST: slower.whole}
        else:
            ratios = slower.layers
        if wins(ratios):
            return True
        context.say_once(
            f"{self.precision} takes {slower.whole or min(ratios.values()):.2f} times as long as "
            f"{FIRST} here and cannot win under these limits: its latency table is not needed"
        )
        return False

    def _whole_fits(self, ratios: Ratios) -> bool:
        """Whether the full-size network meets the limits at some prices."""
        whole = self.context.space.teacher.with_precision(self.precision)
        try:
            self.context.priced(whole, self.limits, self._costs(ratios))
        except InfeasibleLimits:
            return False
        return True

    def _comes_near(self, ratios: Ratios) -> bool:
        """Whether one of its networks would be among those that are looked at closely."""
        costs = self._costs(ratios)
        precisions = {self.precision: self.context.prepared.scores.precision_loss[self.precision]}
        for kind in searches(self.context, self.limits, [FIRST]):
            last = self._losses(kind, NEAR)[-1]
            own = dataclasses.replace(kind, precisions=precisions, costs=costs)
            if self._losses(own, 1)[0] < last:
                return True
        return False

    def _costs(self, ratios: Ratios) -> TableCosts:
        """Prices by some ratios to the first precision's."""
        return TableCosts.of([slowed(self.table, self.precision, ratios)])

    def _losses(self, problem: Problem, count: int) -> list[float]:
        """So many least predicted losses, rising; infinite beyond what meets the limits."""
        try:
            found = [s.predicted_loss for s in solve(problem, count)]
        except InfeasibleLimits:
            found = []
        return [*found, *[math.inf] * (count - len(found))]

    def _slowdowns(self) -> Slowdowns:
        """Measured now, or found in the cache."""
        context, precision = self.context, self.precision
        by_operation = emptiest_and_fullest(context, precision)
        networks = [n for pairs in by_operation.values() for pair in pairs for n in pair]
        whole = context.space.teacher.with_precision(precision) if context.space.keep else None
        with context.timed("profile"):
            took_ms = probe(
                list(dict.fromkeys([*networks, *([] if whole is None else [whole])])),
                dataclasses.replace(self.table.key, precision=precision),
                context.session,
                context.reporter.stage(f"How fast {precision} can be"),
            )
        held_ms = {n: self.table.latency_ms(n.with_precision(FIRST)) for n in took_ms}

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
        return Slowdowns(None if whole is None else took_ms[whole] / held_ms[whole], layers)


def emptiest_and_fullest(
    context: RunContext, precision: str
) -> dict[str, list[tuple[Architecture, Architecture]]]:
    """By operation that may be chosen, at the least and the largest hidden size."""
    space, blocks = context.space, [b for own in context.choices for b in own if b.operations]
    found: dict[str, list[tuple[Architecture, Architecture]]] = {}
    for operation in sorted({o for block in blocks for o in block.operations}):
        sizes = {block.hidden for block in blocks if operation in block.operations}
        for hidden in (min(sizes), max(sizes)):
            one, full = (Block(hidden, (operation,) * count) for count in (1, space.slots))
            empty = space.skipped_block if space.skip else one
            pair = [Architecture((block,) * space.n_blocks, precision) for block in (empty, full)]
            found.setdefault(operation, []).append((pair[0], pair[1]))
    return found


def slowed(table: LatencyTable, precision: str, ratios: Ratios) -> LatencyTable:
    """A table of another precision in which layers take so many times as long, for certain."""
    by_layer = [ratios.get(kind, ratios[REST]) for kind in table.entries["kind"]]
    streaming = table.streaming
    return dataclasses.replace(
        table,
        key=dataclasses.replace(table.key, precision=precision),
        entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * by_layer),
        streaming=dataclasses.replace(
            streaming, ms_per_param=min(ratios.values()) * streaming.ms_per_param
        ),
        interval=Interval(0.0, 1),
        measured=table.measured.assign(upper_ms=table.measured["latency_ms"]),
    )
