"""Why limits cannot be met: what is reachable, what it consists of, what to try instead."""

from __future__ import annotations

import decimal
from dataclasses import dataclass

from nasc.architecture.space import Architecture
from nasc.errors import InfeasibleLimits
from nasc.solver.costs import VariantCosts
from nasc.solver.minimum import least
from nasc.solver.problem import LATENCY, LIMITABLE, PEAK_MEMORY, WEIGHTS, Problem, Solution, option

_UNITS = {LATENCY: "ms", "size_bytes": "bytes", "params": "parameters", PEAK_MEMORY: "bytes"}
_DIGITS = 3
"""Significant digits of a suggested latency."""

_WHOLE_DIGITS = 15
"""Digits that every whole number has exactly in float64."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the layers of one kind and size add to a total.

    Attributes:
        name: For example ``ffn 384``; ``constant`` for fixed costs, ``weights beyond the caches``
            for what streaming them takes, ``interval`` for what the upper end adds, ``activation``
            for the largest live activation.
        count: How many such layers there are.
        value: Their sum, in the metric's unit.
    """

    name: str
    count: int
    value: float


@dataclass(frozen=True, slots=True)
class LimitReport:
    """One limit against what can be reached.

    Attributes:
        metric: Name of the limit, with its unit.
        limit: As given.
        minimum: Least upper end of the metric over all networks, other limits left aside.
        architecture: The network that reaches it.
        parts: What the minimum consists of, the largest part first.
        nearest: Least upper end while the other limits hold; None if these exclude every
            network already. The limit may be set to it.
        nearest_architecture: The network that reaches it.
    """

    metric: str
    limit: float
    minimum: float
    architecture: Architecture
    parts: tuple[Part, ...]
    nearest: float | None
    nearest_architecture: Architecture | None

    @property
    def feasible_alone(self) -> bool:
        """Whether some network meets this limit if the others are left aside."""
        return self.minimum <= self.limit


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that no network meets all limits, and a way out.

    Attributes:
        reports: Per limit that was given.
        feasible: Limits, by name, that some network meets at once: as given where that is
            possible, else raised as little as the ones before allow, and rounded up.
    """

    reports: tuple[LimitReport, ...]
    feasible: tuple[tuple[str, float], ...]

    @property
    def suggestion(self) -> str:
        """Limits, as options, under which the same command finds a network."""
        return " ".join(f"{option(name)} {_exact(value)}" for name, value in self.feasible)

    @property
    def message(self) -> str:
        """What failed, in one or a few lines, and what to try next."""
        alone = [r for r in self.reports if not r.feasible_alone]
        lines = [
            f"no network meets {option(r.metric)} {_exact(r.limit)}: the least reachable is "
            f"{_text(r.minimum)} {_UNITS[r.metric]} ({r.architecture})"
            for r in alone
        ]
        if not alone:
            wanted = " ".join(f"{option(r.metric)} {_exact(r.limit)}" for r in self.reports)
            lines = [f"no network meets {wanted} at once, though each alone can be met"]
            lines += [
                f"  with the others as they are, {option(r.metric)} can be "
                f"{_exact(rounded_up(r.metric, r.nearest))} "
                f"or more ({r.nearest_architecture})"
                for r in self.reports
                if r.nearest is not None
            ]
        return "\n".join([*lines, f"Try the same command with {self.suggestion}"])

    def __str__(self) -> str:
        lines = [self.message, ""]
        for r in self.reports:
            unit = _UNITS[r.metric]
            lines.append(f"{r.metric}: limit {_text(r.limit)}, least reachable {_text(r.minimum)}")
            lines += [f"  {p.value:16,.4g} {unit}  {p.count} x {p.name}" for p in r.parts]
        return "\n".join(lines)


def infeasible(problem: Problem, prices: list[VariantCosts]) -> InfeasibleLimits:
    """The error for a problem whose limits no network meets, with its certificate."""
    certificate = certify(problem, prices)
    return InfeasibleLimits(certificate.message, certificate)


def certify(problem: Problem, prices: list[VariantCosts]) -> Certificate:
    """The certificate for a problem whose limits no network meets.

    Args:
        problem: With at least one limit.
        prices: Of every variant of the problem.
    """
    limits = problem.limits.given()
    reports = []
    for metric, limit in limits.items():
        reached = least(prices, metric, {})
        others = {name: value for name, value in limits.items() if name != metric}
        nearest = least(prices, metric, others) if others else reached
        assert reached is not None  # without limits there is always a network
        reports.append(
            LimitReport(
                metric,
                limit,
                reached.upper[metric],
                reached.architecture,
                _parts(metric, reached, prices),
                None if nearest is None else nearest.upper[metric],
                None if nearest is None else nearest.architecture,
            )
        )
    return Certificate(tuple(reports), _relaxed(limits, reports, prices))


def _relaxed(
    limits: dict[str, float], reports: list[LimitReport], prices: list[VariantCosts]
) -> tuple[tuple[str, float], ...]:
    """Limits that can be met at once, taken one after the other; latency yields last."""
    accepted: dict[str, float] = {}
    for report in sorted(reports, key=lambda r: (not r.feasible_alone, r.metric == LATENCY)):
        reached = least(prices, report.metric, accepted)
        needed = report.minimum if reached is None else reached.upper[report.metric]
        meets = needed <= report.limit
        accepted[report.metric] = report.limit if meets else rounded_up(report.metric, needed)
    return tuple((name, accepted[name]) for name in LIMITABLE if name in limits)


def rounded_up(metric: str, value: float) -> float:
    """A limit that is easy to type and not below the value: whole, or of three digits."""
    digits = _DIGITS if metric == LATENCY else _WHOLE_DIGITS
    context = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    rounded = context.create_decimal_from_float(value)
    if metric != LATENCY:
        rounded = rounded.to_integral_value(decimal.ROUND_CEILING)
    return float(rounded)


def _parts(metric: str, reached: Solution, prices: list[VariantCosts]) -> tuple[Part, ...]:
    own = next(p for p in prices if p.variant == reached.variant)
    column = own.metrics.index(WEIGHTS if metric == PEAK_MEMORY else metric)
    network = own.network(reached.architecture)
    counted: dict[str, list[float]] = {"constant": [float(own.constant[column])]}
    for layer in network:
        counted.setdefault(str(layer), []).append(float(own.rows[layer][column]))
    if metric == PEAK_MEMORY:
        counted["activation"] = [max(own.live[layer] for layer in network)]
    if metric == LATENCY:
        beyond = reached.costs[metric] - sum(map(sum, counted.values()))
        counted["weights beyond the caches"] = [beyond]
    counted["interval"] = [reached.upper[metric] - reached.costs[metric]]
    parts = [Part(name, len(values), sum(values)) for name, values in counted.items()]
    return tuple(sorted((p for p in parts if p.value), key=lambda p: (-p.value, p.name)))


def _exact(value: float) -> str:
    """Text that reads back as the value."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _text(value: float) -> str:
    return _exact(value) if value == int(value) or value >= 1e6 else f"{value:.6g}"
