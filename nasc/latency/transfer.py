"""A latency table from that of a similar device and a few networks measured on this one.

The other table says what the costs are like; a few networks say how this device differs. Each
cost is the other table's times a factor, and the logarithms of all factors are taken for normal:

    log factor = all layers + kind of layer + slope in log(hidden size) + the layer's own

where the factor of all layers is nearly free, and the standard deviations of the other parts are
not known. The costs follow by a Gaussian process in the logarithm of latency (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006, ch. 2 and 5; the sum of costs is
linearised at the solution), averaged over a grid of standard deviations, each weighted by its
evidence (empirical Bayes). A factor is above 0, and so is every cost. The fewer networks are
measured, the nearer the costs are to those of the other table, scaled.

The interval comes from networks that were predicted without having been seen: each random network
is left out in turn and predicted by all others, the grid weighted anew. They are drawn as those
that will be predicted, so their residuals are like those to come (leave-one-out as in the
jackknife+: Barber, Candes, Ramdas and Tibshirani, Annals of Statistics 49, 2021). So few have no
5% quantiles: their root mean square goes with Student's t, of as many degrees of freedom as there
are residuals, as in a table that was measured whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles import Noise
from nasc.errors import UsageError
from nasc.latency.basis import Basis, Matrix, Vector
from nasc.latency.cache_misses import Streaming, network_streamed_params
from nasc.latency.emulated import emulated_error
from nasc.latency.predict import (
    HUBER_K,
    Fit,
    Observation,
    calibrated,
    residual_scale,
)
from nasc.latency.table import LatencyTable

MIN_BUDGET = 5
MAX_BUDGET = 100
DEFAULT_BUDGET = 20
"""Networks that may be measured: fewer tell nothing of the error, more are a whole table."""

SHARED_SPREAD = 2.0
"""Standard deviation of the logarithm of the factor that all costs share: nearly free."""

KIND_SPREADS = (0.05, 0.2, 0.8)
SLOPE_SPREADS = (0.05, 0.2, 0.8)
OWN_SPREADS = (0.02, 0.07, 0.2)
NOISE_SPREADS = (0.007, 0.015, 0.03, 0.07)
"""Standard deviations that are weighed: of the logarithm of the factor of a kind of layer; of its
slope over log(hidden size); of one cost by itself; of one measured latency, what does not add up
included. From two settings of one runtime to another instruction set (docs/transfer.md)."""

LEAST_ERRORS = 0.3
LEAST_NOMINAL = 0.01
"""A cost that the other table has at or near 0 counts as so many of its standard errors, or as this
part of the nominal cost: a factor cannot move 0."""

ROUNDS = 3
"""Of Huber's weights."""

STEPS = 12
MAX_STEP = 1.0
TOLERANCE = 1e-3
"""Gauss-Newton ends where no logarithm of a factor moves by more: what is left is its square."""

LEAST_SHARE = 1e-3
"""Choices of standard deviations with a smaller part of the largest weight are left out where a
network is left out."""

