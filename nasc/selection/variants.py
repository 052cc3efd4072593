"""In which variants the best network may be, so that no latency table is measured in vain.

One variant is measured first: int8 of the only runtime, or that in which the full-size network is
fastest. Of every other one a few whole networks are (`nasc.selection.variant_probes`), which makes
prices that no network of that variant is expected to be below. If even at those none comes near
enough to the best of the first to be looked at more closely, the table is not needed: by the kinds
of depth, among which the best by predicted loss is. Where nothing
is trained before the choice, it would have to be better than what comes trained with nasc, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from nasc.architecture.space import Architecture
from nasc.architecture.variant import LOSSLESS, Variant, truer_of
from nasc.context.context import RunContext
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import InfeasibleLimits, TableMissing
from nasc.latency.costs import PEAK_MEMORY, TableCosts
from nasc.latency.find import find_table
from nasc.latency.key import LatencyKey
from nasc.latency.memory import file_bytes
from nasc.latency.table import LatencyTable
from nasc.latency.table_paths import tables_folder
from nasc.selection.problems import (
    NONE_MISSED,
    Missed,
    check_feasible,
    fastest,
    priced,
    whole_teacher,
)
from nasc.selection.successive_halving import depth_searches
from nasc.selection.variant_probes import (
    FREE,
    REST,
    Ratios,
    emptiest_and_fullest,
    not_missed,
    priced_or_probed,
    probed,
    slowdowns,
    slowed,
)
from nasc.solver.certificate import Certificate
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem

FIRST = "int8"
"""The precision that is measured first of one runtime: where a processor has instructions for it,
the fastest."""

NEAR = 4
"""Of a kind so many of the best networks of the first variant are looked at: one of another has to
come among them."""


def promising_variants(
    context: RunContext,
    limits: Limits,
    allowed: Collection[Variant],
    near: int = NEAR,
    *,
    list_wanted: bool = False,
    trains: bool = True,
    missed: Missed = NONE_MISSED,
) -> list[Variant]:
    """Variants in which the best network within limits may be, in the context's order.

    Measures the tables of none but these, and the first one's.

    Args:
        context: Device, space, cache; the supernet is trained if there is none and it is needed.
        limits: What must hold.
        allowed: Out of the context's.
        near: A variant may win whose best network of a kind comes among so many of the first one's.
        list_wanted: Whether other networks are asked for, too, where the full-size one fits.
        trains: Whether candidates are trained before one is chosen. Else those of another variant
            have to be better as they are than what comes trained with nasc and fits in the first.
        missed: Of what comes trained, which is out of the question.

    Raises:
        CacheBusy: If another process measures for an hour.
        profilers.ProfilerError: If the device cannot be reached or measured.
    """
    variants = [v for v in context.variants if v in allowed]
    cost_nothing = context.settings.estimate or context.sessions.is_offline
    if len(variants) == 1 or cost_nothing:
        return variants
    first = first_variant(context, limits, variants)
    table = context.tables.measure_costs([first]).tables[first]
    probes = {
        v: _VariantProbe(context, limits, table, v, near, list_wanted, trains, missed)
        for v in variants
        if v != first
    }
    try:
        check_feasible(context, limits, [first])
    except InfeasibleLimits as error:  # its certificate is to speak of all that reach further
        certificate = cast(Certificate, error.certificate)
        return [v for v in variants if v == first or probes[v].reaches_further(certificate)]
    return [
        v
        for v in variants
        if v == first or (bytes_matter(context, limits, v, variants) and probes[v].can_improve())
    ]


def bytes_matter(
    context: RunContext, limits: Limits, variant: Variant, variants: Collection[Variant]
) -> bool:
    """Whether a variant that is only smaller than another may be worth its loss.

    It is not where the fullest networks are within the limits on bytes in that other one. True of
    all other variants.

    Args:
        context: The space.
        limits: Those on files and memory are looked at.
        variant: In question.
        variants: All that may be chosen; the first one's table is there.
    """
    truer = truer_of(variant)
    if truer is None or truer not in variants:
        return True
    space, most = context.space, limits.size_bytes
    fullest = [f for own in emptiest_and_fullest(context, truer.precision).values() for _, f in own]
    if space.keep:
        fullest.append(space.teacher.with_precision(truer.precision))
    sizes = [
        file_bytes(n, truer.runtime, context.inputs.geometry, context.graph_head) for n in fullest
    ]
    if most is not None and max(sizes) > most:
        return True
    if limits.peak_memory_bytes is not None:
        costs = context.tables.measure_costs([truer])
        peaks = [costs.peak_memory_bytes(network, truer.runtime) for network in fullest]
        held = [math.inf if p is None else costs.upper(PEAK_MEMORY, p, truer) for p in peaks]
        if max(held) > limits.peak_memory_bytes:
            return True
    context.say_once(
        f"{variant} is only smaller than {truer}, and no network of that is too large here: its "
        "latency table is not needed"
    )
    return False


def first_variant(context: RunContext, limits: Limits, variants: Sequence[Variant]) -> Variant:
    """Whose table is measured before anything is known of the others."""
    int8 = [v for v in variants if v.precision == FIRST]
    if int8 and (limits.latency_ms is None or len({v.runtime for v in variants}) == 1):
        return int8[0]
    whole_ms = {v: max(probed(context, v).values()) for v in variants}  # the slowest is the fullest
    return min(variants, key=lambda v: whole_ms[v])


@dataclass(frozen=True, slots=True)
class _VariantProbe:
    """Another variant against the first one, under some limits."""

    context: RunContext
    limits: Limits
    table: LatencyTable
    variant: Variant
    near: int
    list_wanted: bool
    trains: bool
    missed: Missed

    @property
    def first(self) -> Variant:
        return self.table.key.variant

    def can_improve(self) -> bool:
        """Whether its table could change what is chosen; yes where it is there."""
        keys = self.context.tables.keys(self.variant)
        return self._are_there(keys) or self._in_question(keys[-1])

    def reaches_further(self, certificate: Certificate) -> bool:
        """Whether it may meet the limits that the first one cannot, or come nearer to one."""
        context, limits = self.context, self.limits
        keys = context.tables.keys(self.variant)
        if self._are_there(keys):
            return True
        ratios = FREE
        if limits.latency_ms is not None:
            ratios = slowdowns(context, self.table, self.variant).layers
        try:
            check_feasible(context, limits, [self.variant], self._costs(ratios, keys[-1]))
        except InfeasibleLimits as error:
            own = cast(Certificate, error.certificate)
            pairs = zip(own.reports, certificate.reports, strict=True)
            return any(mine.minimum < first.minimum for mine, first in pairs)
        return True

    def _are_there(self, keys: Sequence[LatencyKey]) -> bool:
        try:
            for key in keys:
                find_table([tables_folder(self.context.cache)], key, self.context.space)
        except TableMissing:
            return False
        return True

    def _in_question(self, key: LatencyKey) -> bool:
        context, limits = self.context, self.limits
        nothing_searched = (
            not self.list_wanted
            and context.settings.supernet is None
            and whole_teacher(context, limits, [self.first]) is not None
        )
        wins = self._whole_wins if nothing_searched else self._comes_near
        if not wins(FREE, key):
            return False
        if limits.latency_ms is None:
            return True
        slower = slowdowns(context, self.table, self.variant)
        if nothing_searched:
            assert slower.whole is not None
            ratios: Ratios = {REST: slower.whole}
        else:
            ratios = slower.layers
        if wins(ratios, key):
            return True
        why = "cannot win under these limits"
        if not nothing_searched and self._is_against_trained and self._loss_to_beat() < math.inf:
            why = "has nothing that is expected to be ahead of what comes trained"
        context.say_once(
            f"{self.variant} takes {slower.whole or min(ratios.values()):.2f} times as long as "
            f"{self.first} here and {why}: its latency table is not needed"
        )
        return False

    def _whole_wins(self, ratios: Ratios, key: LatencyKey) -> bool:
        """Whether the full-size network would be taken in it at some prices.

        It is if it meets the limits and is truer than in the first variant, or as true and faster.
        """
        if truer_of(self.variant) == self.first:
            return False
        if self.variant.precision in LOSSLESS and self.first.precision in LOSSLESS:
            return max(ratios.values()) < 1
        if self.first.precision in LOSSLESS:
            return False
        return self._is_within(self.context.space.teacher, self._costs(ratios, key))

    def _comes_near(self, ratios: Ratios, key: LatencyKey) -> bool:
        """Whether one of its networks would be among those that are looked at closely."""
        context, costs = self.context, self._costs(ratios, key)
        lost, to_beat = context.supernet.measure_variant_loss(self.variant), math.inf
        if self._is_against_trained:
            to_beat = self._loss_to_beat()
            ahead = [n for n in self._come_trained(self.variant) if n.loss + lost < to_beat]
            if any(self._fits(one.network.architecture, costs) for one in ahead):
                return True
        variants = {self.variant: lost}
        for kind in depth_searches(context, self.limits, [self.first]):
            last = min(to_beat, self._losses(kind, self.near)[-1])
            own = dataclasses.replace(kind, variants=variants, costs=costs)
            if self._losses(own, 1)[0] < last:
                return True
        return False

    @property
    def _is_against_trained(self) -> bool:
        """Whether networks that come trained, as they are, are up against untrained ones."""
        return not (self.trains or self.context.settings.trains_shipped)

    def _loss_to_beat(self) -> float:
        """The least of what comes trained and fits in the first variant; infinite if nothing does.

        What decides between candidates is another figure, for which this one stands.
        """
        context = self.context
        found = [
            one.loss
            for one in self._come_trained(self.first)
            if fastest(
                context, one.network.architecture, self.limits, [self.first], priced_or_probed
            )
        ]
        return min(found, default=math.inf) + context.supernet.measure_variant_loss(self.first)

    def _come_trained(self, variant: Variant) -> list[TrainedNetwork]:
        """What comes trained and may be tried in a variant."""
        networks = self.context.inputs.trained_networks
        return [n for n in networks if not_missed(n.network.architecture, [variant], self.missed)]

    def _fits(self, architecture: Architecture, costs: TableCosts) -> bool:
        """Whether a network may meet the limits at some costs, and as it was probed itself.

        With room for a repetition as the first variant's table has it.
        """
        most_ms, own = self.limits.latency_ms, architecture.with_precision(self.variant.precision)
        took_ms = self.context.tables.probed_ms.get(self.variant, {}).get(own, 0.0)
        first = self.context.tables.measure_costs([self.first])
        if most_ms is not None and first.measured_upper_ms(took_ms, self.first) > most_ms:
            return False
        return self._is_within(architecture, costs)

    def _is_within(self, architecture: Architecture, costs: TableCosts) -> bool:
        """Whether a network meets the limits at some costs."""
        try:
            priced(self.context, architecture, self.variant, self.limits, costs)
        except InfeasibleLimits:
            return False
        return True

    def _costs(self, ratios: Ratios, key: LatencyKey) -> TableCosts:
        """Costs by some ratios to the first variant's."""
        return TableCosts.of(
            [slowed(self.table, key, ratios)],
            emulated=self.table.emulated,
            vocab_size=self.context.inputs.kept_words,
        )

    def _losses(self, problem: Problem, count: int) -> list[float]:
        """So many least predicted losses, rising; infinite beyond what meets the limits."""
        try:
            found = [s.predicted_loss for s in solve(problem, count)]
        except InfeasibleLimits:
            found = []
        return [*found, *[math.inf] * (count - len(found))]
