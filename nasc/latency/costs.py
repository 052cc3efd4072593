"""What the search asks for: prices of layers, from the tables of several variants."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nasc.architecture.layers import Layer, layer_params
from nasc.architecture.space import Architecture, Geometry
from nasc.architecture.variant import Variant
from nasc.errors import LookupMiss, UsageError
from nasc.latency import memory
from nasc.latency.cache_misses import streamed_params
from nasc.latency.emulated import emulated_error
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
        tables: By variant; alike in everything that does not belong to the runtime or precision.
        runtime_base_bytes: By runtime the memory of its process without a model, as measured;
            peak memory can be limited where it is known of all of them.
        scale_reach: How far the quiet time of the tables may lie below that of another half
            minute, relative: see `profilers.Scale.reach`.
        emulated: Tables of an emulated device are taken too: nothing may be promised by prices from
            them.
        vocab_size: Words of the networks that ship; None takes those of the tables, whose
            latencies do not depend on them.
    """

    tables: Mapping[Variant, LatencyTable]
    runtime_base_bytes: Mapping[str, float]
    scale_reach: float = 0.0
    emulated: bool = False
    vocab_size: int | None = None
    _first: LatencyTable = field(init=False, repr=False)
    _held: Mapping[Variant, tuple[float, float, float]] = field(
        init=False, repr=False
    )  # asked for in every step of a search

    def __post_init__(self) -> None:
        if not self.tables:
            raise UsageError("prices need at least one latency table")
        first: dict[str, LatencyKey] = {}
        for variant, table in self.tables.items():
            if table.emulated and not self.emulated:
                raise emulated_error(f"the latency table of {table.key.describe()}")
            if table.key.variant != variant:
                raise UsageError(f"a table of {table.key.variant} was given as {variant}")
            own = first.setdefault(variant.runtime, table.key)
            other = next(iter(first.values()))
            if _shared(table.key) != _shared(other) or _without_precision(
                table.key
            ) != _without_precision(own):
                other = own if _shared(table.key) == _shared(other) else other
                raise UsageError(
                    f"latency tables of different settings cannot be searched together: "
                    f"{other.describe()} and {table.key.describe()}"
                )
        held = {
            variant: (
                table.interval.half_width,
                table.interval.floor_ms,
                table.bound_ratio * (1 + math.hypot(table.bound_ratio - 1, self.scale_reach)),
            )
            for variant, table in self.tables.items()
        }
        object.__setattr__(self, "_first", next(iter(self.tables.values())))
        object.__setattr__(self, "_held", held)

    @classmethod
    def of(
        cls,
        tables: Iterable[LatencyTable],
        known: Iterable[LatencyTable] | None = None,
        scale_reach: float = 0.0,
        emulated: bool = False,
        vocab_size: int | None = None,
    ) -> TableCosts:
        """Prices from tables, one for each variant.

        Args:
            tables: At least one.
            known: Those that tell the runtime's base, which is the same in all its precisions;
                None takes `tables`.
            scale_reach: See the class.
            emulated: See the class.
            vocab_size: See the class.
        """
        found: dict[Variant, LatencyTable] = {}
        for table in tables:
            if table.key.variant in found:
                raise UsageError(f"two latency tables of {table.key.variant} were given")
            found[table.key.variant] = table
        base: dict[str, float] = {}
        for table in found.values() if known is None else known:
            runtime, told = table.key.runtime, table.runtime_base_bytes
            if told is not None:
                base[runtime] = max(told, base.get(runtime, 0.0))
        return cls(found, base, scale_reach, emulated, vocab_size)

    @property
    def geometry(self) -> Geometry:
        """Of the networks that ship."""
        found = self._first.key.geometry
        if self.vocab_size is None:
            return found
        return dataclasses.replace(found, vocab_size=self.vocab_size)

    @property
    def knows_memory(self) -> bool:
        """Whether the peak memory of every network can be predicted."""
        return all(variant.runtime in self.runtime_base_bytes for variant in self.tables)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Additive metrics. A latency is the larger of two where weights beyond the caches cost."""
        streams = any(table.streaming.ms_per_param for table in self.tables.values())
        latencies = (LATENCY, STREAMING) if streams else (LATENCY,)
        weights = (WEIGHTS,) if self.knows_memory else ()
        return (*latencies, SIZE, PARAMS, *weights)

    def constant(self, variant: Variant) -> dict[str, float]:
        """Per metric what every network costs besides its layers.

        The fixed overhead of a run is part of the embedding's latency.

        Raises:
            LookupMiss: If there is no table of this variant.
        """
        streaming = self._table(variant).streaming
        found = {
            LATENCY: 0.0,
            STREAMING: -streaming.ms_per_param * streaming.beyond_params,
            SIZE: float(memory.file_base_bytes(variant)),
            PARAMS: 0.0,
        }
        if self.knows_memory:
            base = self.runtime_base_bytes[variant.runtime]
            found[WEIGHTS] = memory.resident_base_bytes(base, variant)
        return found

    def layer(self, layer: Layer, variant: Variant) -> dict[str, float]:
        """Per metric what a layer costs.

        Raises:
            LookupMiss: If the layer was not measured in this variant.
        """
        geometry, table = self.geometry, self._table(variant)
        cost_ms = table.cost_ms(layer)
        found = {
            LATENCY: cost_ms,
            STREAMING: cost_ms + table.streaming.ms_per_param * streamed_params(layer, geometry),
            SIZE: float(memory.layer_file_bytes(layer, geometry, variant)),
            PARAMS: float(layer_params(layer, geometry)),
        }
        if self.knows_memory:
            found[WEIGHTS] = memory.resident_weight_bytes(layer, geometry, variant)
        return found

    def activation_bytes(self, layer: Layer, variant: Variant) -> float:
        """Bytes that the live activations of a layer take."""
        key = self._first.key
        return memory.resident_activation_bytes(
            layer, self.geometry, key.seq_len, key.batch, variant
        )

    def upper(self, metric: str, value: float, variant: Variant) -> float:
        """What is held to a limit: the upper end of the interval around a predicted total.

        Of a latency it is at least as far above as the bound of a repetition's bound lies
        above a measured value: a package must meet its limit when it is measured again.
        """
        if metric in (LATENCY, STREAMING):
            self._table(variant)  # raises where there is none
            half_width, floor_ms, bound = self._held[variant]
            return max(value + math.hypot(value * half_width, floor_ms), value * bound)
        if metric == PEAK_MEMORY:
            return value * (1 + memory.peak_margin(variant))
        return value

    def measured_upper_ms(self, latency_ms: float, variant: Variant) -> float:
        """Upper end of a latency that was measured, not predicted: what is held to a limit.

        As far above as the bound of a repetition's bound lies above a measured value, see `upper`.

        Raises:
            LookupMiss: If there is no table of the variant.
        """
        self._table(variant)
        return latency_ms * self._held[variant][2]

    def predict(self, architecture: Architecture, runtime: str) -> Prediction:
        """Predicted latency of a network with its interval. Estimated, not measured.

        Raises:
            LookupMiss: If there is no table of its variant, or a layer was not measured.
        """
        return self._table(Variant(runtime, architecture.precision)).predict(architecture)

    def peak_memory_bytes(self, architecture: Architecture, runtime: str) -> int | None:
        """Predicted peak memory of a process that runs a network; None where it is not known.

        Estimated, not measured.
        """
        if runtime not in self.runtime_base_bytes:
            return None
        key = self._first.key
        return round(
            memory.peak_memory_bytes(
                architecture,
                runtime,
                self.geometry,
                key.head,
                key.seq_len,
                key.batch,
                self.runtime_base_bytes[runtime],
            )
        )

    def _table(self, variant: Variant) -> LatencyTable:
        if variant in self.tables:
            return self.tables[variant]
        raise LookupMiss(
            f"no latency table of {variant} was given; given: {', '.join(map(str, self.tables))}"
        )


def _without_precision(key: LatencyKey) -> LatencyKey:
    """What tables of one runtime share."""
    return dataclasses.replace(key, precision="fp32")


def _shared(key: LatencyKey) -> LatencyKey:
    """What tables of all runtimes share: that which belongs to none of them."""
    return dataclasses.replace(
        _without_precision(key),
        runtime="",
        runtime_version="",
        options="",
        emitter_version=0,
        quiet_ms=1.0,
    )
