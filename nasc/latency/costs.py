"""What the search asks for: prices of layers, from the tables of several precisions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nasc.architecture.layers import Layer, layer_params
from nasc.architecture.space import PRECISIONS, Architecture
from nasc.errors import LookupMiss, UsageError
from nasc.latency import memory
from nasc.latency.cache_misses import streamed_params
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Prediction
from nasc.latency.table import LatencyTable

LATENCY = "latency_ms"
STREAMING = "streaming_latency_ms"
PEAK_MEMORY = "peak_memory_bytes"
SIZE = "size_bytes"
PARAMS = "params"
WEIGHTS = "weight_bytes"
"""Names of the metrics, as `nasc.solver.problem` knows them."""


@dataclass(frozen=True, slots=True, eq=False)
class TableCosts:
    """Prices of layers in one setting of a device (the `CostModel` of the search).

    Attributes:
        tables: By precision; alike in everything but the precision.
        runtime_base_bytes: Memory of the runtime's process without a model, as measured; None
            where the device does not tell, then peak memory cannot be limited.
        scale_reach: How far the quiet time of the tables may lie below that of another half
            minute, relative: see `profilers.Scale.reach`.
    """

    tables: Mapping[str, LatencyTable]
    runtime_base_bytes: float | None
    scale_reach: float = 0.0
    _first: LatencyTable = field(init=False, repr=False)
    _held: Mapping[str, tuple[float, float, float]] = field(
        init=False, repr=False
    )  # asked for in every step of a search

    def __post_init__(self) -> None:
        if not self.tables:
            raise UsageError("prices need at least one latency table")
        tables = list(self.tables.values())
        for precision, table in self.tables.items():
            if table.key.precision != precision:
                raise UsageError(f"a table of {table.key.precision} was given as {precision}")
            if _setting(table.key) != _setting(tables[0].key):
                raise UsageError(
                    f"latency tables of different settings cannot be searched together: "
                    f"{tables[0].key.describe()} and {table.key.describe()}"
                )
        held = {
            precision: (
                table.interval.half_width,
                table.interval.floor_ms,
                table.bound_ratio * (1 + math.hypot(table.bound_ratio - 1, self.scale_reach)),
            )
            for precision, table in self.tables.items()
        }
        object.__setattr__(self, "_first", tables[0])
        object.__setattr__(self, "_held", held)

    @classmethod
    def of(
        cls,
        tables: Iterable[LatencyTable],
        known: Iterable[LatencyTable] | None = None,
        scale_reach: float = 0.0,
    ) -> TableCosts:
        """Prices from tables, one for each precision.

        Args:
            tables: At least one.
            known: Those that tell the runtime's base, which is the same in all precisions; None
                takes `tables`.
            scale_reach: See the class.
        """
        found: dict[str, LatencyTable] = {}
        for table in tables:
            if table.key.precision in found:
                raise UsageError(f"two latency tables of {table.key.precision} were given")
            found[table.key.precision] = table
        told = [t.runtime_base_bytes for t in (found.values() if known is None else known)]
        return cls(found, max((t for t in told if t is not None), default=None), scale_reach)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Additive metrics. A latency is the larger of two where weights beyond the caches cost."""
        streams = any(table.streaming.ms_per_param for table in self.tables.values())
        latencies = (LATENCY, STREAMING) if streams else (LATENCY,)
        weights = () if self.runtime_base_bytes is None else (WEIGHTS,)
        return (*latencies, SIZE, PARAMS, *weights)

    def constant(self, precision: str) -> dict[str, float]:
        """Per metric what every network costs besides its layers.

        The fixed overhead of a run is part of the embedding's latency.

        Raises:
            LookupMiss: If there is no table of this precision.
        """
        streaming = self._table(precision).streaming
        found = {
            LATENCY: 0.0,
            STREAMING: -streaming.ms_per_param * streaming.beyond_params,
            SIZE: float(memory.FILE_BASE_BYTES),
            PARAMS: 0.0,
        }
        if self.runtime_base_bytes is not None:
            found[WEIGHTS] = memory.resident_base_bytes(self.runtime_base_bytes)
        return found

    def layer(self, layer: Layer, precision: str) -> dict[str, float]:
        """Per metric what a layer costs.

        Raises:
            LookupMiss: If the layer was not measured in this precision.
        """
        geometry, table = self._first.key.geometry, self._table(precision)
        cost_ms = table.cost_ms(layer)
        found = {
            LATENCY: cost_ms,
            STREAMING: cost_ms + table.streaming.ms_per_param * streamed_params(layer, geometry),
            SIZE: float(memory.layer_file_bytes(layer, geometry, precision)),
            PARAMS: float(layer_params(layer, geometry)),
        }
        if self.runtime_base_bytes is not None:
            found[WEIGHTS] = memory.resident_weight_bytes(layer, geometry, precision)
        return found

    def activation_bytes(self, layer: Layer, precision: str) -> float:
        """Bytes that the live activations of a layer take."""
        key = self._first.key
        return memory.resident_activation_bytes(
            layer, key.geometry, key.seq_len, key.batch, precision
        )

    def upper(self, metric: str, value: float, precision: str) -> float:
        """What is held to a limit: the upper end of the interval around a predicted total.

        Of a latency it is at least as far above as the bound of a repetition's bound lies
        above a measured value: a package must meet its limit when it is measured again.
        """
        if metric in (LATENCY, STREAMING):
            self._table(precision)  # raises where there is none
            half_width, floor_ms, bound = self._held[precision]
            return max(value + math.hypot(value * half_width, floor_ms), value * bound)
        if metric == PEAK_MEMORY:
            return value * (1 + memory.PEAK_MARGIN)
        return value

    def predict(self, architecture: Architecture) -> Prediction:
        """Predicted latency of a network with its interval. Estimated, not measured.

        Raises:
            LookupMiss: If there is no table of its precision, or a layer was not measured.
        """
        return self._table(architecture.precision).predict(architecture)

    def peak_memory_bytes(self, architecture: Architecture) -> int | None:
        """Predicted peak memory of a process that runs a network; None where it is not known.

        Estimated, not measured.
        """
        if self.runtime_base_bytes is None:
            return None
        key = self._first.key
        return round(
            memory.peak_memory_bytes(
                architecture,
                key.geometry,
                key.head,
                key.seq_len,
                key.batch,
                self.runtime_base_bytes,
            )
        )

    def _table(self, precision: str) -> LatencyTable:
        if precision in self.tables:
            return self.tables[precision]
        raise LookupMiss(
            f"no latency table of precision {precision!r} was given; "
            f"given: {', '.join(self.tables)}"
        )


def _setting(key: LatencyKey) -> LatencyKey:
    """All but the precision, which alone may differ between tables of one search."""
    return dataclasses.replace(key, precision=PRECISIONS[0])
