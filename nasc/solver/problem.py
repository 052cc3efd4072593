"""What is searched: scored blocks, costs and limits in, solutions out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Protocol

import numpy as np

from nasc.architecture.heads import check_head
from nasc.architecture.layers import Layer
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.architecture.variant import Variant
from nasc.errors import UsageError
from nasc.solver.blocks import BlockCodes, Floats, block_codes

LATENCY = "latency_ms"
STREAMING = "streaming_latency_ms"
PEAK_MEMORY = "peak_memory_bytes"
WEIGHTS = "weight_bytes"
LIMITABLE = (LATENCY, "size_bytes", "params", PEAK_MEMORY)
"""Names of limits: the fields of `Limits`."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredBlocks:
    """The candidates of one block position.

    Attributes:
        blocks: n distinct blocks.
        loss: (n,) what each adds to the predicted loss: its block loss times the
            sensitivity of this position. Finite; may be negative.
    """

    blocks: tuple[Block, ...]
    loss: Floats
    codes: BlockCodes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        blocks = tuple(self.blocks)
        if not blocks:
            raise UsageError("scored blocks: a block position needs at least one candidate")
        loss = np.array(self.loss, dtype=np.float64)
        if loss.shape != (len(blocks),):
            raise UsageError(
                f"scored blocks: {len(blocks)} blocks but losses of shape {loss.shape}"
            )
        bad = np.flatnonzero(~np.isfinite(loss))
        if bad.size:
            raise UsageError(
                f"scored blocks: loss of block '{blocks[bad[0]]}' is {loss[bad[0]]}; "
                f"losses must be finite ({bad.size} of {loss.size} are not)"
            )
        loss.setflags(write=False)
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "codes", block_codes(blocks))


class CostModel(Protocol):
    """Costs of layers. Everything additive is a sum over `nasc.architecture.layers.layers`.

    A latency may be the larger of two sums: then ``streaming_latency_ms`` stands among the metrics
    beside ``latency_ms``.

    Peak memory is not additive: it is the constant's and all layers' ``weight_bytes`` plus
    the largest `activation_bytes` of a single layer.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Additive metrics, for example ``latency_ms``, ``size_bytes``, ``weight_bytes``."""
        ...

    def constant(self, variant: Variant) -> Mapping[str, float]:
        """Per metric what every network costs: fixed overhead, the runtime's base memory."""
        ...

    def layer(self, layer: Layer, variant: Variant) -> Mapping[str, float]:
        """Per metric what a layer costs; raises LookupMiss where that is not known."""
        ...

    def activation_bytes(self, layer: Layer, variant: Variant) -> float:
        """Bytes of live activations while the layer runs."""
        ...

    def upper(self, metric: str, value: float, variant: Variant) -> float:
        """Upper end of the interval around a predicted total: what is held to a limit.

        Must not fall as `value` rises. Asked for the metrics that can be limited,
        ``peak_memory_bytes`` included; the value itself where a prediction is exact.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits that must hold at once; None where there is none.

    Raises:
        UsageError: If a limit is no positive finite number.
    """

    latency_ms: float | None = None
    size_bytes: float | None = None
    params: float | None = None
    peak_memory_bytes: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"limit {option(name)} must be a number, got {value!r}")
            if not math.isfinite(value) or value <= 0:
                raise UsageError(f"limit {option(name)} must be positive and finite, got {value}")

    def given(self) -> dict[str, float]:
        """The limits that are set, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def limits_bytes(self) -> bool:
        """Whether the size of files or memory is limited."""
        return self.size_bytes is not None or self.peak_memory_bytes is not None


def option(name: str) -> str:
    """The command line's option for a limit, for example ``--latency-ms``."""
    return "--" + name.replace("_", "-")


def columns_of(metric: str, metrics: Collection[str]) -> tuple[str, ...]:
    """Additive metrics whose totals a limit is held to: all of a latency, weights of memory."""
    if metric == PEAK_MEMORY:
        return (WEIGHTS,)
    return (LATENCY, STREAMING) if metric == LATENCY and STREAMING in metrics else (metric,)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One search: which network has the least predicted loss under all limits.

    predicted loss = sum over positions of the chosen block's loss + loss of the variant.

    Attributes:
        geometry: Of the teacher.
        head: See `nasc.architecture.heads`.
        positions: Candidates of every block position, from input to output.
        variants: Which may be chosen, and what each adds to the predicted loss.
        costs: Costs of layers.
        limits: What must hold.

    Raises:
        UsageError: If a part is empty, unknown or not finite, or a limit has no metric.
    """

    geometry: Geometry
    head: str
    positions: tuple[ScoredBlocks, ...]
    variants: Mapping[Variant, float]
    costs: CostModel
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", tuple(self.positions))
        object.__setattr__(self, "variants", MappingProxyType(dict(self.variants)))
        check_head(self.head)
        if not self.positions:
            raise UsageError("search: at least one block position is needed")
        if not self.variants:
            raise UsageError("search: no runtime and precision to choose from")
        for variant, loss in self.variants.items():
            if not math.isfinite(loss):
                raise UsageError(f"search: loss of {variant} is {loss}, not finite")
        for name in self.limits.given():
            if (WEIGHTS if name == PEAK_MEMORY else name) not in self.costs.metrics:
                raise UsageError(
                    f"search: limit {option(name)} is set but the costs hold no such metric; "
                    f"they hold {', '.join(self.costs.metrics)}"
                )

    def with_limits(self, limits: Limits) -> Problem:
        """The same search under other limits."""
        return Problem(self.geometry, self.head, self.positions, self.variants, self.costs, limits)


@dataclass(frozen=True, slots=True)
class Solution:
    """A network that meets the limits, with what is predicted for it.

    Attributes:
        architecture: The network.
        runtime: What runs it.
        predicted_loss: Sum of its blocks' losses and its variant's.
        costs: Predicted totals by metric, and ``peak_memory_bytes`` where known.
        upper: Upper ends of those that can be limited: what is held to the limits.
        true_loss: Of the complete network, where it was taken.
        latency_table: What is to be said of the table of its latency (`LatencyTable.note`).
        mixture: What its latency is the mean over, in words; None where all texts are of one
            length.
    """

    architecture: Architecture
    runtime: str
    predicted_loss: float
    costs: Mapping[str, float]
    upper: Mapping[str, float]
    true_loss: float | None = None
    latency_table: str | None = None
    mixture: str | None = None

    def with_loss(self, predicted_loss: float) -> Solution:
        """The same with another predicted loss."""
        return dataclasses.replace(self, predicted_loss=predicted_loss)

    @property
    def upper_latency_ms(self) -> float:
        """Upper end of the latency's interval, in milliseconds."""
        return self.upper[LATENCY]

    @property
    def variant(self) -> Variant:
        """Runtime and precision."""
        return Variant(self.runtime, self.architecture.precision)

    @property
    def order(self) -> tuple[float, tuple[str, ...], str, float, str]:
        """Sort key: predicted loss, texts of the blocks in turn, precision, latency, runtime."""
        texts = tuple(str(block) for block in self.architecture.blocks)
        latency_ms = self.upper.get(LATENCY, 0.0)
        return self.predicted_loss, texts, self.architecture.precision, latency_ms, self.runtime
