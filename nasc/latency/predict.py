"""From measured networks to the cost of every layer, and how far predictions are off.

The costs minimise the relative error of the measured latencies under the condition that no layer
costs less than nothing (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23), with
Huber's weights (Huber, Robust Statistics, 1981, sec. 7.8) so that a network that was disturbed, or
does not add up, cannot bend the others. Weights beyond the caches have a price of their own
(`nasc.latency.cache_misses`), where that predicts held-out networks better.

The interval comes from networks that were predicted without having been seen: each random
network is held out in turn and predicted by a fit to all others. The residual of the
network held out follows, roughly, Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t as student_t

from device_profiles import Noise
from nasc.architecture.space import Architecture
from nasc.errors import NascError, UsageError
from nasc.latency.basis import Basis, Matrix, Vector
from nasc.latency.cache_misses import Streaming, network_streamed_params

HUBER_K = 1.5
"""Residuals over this many standard deviations lose weight (95% efficient at about 1.35)."""

MAX_STANDARD = 3.5
"""Beyond it a held-out residual is taken for a disturbance (1 in 2000 if they were normal)."""

MAX_ITERATIONS = 25
MIN_SCALE = 1e-4
STACK_WIDENINGS = (1.0, 2.0, 4.0)
"""By how much the standard deviations of stacks of one operation are widened: what predicts the
held-out networks best. At short inputs an operation among others costs up to a tenth more than
among its like, and stacks would decide alone (docs/measuring.md)."""
BEYOND_PARAMS = tuple(float(round(1e6 * 2 ** (n / 2))) for n in range(-4, 13))
"""Parameters that may stay in the caches, 0.25 to 64 million: the held-out networks decide."""
MIN_ON_EACH_SIDE = 8
"""Measured networks with fewer and with more parameters than that, for its price to be known."""
STREAMING_GAIN = 0.9
"""The scale of the held-out residuals must fall below this part for the price to be believed."""
CONFIDENCE = 0.90
LEAST_OF_FASTEST = 0.01
"""Part of the fastest network's latency that an embedding takes at least (chosen, 2026): under
noise of tens of percent the fit would give it, and so a whole network, no time at all."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured network.

    Attributes:
        architecture: What was measured.
        latency_ms: In the statistic of record.
        deviation: Its relative standard error.
        held_out: Whether the network is held out in turn to calibrate the interval.
    """

    architecture: Architecture
    latency_ms: float
    deviation: float
    held_out: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.latency_ms < float("inf") and 0 <= self.deviation < float("inf")):
            raise UsageError(
                f"network '{self.architecture}': latency {self.latency_ms} ms with a relative "
                f"standard error of {self.deviation} is no measurement; measure it again"
            )


@dataclass(frozen=True, slots=True)
class Interval:
    """The two-sided interval around a prediction.

    Attributes:
        scale: Root mean square of the residuals of held-out networks, relative.
        dof: Degrees of freedom: the number of held-out networks.
        confidence: Share of networks whose measured latency lies inside, measured at another time.
        shift: Standard deviation between whole measurements, relative; see `Noise.shift`.
        jitter_ms: Standard deviation that does not shrink with the latency; see `Noise.jitter_ms`.
    """

    scale: float
    dof: int
    confidence: float = CONFIDENCE
    shift: float = 0.0
    jitter_ms: float = 0.0

    def __post_init__(self) -> None:
        parts = (self.scale, self.shift, self.jitter_ms)
        sound = all(0 <= part < 1 for part in parts) and self.dof >= 1
        if not sound or not 0 < self.confidence < 1:
            raise UsageError(
                f"interval of scale {self.scale}, shift {self.shift}, jitter {self.jitter_ms} ms, "
                f"{self.dof} degrees of freedom and confidence {self.confidence} makes no sense"
            )

    @property
    def half_width(self) -> float:
        """Half of the interval's width, relative to the prediction, the jitter left aside."""
        return math.hypot(self.scale, self.shift) * self._student

    @property
    def floor_ms(self) -> float:
        """Half of its width around a prediction of 0 ms."""
        return self.jitter_ms * self._student

    @property
    def _student(self) -> float:
        return float(student_t.ppf((1 + self.confidence) / 2, self.dof))

    def around(self, latency_ms: float) -> Prediction:
        """The prediction with its interval."""
        half = math.hypot(latency_ms * self.half_width, self.floor_ms)
        return Prediction(latency_ms, max(0.0, latency_ms - half), latency_ms + half)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted latency. Estimated, not measured.

    Attributes:
        latency_ms: Expected, in the statistic of record.
        low_ms: Lower end of the two-sided interval.
        high_ms: Upper end.
    """

    latency_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The solved costs.

    Attributes:
        costs: Of every unknown in ms, (unknowns,).
        errors: Their standard errors in ms, (unknowns,). Of a cost at 0 it is that of the fit
            without the condition.
        residuals: measured / predicted - 1 of every observation, in order.
        weights: Huber's weight of every observation: 1, less for outliers.
        streaming: What weights beyond the caches cost.
        held_out: measured / predicted - 1 of the held-out ones, each predicted without itself.
        interval: Calibrated by them.
    """

    costs: Vector
    errors: Vector
    residuals: Vector
    weights: Vector
    streaming: Streaming
    held_out: Vector
    interval: Interval