Cube = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What the table of another device says of the costs of this one.

    Attributes:
        basis: Whose unknowns are meant.
        costs: Of every unknown in ms, above 0; then the price of a parameter beyond the caches,
            where the other table has one.
        shared: Of the logarithm of the factors, the covariance that is never weighed.
        of_kind: As much of it as is shared within a kind, for a spread of 1.
        of_slope: As much as goes with the hidden size, for a spread of 1.
        beyond_params: Parameters that stay in the caches; None where all costs add up.
    """

    basis: Basis
    costs: Vector
    shared: Matrix
    of_kind: Matrix
    of_slope: Matrix
    beyond_params: float | None

    def design(self, observations: Sequence[Observation]) -> Matrix:
        """How often each of the costs occurs in networks."""
        rows = self.basis.matrix(o.architecture for o in observations)
        if self.beyond_params is None:
            return rows
        space, head = self.basis.space, self.basis.head
        params = np.array(
            [network_streamed_params(o.architecture, space.geometry, head) for o in observations],
            float,
        )
        return np.column_stack([rows, np.maximum(0.0, params - self.beyond_params)])


def prior_of(source: LatencyTable, basis: Basis) -> Prior:
    """What a table says of the costs of a device like its own.

    Raises:
        DeviceEmulated: If it is of an emulated device.
        UsageError: If it is of another teacher, or has no cost of a layer.
    """
    if source.emulated:
        raise emulated_error(f"--from-table: the latency table of {source.key.describe()}")
    if source.key.geometry != basis.space.geometry:
        raise UsageError(
            f"--from-table: the table of {source.key.describe()} is of a teacher of another shape. "
            "Take one of the same teacher: nasc tables list"
        )
    told = {
        (str(kind), int(hidden_in), int(hidden_out)): (float(cost), float(error))
        for kind, hidden_in, hidden_out, cost, error in source.entries[
            ["kind", "hidden_in", "hidden_out", "cost_ms", "std_error_ms"]
        ].itertuples(index=False, name=None)
    }
    layers = basis.unknowns
    names = [(layer.kind, layer.hidden_in, layer.hidden_out) for layer in layers]
    absent = [str(layer) for layer, name in zip(layers, names, strict=True) if name not in told]
    if absent:
        raise UsageError(
            f"--from-table: the table of {source.key.describe()} was measured for search space "
            f"{source.space.name!r} and has no cost of {len(absent)} of {len(layers)} layers of "
            f"{basis.space.name!r}: {', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}. "
            "Take one of the same space: nasc tables list"
        )
    known = np.array([told[name] for name in names])
    least = np.maximum(LEAST_ERRORS * known[:, 1], LEAST_NOMINAL * basis.nominal())
    costs = np.maximum(known[:, 0], least)
    kinds = [layer.kind for layer in layers]
    sizes = [layer.hidden_in * layer.hidden_out for layer in layers]
    slopes = 0.5 * np.log(np.array(sizes, float))
    slopes = slopes - float(np.mean(slopes))
    beyond = None
    if source.streaming.ms_per_param > 0:
        beyond = source.streaming.beyond_params
        costs = np.append(costs, source.streaming.ms_per_param)
        kinds, slopes = [*kinds, "streaming"], np.append(slopes, 0.0)
    alike = np.array([[a == b for b in kinds] for a in kinds], float)
    along = np.outer(slopes, slopes)
    return Prior(
        basis,
        costs,
        np.full_like(alike, SHARED_SPREAD**2),
        alike,
        0.5 * along * (1 + alike),
        beyond,
    )


def transferred_fit(prior: Prior, observations: Sequence[Observation], *, noise: Noise) -> Fit:
    """Costs of this device from a few of its networks, with a calibrated interval.

    Args:
        prior: From the table of another device.
        observations: What was measured on this one, at least two held out.
        noise: Of the device.

    Raises:
        UsageError: If fewer networks are held out.
    """
    held = [i for i, o in enumerate(observations) if o.held_out]
    if len(held) < 2:
        raise UsageError(
            f"{len(held)} held-out networks calibrate no interval; plan at least 2 random ones"
        )
    design = prior.design(observations)
    measured = np.array([o.latency_ms for o in observations])
    deviations = np.array([o.deviation for o in observations])
    found = _solve(prior, design, measured, deviations)
    apart = np.empty(len(held))
    for k, i in enumerate(held):
        others = np.arange(len(measured)) != i
        start = _Start(found.grid, found.factors, found.weights[others])
        one = _solve(prior, design[others], measured[others], deviations[others], start)
        apart[k] = measured[i] / (design[i] @ one.costs) - 1
    n = len(prior.basis.unknowns)
    beyond = prior.beyond_params
    return Fit(
        found.costs[:n],
        found.errors[:n],
        measured / (design @ found.costs) - 1,
        found.weights,
        Streaming() if beyond is None else Streaming(beyond, float(found.costs[n])),
        apart,
        calibrated(residual_scale(apart), len(held), noise),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """What was found.

    Attributes:
        costs: In ms.
        errors: Their standard errors in ms.
        weights: Huber's, of every network.
        grid: Choices of standard deviations that count.
        factors: Logarithms of the factors by each of them.
    """

    costs: Vector
    errors: Vector
    weights: Vector
    grid: Matrix
    factors: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """Choices of standard deviations, factors by each, and Huber's weights, to begin with."""

    grid: Matrix
    factors: Matrix
    weights: Vector


