"""Costs of one problem in one variant, rounded so that every sum is exact.

Each metric's prices are rounded to a multiple of one power of two, chosen so small that the
largest total has 50 bits at most. Sums of such numbers are exact in float64, whatever their order:
two networks cost the same or they do not, and dominance, ties and limits are decided on the
very numbers that are reported. The rounding moves a total by less than 1e-13 of the
largest, and integers below 2**50 not at all.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nasc.architecture.layers import Layer, border, layers
from nasc.architecture.space import OPERATIONS, Architecture
from nasc.architecture.variant import Variant
from nasc.errors import UsageError
from nasc.solver.blocks import BlockCodes, Floats, Ints
from nasc.solver.chain import BlockOptions, Chain, completion_bounds
from nasc.solver.problem import (
    LATENCY,
    LIMITABLE,
    PEAK_MEMORY,
    STREAMING,
    WEIGHTS,
    Problem,
    Solution,
    columns_of,
)

LOSS = "loss"
"""Name of the predicted loss where an objective is asked for."""

_BITS = 50


def grid_unit(bound: float) -> float:
    """Largest power of two that `bound` holds at least 2**49 times (1 for a bound of 0)."""
    return math.ldexp(1.0, math.frexp(bound)[1] - _BITS) if bound > 0 else 1.0


def on_grid(values: Floats, unit: float) -> Floats:
    """Values rounded to multiples of the unit."""
    return np.rint(values / unit) * unit


@dataclass(frozen=True, slots=True, eq=False)
class VariantCosts:
    """Everything a network of the problem can consist of, priced; M metrics, S sizes.

    Attributes:
        problem: What the prices belong to.
        variant: Runtime and precision of the network.
        metrics: Additive metrics.
        sizes: Hidden sizes, ascending, the teacher's included.
        constant: (M,) fixed costs.
        rows: (M,) costs by layer.
        live: Live activation by layer, bytes; empty where memory is not priced.
        loss: Per position (n,) losses.
        variant_loss: What the variant adds.
        units: Per metric, and for the loss, what values are multiples of.
    """

    problem: Problem
    variant: Variant
    metrics: tuple[str, ...]
    sizes: tuple[int, ...]
    constant: Floats
    rows: Mapping[Layer, Floats]
    live: Mapping[Layer, float]
    loss: tuple[Floats, ...]
    variant_loss: float
    units: Mapping[str, float]

    @property
    def has_memory(self) -> bool:
        """Whether peak memory is known."""
        return WEIGHTS in self.metrics

    def network(self, architecture: Architecture) -> list[Layer]:
        """Layers of a network of this problem."""
        return layers(architecture, self.problem.geometry, self.problem.head)

    def totals(self, architecture: Architecture) -> dict[str, float]:
        """Costs of a network by metric, ``peak_memory_bytes`` included where known."""
        network = self.network(architecture)
        total = self.constant + sum(self.rows[layer] for layer in network)
        costs = {m: float(v) for m, v in zip(self.metrics, total, strict=True)}
        if STREAMING in costs:
            costs[LATENCY] = max(costs[LATENCY], costs.pop(STREAMING))
        if self.has_memory:
            costs[PEAK_MEMORY] = costs[WEIGHTS] + max(self.live[layer] for layer in network)
        return costs

    def upper(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Upper ends of costs."""
        model = self.problem.costs
        return {m: model.upper(m, costs[m], self.variant) for m in LIMITABLE if m in costs}

    def solution(self, choice: tuple[int, ...]) -> Solution:
        """The network that picks these candidates, in full."""
        positions = self.problem.positions
        blocks = tuple(s.blocks[i] for s, i in zip(positions, choice, strict=True))
        architecture = Architecture(blocks, self.variant.precision)
        loss = self.variant_loss + sum(
            float(loss[i]) for loss, i in zip(self.loss, choice, strict=True)
        )
        costs = self.totals(architecture)
        return Solution(architecture, self.variant.runtime, loss, costs, self.upper(costs))

    def chain(self, objective: str, columns: tuple[str, ...] = ()) -> Chain:
        """The search in numbers, without limits.

        Args:
            objective: `LOSS` or a metric: column 0.
            columns: Metrics of the further columns.
        """
        picked = [self.metrics.index(c) for c in columns]
        own = None if objective == LOSS else self.metrics.index(objective)

        def pick(rows: Floats) -> Floats:
            first = np.zeros_like(rows[..., :1]) if own is None else rows[..., own : own + 1]
            return np.concatenate([first, rows[..., picked]], axis=-1)

        teacher = self.problem.geometry.hidden
        n_sizes, zero = len(self.sizes), np.zeros(len(self.metrics))
        border_rows = np.zeros((n_sizes, n_sizes, len(self.metrics)))
        border_live = np.zeros((n_sizes, n_sizes))
        end_rows = np.zeros((n_sizes, len(self.metrics)))
        end_live = np.zeros(n_sizes)
        for i, a in enumerate(self.sizes):
            end = Layer(f"head_{self.problem.head}", a, teacher)
            end_rows[i], end_live[i] = self.rows.get(end, zero), self.live.get(end, 0.0)
            for j, b in enumerate(self.sizes):
                between = border(a, b, teacher)
                if between is not None:
                    border_rows[i, j] = self.rows.get(between, zero)
                    border_live[i, j] = self.live.get(between, 0.0)
        start = Layer("embedding", teacher, teacher)
        start_values = pick(self.constant + self.rows[start])
        if own is None:
            start_values[0] = self.variant_loss
        unlimited = np.full(1 + len(columns), np.inf)
        return Chain(
            options=tuple(self._options(p, pick, own is None) for p in range(len(self.loss))),
            start_size=self.sizes.index(teacher),
            start_values=start_values,
            start_live=self.live.get(start, 0.0),
            border_values=pick(border_rows),
            border_live=border_live,
            end_values=pick(end_rows),
            end_live=end_live,
            limits=unlimited,
            peak_limit=math.inf,
            peak_column=1 + columns.index(WEIGHTS) if WEIGHTS in columns else 0,
        )

    def _options(
        self, position: int, pick: Callable[[Floats], Floats], by_loss: bool
    ) -> BlockOptions:
        codes = self.problem.positions[position].codes
        size = np.searchsorted(self.sizes, codes.kind_hidden)
        rows = np.zeros((len(size), len(self.metrics)))
        live = np.zeros(len(size))
        for of_kinds, counts, layer in kind_layers(codes):
            rows[of_kinds] += counts[:, None] * self.rows[layer]
            live[of_kinds] = np.maximum(live[of_kinds], self.live.get(layer, 0.0))
        values = pick(rows)[codes.kind]
        if by_loss:
            values[:, 0] = self.loss[position]
        n = len(codes.kind)
        return BlockOptions(
            size[codes.kind].astype(np.int64),
            values,
            live[codes.kind],
            codes.rank,
            np.arange(n, dtype=np.int64),
            codes.kind,
        )

    def limited_chain(
        self, objective: str, limits: Mapping[str, float], extra: tuple[str, ...] = ()
    ) -> Chain | None:
        """The search in numbers under limits on the upper ends.

        Args:
            objective: `LOSS` or a metric.
            limits: By name; a limit that every network meets is left out.
            extra: Metrics that get a column whether limited or not, first in order.

        Returns:
            The chain; None if one limit alone already excludes every network.
        """
        held = [column for name in limits for column in columns_of(name, self.metrics)]
        columns = tuple(dict.fromkeys([*extra, *held]))
        chain = self.chain(objective, columns)
        ahead = completion_bounds(chain)
        low = chain.start_values + ahead.least[0, chain.start_size]
        high = chain.start_values + ahead.most[0, chain.start_size]
        caps, peak = chain.limits.copy(), math.inf
        for name, limit in limits.items():
            if name == PEAK_MEMORY:
                c = chain.peak_column
                first = low[c] + max(chain.start_live, ahead.least_live[0, chain.start_size])
                last = high[c] + max(chain.start_live, ahead.most_live[0, chain.start_size])
                peak = self._largest(WEIGHTS, name, limit, first, last)
                if peak == -math.inf:
                    return None
                continue
            for column in columns_of(name, self.metrics):
                c = 1 + columns.index(column)
                caps[c] = self._largest(column, name, limit, low[c], high[c])
                if caps[c] == -math.inf:
                    return None
        return dataclasses.replace(chain, limits=caps, peak_limit=peak)

    def _largest(self, column: str, metric: str, limit: float, low: float, high: float) -> float:
        """Largest total of a column between two reachable ones whose upper end meets the limit."""
        unit = self.units[column]

        def meets(total: float) -> bool:
            return self.problem.costs.upper(metric, total, self.variant) <= limit

        if not meets(low):
            return -math.inf
        if meets(high):
            return math.inf
        below, above = round(low / unit), round(high / unit)
        while above - below > 1:
            middle = (below + above) // 2
            if meets(middle * unit):
                below = middle
            else:
                above = middle
        return below * unit