def fit(
    basis: Basis,
    observations: Sequence[Observation],
    beyond_params: Sequence[float] = BEYOND_PARAMS,
    *,
    noise: Noise,
) -> Fit:
    """Solve for the cost of every unknown and calibrate the interval.

    Args:
        basis: The unknowns.
        observations: Measured networks that determine them, at least two held out.
        beyond_params: What may be found to stay in the caches; with none all costs add up.
        noise: Of the device.

    Raises:
        UsageError: If the networks do not determine the costs, or none is held out.
    """
    rows = basis.matrix(o.architecture for o in observations)
    measured = np.array([o.latency_ms for o in observations])
    deviations = np.array([o.deviation for o in observations])
    stacks = np.array([_is_stack(o) for o in observations])
    held = [i for i, o in enumerate(observations) if o.held_out]
    if len(held) < 2:
        raise UsageError(
            f"{len(held)} held-out networks calibrate no interval; plan at least 2 random ones"
        )
    nominal = basis.nominal()
    geometry = basis.space.geometry
    streamed = np.array(
        [network_streamed_params(o.architecture, geometry, basis.head) for o in observations], float
    )

    def solved(beyond: float | None, factor: float) -> _Attempt:
        """With each held-out network predicted by a fit to all others."""
        design, scale = rows, nominal
        if beyond is not None:
            over = np.maximum(0.0, streamed - beyond)
            design = np.column_stack([rows, over])
            scale = np.append(nominal, _NOMINAL_MS_PER_PARAM)
        widening = np.where(stacks, factor, 1.0)
        apart = np.empty(len(held))
        together, _ = _solve(design, measured, deviations, scale, widening)
        for k, i in enumerate(held):
            others = np.arange(len(measured)) != i
            costs, _ = _solve(
                *(design[others], measured[others], deviations[others], scale, widening[others]),
                start=together,
                tolerance=1e-4,  # of a residual of percents
            )
            apart[k] = measured[i] / (design[i] @ costs) - 1
        return _Attempt(beyond, design, scale, widening, apart)

    def widened(beyond: float | None) -> _Attempt:
        return min((solved(beyond, f) for f in STACK_WIDENINGS), key=_Attempt.scale)

    best = widened(None)
    tried = [solved(b, STACK_WIDENINGS[0]) for b in beyond_params if _splits(streamed, b)]
    if tried:
        better = widened(min(tried, key=_Attempt.scale).beyond)
        if better.scale() < STREAMING_GAIN * best.scale():
            best = better
    costs, weights = _solve(best.design, measured, deviations, best.nominal, best.widening)
    residuals = measured / (best.design @ costs) - 1
    errors = _standard_errors(
        best.design, measured, weights / best.widening**2, residuals, best.nominal
    )
    n = len(nominal)
    return Fit(
        costs[:n],
        errors[:n],
        residuals,
        weights,
        Streaming() if best.beyond is None else Streaming(best.beyond, float(costs[n])),
        best.apart,
        calibrated(best.scale(), len(held), noise),
    )


_NOMINAL_MS_PER_PARAM = 1e-7
"""0.1 ms a million: scales a column and never enters a result."""


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """One way to fit, and how it predicts networks that it has not seen."""

    beyond: float | None
    design: Matrix
    nominal: Vector
    widening: Vector
    apart: Vector

    def scale(self) -> float:
        """Of the residuals of held-out networks."""
        return residual_scale(self.apart)


def _splits(streamed: Vector, beyond: float) -> bool:
    """Whether enough networks lie on either side."""
    over = int((streamed > beyond).sum())
    return min(over, len(streamed) - over) >= MIN_ON_EACH_SIDE