def _solve(
    prior: Prior,
    design: Matrix,
    measured: Vector,
    deviations: Vector,
    start: _Start | None = None,
) -> _Solved:
    """Costs averaged over the grid, those of disturbed networks weighted down.

    Args:
        prior: What is known before.
        design: Of the networks.
        measured: Their latencies in ms.
        deviations: Their relative standard errors.
        start: Where nearly the same networks ended; one round more is enough then.
    """
    # Half of the variance is that of all networks alike, half goes with what is known of each.
    usual = float(np.median(deviations))
    own = (1 + (deviations / usual) ** 2) / 2 if usual > 0 else np.ones(len(measured))
    logs = np.log(measured)
    if start is None:
        grid = np.array(
            list(itertools.product(KIND_SPREADS, SLOPE_SPREADS, OWN_SPREADS, NOISE_SPREADS))
        )
        shared = float(np.median(logs - np.log(design @ prior.costs)))
        factors, weights = np.full((len(grid), len(prior.costs)), shared), np.ones(len(measured))
    else:
        grid, factors, weights = start.grid, start.factors, start.weights
    for _ in range(ROUNDS if start is None else 1):
        found = _posteriors(prior, design, logs, own / weights, grid, factors)
        factors = found.factors
        share = np.exp(found.evidence - found.evidence.max())
        share = share / share.sum()
        weights = np.minimum(1.0, HUBER_K / np.maximum(np.abs(share @ found.standard), 1e-12))
    mean = share @ found.factors
    variance = share @ (found.variances + (found.factors - mean) ** 2)
    costs = prior.costs * np.exp(mean)
    errors = costs * np.sqrt(np.maximum(variance, 0.0))
    counts = share >= LEAST_SHARE * share.max()
    return _Solved(costs, errors, weights, grid[counts], factors[counts])


@dataclass(frozen=True, slots=True, eq=False)
class _Posteriors:
    """What follows from each choice of the standard deviations, (choices, ...).

    Attributes:
        factors: Logarithms of the factors of all costs.
        variances: Of them.
        evidence: Logarithm of the probability density of what was measured.
        standard: Residual of each network left out, in standard deviations.
    """

    factors: Matrix
    variances: Matrix
    evidence: Vector
    standard: Matrix


def _posteriors(
    prior: Prior, design: Matrix, logs: Vector, own: Vector, grid: Matrix, factors: Matrix
) -> _Posteriors:
    """Gauss-Newton on the logarithms of latencies, for all choices at once.

    Args:
        prior: What is known before.
        design: Of the networks.
        logs: Logarithms of their latencies.
        own: Variance of each, relative to that of the grid.
        grid: Choices of standard deviations.
        factors: To begin with, by choice.
    """
    kind, slope, single, noise = (grid[:, i, None, None] ** 2 for i in range(4))
    among = (
        prior.shared
        + kind * prior.of_kind
        + slope * prior.of_slope
        + single * np.eye(len(prior.costs))
    )
    around = noise * np.diag(own)
    for _ in range(STEPS):
        parts = design * (prior.costs * np.exp(factors))[:, None, :]
        totals = parts.sum(axis=2)
        shares: Cube = parts / totals[:, :, None]
        # As the linearised model has it for factors of 1, around which the prior is.
        residual = logs - np.log(totals) + np.einsum("gij,gj->gi", shares, factors)
        across = among @ shares.transpose(0, 2, 1)
        inverse = np.linalg.inv(shares @ across + around)
        pull = np.einsum("gij,gj->gi", inverse, residual)
        step = np.clip(np.einsum("gji,gi->gj", across, pull) - factors, -MAX_STEP, MAX_STEP)
        factors = factors + step
        if float(np.abs(step).max()) < TOLERANCE:
            break
    diagonal = np.einsum("gii->gi", inverse)
    _, log_determinant = np.linalg.slogdet(inverse)
    explained = ((across @ inverse) * across).sum(axis=2)
    return _Posteriors(
        factors,
        np.einsum("gjj->gj", among) - explained,
        0.5 * (log_determinant - np.einsum("gi,gi->g", residual, pull)),
        pull / np.sqrt(diagonal),
    )