@functools.lru_cache(maxsize=32)
def kind_layers(codes: BlockCodes) -> tuple[tuple[Ints, Ints, Layer], ...]:
    """Per operation layer: indices of the kinds that hold it, how often each, the layer.

    Remembered, as positions and variants share their codes.
    """
    found = []
    for column, name in enumerate(OPERATIONS):
        counts = codes.kind_counts[:, column]
        for hidden in np.unique(codes.kind_hidden[counts > 0]).tolist():
            of_kinds = np.flatnonzero((codes.kind_hidden == hidden) & (counts > 0))
            found.append((of_kinds, counts[of_kinds], Layer(name, hidden, hidden)))
    return tuple(found)


def price(problem: Problem, variant: Variant) -> VariantCosts:
    """Price every layer that a network of the problem can hold.

    Raises:
        UsageError: If a price is not finite.
        LookupMiss: From the cost model, for a layer it does not know.
    """
    model, metrics = problem.costs, problem.costs.metrics
    teacher = problem.geometry.hidden
    used = [sorted(set(s.codes.kind_hidden.tolist())) for s in problem.positions]
    sizes = tuple(sorted({teacher}.union(*used)))

    start = Layer("embedding", teacher, teacher)
    borders: list[list[Layer]] = []
    for before, after in zip([[teacher], *used[:-1]], used, strict=True):
        pairs = (border(a, b, teacher) for a in before for b in after)
        borders.append([layer for layer in pairs if layer is not None])
    ends = [Layer(f"head_{problem.head}", h, teacher) for h in used[-1]]
    operations = [[layer for _, _, layer in kind_layers(s.codes)] for s in problem.positions]

    raw: dict[Layer, Floats] = {}
    live: dict[Layer, float] = {}
    parts = [[start], ends, *borders, *operations]
    for layer in dict.fromkeys(itertools.chain.from_iterable(parts)):
        row = model.layer(layer, variant)
        raw[layer] = np.array([_finite(row[m], m, str(layer), variant) for m in metrics])
        if WEIGHTS in metrics:
            activation = model.activation_bytes(layer, variant)
            live[layer] = _finite(activation, "activation_bytes", str(layer), variant)
    fixed = model.constant(variant)
    constant = np.array([_finite(fixed[m], m, "constant", variant) for m in metrics])

    none = np.zeros(len(metrics))
    bound = np.abs(constant) + np.abs(raw[start]) + _widest([raw[x] for x in ends], none)
    for between, scored in zip(borders, problem.positions, strict=True):
        bound += _widest([raw[x] for x in between], none)
        rows = np.zeros((len(scored.codes.kind_hidden), len(metrics)))
        for of_kinds, counts, layer in kind_layers(scored.codes):
            rows[of_kinds] += counts[:, None] * np.abs(raw[layer])
        bound += rows.max(axis=0)
    if WEIGHTS in metrics:
        bound[metrics.index(WEIGHTS)] += max(abs(v) for v in live.values())
    units = {m: grid_unit(float(b)) for m, b in zip(metrics, bound, strict=True)}
    unit_row = np.array([units[m] for m in metrics])

    losses = [s.loss for s in problem.positions]
    loss_bound = sum(float(np.abs(loss).max()) for loss in losses)
    units[LOSS] = grid_unit(loss_bound + max(abs(v) for v in problem.variants.values()))
    return VariantCosts(
        problem=problem,
        variant=variant,
        metrics=metrics,
        sizes=sizes,
        constant=np.rint(constant / unit_row) * unit_row,
        rows={x: np.rint(row / unit_row) * unit_row for x, row in raw.items()},
        live={x: float(round(v / units[WEIGHTS]) * units[WEIGHTS]) for x, v in live.items()},
        loss=tuple(on_grid(loss, units[LOSS]) for loss in losses),
        variant_loss=round(problem.variants[variant] / units[LOSS]) * units[LOSS],
        units=units,
    )


def _widest(rows: list[Floats], none: Floats) -> Floats:
    return np.max(np.abs(rows), axis=0) if rows else none


def _finite(value: float, metric: str, what: str, variant: Variant) -> float:
    if not math.isfinite(value):
        raise UsageError(f"search: {metric} of {what} in {variant} is {value}, not finite")
    return float(value)
