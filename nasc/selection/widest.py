"""The widest network of one hidden size through all of the teacher's layers that meets limits.

Such a network is none of the space, and most of its sizes are in no latency table. Costs guessed
between the sizes of a table say where to begin; from there sizes are measured one by one, up or
down, until the widest that fits is known. Where nothing can be measured (an estimate, a table of
another machine) the sizes of the table are all there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nasc.architecture.space import Architecture, SearchSpace
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.errors import InfeasibleLimits
from nasc.latency.costs import TableCosts
from nasc.latency.more_sizes import with_guessed_sizes
from nasc.lowering.limits import why_unsupported_sizes
from nasc.selection.problems import priced
from nasc.solver.problem import Limits, Solution


def narrow_sizes(space: SearchSpace) -> tuple[int, ...]:
    """Hidden sizes that a network may have all through, ascending: whole heads.

    From the smallest of the space on: at an eighth of the teacher's time, where narrow networks are
    narrower than that, they are far behind (docs/quality.md). None where the space has not both of
    the operations that a teacher's layer consists of: no table has costs of them then.
    """
    if not {"mha", "ffn"} <= set(space.operations):
        return ()
    g = space.geometry
    return tuple(range(space.hidden_sizes[0], g.hidden, g.head_size))


def widest(context: RunContext, limits: Limits, variants: Sequence[Variant]) -> Solution | None:
    """The widest such network within limits, in the variant that seems to have room for most.

    Of variants with room for as much the one that loses least, then the fastest.

    Args:
        context: Space and tables; what they lack is measured.
        limits: What must hold.
        variants: Those that may be chosen.

    Returns:
        None where none fits.

    Raises:
        CacheBusy, NascError, profilers.ProfilerError: See `LatencyTables.measure_size`.
    """
    ways = [_Widths(context, limits, variant) for variant in variants]
    guesses = [(way, guess) for way in ways if (guess := way.guess()) is not None]
    if not guesses:
        return None

    def order(one: tuple[_Widths, Solution]) -> tuple[int, float, float]:
        way, guess = one
        lost = context.supernet.measure_variant_loss(way.variant)
        return -guess.architecture.blocks[0].hidden, lost, guess.costs["latency_ms"]

    way, guess = min(guesses, key=order)
    return way.walk(guess.architecture.blocks[0].hidden)


@dataclasses.dataclass(frozen=True, slots=True)
class _Widths:
    """The networks of one variant, under some limits."""

    context: RunContext
    limits: Limits
    variant: Variant

    def architecture(self, hidden: int) -> Architecture:
        found = Architecture.narrowed(self.context.space.geometry, hidden)
        return found.with_precision(self.variant.precision)

    def sizes(self) -> list[int]:
        """Those that the runtime makes and that have a cost, or can be measured."""
        context, g = self.context, self.context.space.geometry
        about = (self.variant.runtime, self.variant.precision, g, context.graph_head)
        made = [
            hidden
            for hidden in narrow_sizes(context.space)
            if not why_unsupported_sizes(*about, {hidden, g.inner(hidden), g.head_size}, "it")
        ]
        if not made or context.tables.can_measure(self.variant):
            return made
        return [hidden for hidden in made if self.has_cost(hidden)]

    def costs(self) -> TableCosts:
        return self.context.tables.measure_costs([self.variant])

    def has_cost(self, hidden: int) -> bool:
        return self.costs().tables[self.variant].prices(self.architecture(hidden))

    def fitting(self, hidden: int, costs: TableCosts, limits: Limits) -> Solution | None:
        """The network of a size with its costs; None where it is over a limit."""
        try:
            return priced(self.context, self.architecture(hidden), self.variant, limits, costs)
        except InfeasibleLimits:
            return None

    def guessed_costs(self) -> TableCosts:
        """Latencies of all sizes between those that are known; bytes and parameters are exact."""
        costs = self.costs()
        table = with_guessed_sizes(costs.tables[self.variant], self.sizes())
        return dataclasses.replace(costs, tables={self.variant: table})

    def guess(self) -> Solution | None:
        """The widest that fits by guessed costs."""
        costs = self.guessed_costs()
        found = (self.fitting(hidden, costs, self.limits) for hidden in reversed(self.sizes()))
        return next((one for one in found if one is not None), None)

    def walk(self, hidden: int) -> Solution | None:
        """The widest that fits by costs that were measured, next to a size that is guessed."""
        sizes = self.sizes()
        at = sizes.index(hidden)
        best = self.known(hidden)
        step = -1 if best is None else 1
        while 0 <= (at := at + step) < len(sizes):
            found = self.known(sizes[at])
            if (found is None) == (step > 0):  # the first over a limit, or the first within
                return best if found is None else found
            best = found
        return best

    def known(self, hidden: int) -> Solution | None:
        """As `fitting`, by costs that are measured now where there are none."""
        if not self.has_cost(hidden):
            others = dataclasses.replace(self.limits, latency_ms=None)
            if self.fitting(hidden, self.guessed_costs(), others) is None:
                return None
            self.context.tables.measure_size(self.variant, hidden)
        return self.fitting(hidden, self.costs(), self.limits)
