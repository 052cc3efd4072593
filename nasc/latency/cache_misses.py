"""What weights cost that no longer stay in the caches from one run to the next.

Costs of layers add up as long as the weights of a network stay in the caches between two runs.
What is beyond them has to be fetched anew in every run, at a price for each parameter that is
nearly the same for all layers. So the latency of a network is

    sum of its layers' costs + ms_per_param * max(0, parameters of its layers - beyond_params)

which is the larger of two sums over the layers: both can be searched exactly. Rows of the embedding
do not count: a run reads a few of them, whatever their number. docs/measuring.md holds the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nasc.architecture.layers import Layer, layer_params, layers
from nasc.architecture.space import Architecture, Geometry
from nasc.errors import UsageError


@dataclass(frozen=True, slots=True)
class Streaming:
    """The price of weights beyond the caches; none by default.

    Attributes:
        beyond_params: Parameters of layers that stay in the caches.
        ms_per_param: What each further one costs in a run.

    Raises:
        UsageError: If a value is negative or not finite.
    """

    beyond_params: float = 0.0
    ms_per_param: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.beyond_params, self.ms_per_param):
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(
                    f"{self.ms_per_param} ms for each parameter beyond {self.beyond_params} "
                    "makes no sense"
                )

    def extra_ms(self, params: int) -> float:
        """What a network of so many parameters in its layers takes beyond the sum of costs."""
        return self.ms_per_param * max(0.0, params - self.beyond_params)


def streamed_params(layer: Layer, geometry: Geometry) -> int:
    """Parameters that a run reads in full: all but the embedding's."""
    return 0 if layer.kind == "embedding" else layer_params(layer, geometry)


def network_streamed_params(architecture: Architecture, geometry: Geometry, head: str) -> int:
    """`streamed_params` of a whole network."""
    return sum(streamed_params(layer, geometry) for layer in layers(architecture, geometry, head))