def _is_stack(observation: Observation) -> bool:
    """Whether a network is there to determine one cost, and has operations at all."""
    blocks = observation.architecture.blocks
    return not observation.held_out and any(block.operations for block in blocks)


def calibrated(scale: float, held: int, noise: Noise) -> Interval:
    """The interval that follows from networks left out.

    Args:
        scale: Root mean square of their relative errors.
        held: How many.
        noise: Of the device.

    Raises:
        NascError: If they are off by as much as they take: nothing can be told from them.
    """
    if not scale < 1:
        raise NascError(
            f"the measurements of the networks do not fit together: {held} of them, each predicted "
            f"from the others, are off by {scale:.0%} (root mean square; less than 100% makes a "
            "latency table). Measure again when the machine is quiet: nasc profile --force"
        )
    return Interval(scale, held, shift=noise.shift, jitter_ms=noise.jitter_ms)


def residual_scale(residuals: Vector) -> float:
    """Root mean square of residuals around 0, those of disturbed networks pulled in.

    Residuals over `MAX_STANDARD` robust standard deviations count as that many: one network
    that was disturbed cannot widen the interval of all others without bound.
    """
    most = MAX_STANDARD * 1.4826 * float(np.median(np.abs(residuals)))
    return max(MIN_SCALE, float(np.sqrt(np.mean(np.minimum(np.abs(residuals), most) ** 2))))


def _solve(
    rows: Matrix,
    measured: Vector,
    noise: Vector,
    nominal: Vector,
    widening: Vector,
    start: Vector | None = None,
    tolerance: float = 1e-6,
) -> tuple[Vector, Vector]:
    """Non-negative costs in ms, that of the embedding over 0, and the final Huber weights.

    The residual of a network has two parts: its own noise, known, and what does not add up,
    the same for all, taken from the residuals themselves; both times its widening.

    Args:
        rows: How often each cost counts in each network, (networks, costs).
        measured: Latencies in ms, (networks,).
        noise: Their relative standard errors.
        nominal: Rough costs in ms, which scale the columns.
        widening: Factors of the standard deviations.
        start: Costs to begin from, those of nearly the same networks.
        tolerance: A change of the costs, relative to the nominal ones, that ends the iteration.
    """
    design = rows * nominal / measured[:, None]
    if np.linalg.matrix_rank(design, tol=1e-8 * np.linalg.norm(design)) < design.shape[1]:
        raise UsageError(
            f"{len(measured)} measured networks do not determine {design.shape[1]} costs; "
            "measure the networks of a plan for this space"
        )
    # Every network has one embedding, the first column: none is predicted to take no time.
    least = np.zeros(design.shape[1])
    least[0] = LEAST_OF_FASTEST * float(measured.min()) / nominal[0]
    ones = np.ones(len(measured))
    above = ones - design @ least
    weights = ones.copy()
    misfit = 0.0
    spread = np.ones_like(noise)
    freedom = max(1, len(measured) - design.shape[1])
    usual_noise = float(np.median(noise))
    x = least + nnls(design, above)[0] if start is None else start / nominal
    for _ in range(MAX_ITERATIONS):
        off = design @ x - 1
        # Median absolute deviation, times the share that the fitted costs have absorbed.
        scale = 1.4826 * float(np.median(np.abs(off))) * np.sqrt(len(measured) / freedom)
        misfit = max(MIN_SCALE, float(np.sqrt(max(0.0, scale**2 - usual_noise**2))))
        spread = widening * np.sqrt(misfit**2 + noise**2)
        standard = np.abs(off) / spread
        weights = np.minimum(1.0, HUBER_K / np.maximum(standard, 1e-12))
        root = np.sqrt(weights) * (spread.min() / spread)
        solved = least + nnls(design * root[:, None], root * above)[0]
        done = np.max(np.abs(solved - x)) < tolerance * max(1.0, float(np.max(np.abs(x))))
        x = solved
        if done:
            break
    return x * nominal, weights


def _standard_errors(
    rows: Matrix, measured: Vector, weights: Vector, residuals: Vector, nominal: Vector
) -> Vector:
    """Standard errors of the costs in ms, from the weighted residuals of the fit."""
    design = rows * nominal / measured[:, None] * np.sqrt(weights)[:, None]
    freedom = max(1, len(measured) - design.shape[1])
    variance = float(np.sum(weights * residuals**2)) / freedom
    covariance = np.linalg.pinv(design.T @ design) * variance
    errors: Vector = np.sqrt(np.maximum(np.diag(covariance), 0.0)) * nominal
    return errors
